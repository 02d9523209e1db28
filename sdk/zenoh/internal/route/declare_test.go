package route

import (
	"fmt"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestWireExpr_7_1(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclSubscriber, 1, "demo/**")
	a.decl(wire.DeclKeyExpr, 1, "demo")
	a.decl(wire.DeclKeyExpr, 1, "demo") // the same again
	push := func(w wire.WireExpr) {
		a.send(&wire.Message{Kind: wire.Push, QoS: wire.DefaultQoS, Key: w, Body: wire.Body{Kind: wire.Put}})
	}
	push(wire.WireExpr{Scope: 1, Sender: true})
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/x"})
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/x"}) // remembered
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "nstration"})
	b.want("PUT demo ", "PUT demo/x ", "PUT demo/x ")
	// Unknown scopes, ids of ours (there are none), invalid keys: ignored and counted.
	push(wire.WireExpr{Scope: 2, Sender: true, Suffix: "/x"})
	push(wire.WireExpr{Scope: 1, Suffix: "/x"})
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/"})
	push(wire.WireExpr{Suffix: "/demo/x"})
	push(wire.WireExpr{})
	b.want()
	if s := n.r.Stats(a.f); s.Invalid != 5 || s.PushesIn != 4 || s.KeyExprs != 1 {
		t.Errorf("stats %+v", s)
	}
	// Another key under the same id is ignored.
	a.decl(wire.DeclKeyExpr, 1, "other")
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/y"})
	b.want("PUT demo/y ")
	// After U_KEYEXPR the id is free, and what was remembered of it does not count.
	a.undecl(wire.UndeclKeyExpr, 1)
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/x"})
	b.want()
	a.decl(wire.DeclKeyExpr, 1, "demo/z")
	push(wire.WireExpr{Scope: 1, Sender: true, Suffix: "/x"})
	b.want("PUT demo/z/x ")
}

// A face is sent the ids that it has declared something by: its own, so M = 0.
func TestWireExpr_7_1_ReceiverIDs(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclKeyExpr, 1, "demo")
	b.decl(wire.DeclKeyExpr, 2, "demo/x/y")
	b.send(&wire.Message{
		Kind: wire.Declare, Decl: wire.Declaration{Kind: wire.DeclSubscriber, ID: 1},
		Key: wire.WireExpr{Scope: 1, Sender: true, Suffix: "/**"},
	})
	a.put("demo/x/y", "1")
	b.want("PUT 1:/x/y 1")
	b.send(&wire.Message{
		Kind: wire.Declare, Decl: wire.Declaration{Kind: wire.DeclQueryable, ID: 2},
		Key: wire.WireExpr{Scope: 2, Sender: true},
	})
	a.put("demo/x/y", "2")
	a.get(1, "demo/x/y", wire.All)
	a.put("demo", "3")
	a.put("demo/x/yz", "4")
	b.want("PUT 2: 2", "GET 2:", "PUT 1: 3", "PUT 1:/x/yz 4")
	b.undecl(wire.UndeclKeyExpr, 2)
	a.put("demo/x/y", "5")
	b.want("PUT 1:/x/y 5")
}

func TestPeer_8_2_1_InitialPush(t *testing.T) {
	n := newNode(t, Options{})
	l, c := n.face("local", Local), n.face("client", South)
	n.peer("p1").decl(wire.DeclSubscriber, 1, "theirs")
	n.face("north", North).decl(wire.DeclSubscriber, 1, "above")
	l.decl(wire.DeclSubscriber, 1, "s")
	c.complete(1, "q")
	l.decl(wire.DeclQueryable, 2, "q")
	c.decl(wire.DeclToken, 2, "t")
	p := n.face("p2", Mesh)
	p.want("D_SUB 1 s", "D_QBL 2 q complete", "D_TOK 3 t", "D_FINAL ^0")
	n.face("p3", Mesh).want("D_SUB 1 s", "D_QBL 2 q complete", "D_TOK 3 t", "D_FINAL ^0")
	// Later changes as they come, without an interest id.
	c.undecl(wire.UndeclQueryable, 1)
	l.decl(wire.DeclSubscriber, 3, "s2")
	c.decl(wire.DeclSubscriber, 3, "s") // two sources, one declaration
	l.undecl(wire.UndeclSubscriber, 1)
	p.want("D_QBL 2 q", "D_SUB 4 s2")
	n.r.Detach(c.f)
	p.want("U_SUB 1", "U_TOK 3")
	n.r.Detach(l.f)
	p.want("U_SUB 4", "U_QBL 2")
}

