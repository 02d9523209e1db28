package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestPush_8_3_4(t *testing.T) {
	n := newNode(t, Options{})
	a, b, l := n.face("a", South), n.face("b", South), n.face("l", Local)
	a.decl(wire.DeclSubscriber, 1, "k/**")
	b.decl(wire.DeclSubscriber, 1, "k/*")
	b.decl(wire.DeclSubscriber, 2, "k/1")
	l.decl(wire.DeclSubscriber, 1, "k/1")
	a.put("k/1", "x") // one copy for each, none back
	a.want()
	b.want("PUT k/1 x")
	l.want("PUT k/1 x")
	l.put("k/1", "y") // a local session reaches itself
	l.want("PUT k/1 y")
	// The body and what says how to carry it stay; the node id does not.
	m := &wire.Message{
		Kind: wire.Push, QoS: wire.PriorityRealTime | wire.Express, Key: expr("k/1"), NodeID: 3,
		Timestamp: wire.Timestamp{Time: 5, ID: wire.ID{1}}, Stack: []byte("stack"),
		Body: wire.Body{Kind: wire.Put, Payload: []byte("p"), Attachment: []byte{}, Raw: []byte("raw"), Unknown: []byte("u")},
	}
	before := *m
	before.NodeID = 0
	l.on = func(got *wire.Message) {
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", before) {
			t.Errorf("sent %+v\nwant %+v", *got, before)
		}
	}
	a.send(m)
	if m.Key != before.Key {
		t.Errorf("the key is not restored: %+v", m.Key)
	}
	// What has no room is lost, and counted.
	b.deaf = true
	l.on = nil
	a.put("k/1", "z")
	if s := n.r.Stats(b.f); s.PushesLost != 1 || s.PushesOut != 3 {
		t.Errorf("stats %+v", s)
	}
}

