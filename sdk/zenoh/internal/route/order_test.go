package route

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// mirror is a face that keeps what it is told, as a real remote would, and complains of what makes no sense in the order
// in which it comes.
type mirror struct {
	t  *testing.T
	r  *Router
	f  *Face
	mu sync.Mutex

	told   [kinds]map[uint32]string
	keys   [kinds]map[string]bool
	base   []string        // keys of subscribers that were there before: each answer has them all
	wait   map[uint32]bool // interests whose D_FINAL is due
	finals map[uint32]int  // of requests
	busy   bool            // within Send: messages to a remote must not overtake each other
	asked  chan uint32
}

func newMirror(t *testing.T, r *Router, rel Relation, base []string) *mirror {
	p := &mirror{t: t, r: r, base: base, wait: map[uint32]bool{}, finals: map[uint32]int{}, asked: make(chan uint32, 1<<16)}
	for k := range kinds {
		p.told[k], p.keys[k] = map[uint32]string{}, map[string]bool{}
	}
	p.f = r.Attach(p, wire.ID{byte(rel)}, rel, rel.String())
	return p
}

func (p *mirror) Send(m *wire.Message, _ <-chan struct{}) bool {
	if m.Kind == wire.Request {
		p.asked <- m.RequestID
		return true
	}
	if m.Kind == wire.Declare {
		p.mu.Lock()
		if p.busy {
			p.t.Errorf("%v is told two things at a time", p.f)
		}
		p.busy = true
		p.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(3)) * time.Microsecond) //nolint:gosec // not a secret
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Kind {
	case wire.ResponseFinal:
		p.finals[m.RequestID]++
	case wire.Declare:
		p.busy = false
		p.declared(m)
	case wire.Interest, wire.Push, wire.Response, wire.OAM, wire.Request:
	}
	return true
}

func (p *mirror) declared(m *wire.Message) {
	for k := range kinds {
		switch m.Decl.Kind {
		case declKinds[k]:
			if key, ok := p.told[k][m.Decl.ID]; ok && key != m.Key.Suffix || !ok && p.keys[k][m.Key.Suffix] {
				p.t.Errorf("%s, but %d is %q", text(m), m.Decl.ID, key)
			}
			p.told[k][m.Decl.ID], p.keys[k][m.Key.Suffix] = m.Key.Suffix, true
		case undeclKinds[k]:
			key, ok := p.told[k][m.Decl.ID]
			if !ok {
				p.t.Errorf("%s, but it is not known", text(m))
			}
			delete(p.told[k], m.Decl.ID)
			delete(p.keys[k], key)
		}
	}
	if m.Decl.Kind != wire.DeclFinal {
		return
	}
	if p.f != nil && !p.wait[m.InterestID] {
		p.t.Errorf("unexpected %s", text(m))
	}
	delete(p.wait, m.InterestID)
	for _, key := range p.base {
		if !p.keys[Subscriber][key] {
			p.t.Errorf("%s before the declaration of %s", text(m), key)
		}
	}
}

func (p *mirror) send(m *wire.Message) { p.r.Handle(p.f, m) }

// TestOrder has many goroutines declare, ask and query at once, on the same faces too. What each face is told makes sense
// in the order in which it is told it, and in the end is what is declared.
func TestOrder(t *testing.T) {
	r := New(Options{})
	owner := r.Attach(&sink{}, wire.ID{9}, South, "owner")
	var base []string
	for i := range 20 {
		key := fmt.Sprint("base/", i)
		base = append(base, key)
		declareBench(r, owner, wire.DeclSubscriber, uint32(i+1), key, false)
	}
	rels := []Relation{Local, South, South, Mesh, Mesh}
	faces := make([]*mirror, len(rels))
	for i, rel := range rels {
		faces[i] = newMirror(t, r, rel, base)
		if rel == Mesh {
			r.Handle(faces[i].f, &wire.Message{Kind: wire.Declare, Decl: wire.Declaration{Kind: wire.DeclFinal}})
		}
	}
	answers := make(chan struct{})
	var responders, workers sync.WaitGroup
	for i, p := range faces {
		responders.Go(func() { p.respond(answers) })
		for j := range 2 {
			workers.Go(func() { p.work(uint64(i), uint32(1000*(j+1))) })
		}
	}
	workers.Go(func() { // faces that come and go
		for i := range 50 {
			p := newMirror(t, r, rels[i%len(rels)], nil)
			declareBench(r, p.f, wire.DeclSubscriber, 1, fmt.Sprint("k/", i%5), false)
			r.Tick(time.Unix(int64(1000+i/10), 0))
			r.Detach(p.f)
		}
	})
	workers.Wait()
	close(answers)
	responders.Wait()
	for _, p := range faces {
		p.check(r, faces)
	}
	for _, f := range r.Faces() {
		r.Detach(f)
	}
	checkEmpty(t, r)
}