func TestPeer_8_2_1_NothingToPush(t *testing.T) {
	newNode(t, Options{}).face("p", Mesh).want("D_FINAL ^0")
}

func TestPeer_8_2_2_BlindUntilFinal(t *testing.T) {
	n := newNode(t, Options{})
	l, p := n.face("local", Local), n.face("p", Mesh)
	p.take()
	l.put("a", "1")
	l.get(1, "a", wire.AllComplete)
	p.want("PUT a 1", "GET a")
	p.end(p.rid())
	l.want("FINAL 1")
	select {
	case <-p.f.Synced():
		t.Error("synced before D_FINAL(0)")
	default:
	}
	p.answer(0, wire.DeclSubscriber, 1, "b") // as pico does
	l.put("a", "2")
	p.want("PUT a 2")
	p.final(0)
	<-p.f.Synced()
	l.put("a", "3")
	l.get(2, "a", wire.All)
	l.put("b", "4")
	p.want("PUT b 4")
	l.want("FINAL 2")
	n.idle()
}

func TestPeer_8_2_5_Interest(t *testing.T) {
	n := newNode(t, Options{})
	l, p := n.face("local", Local), n.peer("p")
	n.peer("other").decl(wire.DeclToken, 1, "t/other")
	l.decl(wire.DeclToken, 1, "t/1")
	l.decl(wire.DeclSubscriber, 2, "t/2")
	l.complete(3, "q")
	p.want("D_TOK 1 t/1", "D_SUB 2 t/2", "D_QBL 3 q complete")
	p.interest(5, wire.InterestCurrent, "KT", "t/**")
	p.want("D_TOK 1 t/1 ^5", "D_FINAL ^5")
	p.interest(6, wire.InterestCurrentFuture, "KSQA", "")
	p.want("D_SUB 2 t/2 ^6", "D_QBL 3 q complete ^6", "D_FINAL ^6")
	p.interest(7, wire.InterestFuture, "KT", "")
	p.want("D_FINAL ^7")
	p.interest(6, wire.InterestFinal, "", "")
	l.decl(wire.DeclSubscriber, 4, "t/4")
	p.want("D_SUB 4 t/4") // once
}

// A key is advertised to a face if it asks for it and somebody else has it.
func TestHub_8_3_2_Advertise(t *testing.T) {
	n := newNode(t, Options{})
	a, b, c := n.face("a", South), n.face("b", South), n.face("c", South)
	a.interest(1, wire.InterestCurrentFuture, "KS", "k")
	b.interest(1, wire.InterestCurrentFuture, "KS", "k")
	a.want("D_FINAL ^1")
	b.want("D_FINAL ^1")
	a.decl(wire.DeclSubscriber, 1, "k")
	a.want()
	b.want("D_SUB 1 k")
	b.decl(wire.DeclSubscriber, 1, "k")
	a.want("D_SUB 1 k")
	b.want()
	// B leaves: A is told although A itself still subscribes.
	b.undecl(wire.UndeclSubscriber, 1)
	a.want("U_SUB 1")
	b.want()
	c.decl(wire.DeclSubscriber, 1, "k")
	c.decl(wire.DeclSubscriber, 2, "k") // two ids, one source
	c.undecl(wire.UndeclSubscriber, 1)
	a.want("D_SUB 2 k")
	b.want()
	c.undecl(wire.UndeclSubscriber, 2)
	a.want("U_SUB 2")
	a.undecl(wire.UndeclSubscriber, 1)
	b.want("U_SUB 1")
	// The same id with another key is the one gone and the other there.
	c.decl(wire.DeclSubscriber, 3, "k")
	c.decl(wire.DeclSubscriber, 3, "other")
	a.want("D_SUB 3 k", "U_SUB 3")
	c.undecl(wire.UndeclSubscriber, 99)
	n.r.Detach(c.f)
	a.want()
	if len(n.r.tables[Subscriber].byKey) != 0 {
		t.Error("the table is not empty")
	}
}

