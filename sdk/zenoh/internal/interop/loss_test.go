package interop

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
)

// long is a query's time-out that must not be what ends it.
const long = 3 * patience

// victim is a session that can die as a process does.
type victim interface {
	end
	die()
}

func (x *theirs) die() { x.kill() }

func (x *ours) die() { x.Node().Abort() }

// TestDeath kills the session that answers a query and holds a token. Who asks and who listens must learn it at once, and a
// query that was under way ends without an error, for nobody is late.
func TestDeath(t *testing.T) {
	for _, top := range []struct {
		name  string
		build func(t *testing.T, py python) (a end, b victim)
	}{
		{"their router dies, our client", func(t *testing.T, py python) (end, victim) {
			router, at := theirListener(t, py, "router")
			return ourDialler(t, zenoh.ModeClient, at), router
		}},
		{"their peer dies, our peer", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModePeer)
			return us, theirDialler(t, py, "peer", us.Locators()...)
		}},
		{"our peer dies, their peer", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModePeer)
			return theirDialler(t, py, "peer", us.Locators()...), us
		}},
		{"our hub dies, their client", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModeRouter)
			return theirDialler(t, py, "client", us.Locators()...), us
		}},
		{"our client dies, their router", func(t *testing.T, py python) (end, victim) {
			router, at := theirListener(t, py, "router")
			return router, ourDialler(t, zenoh.ModeClient, at)
		}},
		{"their client dies, our hub, their client", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModeRouter)
			return theirDialler(t, py, "client", us.Locators()...), theirDialler(t, py, "client", us.Locators()...)
		}},
		{"our client dies, our hub, their client", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModeRouter)
			return theirDialler(t, py, "client", us.Locators()...), ourDialler(t, zenoh.ModeClient, us.Locators()...)
		}},
		{"their client dies, our peer, their peer", func(t *testing.T, py python) (end, victim) {
			us := ourListener(t, zenoh.ModePeer)
			return theirDialler(t, py, "peer", us.Locators()...), theirDialler(t, py, "client", us.Locators()...)
		}},
	} {
		t.Run(strings.ReplaceAll(top.name, " ", "-"), func(t *testing.T) {
			withPythons(t, func(t *testing.T, py python) {
				a, b := top.build(t, py)
				testDeath(t, a, b)
			})
		})
	}
}

func testDeath(t *testing.T, a end, b victim) {
	held := b.queryable(t, "death/q", queryableOptions{hold: true})
	b.token(t, "death/token")
	watch := a.liveliness(t, "death/*", true)
	expect(t, watch, "put", "death/token")
	settle(t, a, b)
	replies := make(chan []item, 1)
	go func() {
		defer close(replies)
		replies <- a.get(t, "death/q", getOptions{timeout: long})
	}()
	held.next(t) // the query has arrived
	b.die()
	expect(t, watch, "delete", "death/token")
	select {
	case r := <-replies:
		if len(r) != 0 {
			t.Fatalf("got %v", r)
		}
	case <-time.After(patience):
		t.Fatal("the query to a session that is dead does not end")
	}
	if got := a.alive(t, "death/*"); len(got) != 0 {
		t.Fatalf("alive: %v", got)
	}
	if r := a.get(t, "death/q", getOptions{timeout: long}); len(r) != 0 {
		t.Fatalf("got %v", r)
	}
}

// TestLease stops a session of theirs without ending its links: our hub must notice when the lease is over.
func TestLease(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		hub := ourListener(t, zenoh.ModeRouter)
		stopped := &theirs{
			startPeer(t, py, "client", append(dialling(hub.Locators()...), "transport/link/tx/lease", "600")...), "their client",
		}
		other := theirDialler(t, py, "client", hub.Locators()...)
		stopped.token(t, "lease/token")
		ours, theirs := hub.liveliness(t, "lease/*", true), other.liveliness(t, "lease/*", true)
		expect(t, ours, "put", "lease/token")
		expect(t, theirs, "put", "lease/token")
		must(t, stopped.cmd.Process.Signal(syscall.SIGSTOP))
		expect(t, ours, "delete", "lease/token")
		expect(t, theirs, "delete", "lease/token")
	})
}

