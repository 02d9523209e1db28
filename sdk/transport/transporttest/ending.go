package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// endingTests are about what ends a query before it is final, and what ends its handlers.
var endingTests = []test{
	{"Timeout", testTimeout},
	{"Deadline", testDeadline},
	{"Cancel", testCancel},
	{"CancelInline", testCancelInline},
	{"EndedBefore", testEndedBefore},
	{"NoReplyAfterReturn", testNoReplyAfterReturn},
	{"ReplyAfterHandler", testReplyAfterHandler},
	{"HandlersOfAnEndedQuery", testHandlersOfAnEndedQuery},
	{"QueryableClose", testQueryableClose},
	{"QueryableCloseWaits", testQueryableCloseWaits},
	{"QueryableCloseFromWithin", testQueryableCloseFromWithin},
	{"QueryableChurn", testQueryableChurn},
}

// stuck declares a queryable that gives one reply and then waits for the end of its context, which it tells.
func (f *fabric) stuck(s transport.Session, expr string, o transport.QueryableOptions) (started, ended chan struct{}) {
	started, ended = make(chan struct{}), make(chan struct{})
	f.queryable(s, expr, o, func(q transport.Query) {
		f.check(reply(q, "early"))
		close(started)
		if !contextEnds(q.Context()) {
			f.Error("the query's context does not end")
		}
		_ = reply(q, "late") // may be taken where the asker is far away, and must not arrive
		close(ended)
	})
	return started, ended
}

// limited runs a query on a stuck queryable that ends after d, given to run. On a busy machine the handler may not even
// have begun by then, so d grows until it has.
func (f *fabric) limited(o transport.QueryableOptions, run func(a transport.Session, key string, d time.Duration) (*replies, error)) error {
	f.Helper()
	a, b := f.session(), f.session()
	defer a.Close()
	defer b.Close()
	for _, d := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second} {
		key := fmt.Sprintf("stuck/%v/%v", o.Inline, d.Milliseconds())
		started, ended := f.stuck(b, key, o)
		f.settle(b, a)
		begin := time.Now()
		r, err := run(a, key, d)
		if took := time.Since(begin); took < d*9/10 || took > d+5*time.Second {
			f.Errorf("the query ended after %v, want %v", took, d)
		}
		f.wantClass(err, status.Deadline)
		got := r.texts()
		if len(got) == 0 && d < 5*time.Second {
			continue // the query may not even have been sent
		}
		f.await("the start of the handler", started)
		f.await("the end of the handler's context", ended)
		if !slices.Equal(got, []string{"early"}) {
			f.Errorf("replies: %q, want the one before the time was over", got)
		}
		return err
	}
	return nil
}

func testTimeout(f *fabric) {
	for _, o := range []transport.QueryableOptions{complete, inline} {
		_ = f.limited(o, func(a transport.Session, key string, d time.Duration) (*replies, error) {
			return f.get(context.Background(), a, key, transport.GetOptions{Consolidation: transport.None, Timeout: d})
		})
	}
}

func testDeadline(f *fabric) {
	for _, o := range []transport.QueryableOptions{complete, inline} {
		err := f.limited(o, func(a transport.Session, key string, d time.Duration) (*replies, error) {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			return f.get(ctx, a, key, transport.GetOptions{Consolidation: transport.None, Timeout: time.Hour})
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("the error does not wrap the context's: %v", err)
		}
	}
}

func testCancel(f *fabric) {
	a, b := f.session(), f.session()
	started, ended := f.stuck(b, "stuck", complete)
	f.settle(b, a)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := f.start(ctx, a, "stuck", transport.GetOptions{Consolidation: transport.None, Timeout: -1})
	f.await("the start of the handler", started)
	f.await("the early reply", g.more)
	cancel()
	err := f.wait(g)
	f.wantClass(err, status.Cancelled)
	if !errors.Is(err, context.Canceled) {
		f.Errorf("the error does not wrap the context's: %v", err)
	}
	f.await("the end of the handler's context", ended)
}

// The context of an inline handler ends like any other, also through a chain of them.
func testCancelInline(f *fabric) {
	a, b := f.session(), f.session()
	started, ended := f.stuck(b, "stuck", inline)
	f.queryable(b, "hop", inline, func(q transport.Query) {
		f.wantClass(b.Get(q.Context(), transport.Selector{KeyExpr: "stuck"}, none, func(transport.Reply) {}), status.Cancelled)
	})
	f.settle(b, a)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := f.start(ctx, a, "hop", transport.GetOptions{Consolidation: transport.None, Timeout: -1})
	f.await("the start of the handler", started)
	cancel()
	f.wantClass(f.wait(g), status.Cancelled)
	f.await("the end of the handler's context", ended)
}

func testEndedBefore(f *fabric) {
	a, b := f.session(), f.session()
	var called atomic.Bool
	f.queryable(b, "x", complete, func(q transport.Query) { called.Store(true) })
	f.settle(b, a)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := f.get(ctx, a, "x", none)
	f.wantClass(err, status.Cancelled)
	ctx, cancel = context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = f.get(ctx, a, "x", none)
	f.wantClass(err, status.Deadline)
	f.wantClass(a.Put(ctx, "x", nil, transport.PutOptions{}), status.Deadline)
	if called.Load() {
		f.Error("a query was sent though its context had ended")
	}
}

func testNoReplyAfterReturn(f *fabric) {
	a, b := f.session(), f.session()
	for i := range 4 {
		f.queryable(b, fmt.Sprintf("flood/%d", i), partial, func(q transport.Query) {
			for q.Context().Err() == nil {
				if reply(q, "x") != nil {
					return
				}
			}
		})
	}
	f.settle(b, a)
	var all sync.WaitGroup
	for i := range 20 {
		all.Add(1)
		go func() {
			defer all.Done()
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
			defer cancel()
			r, err := f.get(ctx, a, "flood/*", none)
			f.wantClass(err, status.Deadline)
			time.Sleep(10 * time.Millisecond) // replies that come now fail the test
			_ = r
		}()
	}
	all.Wait()
}

func testReplyAfterHandler(f *fabric) {
	a, b := f.session(), f.session()
	kept := make(chan transport.Query, 1)
	f.queryable(b, "keep", complete, func(q transport.Query) {
		_ = reply(q, "in time")
		kept <- q
	})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "keep", none)
	f.must(err)
	q := <-kept
	if !contextEnds(q.Context()) {
		f.Error("the context of a final query does not end")
	}
	if err := reply(q, "too late"); err == nil {
		f.Error("a reply after the handler has returned was taken")
	}
	if got := r.texts(); !slices.Equal(got, []string{"in time"}) {
		f.Errorf("replies: %q", got)
	}
}