func TestHub_8_3_2_QueryableInfo(t *testing.T) {
	n := newNode(t, Options{})
	a, b, c := n.face("a", South), n.face("b", South), n.face("c", South)
	a.interest(1, wire.InterestCurrentFuture, "KQ", "q/**")
	a.want("D_FINAL ^1")
	b.decl(wire.DeclQueryable, 1, "q")
	c.complete(1, "q")
	a.want("D_QBL 1 q", "D_QBL 1 q complete")
	a.complete(1, "q") // its own does not count
	c.decl(wire.DeclQueryable, 1, "q")
	a.want("D_QBL 1 q")
	b.complete(1, "q") // an update
	c.undecl(wire.UndeclQueryable, 1)
	a.want("D_QBL 1 q complete")
	b.undecl(wire.UndeclQueryable, 1)
	a.want("U_QBL 1")
}

func TestHub_8_3_2_TokensAreEchoed(t *testing.T) {
	for _, rel := range []Relation{Local, South} {
		n := newNode(t, Options{})
		a, up, p := n.face("a", rel), n.face("up", North), n.peer("p")
		a.interest(1, wire.InterestFuture, "KT", "t/**")
		a.decl(wire.DeclToken, 1, "t/own")
		a.want("D_FINAL ^1", "D_TOK 1 t/own")
		p.want("D_TOK 1 t/own")
		up.want("INTEREST 1 F KT t/**", "D_TOK 1 t/own")
		// Pitfall 39: the gateway's echo must not keep it alive there.
		up.decl(wire.DeclToken, 7, "t/own")
		a.undecl(wire.UndeclToken, 1)
		up.want("U_TOK 1")
		p.want("U_TOK 1")
		a.want()
		up.undecl(wire.UndeclToken, 7)
		a.want("U_TOK 1")
	}
}

func TestHub_8_3_2_Aggregate(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	a.interest(1, wire.InterestCurrentFuture, "KSQA", "k/*")
	a.want("D_FINAL ^1")
	b.decl(wire.DeclSubscriber, 1, "k/1")
	a.want("D_SUB 1 k/*")
	b.decl(wire.DeclSubscriber, 2, "k/**")
	b.undecl(wire.UndeclSubscriber, 1)
	a.want()
	b.decl(wire.DeclQueryable, 3, "k/1")
	b.complete(4, "k/2") // complete, but does not include k/*
	a.want("D_QBL 2 k/*")
	b.complete(5, "**")
	a.want("D_QBL 2 k/* complete")
	b.undecl(wire.UndeclQueryable, 5)
	a.want("D_QBL 2 k/*")
	b.undecl(wire.UndeclSubscriber, 2)
	a.want("U_SUB 1")
	a.interest(2, wire.InterestCurrentFuture, "KQA", "k/1")
	a.want("D_QBL 3 k/1 ^2", "D_FINAL ^2")
	a.interest(3, wire.InterestCurrentFuture, "KQ", "k/1") // the key itself, this time
	a.want("D_QBL 3 k/1 ^3", "D_FINAL ^3")
	a.interest(1, wire.InterestFinal, "", "")
	a.want("U_QBL 2")
	a.interest(2, wire.InterestFinal, "", "") // it still stands for the third
	b.undecl(wire.UndeclQueryable, 3)
	a.want("U_QBL 3")
	// With tokens the option is illegal and ignored.
	a.interest(4, wire.InterestCurrentFuture, "KTA", "t/**")
	b.decl(wire.DeclToken, 1, "t/1")
	a.want("D_FINAL ^4", "D_TOK 4 t/1")
}

