package route

import (
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestClient_8_1_DeclareUpwards(t *testing.T) {
	n := newNode(t, Options{})
	l, c := n.face("l", Local), n.face("c", South)
	l.interest(1, wire.InterestCurrentFuture, "KT", "t/**")
	l.want("D_FINAL ^1") // nobody to ask
	l.interest(2, wire.InterestFuture, "KT", "t/**")
	l.decl(wire.DeclSubscriber, 1, "s")
	n.peer("p").decl(wire.DeclSubscriber, 1, "mesh")
	up := n.face("up", North)
	// At a new gateway: interests first, those in tokens with what is there; then declarations; no D_FINAL.
	up.want("INTEREST 1 CF KT t/**", "INTEREST 2 CF KT t/**", "D_SUB 1 s")
	c.decl(wire.DeclSubscriber, 1, "s")
	c.complete(2, "q")
	l.undecl(wire.UndeclSubscriber, 1)
	up.want("D_QBL 2 q complete")
	c.undecl(wire.UndeclSubscriber, 1)
	c.interest(9, wire.InterestCurrentFuture, "KS", "pub")
	c.interest(10, wire.InterestCurrentFuture, "KSA", "pub") // asked for once
	up.want("U_SUB 1", "INTEREST 3 CF KS pub")
	c.interest(9, wire.InterestFinal, "", "")
	up.want()
	c.interest(10, wire.InterestFinal, "", "")
	up.want("INTEREST 3 Final")
	n.r.Detach(l.f)
	up.want("INTEREST 1 Final", "INTEREST 2 Final")
}

func TestClient_8_1_SendUnlessKnown(t *testing.T) {
	n := newNode(t, Options{})
	l, up := n.face("l", Local), n.face("up", North)
	l.put("k/1", "1") // nothing is known: everything is sent
	l.get(1, "k/1", wire.AllComplete)
	up.want("PUT k/1 1", "GET k/1")
	up.end(up.rid())
	l.want("FINAL 1")
	l.interest(1, wire.InterestCurrentFuture, "KSQ", "k/*")
	up.want("INTEREST 1 CF KSQ k/*")
	l.put("k/1", "2") // it has not answered
	up.want("PUT k/1 2")
	up.final(1)
	l.want("D_FINAL ^1")
	l.put("k/1", "3") // it has, and there is nobody
	l.get(2, "k/1", wire.All)
	up.want()
	l.want("FINAL 2")
	l.put("k/**", "4") // not included in what is known
	l.put("j", "5")
	up.want("PUT k/** 4", "PUT j 5")
	up.answer(1, wire.DeclSubscriber, 1, "k/**")
	l.want("D_SUB 1 k/**")
	l.put("k/1", "6")
	up.want("PUT k/1 6")
	up.undecl(wire.UndeclSubscriber, 1)
	l.put("k/1", "7")
	up.want()
	l.want("U_SUB 1")
	l.interest(1, wire.InterestFinal, "", "")
	l.put("k/1", "8")
	up.want("INTEREST 1 Final", "PUT k/1 8")
	// Unrestricted.
	l.interest(2, wire.InterestCurrentFuture, "KS", "")
	up.want("INTEREST 2 CF KS")
	up.final(2)
	l.put("@/x", "9")
	up.want()
	l.interest(2, wire.InterestFinal, "", "")
	l.put("@/x", "10")
	up.want("INTEREST 2 Final", "PUT @/x 10")
	n.idle()
}

// D_FINAL waits for the gateway, then for the time-out, then for nobody.
func TestHub_8_3_3_FinalWaitsForUplink(t *testing.T) {
	n := newNode(t, Options{InterestTimeout: time.Second})
	c, d, up := n.face("c", South), n.face("d", South), n.face("up", North)
	d.decl(wire.DeclSubscriber, 1, "k")
	c.interest(1, wire.InterestCurrentFuture, "KS", "k")
	c.want("D_SUB 1 k ^1")
	up.want("D_SUB 1 k", "INTEREST 1 CF KS k")
	d.interest(1, wire.InterestCurrentFuture, "KS", "k") // joins the same
	d.want()
	up.answer(1, wire.DeclSubscriber, 4, "k/**")
	up.final(1)
	c.want("D_SUB 2 k/**", "D_FINAL ^1")
	d.want("D_SUB 1 k/**", "D_FINAL ^1")
	d.interest(2, wire.InterestCurrentFuture, "KS", "k") // known by now
	d.want("D_SUB 1 k/** ^2", "D_FINAL ^2")
	up.want()
	c.interest(2, wire.InterestCurrentFuture, "KQ", "q")
	n.pass(999 * time.Millisecond)
	c.want()
	n.pass(time.Second) // ticks a second apart: late, but not early
	c.want("D_FINAL ^2")
	up.final(2) // too late, but now it is known
	c.want()
	c.interest(3, wire.InterestCurrentFuture, "KQ", "q2")
	c.interest(4, wire.InterestCurrent, "KT", "t")
	c.want()
	n.r.Detach(up.f)
	c.want("D_FINAL ^3", "D_FINAL ^4", "U_SUB 2")
	n.idle()
}

func TestHub_8_3_3_CurrentTokensOfUplink(t *testing.T) {
	n := newNode(t, Options{InterestTimeout: time.Second})
	c, l, up := n.face("c", South), n.face("l", Local), n.face("up", North)
	l.decl(wire.DeclToken, 1, "t/mine")
	up.take()
	c.interest(7, wire.InterestCurrent, "KT", "t/**")
	c.want("D_TOK 0 t/mine ^7")
	up.want("INTEREST 1 C KT t/**")
	up.answer(1, wire.DeclToken, 0, "t/mine") // its echo is no news
	up.answer(1, wire.DeclToken, 0, "t/far")
	up.final(1)
	c.want("D_TOK 0 t/far ^7", "D_FINAL ^7")
	up.answer(1, wire.DeclToken, 0, "t/late")
	c.want()
	if s := n.r.Stats(up.f); s.Tokens != 0 {
		t.Error("an answer to what is there now was taken for a declaration")
	}
	c.interest(7, wire.InterestCurrent, "KT", "t/**")
	c.interest(7, wire.InterestFinal, "", "") // cancelled
	up.final(2)
	c.want("D_TOK 0 t/mine ^7")
	// With a mirror there is no need to ask.
	l.interest(1, wire.InterestCurrentFuture, "KT", "t/**")
	up.take()
	up.answer(3, wire.DeclToken, 5, "t/far")
	up.final(3)
	l.want("D_TOK 1 t/mine ^1", "D_TOK 2 t/far ^1", "D_FINAL ^1")
	c.interest(8, wire.InterestCurrent, "KT", "t/*")
	c.want("D_TOK 0 t/mine ^8", "D_TOK 0 t/far ^8", "D_FINAL ^8")
	up.want()
	n.idle()
	if len(up.f.asks) != 1 {
		t.Errorf("%d asks are left", len(up.f.asks))
	}
}

// What the gateway has had all along is told to those who asked for history alone.
func TestTokens_8_3_6_HistoryOfUplink(t *testing.T) {
	n := newNode(t, Options{})
	c, d, up := n.face("c", South), n.face("d", Local), n.face("up", North)
	d.interest(1, wire.InterestFuture, "KT", "t/**")
	up.final(1)
	c.interest(1, wire.InterestCurrentFuture, "KT", "t/*")
	up.answer(2, wire.DeclToken, 1, "t/old")
	up.final(2)
	c.want("D_TOK 1 t/old ^1", "D_FINAL ^1")
	d.want("D_FINAL ^1")
	up.decl(wire.DeclToken, 2, "t/new")
	c.want("D_TOK 2 t/new")
	d.want("D_TOK 1 t/new")
	up.undecl(wire.UndeclToken, 1)
	up.undecl(wire.UndeclToken, 2)
	c.want("U_TOK 1", "U_TOK 2")
	d.want("U_TOK 0 key=t/old", "U_TOK 1")
	// A token that we were never told of: by its key.
	up.send(&wire.Message{
		Kind: wire.Declare, Key: expr("t/unknown"), Decl: wire.Declaration{Kind: wire.UndeclToken, HasKey: true},
	})
	c.want("U_TOK 0 key=t/unknown")
	d.want("U_TOK 0 key=t/unknown")
	up.decl(wire.DeclToken, 3, "t/x")
	up.send(&wire.Message{
		Kind: wire.Declare, Key: expr("t/x"), Decl: wire.Declaration{Kind: wire.UndeclToken, HasKey: true},
	})
	c.want("D_TOK 3 t/x", "U_TOK 3")
	d.want("D_TOK 2 t/x", "U_TOK 2")
}

// At a new gateway everything is news.
func TestClient_8_1_Reconnect(t *testing.T) {
	n := newNode(t, Options{})
	l := n.face("l", Local)
	l.interest(1, wire.InterestFuture, "KT", "t")
	l.take()
	for range 2 {
		up := n.face("up", North)
		up.want("INTEREST 1 CF KT t")
		up.answer(1, wire.DeclToken, 1, "t")
		up.final(1)
		l.take()
		l.want()
		l.interest(2, wire.InterestCurrent, "KT", "t")
		l.want("D_TOK 0 t ^2", "D_FINAL ^2")
		n.r.Detach(up.f)
		if got := l.take(); len(got) != 1 || got[0][:5] != "U_TOK" {
			t.Errorf("told %v of the loss", got)
		}
	}
}

// What the gateway told us for an interest that has ended does not count, until it is told again.
func TestMirrorEndsWithTheInterest(t *testing.T) {
	n := newNode(t, Options{})
	l, up := n.face("l", Local), n.face("up", North)
	l.interest(1, wire.InterestCurrentFuture, "KT", "t/*")
	l.interest(2, wire.InterestFuture, "KT", "t/1")
	up.answer(1, wire.DeclToken, 1, "t/1")
	up.answer(1, wire.DeclToken, 2, "t/2")
	up.final(1)
	l.take()
	l.interest(1, wire.InterestFinal, "", "")
	l.want("U_TOK 2") // t/1 is still watched
	up.take()
	l.interest(3, wire.InterestCurrentFuture, "KT", "t/2")
	up.want("INTEREST 3 CF KT t/2")
	l.want()
	up.answer(3, wire.DeclToken, 2, "t/2") // the same id
	up.final(3)
	l.want("D_TOK 3 t/2 ^3", "D_FINAL ^3")
	l.interest(3, wire.InterestFinal, "", "")
	l.want("U_TOK 3")
	l.interest(4, wire.InterestFuture, "KT", "t/2")
	up.undecl(wire.UndeclToken, 2) // it was told once, so it is withdrawn by its id
	l.want("D_FINAL ^4", "U_TOK 0 key=t/2")
	up.undecl(wire.UndeclToken, 1)
	l.want("U_TOK 1")
	if s := n.r.Stats(up.f); s.Tokens != 0 || up.f.declared != 0 || up.f.bytes != 0 {
		t.Errorf("left: %+v", s)
	}
}
