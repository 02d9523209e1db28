package route

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// fake is a face that records what it is sent, each message as a line of text.
type fake struct {
	t    testing.TB
	r    *Router
	f    *Face
	name string
	deaf bool // takes nothing

	mu     sync.Mutex
	got    []string
	rids   []uint32 // of the requests that were not taken by rid yet
	cancel []uint32
	on     func(m *wire.Message) // called for each message, before Send returns
}

func (p *fake) Send(m *wire.Message, _ <-chan struct{}) bool {
	if p.deaf {
		return false
	}
	p.mu.Lock()
	p.got = append(p.got, text(m))
	if m.Kind == wire.Request {
		p.rids = append(p.rids, m.RequestID)
	}
	p.mu.Unlock()
	if p.on != nil {
		p.on(m)
	}
	return true
}

func (p *fake) CancelQuery(rid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = append(p.cancel, rid)
}

// take returns what came since the last take, one message per element.
func (p *fake) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.got
	p.got = nil
	return g
}

// want checks what came since the last time, in order.
func (p *fake) want(lines ...string) {
	p.t.Helper()
	if got := p.take(); !slices.Equal(got, lines) {
		p.t.Errorf("%s got\n\t%s\nwant\n\t%s", p.name, strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// rid returns the id of the next request that came.
func (p *fake) rid() uint32 {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rids) == 0 {
		p.t.Fatalf("%s got no request", p.name)
	}
	rid := p.rids[0]
	p.rids = p.rids[1:]
	return rid
}

func (p *fake) send(m *wire.Message) { p.r.Handle(p.f, m) }

func expr(key string) wire.WireExpr { return wire.WireExpr{Sender: true, Suffix: key} }

func (p *fake) decl(k wire.DeclKind, id uint32, key string) {
	p.send(&wire.Message{Kind: wire.Declare, QoS: wire.ControlQoS, Decl: wire.Declaration{Kind: k, ID: id}, Key: expr(key)})
}

func (p *fake) complete(id uint32, key string) {
	p.send(&wire.Message{
		Kind: wire.Declare, QoS: wire.ControlQoS, Key: expr(key),
		Decl: wire.Declaration{Kind: wire.DeclQueryable, ID: id, Complete: true},
	})
}

func (p *fake) undecl(k wire.DeclKind, id uint32) {
	p.send(&wire.Message{Kind: wire.Declare, QoS: wire.ControlQoS, Decl: wire.Declaration{Kind: k, ID: id}})
}

// answer is a declaration with an interest id.
func (p *fake) answer(iid uint32, k wire.DeclKind, id uint32, key string) {
	m := &wire.Message{
		Kind: wire.Declare, QoS: wire.ControlQoS, HasInterest: true, InterestID: iid,
		Decl: wire.Declaration{Kind: k, ID: id},
	}
	if key != "" {
		m.Key = expr(key)
	}
	p.send(m)
}

func (p *fake) final(iid uint32) { p.answer(iid, wire.DeclFinal, 0, "") }

// interest declares an interest; opts are letters as in text.
func (p *fake) interest(id uint32, mode wire.InterestMode, opts, key string) {
	m := &wire.Message{Kind: wire.Interest, QoS: wire.ControlQoS, InterestID: id, Mode: mode}
	for i, c := range optLetters {
		if strings.ContainsRune(opts, c) {
			m.Options |= optBits[i]
		}
	}
	if key != "" {
		m.Options |= wire.InterestRestricted
		m.Key = expr(key)
	}
	p.send(m)
}

func (p *fake) put(key, payload string) {
	p.send(&wire.Message{
		Kind: wire.Push, QoS: wire.DefaultQoS, Key: expr(key), Body: wire.Body{Kind: wire.Put, Payload: []byte(payload)},
	})
}

func (p *fake) get(rid uint32, key string, t wire.Target) {
	p.send(&wire.Message{
		Kind: wire.Request, QoS: wire.RequestQoS, RequestID: rid, Key: expr(key), Target: t, TimeoutMS: 1000,
		Body: wire.Body{Kind: wire.Query},
	})
}

func (p *fake) reply(rid uint32, key, payload string) {
	p.send(&wire.Message{
		Kind: wire.Response, QoS: wire.RequestQoS, RequestID: rid, Key: expr(key),
		Body: wire.Body{Kind: wire.Put, Payload: []byte(payload)},
	})
}

func (p *fake) end(rid uint32) {
	p.send(&wire.Message{Kind: wire.ResponseFinal, QoS: wire.RequestQoS, RequestID: rid})
}

const optLetters = "KSQTA"

var optBits = [...]wire.InterestOptions{
	wire.InterestKeyExprs, wire.InterestSubscribers, wire.InterestQueryables, wire.InterestTokens, wire.InterestAggregate,
}

// text is a message in a line:
//
//	D_SUB 1 a/b, U_TOK 0 key=a/b, D_QBL 2 a complete, D_FINAL ^3     (^3: with interest id 3)
//	INTEREST 1 CF KS a/b, PUT a/b payload, GET 1 a/b, REPLY 1 a/b payload, ERR 1 key payload, FINAL 1
func text(m *wire.Message) string {
	key := m.Key.Suffix
	if m.Key.Scope != 0 {
		key = fmt.Sprintf("%d:%s", m.Key.Scope, m.Key.Suffix)
		if m.Key.Sender {
			key = "S" + key
		}
	}
	var s string
	switch m.Kind {
	case wire.Declare:
		names := map[wire.DeclKind]string{
			wire.DeclSubscriber: "D_SUB", wire.UndeclSubscriber: "U_SUB", wire.DeclQueryable: "D_QBL",
			wire.UndeclQueryable: "U_QBL", wire.DeclToken: "D_TOK", wire.UndeclToken: "U_TOK", wire.DeclFinal: "D_FINAL",
		}
		s = names[m.Decl.Kind]
		switch m.Decl.Kind {
		case wire.DeclFinal:
		case wire.UndeclQueryable, wire.UndeclSubscriber, wire.UndeclToken:
			s += fmt.Sprintf(" %d", m.Decl.ID)
			if key != "" {
				s += " key=" + key
			}
		case wire.DeclKeyExpr, wire.UndeclKeyExpr, wire.DeclQueryable, wire.DeclSubscriber, wire.DeclToken:
			s += fmt.Sprintf(" %d %s", m.Decl.ID, key)
		}
		if m.Decl.Complete {
			s += " complete"
		}
		if m.HasInterest {
			s += fmt.Sprintf(" ^%d", m.InterestID)
		}
	case wire.Interest:
		s = fmt.Sprintf("INTEREST %d %s", m.InterestID, [...]string{"Final", "C", "F", "CF"}[m.Mode])
		if m.Mode != wire.InterestFinal {
			s += " "
			for i, c := range optLetters {
				if m.Options&optBits[i] != 0 {
					s += string(c)
				}
			}
			if m.Options&wire.InterestRestricted != 0 {
				s += " " + key
			}
		}
	case wire.Push:
		s = fmt.Sprintf("PUT %s %s", key, m.Body.Payload)
		if m.Body.Kind == wire.Del {
			s = "DEL " + key
		}
	case wire.Request:
		s = "GET " + key
	case wire.Response:
		s = fmt.Sprintf("REPLY %d %s %s", m.RequestID, key, m.Body.Payload)
		if m.Body.Kind == wire.Err {
			s = fmt.Sprintf("ERR %d %s from %s", m.RequestID, m.Body.Payload, m.Responder.ZID)
		}
	case wire.ResponseFinal:
		s = fmt.Sprintf("FINAL %d", m.RequestID)
	case wire.OAM:
		s = "OAM"
	}
	return s
}

// node is a router with fake faces.
type node struct {
	t   *testing.T
	r   *Router
	now time.Time
}

func newNode(t *testing.T, o Options) *node {
	t.Helper()
	o.ID = wire.ID{0xee}
	n := &node{t: t, r: New(o), now: time.Unix(1000, 0)}
	n.r.Tick(n.now)
	return n
}

// face attaches a face and forgets what it is told, unless that is to be looked at.
func (n *node) face(name string, rel Relation) *fake {
	p := &fake{t: n.t, r: n.r, name: name}
	p.f = n.r.Attach(p, wire.ID{name[0]}, rel, name)
	return p
}

// peer attaches a mesh face that has told what it has.
func (n *node) peer(name string) *fake {
	p := n.face(name, Mesh)
	p.final(0)
	p.take()
	return p
}

func (n *node) pass(d time.Duration) {
	n.now = n.now.Add(d)
	n.r.Tick(n.now)
}

// idle checks that nothing is left of queries and interests.
func (n *node) idle() {
	n.t.Helper()
	for _, f := range n.r.Faces() {
		if s := n.r.Stats(f); s.Pending != 0 || s.Asked != 0 {
			n.t.Errorf("face %v: %d queries pending, %d asked", f.Info(), s.Pending, s.Asked)
		}
	}
	if len(n.r.pending) != 0 {
		n.t.Errorf("%d interests wait", len(n.r.pending))
	}
}
