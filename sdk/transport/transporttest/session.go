package transporttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

var sessionTests = []test{
	{"IDs", testIDs},
	{"NothingAfterClose", testNothingAfterClose},
	{"CloseEndsQueries", testCloseEndsQueries},
	{"CloseEndsHandlers", testCloseEndsHandlers},
	{"CloseFromWithin", testSessionCloseFromWithin},
	{"CloseUnderLoad", testCloseUnderLoad},
	{"SeverEndsQueries", testSeverEndsQueries},
	{"SeverOfTheAsker", testSeverOfTheAsker},
	{"Everything", testEverythingAtOnce},
}

func testIDs(f *fabric) {
	seen := map[string]bool{}
	for range 5 {
		s := f.session()
		id := s.ID()
		if !regexp.MustCompile(`^[1-9a-f][0-9a-f]{0,31}$`).MatchString(id) || id != s.ID() || seen[id] {
			f.Errorf("id %q is no Zenoh id, or not unique", id)
		}
		seen[id] = true
	}
}

func testNothingAfterClose(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "x", complete, func(q transport.Query) { _ = reply(q, "x") })
	var got samples
	f.subscribe(a, "**", 0, got.take)
	f.settle(a, b)
	f.must(a.Close())
	f.must(a.Close())
	ctx := f.ctx()
	_, errSub := a.Subscribe("x", transport.SubscribeOptions{}, got.take)
	_, errQ := a.Queryable("x", partial, func(transport.Query) {})
	_, errTok := a.Token("x")
	_, errLive := a.SubscribeLiveliness("x", true, got.take)
	for what, err := range map[string]error{
		"Put":                 a.Put(ctx, "x", nil, transport.PutOptions{}),
		"Subscribe":           errSub,
		"Get":                 a.Get(ctx, transport.Selector{KeyExpr: "x"}, none, func(transport.Reply) {}),
		"Queryable":           errQ,
		"Token":               errTok,
		"SubscribeLiveliness": errLive,
		"GetLiveliness":       a.GetLiveliness(ctx, "x", func(string) {}),
	} {
		if status.Of(err) != status.Cancelled {
			f.Errorf("%s on a closed session: %v", what, err)
		}
	}
	f.must(b.Put(ctx, "x", nil, block))
	time.Sleep(20 * time.Millisecond)
	if n := got.len(); n != 0 {
		f.Errorf("%d samples after Close", n)
	}
}

func testCloseEndsQueries(f *fabric) {
	for i, o := range []transport.QueryableOptions{complete, inline} {
		a, b := f.session(), f.session()
		key := fmt.Sprintf("stuck/%d", i)
		started, ended := f.stuck(b, key, o)
		f.settle(b, a)
		g := f.start(context.Background(), a, key, transport.GetOptions{Consolidation: transport.None, Timeout: -1})
		f.await("the start of the handler", started)
		f.await("the early reply", g.more)
		f.must(a.Close())
		f.wantClass(f.wait(g), status.Cancelled)
		f.await("the end of the handler's context", ended)
		f.must(b.Close())
	}
}

func testCloseEndsHandlers(f *fabric) {
	a, b := f.session(), f.session()
	var running atomic.Int64
	started := make(chan struct{}, 3)
	f.queryable(b, "h", complete, func(q transport.Query) {
		running.Add(1)
		started <- struct{}{}
		if !contextEnds(q.Context()) {
			f.Error("the query's context does not end")
		}
		time.Sleep(20 * time.Millisecond)
		running.Add(-1)
	})
	var closed atomic.Bool
	sub := make(chan struct{}, 100)
	f.subscribe(b, "h", 0, func(transport.Sample) {
		if closed.Load() {
			f.Error("a sample was delivered after Close")
		}
		running.Add(1)
		sub <- struct{}{}
		time.Sleep(20 * time.Millisecond)
		running.Add(-1)
	})
	f.settle(b, a)
	var gets []*async
	for range 3 {
		gets = append(gets, f.start(f.ctx(), a, "h", none))
		f.await("the start of a handler", started)
	}
	for range 10 {
		f.must(a.Put(f.ctx(), "h", nil, block))
	}
	f.await("a sample", sub)
	f.must(b.Close())
	if n := running.Load(); n != 0 {
		f.Errorf("Close returned while %d handlers ran", n)
	}
	closed.Store(true)
	for _, g := range gets {
		f.must(f.wait(g))
	}
}

func testSessionCloseFromWithin(f *fabric) {
	a, b, c := f.session(), f.session(), f.session()
	done := make(chan struct{})
	f.queryable(b, "close", complete, func(q transport.Query) {
		f.check(b.Close())
		close(done)
	})
	f.settle(b, a)
	if _, err := f.get(f.ctx(), a, "close", none); err != nil {
		f.Error(err)
	}
	f.await("Close within a query", done)
	done2 := make(chan struct{})
	f.subscribe(c, "close", 0, func(transport.Sample) {
		f.check(c.Close())
		close(done2)
	})
	f.settle(c, a)
	f.must(a.Put(f.ctx(), "close", nil, block))
	f.await("Close within a subscription", done2)
}

