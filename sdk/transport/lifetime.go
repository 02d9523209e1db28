package transport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
)

// closedFlag is a flag that is set once.
type closedFlag struct{ v atomic.Bool }

func (f *closedFlag) set()        { f.v.Store(true) }
func (f *closedFlag) isSet() bool { return f.v.Load() }

// cancel ends the query's context.
func (q *query) cancel() { q.life.End() }

// late reports whether the handler could see that the asker gave up. A handler that never asked could not, and what it
// answers counts until Get returns.
func (q *query) late() bool { return q.life.Told() || q.life.Ended(q.get) && !q.to.closed.isSet() }

func (q *query) Context() context.Context { return (*queryContext)(q) }

// queryContext is a query as a context. It carries the asker's deadline and end, and none of its values: another
// implementation could not carry them either.
type queryContext query

func (c *queryContext) Deadline() (time.Time, bool) { return c.life.Deadline(c.get) }
func (c *queryContext) Limit(t time.Time) bool      { return c.life.Limit(t) }
func (c *queryContext) Done() <-chan struct{}       { return c.life.Done(c.get) }
func (c *queryContext) Err() error                  { return c.life.Err(c.get) }
func (c *queryContext) Value(key any) any           { return c.life.Value(key) }

// WithDeadline is context.WithDeadline, and costs less where ctx is a query's context that nobody has used yet: that one then
// ends at t at the latest.
func WithDeadline(ctx context.Context, t time.Time) (context.Context, context.CancelFunc) {
	if q, ok := ctx.(interface{ Limit(t time.Time) bool }); ok && q.Limit(t) {
		return ctx, func() {} // it ends with the query
	}
	return context.WithDeadline(ctx, t)
}

// Deadline implements lifetime.Owner.
func (g *get) Deadline() (time.Time, bool) { return g.deadline() }

// GaveUp implements lifetime.Owner.
func (g *get) GaveUp() error {
	switch {
	case g.session.isDone():
		return context.Canceled
	case g.ctx.Err() != nil:
		return g.ctx.Err()
	case !g.expires.IsZero() && !time.Now().Before(g.expires):
		return context.DeadlineExceeded
	}
	return nil
}

// Follow implements lifetime.Owner: where the handler runs on the asker's goroutine nobody waits for the asker's context but it.
func (g *get) Follow() (asker context.Context, over bool) {
	if g.final == nil {
		asker = g.ctx
	}
	return asker, g.session.isDone()
}

// runningStripes is a power of two.
const runningStripes = 32

// running holds the queries whose handlers run, in stripes by goroutine so that handlers rarely meet at a lock. Closing a
// queryable or a session looks through it.
type running struct {
	stripes [runningStripes]struct {
		mu    sync.Mutex
		first *query
		_     [48]byte // keeps stripes in cache lines of their own
	}
	waiters atomic.Int32
	mu      sync.Mutex
	left    sync.Cond // on mu: a query was taken out while somebody waited
}

func (r *running) init() { r.left.L = &r.mu }

// enter must come before the check whether the queryable is closed: whoever closes it sets that first and looks here
// then, so that one of the two sees the other.
func (r *running) enter(q *query) (stripe int) {
	q.self = self.Goroutine()
	stripe = int((uint64(q.self) * 0x9E3779B97F4A7C15) >> 32 % runningStripes)
	s := &r.stripes[stripe]
	s.mu.Lock()
	if q.next = s.first; q.next != nil {
		q.next.prev = q
	}
	s.first = q
	s.mu.Unlock()
	return stripe
}

func (r *running) leave(q *query, stripe int) {
	s := &r.stripes[stripe]
	s.mu.Lock()
	if q.prev != nil {
		q.prev.next = q.next
	} else {
		s.first = q.next
	}
	if q.next != nil {
		q.next.prev = q.prev
	}
	q.prev, q.next = nil, nil
	s.mu.Unlock()
	if r.waiters.Load() > 0 {
		r.mu.Lock()
		r.left.Broadcast()
		r.mu.Unlock()
	}
}

// each calls f for the running queries until it returns false. f must not block.
func (r *running) each(f func(*query) bool) {
	for i := range r.stripes {
		s := &r.stripes[i]
		s.mu.Lock()
		for q := s.first; q != nil; q = q.next {
			if !f(q) {
				s.mu.Unlock()
				return
			}
		}
		s.mu.Unlock()
	}
}

// cancel ends the contexts of the queries that match.
func (r *running) cancel(match func(*query) bool) {
	var found []*query
	r.each(func(q *query) bool {
		if match(q) {
			found = append(found, q)
		}
		return true
	})
	for _, q := range found {
		q.cancel()
	}
}

// wait blocks until no query that matches is left but those of the caller's own goroutine.
func (r *running) wait(match func(*query) bool) {
	self := self.Goroutine()
	busy := func() (yes bool) {
		r.each(func(q *query) bool {
			yes = match(q) && q.self != self
			return !yes
		})
		return yes
	}
	if !busy() {
		return
	}
	r.waiters.Add(1)
	defer r.waiters.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for busy() {
		r.left.Wait()
	}
}