func TestStamp_8_3_7(t *testing.T) {
	now := time.Unix(2000, 0)
	n := newNode(t, Options{Stamp: true, Now: func() time.Time { return now }})
	a, b := n.face("a", South), n.face("b", South)
	var got []wire.Body
	b.on = func(m *wire.Message) { got = append(got, m.Body) }
	send := func(body wire.Body) wire.Body {
		t.Helper()
		got = nil
		a.send(&wire.Message{Kind: wire.Push, Key: expr("k"), Body: body})
		if len(got) != 1 {
			return wire.Body{}
		}
		return got[0]
	}
	send(wire.Body{Kind: wire.Put})
	if n.r.clock.last.Load() != 0 {
		t.Error("stamped what nobody gets")
	}
	b.decl(wire.DeclSubscriber, 1, "k")
	own := wire.ID{0xee}
	x := send(wire.Body{Kind: wire.Put, Raw: []byte("raw")})
	if x.Timestamp != (wire.Timestamp{Time: 2000 << 32, ID: own}) || x.Raw != nil {
		t.Errorf("stamped %+v", x)
	}
	if y := send(wire.Body{Kind: wire.Put}); y.Timestamp.Time <= x.Timestamp.Time {
		t.Errorf("the second stamp, %+v, is not later", y.Timestamp)
	}
	if x := send(wire.Body{Kind: wire.Del}); x.Timestamp != (wire.Timestamp{}) {
		t.Errorf("a DEL is not stamped, got %+v", x.Timestamp)
	}
	// A stamp that is there stays, and moves the clock; from too far ahead it is replaced.
	ahead := wire.Timestamp{Time: 2000<<32 + 1<<30, ID: wire.ID{1}} // a quarter of a second
	if x := send(wire.Body{Kind: wire.Put, Timestamp: ahead, Raw: []byte("raw")}); x.Timestamp != ahead || x.Raw == nil {
		t.Errorf("changed to %+v", x)
	}
	if s := n.r.Timestamp(); s.Time <= ahead.Time {
		t.Errorf("the clock is behind what it saw: %+v", s)
	}
	far := wire.Timestamp{Time: 2001 << 32, ID: wire.ID{1}}
	if x := send(wire.Body{Kind: wire.Put, Timestamp: far, Raw: []byte("raw")}); x.Timestamp.ID != own || x.Raw != nil {
		t.Errorf("from the future: %+v", x)
	}
	n.r.o.DropFuture = true
	if x := send(wire.Body{Kind: wire.Put, Timestamp: far}); x.Kind != 0 {
		t.Errorf("from the future, to be dropped: %+v", x)
	}
	if s := n.r.Stats(a.f); s.Future != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestRequest_8_3_5_Targets(t *testing.T) {
	type face struct {
		rel      Relation
		key      string
		complete bool
	}
	for _, c := range []struct {
		name   string
		target wire.Target
		from   int // the face that asks
		faces  []face
		want   []int
	}{
		{"none", wire.BestMatching, 0, []face{{South, "", false}, {South, "x", true}}, nil},
		{"own", wire.All, 0, []face{{South, "k", true}}, nil},
		{"own local", wire.All, 0, []face{{Local, "k", true}}, []int{0}},
		{"best: no complete one", wire.BestMatching, 0, []face{{South, "", false}, {South, "k", false}, {Mesh, "*", false}}, []int{1, 2}},
		{"best: one complete", wire.BestMatching, 0, []face{{South, "", false}, {South, "k", false}, {Mesh, "*", true}}, []int{2}},
		{"best: local first", wire.BestMatching, 0, []face{{South, "", false}, {South, "k", true}, {Local, "**", true}, {Mesh, "k", true}}, []int{2}},
		{"best: gateway last", wire.BestMatching, 0, []face{{South, "", false}, {North, "k", true}, {South, "**", true}}, []int{2}},
		{"best: gateway alone", wire.BestMatching, 0, []face{{South, "", false}, {North, "k", true}, {South, "**", false}}, []int{1}},
		{"best: own local", wire.BestMatching, 0, []face{{Local, "k", true}, {South, "k", true}}, []int{0}},
		{"best: complete but not of that key", wire.BestMatching, 0, []face{{South, "", false}, {South, "k/1", true}, {South, "k", false}}, []int{2}},
		{"all", wire.All, 0, []face{{South, "k", true}, {South, "k", true}, {Local, "k", false}, {North, "**", false}}, []int{1, 2, 3}},
		{"all complete", wire.AllComplete, 0, []face{{Local, "k", false}, {South, "k", true}, {Mesh, "**", true}, {South, "k", false}}, []int{1, 2}},
		{"from mesh", wire.All, 0, []face{{Mesh, "k", true}, {Mesh, "k", true}, {North, "k", true}, {South, "k", false}}, []int{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, Options{})
			var fakes []*fake
			for i, f := range c.faces {
				p := n.face(fmt.Sprint(i), f.rel)
				switch f.rel {
				case Mesh:
					p.final(0)
				case North: // it has told us of its queryables
					l := n.face("asker", Local)
					l.interest(1, wire.InterestCurrentFuture, "KQ", "")
					p.final(1)
				case Local, South:
				}
				fakes = append(fakes, p)
			}
			for i, f := range c.faces {
				switch {
				case f.key != "" && f.complete:
					fakes[i].complete(1, f.key)
				case f.key != "":
					fakes[i].decl(wire.DeclQueryable, 1, f.key)
				}
			}
			for _, p := range fakes {
				p.take()
			}
			src := fakes[c.from]
			src.get(42, "k", c.target)
			var got []int
			for i, p := range fakes {
				for range p.rids {
					got = append(got, i)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("asked %v, want %v", got, c.want)
			}
			for _, i := range got {
				src.take()
				fakes[i].end(fakes[i].rid())
			}
			src.want("FINAL 42")
			n.idle()
		})
	}
}

// A gateway that has not told us of its queryables is asked, unless a complete one is nearer.
func TestRequest_8_3_5_BlindGateway(t *testing.T) {
	for _, c := range []struct {
		target   wire.Target
		complete bool
		up       bool
	}{
		{wire.All, true, true},
		{wire.AllComplete, true, true},
		{wire.BestMatching, false, true},
		{wire.BestMatching, true, false},
	} {
		n := newNode(t, Options{})
		a, b, up := n.face("a", South), n.face("b", South), n.face("up", North)
		if b.decl(wire.DeclQueryable, 1, "k"); c.complete {
			b.complete(1, "k")
		}
		a.get(1, "k", c.target)
		if len(b.rids) != 1 || (len(up.rids) == 1) != c.up {
			t.Errorf("%+v: asked %d and %d times", c, len(b.rids), len(up.rids))
		}
		if c.up {
			a.take()
			up.end(up.rid())
			a.want()
		}
		b.end(b.rid())
		a.want("FINAL 1")
	}
}

// Queries for one of several equal queryables are spread, and go to who has less to do.
func TestRequest_8_3_5_Spread(t *testing.T) {
	n := newNode(t, Options{})
	a := n.face("a", South)
	var qs []*fake
	for i := range 4 {
		q := n.peer(fmt.Sprint(i))
		q.complete(1, "**")
		qs = append(qs, q)
	}
	for i := range uint32(400) {
		a.get(i+1, "k", wire.BestMatching)
		for _, q := range qs[1:] { // the first one never answers
			for len(q.rids) > 0 {
				q.end(q.rid())
			}
		}
	}
	if n := len(qs[0].rids); n == 0 || n > 10 {
		t.Errorf("who never answers was asked %d times of 400", n)
	}
	for i, q := range qs[1:] {
		if n := len(q.take()); n < 100 {
			t.Errorf("face %d was asked %d times of 400", i+1, n)
		}
	}
}

func TestResponse_8_3_5_Translation(t *testing.T) {
	n := newNode(t, Options{})
	a, b, c, d := n.face("a", South), n.face("b", South), n.face("c", South), n.face("d", Local)
	c.decl(wire.DeclQueryable, 1, "k/**")
	d.decl(wire.DeclQueryable, 1, "k/1")
	a.get(7, "k/1", wire.All)
	b.get(7, "k/*", wire.All) // the same id of another face
	ra, rb := c.rid(), c.rid()
	da, db := d.rid(), d.rid()
	if ra == rb || da == db {
		t.Fatal("ids are used twice")
	}
	c.reply(rb, "k/2", "for b")
	c.reply(ra, "k/1", "for a")
	d.end(da)
	c.reply(ra, "else/where", "any key") // is the querier's to judge
	a.want("REPLY 7 k/1 for a", "REPLY 7 else/where any key")
	c.end(ra)
	a.want("FINAL 7")
	b.want("REPLY 7 k/2 for b")
	// Twice, or never asked: nothing.
	c.end(ra)
	c.reply(ra, "k/1", "late")
	c.end(99)
	a.want()
	// A key by an id is written out; an invalid one is not passed on; an error may have none.
	c.decl(wire.DeclKeyExpr, 1, "k")
	resp := func(w wire.WireExpr, k wire.BodyKind) {
		c.send(&wire.Message{Kind: wire.Response, RequestID: rb, Key: w, Body: wire.Body{Kind: k, Payload: []byte("x")}})
	}
	resp(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/3"}, wire.Put)
	resp(wire.WireExpr{Scope: 2, Sender: true, Suffix: "/3"}, wire.Put)
	resp(wire.WireExpr{Suffix: "k/"}, wire.Put)
	resp(wire.WireExpr{}, wire.Put)
	resp(wire.WireExpr{}, wire.Err)
	b.want("REPLY 7 k/3 x", "ERR 7 x from 0")
	c.end(rb)
	d.end(db)
	b.want("FINAL 7")
	if s := n.r.Stats(c.f); s.Late != 3 || s.Invalid != 3 || s.RepliesIn != 5 {
		t.Errorf("stats %+v", s)
	}
	n.idle()
}

// Responses have the QoS of the request, whatever the responder says.
func TestResponse_5_2_QoS(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclQueryable, 1, "k")
	qos := wire.PriorityRealTime | wire.Express
	got := 0
	a.on = func(m *wire.Message) {
		if got++; m.QoS != qos {
			t.Errorf("%s has QoS %#x", text(m), m.QoS)
		}
	}
	b.on = func(m *wire.Message) {
		if m.QoS != qos || m.TimeoutMS != 5 || m.Budget != 3 || m.Target != wire.All || m.Body.Parameters != "p" {
			t.Errorf("asked %+v", m)
		}
	}
	for _, key := range []string{"k", "none", "k/"} {
		a.send(&wire.Message{
			Kind: wire.Request, RequestID: 1, QoS: qos, Key: expr(key), TimeoutMS: 5, Budget: 3, Target: wire.All,
			Body: wire.Body{Kind: wire.Query, Parameters: "p"},
		})
	}
	b.reply(1, "k", "x")
	b.end(1)
	if got != 4 {
		t.Errorf("%d messages came back", got)
	}
}

// Pitfall 16: one RESPONSE_FINAL on every path.
func TestFinal_5_6_EveryPath(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(n *node, a, b *fake)
		want []string
	}{
		{"no match", func(_ *node, a, _ *fake) { a.get(1, "none", wire.All) }, []string{"FINAL 1"}},
		{"invalid key", func(_ *node, a, _ *fake) { a.get(1, "k/", wire.All) }, []string{"FINAL 1"}},
		{"unknown scope", func(_ *node, a, _ *fake) {
			a.send(&wire.Message{Kind: wire.Request, RequestID: 1, Key: wire.WireExpr{Scope: 9, Sender: true}})
		}, []string{"FINAL 1"}},
		{"answered", func(_ *node, a, b *fake) {
			a.get(1, "k", wire.All)
			b.end(b.rid())
		}, []string{"FINAL 1"}},
		{"answered while it is sent", func(_ *node, a, b *fake) {
			b.on = func(m *wire.Message) { b.end(m.RequestID) }
			a.get(1, "k", wire.All)
		}, []string{"FINAL 1"}},
		{"not taken", func(_ *node, a, b *fake) {
			b.deaf = true
			a.get(1, "k", wire.All)
		}, []string{"FINAL 1"}},
		{"target lost", func(n *node, a, b *fake) {
			a.get(1, "k", wire.All)
			n.r.Detach(b.f)
		}, []string{"FINAL 1"}},
		{"target lost while it is sent", func(n *node, a, b *fake) {
			b.on = func(*wire.Message) { n.r.Detach(b.f) }
			a.get(1, "k", wire.All)
		}, []string{"FINAL 1"}},
		{"timed out", func(n *node, a, b *fake) {
			a.get(1, "k", wire.All)
			n.pass(999 * time.Millisecond)
			a.want()
			n.pass(time.Second)
			b.reply(1, "k", "late")
			b.end(1)
		}, []string{"ERR 1 Timeout from 62", "FINAL 1"}},
		{"default time-out", func(n *node, a, b *fake) {
			b.send(&wire.Message{Kind: wire.Request, RequestID: 2, Key: expr("k")})
			a.send(&wire.Message{Kind: wire.Request, RequestID: 1, Key: expr("k")})
			n.pass(DefaultQueryTimeout - 1)
			a.want()
			n.pass(1)
		}, []string{"ERR 1 Timeout from 62", "FINAL 1"}},
		{"undeclared meanwhile", func(_ *node, a, b *fake) {
			a.get(1, "k", wire.All)
			b.undecl(wire.UndeclQueryable, 1)
			b.reply(b.rid(), "k", "x")
			b.end(1)
		}, []string{"REPLY 1 k x", "FINAL 1"}},
		{"source lost", func(n *node, a, b *fake) {
			a.get(1, "k", wire.All)
			n.r.Detach(a.f)
			b.reply(b.rid(), "k", "x")
			b.end(1)
		}, nil},
		{"source lost while it is sent", func(n *node, a, b *fake) {
			b.on = func(*wire.Message) { n.r.Detach(a.f) }
			a.get(1, "k", wire.All)
		}, nil},
		{"cancelled", func(n *node, a, b *fake) {
			a.get(1, "k", wire.All)
			n.r.Cancel(a.f, 2)
			if len(b.cancel) != 0 {
				n.t.Error("cancelled another query")
			}
			n.r.Cancel(a.f, 1)
			if len(b.cancel) != 1 {
				n.t.Error("who was to answer has not heard of it")
			}
			b.reply(b.rid(), "k", "x")
			b.end(1)
			n.pass(time.Hour)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, Options{})
			a, b := n.face("a", South), n.face("b", South)
			b.decl(wire.DeclQueryable, 1, "k")
			c.run(n, a, b)
			a.want(c.want...)
			n.idle()
			n.pass(time.Hour)
			a.want()
		})
	}
}