func TestInterest_8_3_3_Modes(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclToken, 1, "t/1")
	b.decl(wire.DeclSubscriber, 2, "t/1")
	b.complete(3, "t/**")
	a.interest(1, wire.InterestCurrent, "KT", "t/*")
	a.want("D_TOK 0 t/1 ^1", "D_FINAL ^1")
	a.interest(1, wire.InterestCurrent, "KT", "none") // the id is free again
	a.want("D_FINAL ^1")
	// More than the Rust router does: an answer to Current with S and Q.
	a.interest(1, wire.InterestCurrent, "KSQ", "")
	a.want("D_SUB 0 t/1 ^1", "D_QBL 0 t/** complete ^1", "D_FINAL ^1")
	a.interest(2, wire.InterestFuture, "KT", "t/**")
	a.want("D_FINAL ^2")
	a.interest(3, wire.InterestFuture, "KSQ", "t/**") // no D_FINAL: it would say that nobody listens
	a.want()
	a.interest(4, wire.InterestCurrentFuture, "KSQT", "t/**")
	a.want("D_SUB 1 t/1 ^4", "D_QBL 2 t/** complete ^4", "D_TOK 3 t/1 ^4", "D_FINAL ^4")
	a.interest(5, wire.InterestCurrentFuture, "KS", "")
	a.want("D_SUB 1 t/1 ^5", "D_FINAL ^5")              // the same id
	a.interest(5, wire.InterestCurrentFuture, "KT", "") // a live id: ignored
	a.want()
	if s := n.r.Stats(a.f); s.Protocol != 1 || s.Interests != 4 {
		t.Errorf("stats %+v", s)
	}
	b.decl(wire.DeclSubscriber, 4, "t/2")
	a.want("D_SUB 4 t/2")
	for id := range uint32(6) {
		a.interest(id, wire.InterestFinal, "", "")
	}
	// Nothing new, but what was told is kept true.
	b.decl(wire.DeclSubscriber, 5, "t/3")
	b.decl(wire.DeclSubscriber, 6, "t/2")
	a.want()
	n.r.Detach(b.f)
	a.want("U_SUB 1", "U_SUB 4", "U_QBL 2", "U_TOK 3")
	a.interest(6, wire.InterestCurrentFuture, "K", "")
	a.want("D_FINAL ^6")
}

func TestInterest_8_0_FromNorthIgnored(t *testing.T) {
	n := newNode(t, Options{})
	n.face("l", Local).decl(wire.DeclToken, 1, "t")
	up := n.face("up", North)
	up.take()
	up.interest(1, wire.InterestCurrentFuture, "KSQT", "")
	up.want()
	// And a D_FINAL of a client is nothing.
	n.face("c", South).final(0)
}

func TestTokens_8_3_6_OneShot(t *testing.T) {
	n := newNode(t, Options{})
	a, b := n.face("a", South), n.face("b", South)
	b.decl(wire.DeclToken, 1, "t/old")
	a.interest(1, wire.InterestFuture, "KT", "t/**")
	a.interest(2, wire.InterestFuture, "KT", "t/old") // told once all the same
	a.want("D_FINAL ^1", "D_FINAL ^2")
	b.decl(wire.DeclToken, 2, "t/new")
	a.want("D_TOK 1 t/new")
	b.undecl(wire.UndeclToken, 1)
	a.want("U_TOK 0 key=t/old")
	b.undecl(wire.UndeclToken, 2)
	a.want("U_TOK 1")
}

func TestTokens_8_3_8_LostWithTheFace(t *testing.T) {
	for _, rel := range []Relation{Local, South, Mesh, North} {
		t.Run(rel.String(), func(t *testing.T) {
			n := newNode(t, Options{})
			a, b, c := n.face("a", Local), n.face("b", rel), n.face("c", rel)
			a.interest(1, wire.InterestCurrentFuture, "KT", "t/**")
			b.final(1)
			c.final(1)
			a.take()
			b.decl(wire.DeclToken, 1, "t/1")
			c.decl(wire.DeclToken, 1, "t/1") // advertised once
			a.want("D_TOK 1 t/1")
			n.r.Detach(b.f)
			a.want()
			n.r.Detach(c.f)
			a.want("U_TOK 1")
			n.r.Detach(c.f)
			a.want()
		})
	}
}