// work does what an application does.
func (p *mirror) work(seed uint64, ids uint32) {
	rnd := rand.New(rand.NewPCG(seed, uint64(ids))) //nolint:gosec // not a secret
	for i := range uint32(300) {
		key := fmt.Sprint("k/", rnd.IntN(5))
		id := ids + uint32(rnd.IntN(10))
		k := Kind(rnd.IntN(int(kinds)))
		switch rnd.IntN(6) {
		case 0, 1:
			declareBench(p.r, p.f, declKinds[k], id, key, false)
		case 2:
			declareBench(p.r, p.f, undeclKinds[k], id, "", false)
		case 3:
			if p.f.rel == Mesh {
				continue
			}
			iid := ids + i
			p.mu.Lock()
			p.wait[iid] = true
			p.mu.Unlock()
			p.send(&wire.Message{
				Kind: wire.Interest, InterestID: iid, Mode: wire.InterestCurrentFuture, Options: allEntities,
			})
		case 4:
			p.send(&wire.Message{Kind: wire.Request, RequestID: ids + i, Key: expr(key), Body: wire.Body{Kind: wire.Query}})
		case 5:
			p.send(&wire.Message{Kind: wire.Push, Key: expr(key), Body: wire.Body{Kind: wire.Put}})
		}
	}
}

// respond answers queries until there are no more.
func (p *mirror) respond(stop chan struct{}) {
	answer := func(rid uint32) {
		p.send(&wire.Message{Kind: wire.Response, RequestID: rid, Key: expr("k/1"), Body: wire.Body{Kind: wire.Put}})
		p.send(&wire.Message{Kind: wire.ResponseFinal, RequestID: rid})
	}
	for {
		select {
		case rid := <-p.asked:
			answer(rid)
		case <-stop:
			for len(p.asked) > 0 {
				answer(<-p.asked)
			}
			return
		}
	}
}

// check compares what p knows with what the faces have declared.
func (p *mirror) check(r *Router, faces []*mirror) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for rid, n := range p.finals {
		if n != 1 {
			p.t.Errorf("query %d has %d finals", rid, n)
		}
	}
	if len(p.wait) != 0 {
		p.t.Errorf("%v: no D_FINAL for %v", p.f.info, p.wait)
	}
	for k := range kinds {
		want := map[string]bool{}
		for _, q := range faces {
			if !concerns(p.f, q.f, k) {
				continue
			}
			for _, d := range r.Declarations(q.f) {
				if d.Kind == k {
					want[d.Key] = true
				}
			}
		}
		if k == Subscriber {
			for _, key := range p.base {
				want[key] = true
			}
		}
		for key := range p.keys[k] {
			if !want[key] {
				p.t.Errorf("%v knows of %v %s", p.f.info, k, key)
			}
		}
		for key := range want {
			if !p.keys[k][key] {
				p.t.Errorf("%v does not know of %v %s", p.f.info, k, key)
			}
		}
	}
	if s := r.Stats(p.f); s.Pending != 0 || s.Asked != 0 {
		p.t.Errorf("%v: %+v", p.f.info, s)
	}
}

// A session may declare from within what it is told, and is told of it afterwards.
func TestOrder_Reentrant(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", Local), n.face("b", South)
	a.on = func(m *wire.Message) {
		if m.Kind == wire.Declare && m.Decl.Kind == wire.DeclToken && m.Key.Suffix == "t/1" {
			a.decl(wire.DeclToken, 1, "t/2")
			if n := len(a.got); n != 2 { // D_FINAL, and this one
				t.Errorf("told %d things", n)
			}
		}
	}
	a.interest(1, wire.InterestCurrentFuture, "KT", "t/*")
	b.decl(wire.DeclToken, 1, "t/1")
	a.want("D_FINAL ^1", "D_TOK 1 t/1", "D_TOK 2 t/2")
}

// slow is a remote that takes one message at a time.
type slow struct {
	enter, leave chan struct{}
}

func (s *slow) Send(m *wire.Message, done <-chan struct{}) bool {
	select {
	case s.enter <- struct{}{}:
	case <-done:
		return false
	}
	select {
	case <-s.leave:
		return true
	case <-done:
		return false
	}
}

// Who declares waits for a remote that is far behind, and no longer once it is gone.
func TestOutbox_Bounded(t *testing.T) {
	r := New(Options{})
	s := &slow{enter: make(chan struct{}), leave: make(chan struct{})}
	src := r.Attach(&sink{}, wire.ID{1}, Local, nil)
	attached := make(chan *Face)
	go func() { attached <- r.Attach(s, wire.ID{2}, Mesh, nil) }()
	<-s.enter // it has D_FINAL(0) in its hands
	f := r.Faces()[1]
	n := 0
	declared := make(chan struct{})
	go func() {
		defer close(declared)
		for n = range outboxWait + 10 {
			declareBench(r, src, wire.DeclSubscriber, uint32(n+1), fmt.Sprint("k/", n), false)
		}
	}()
	for {
		f.out.mu.Lock()
		full := f.out.free != nil
		f.out.mu.Unlock()
		if full {
			break
		}
		time.Sleep(time.Millisecond)
	}
	f.out.mu.Lock()
	if l := len(f.out.queue); l != outboxWait+1 {
		t.Errorf("%d messages in the outbox", l)
	}
	f.out.mu.Unlock()
	r.Detach(f)
	<-declared
	<-attached
}