func TestMaxQueries(t *testing.T) {
	n := newNode(t, Options{MaxQueries: 2})
	a, c, b := n.face("a", South), n.face("c", South), n.face("b", South)
	b.decl(wire.DeclQueryable, 1, "k")
	for i := range uint32(3) {
		a.get(i+1, "k", wire.All)
	}
	a.want("ERR 3 too many queries under way from ee", "FINAL 3")
	c.get(1, "k", wire.All) // b has enough
	c.want("ERR 1 too many queries under way from ee", "FINAL 1")
	b.end(b.rid())
	c.get(2, "k", wire.All)
	c.want()
	if s := n.r.Stats(a.f); s.Overflow != 1 {
		t.Errorf("stats %+v", s)
	}
}

type testPolicy struct {
	asked []string
	no    map[string]error
}

func (p *testPolicy) Allow(f *Face, op Op, key string) error {
	s := fmt.Sprintf("%v %s", op, key)
	p.asked = append(p.asked, fmt.Sprint(f.Info(), " ", s))
	return p.no[s]
}

type textError struct{ error }

func (textError) Encoding() wire.Encoding { return wire.Encoding{ID: 4, Schema: "essa-error=denied"} }

func TestPolicy(t *testing.T) {
	no := errors.New("no")
	p := &testPolicy{no: map[string]error{
		"push a": no, "request a": textError{no}, "request b": no, "subscribe a": no, "queryable a": no, "token a": no,
		"interest a": no, "interest **": no,
	}}
	var reports []string
	n := newNode(t, Options{Policy: p, Report: func(r Report) {
		reports = append(reports, fmt.Sprint(r.Problem, " ", r.Op, " ", r.Key, " ", r.Count))
	}})
	l, c, m := n.face("l", Local), n.face("c", South), n.peer("m")
	for i, k := range []wire.DeclKind{wire.DeclSubscriber, wire.DeclQueryable, wire.DeclToken} {
		for j, f := range []*fake{l, c, m} {
			f.decl(k, uint32(i+1), "a")
			f.decl(k, uint32(10*j+i+10), fmt.Sprint("x", j))
		}
	}
	for _, key := range []string{"a", "a", "ok"} {
		c.put(key, "x")
	}
	for _, f := range []*fake{l, c, m} {
		f.take()
	}
	if d := n.r.Declarations(c.f); len(d) != 3 || len(n.r.Declarations(m.f)) != 6 {
		t.Errorf("the client declared %v", d)
	}
	var body wire.Body
	c.on = func(m *wire.Message) {
		if m.Kind == wire.Response {
			body = m.Body
		}
	}
	c.get(1, "a", wire.All)
	if body.Encoding.Schema != "essa-error=denied" {
		t.Errorf("the error's encoding is %+v", body.Encoding)
	}
	c.get(2, "b", wire.All)
	if body.Encoding != (wire.Encoding{ID: 4}) {
		t.Errorf("the error's encoding is %+v", body.Encoding)
	}
	c.want("ERR 1 no from ee", "FINAL 1", "ERR 2 no from ee", "FINAL 2")
	l.want()
	c.interest(1, wire.InterestCurrent, "KT", "a")
	c.interest(2, wire.InterestCurrentFuture, "KS", "a") // no answer is better than a wrong one
	c.interest(3, wire.InterestCurrentFuture, "KT", "")
	c.want("D_FINAL ^1", "D_FINAL ^3")
	if s := n.r.Stats(c.f); s.Refused != 10 || n.r.Refused() != 10 || s.PushesIn != 1 {
		t.Errorf("stats %+v", s)
	}
	if !slices.Equal(reports, []string{"refused subscribe a 1"}) {
		t.Errorf("reports %q", reports)
	}
	pushes := 0
	for _, a := range p.asked {
		if !strings.HasPrefix(a, "c ") {
			t.Errorf("asked about %q", a)
		}
		if strings.HasPrefix(a, "c push") {
			pushes++
		}
	}
	if pushes != 2 {
		t.Errorf("asked about a PUSH %d times", pushes)
	}
	// The policy changes; and the report is due again.
	delete(p.no, "push a")
	c.put("a", "y")
	n.r.PolicyChanged()
	n.pass(DefaultReportEvery)
	c.put("a", "z")
	c.get(3, "a", wire.All)
	l.want("PUT a z")
	if len(reports) != 2 || reports[1] != "refused request a 12" {
		t.Errorf("reports %q", reports)
	}
}