func TestLinkLoss_8_3_9(t *testing.T) {
	n := newNode(t, Options{})
	a, b, c := n.face("a", South), n.face("b", South), n.face("c", Local)
	b.decl(wire.DeclSubscriber, 1, "k")
	b.decl(wire.DeclQueryable, 2, "k")
	c.decl(wire.DeclQueryable, 1, "k")
	a.interest(1, wire.InterestCurrentFuture, "KSQ", "k")
	a.take()
	a.get(1, "k", wire.All) // to b and c
	b.get(1, "k", wire.All) // to c
	rid := c.rid()
	n.r.Detach(b.f)
	a.want("U_SUB 1") // c still has a queryable
	if len(c.cancel) != 1 || c.cancel[0] != c.rid() {
		t.Errorf("cancelled %v", c.cancel)
	}
	c.end(rid)
	a.want("FINAL 1")
	b.want("GET k")
	a.put("k", "x")
	b.want()
	n.idle()
	for k := range kinds {
		for key, e := range n.r.tables[k].byKey {
			if e.heldBy(b.f) {
				t.Errorf("%v %s is still held", k, key)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	n := newNode(t, Options{MaxDeclarations: 3, MaxInterests: 2, MaxDeclaredBytes: 100})
	a, l := n.face("a", South), n.face("l", Local)
	for i := range uint32(5) {
		a.decl(wire.DeclSubscriber, i+1, fmt.Sprint("a/", i))
		a.interest(i+1, wire.InterestFuture, "KT", "t")
		l.decl(wire.DeclSubscriber, i+1, fmt.Sprint("l/", i))
	}
	if s := n.r.Stats(a.f); s.Subscribers != 3 || s.Interests != 2 || s.Overflow != 5 {
		t.Errorf("stats %+v", s)
	}
	if s := n.r.Stats(l.f); s.Subscribers != 5 {
		t.Errorf("local %+v", s)
	}
	a.undecl(wire.UndeclSubscriber, 1)
	a.decl(wire.DeclKeyExpr, 1, "a/9")
	a.decl(wire.DeclToken, 1, "a/9")
	a.undecl(wire.UndeclKeyExpr, 1)
	a.decl(wire.DeclToken, 1, fmt.Sprintf("a/%0100d", 9))
	a.decl(wire.DeclToken, 1, "a/9")
	if s := n.r.Stats(a.f); s.Subscribers != 2 || s.Tokens != 1 || s.Overflow != 7 {
		t.Errorf("stats %+v", s)
	}
	for i := range uint32(5) {
		a.undecl(wire.UndeclSubscriber, i+1)
		a.interest(i+1, wire.InterestFinal, "", "")
	}
	a.undecl(wire.UndeclToken, 1)
	if a.f.declared != 0 || a.f.bytes != 0 {
		t.Errorf("%d declarations of %d bytes are left", a.f.declared, a.f.bytes)
	}
}

func TestWatch(t *testing.T) {
	n := newNode(t, Options{})
	l, c, up := n.face("l", Local), n.face("c", South), n.face("up", North)
	var got []string
	watch := func(name string, k Kind, key string, complete bool) func() {
		return n.r.Watch(l.f, k, key, complete, func(m bool) { got = append(got, fmt.Sprint(name, m)) })
	}
	want := func(s ...string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(s) {
			t.Errorf("called back %v, want %v", got, s)
		}
		got = nil
	}
	cancel := watch("s", Subscriber, "k/1", false)
	defer watch("q", Queryable, "k/1", true)()
	up.want("INTEREST 1 CF KS k/1", "INTEREST 2 CF KQ k/1")
	want()
	c.decl(wire.DeclSubscriber, 1, "k/*")
	c.decl(wire.DeclQueryable, 2, "k/*")
	want("strue")
	up.decl(wire.DeclSubscriber, 1, "**")
	up.decl(wire.DeclQueryable, 2, "**")
	c.complete(3, "k/**")
	want("qtrue")
	n.r.Detach(c.f)
	want("qfalse")
	if !n.r.Matching(l.f, Subscriber, "k/1", false) || n.r.Matching(l.f, Queryable, "k/1", true) {
		t.Error("Matching says otherwise")
	}
	n.r.Detach(up.f)
	want("sfalse")
	l.decl(wire.DeclSubscriber, 1, "k/1") // one's own counts, for it is reached
	want("strue")
	cancel()
	cancel()
	l.undecl(wire.UndeclSubscriber, 1)
	want()
	n.r.Detach(l.f)
	if len(n.r.asks) != 0 {
		t.Errorf("asks are left: %v", n.r.asks)
	}
	n.pass(time.Minute)
	n.idle()
}