func testHandlersOfAnEndedQuery(f *fabric) {
	a, b := f.session(), f.session()
	const n = 50
	var ended sync.WaitGroup
	ended.Add(n)
	var started atomic.Int64
	for i := range n {
		f.queryable(b, fmt.Sprintf("many/%d", i), partial, func(q transport.Query) {
			started.Add(1)
			if !contextEnds(q.Context()) {
				f.Error("the query's context does not end")
			}
			ended.Done()
		})
	}
	f.settle(b, a)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := f.start(ctx, a, "many/*", transport.GetOptions{Timeout: -1})
	f.eventually("the start of all handlers", func() bool { return started.Load() == n })
	cancel()
	f.wantClass(f.wait(g), status.Cancelled)
	ended.Wait()
}

// Closing a queryable ends the contexts of its queries; they become final when their handlers return.
func testQueryableClose(f *fabric) {
	a, b := f.session(), f.session()
	started := make(chan struct{})
	c := f.queryable(b, "close", complete, func(q transport.Query) {
		close(started)
		if !contextEnds(q.Context()) {
			f.Error("the query's context does not end")
		}
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "close", none)
	f.await("the start of the handler", started)
	f.must(c.Close())
	f.must(f.wait(g))
	f.must(c.Close())
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "close", none)
	if err != nil || len(r.all()) != 0 {
		f.Errorf("after closing: %d replies, %v", len(r.all()), err)
	}
}

func testQueryableCloseWaits(f *fabric) {
	a, b := f.session(), f.session()
	started := make(chan struct{})
	var returned atomic.Bool
	c := f.queryable(b, "wait", complete, func(q transport.Query) {
		close(started)
		time.Sleep(50 * time.Millisecond) // does not look at its context
		returned.Store(true)
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "wait", none)
	f.await("the start of the handler", started)
	f.must(c.Close())
	if !returned.Load() {
		f.Error("Close returned while the handler ran")
	}
	_ = f.wait(g)
}

func testQueryableCloseFromWithin(f *fabric) {
	for i, o := range []transport.QueryableOptions{complete, inline} {
		a, b := f.session(), f.session()
		key := fmt.Sprintf("self/%d", i)
		var c transport.Closer
		ready := make(chan struct{})
		c = f.queryable(b, key, o, func(q transport.Query) {
			<-ready
			f.check(c.Close())
			f.check(reply(q, "bye"))
		})
		close(ready)
		f.settle(b, a)
		r, err := f.get(f.ctx(), a, key, none)
		f.must(err)
		if got := r.texts(); !slices.Equal(got, []string{"bye"}) {
			f.Errorf("replies: %q", got)
		}
		f.must(c.Close())
		f.must(b.Close())
		f.must(a.Close())
	}
}

// Queryables come and go while they are queried: every query ends, and each reply is of a handler that was declared.
func testQueryableChurn(f *fabric) {
	a, b := f.session(), f.session()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 3 {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				var closed atomic.Bool
				c, err := b.Queryable("churn/**", transport.QueryableOptions{Complete: true, Inline: i == 0}, func(q transport.Query) {
					if closed.Load() {
						f.Error("a handler was called after its queryable was closed")
					}
					_ = reply(q, "x")
				})
				if err != nil {
					f.Error(err)
					return
				}
				f.check(c.Close())
				closed.Store(true)
			}
		}()
	}
	for range 500 {
		if _, err := f.get(f.ctx(), a, "churn/x", none); err != nil {
			f.Error(err)
			break
		}
	}
	close(stop)
	all.Wait()
}