func TestGuard(t *testing.T) {
	p := &testPolicy{no: map[string]error{"subscribe a": errors.New("no")}}
	n := newNode(t, Options{Policy: p, Guard: func(f *Face) bool { return f.Info() == "m" }})
	for _, f := range []*fake{n.face("c", South), n.peer("m")} {
		f.decl(wire.DeclSubscriber, 1, "a")
	}
	if n.r.Refused() != 1 {
		t.Errorf("%d refused", n.r.Refused())
	}
}

// A PUSH allocates nothing once its key has been seen, whichever way it is written; a query allocates its record.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		want   float64
		m      wire.Message
	}{
		{"key", nil, 0, wire.Message{Kind: wire.Push, Key: expr("k/1")}},
		{"scope", nil, 0, wire.Message{Kind: wire.Push, Key: wire.WireExpr{Scope: 2, Sender: true}}},
		{"prefix", nil, 0, wire.Message{Kind: wire.Push, Key: wire.WireExpr{Scope: 1, Sender: true, Suffix: "/1"}}},
		{"policy", allowAll{}, 0, wire.Message{Kind: wire.Push, Key: expr("k/1")}},
		{"query", nil, 1, wire.Message{Kind: wire.Request, RequestID: 1, Key: expr("k/1"), Target: wire.All}},
		{"query by prefix", allowAll{}, 1, wire.Message{
			Kind: wire.Request, RequestID: 1, Target: wire.BestMatching, Key: wire.WireExpr{Scope: 1, Sender: true, Suffix: "/1"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := New(Options{Policy: c.policy, Stamp: true})
			src := r.Attach(&sink{}, wire.ID{2}, South, nil)
			declareBench(r, src, wire.DeclKeyExpr, 1, "k", false)
			declareBench(r, src, wire.DeclKeyExpr, 2, "k/1", false)
			for range 3 {
				p := &responder{r: r, m: wire.Message{Body: wire.Body{Kind: wire.Put}}}
				p.f = r.Attach(p, wire.ID{3}, South, nil)
				declareBench(r, p.f, wire.DeclSubscriber, 1, "k/*", false)
				declareBench(r, p.f, wire.DeclQueryable, 1, "**", true)
			}
			m := c.m
			if n := testing.AllocsPerRun(100, func() { r.Handle(src, &m) }); n > c.want {
				t.Errorf("%v allocations, want %v", n, c.want)
			}
		})
	}
}

// Where the process stood still, and Tick with it, what is asked afterwards has its whole time all the same.
func TestLateTickShortensNothing(t *testing.T) {
	var clock time.Time
	n := newNode(t, Options{Ticking: func() time.Time { return clock }})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclQueryable, 1, "k")
	a.take()
	clock = n.now.Add(700 * time.Millisecond)
	a.get(1, "k", wire.All)
	n.pass(time.Second) // 300 ms after the query
	a.want()
	n.pass(690 * time.Millisecond)
	a.want()
	n.pass(10 * time.Millisecond)
	a.want("ERR 1 Timeout from 62", "FINAL 1")
}