func testCloseUnderLoad(f *fabric) {
	a := f.session()
	for round := range 5 {
		b := f.session()
		var closed atomic.Bool
		late := func() {
			if closed.Load() {
				f.Error("a handler was called after Close")
			}
		}
		f.queryable(b, "load/**", transport.QueryableOptions{Complete: true, Inline: round%2 == 0}, func(q transport.Query) {
			late()
			_ = reply(q, "x")
		})
		f.subscribe(b, "load/**", 4, func(transport.Sample) { late() })
		f.token(b, fmt.Sprintf("load/%d", round))
		f.settle(b, a)
		stop := make(chan struct{})
		var all sync.WaitGroup
		for range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				for {
					select {
					case <-stop:
						return
					default:
					}
					_, err := f.get(f.ctx(), a, "load/x", none)
					f.check(err)
					f.check(a.Put(f.ctx(), "load/y", nil, block))
				}
			}()
		}
		time.Sleep(10 * time.Millisecond)
		f.must(b.Close())
		closed.Store(true)
		close(stop)
		all.Wait()
	}
}

// When the one who answers is lost, the query becomes final without it.
func testSeverEndsQueries(f *fabric) {
	if f.h.Sever == nil {
		f.Skip("this implementation cannot lose a session")
	}
	a, b := f.session(), f.session()
	started := make(chan struct{})
	f.queryable(b, "gone", complete, func(q transport.Query) {
		_ = reply(q, "early")
		close(started)
		if !contextEnds(q.Context()) {
			f.Error("the query's context does not end")
		}
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "gone", none)
	f.await("the start of the handler", started)
	f.await("the early reply", g.more)
	f.h.Sever(b)
	f.must(f.wait(g))
	f.eventually("nobody answers any more", func() bool {
		r, err := f.get(f.ctx(), a, "gone", none)
		return err == nil && len(r.all()) == 0
	})
	f.wantClass(b.Put(f.ctx(), "x", nil, transport.PutOptions{}), status.Unavailable)
}

func testSeverOfTheAsker(f *fabric) {
	if f.h.Sever == nil {
		f.Skip("this implementation cannot lose a session")
	}
	a, b := f.session(), f.session()
	started, ended := f.stuck(b, "stuck", complete)
	f.settle(b, a)
	g := f.start(f.ctx(), a, "stuck", transport.GetOptions{Consolidation: transport.None, Timeout: -1})
	f.await("the start of the handler", started)
	f.h.Sever(a)
	f.wantClass(f.wait(g), status.Unavailable)
	f.await("the end of the handler's context", ended)
	_, err := f.get(f.ctx(), a, "stuck", none)
	f.wantClass(err, status.Unavailable)
	f.must(a.Close())
}

// Everything at once, for the race detector.
func testEverythingAtOnce(f *fabric) {
	sessions := []transport.Session{f.session(), f.session(), f.session()}
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for w := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for ctx.Err() == nil {
				s := sessions[rnd.IntN(len(sessions))]
				key := fmt.Sprintf("mix/%d", rnd.IntN(4))
				expr := []string{key, "mix/*", "**"}[rnd.IntN(3)]
				f.step(ctx, s, rnd, key, expr)
			}
		}()
	}
	all.Wait()
}

func (f *fabric) step(ctx context.Context, s transport.Session, rnd *rand.Rand, key, expr string) {
	var c transport.Closer
	var err error
	switch rnd.IntN(8) {
	case 0:
		c, err = s.Subscribe(expr, transport.SubscribeOptions{Queue: 2}, func(transport.Sample) {})
	case 1:
		o := transport.QueryableOptions{Complete: rnd.IntN(2) == 0, Inline: rnd.IntN(2) == 0}
		c, err = s.Queryable(expr, o, func(q transport.Query) {
			_ = q.Reply(key, nil, transport.ReplyOptions{})
			_ = q.Context().Err()
		})
	case 2:
		c, err = s.Token(key)
	case 3:
		c, err = s.SubscribeLiveliness(expr, true, func(transport.Sample) {})
	case 4:
		err = s.GetLiveliness(ctx, expr, func(string) {})
	case 5:
		err = s.Put(ctx, key, []byte(key), transport.PutOptions{Congestion: transport.Congestion(rnd.IntN(2))})
	default:
		o := transport.GetOptions{Target: transport.Target(rnd.IntN(3)), Consolidation: transport.Consolidation(rnd.IntN(2))}
		_, err = f.get(ctx, s, expr, o)
	}
	if err != nil && ctx.Err() == nil && status.Of(err) != status.Deadline {
		f.Error(err) // a deadline may be seen a little before ctx ends
	}
	if c != nil {
		if rnd.IntN(2) == 0 {
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Microsecond)
		}
		f.check(c.Close())
	}
}