// TestReconnect restarts one side on the same address. Everything that the other had declared must work again, with who was
// there before and with who is new.
func TestReconnect(t *testing.T) {
	for _, top := range []struct {
		name string
		// build returns the session that stays and what restarts the other, which is returned when it is up again.
		build func(t *testing.T, py python) (stays end, first victim, again func(t *testing.T) end)
	}{
		{"their router restarts, our client", theirsRestarts("router", zenoh.ModeClient)},
		{"their router restarts, our peer", theirsRestarts("router", zenoh.ModePeer)},
		{"their peer restarts, our peer", theirsRestarts("peer", zenoh.ModePeer)},
		{"their peer restarts, our hub", theirsRestarts("peer", zenoh.ModeRouter)},
		{"our hub restarts, their client", oursRestarts(zenoh.ModeRouter, "client")},
		{"our peer restarts, their client", oursRestarts(zenoh.ModePeer, "client")},
		{"our peer restarts, their peer", oursRestarts(zenoh.ModePeer, "peer")},
	} {
		t.Run(strings.ReplaceAll(top.name, " ", "-"), func(t *testing.T) {
			withPythons(t, func(t *testing.T, py python) {
				a, b, again := top.build(t, py)
				testReconnect(t, a, b, again)
			})
		})
	}
}

type reconnectBuilder = func(t *testing.T, py python) (end, victim, func(t *testing.T) end)

func theirsRestarts(theirMode string, ourMode zenoh.Mode) reconnectBuilder {
	return func(t *testing.T, py python) (end, victim, func(t *testing.T) end) {
		x, at := theirListener(t, py, theirMode)
		return ourDialler(t, ourMode, at), x, func(t *testing.T) end {
			return &theirs{startPeer(t, py, theirMode, listening(at)...), x.what}
		}
	}
}

func oursRestarts(ourMode zenoh.Mode, theirMode string) reconnectBuilder {
	return func(t *testing.T, py python) (end, victim, func(t *testing.T) end) {
		x := ourListener(t, ourMode)
		at := x.Locators()[0]
		return theirDialler(t, py, theirMode, at), x, func(t *testing.T) end {
			c := config(ourMode)
			c.Listen = []zenoh.Listen{{Endpoint: at}}
			return open(t, c)
		}
	}
}

func testReconnect(t *testing.T, a end, b victim, again func(t *testing.T) end) {
	sub := a.subscribe(t, "again/sub")
	a.queryable(t, "again/q", queryableOptions{replies: []replySpec{{body: body{9, 9}}}})
	a.token(t, "again/mine")
	p := a.publisher(t, "again/pub")
	watch := a.liveliness(t, "again/theirs/*", true)
	b.token(t, "again/theirs/1")
	expect(t, watch, "put", "again/theirs/1")
	settle(t, b, a)
	for round := range 2 {
		b.die()
		expect(t, watch, "delete", fmt.Sprintf("again/theirs/%d", round+1))
		next := again(t)
		heard := next.subscribe(t, "again/pub")
		next.token(t, fmt.Sprintf("again/theirs/%d", round+2))
		expect(t, watch, "put", fmt.Sprintf("again/theirs/%d", round+2))
		until(t, "the token is declared again", func() bool { return len(next.alive(t, "again/mine")) == 1 })
		if r := next.get(t, "again/q", getOptions{}); len(r) != 1 {
			t.Fatalf("round %d: the queryable that was declared again answers %v", round, r)
		}
		next.put(t, "again/sub", body{round + 1, 0}, reliably)
		body{round + 1, 0}.check(t, sub.next(t))
		until(t, "the publisher knows of the new subscriber", func() bool { return p.matching(t) })
		p.put(t, body{5, round})
		body{5, round}.check(t, heard.next(t))
		var ok bool
		if b, ok = next.(victim); !ok {
			t.Fatalf("%v cannot die", next)
		}
	}
}
