package zenoh

import (
	"context"
	"time"

	"github.com/essa-project/essad/sdk/internal/lifetime"
)

// life is the context of a query.
type life struct {
	lifetime.Lifetime
	// asker is who asks, where the handler runs on the asker's goroutine: only until it returns, for then the Get may be over.
	// It is guarded by the lifetime's lock.
	asker *get
}

// Context ends when the asker's time is over, when the asker is known to be gone or to wait no longer, when the queryable is
// undeclared or its session closed, and when the query is final.
func (q *Query) Context() context.Context { return (*queryContext)(q) }

// with returns the Get on whose goroutine the handler runs, or nil.
func (l *life) with() *get {
	l.Lock()
	defer l.Unlock()
	return l.asker
}

// leaveAsker is the return of a handler whose query goes on. What the context was hooked to ends with the Get.
func (l *life) leaveAsker() {
	l.Lock()
	defer l.Unlock()
	l.asker = nil
}

// cancel ends the query's context.
func (q *Query) cancel() { q.life.End() }

// late reports whether the handler could see that the asker gave up. A handler that never asked could not, and what it answers
// counts until the Get returns.
func (q *Query) late() bool { return q.life.Told() || q.life.Ended((*owner)(q)) && !q.to.closed.Load() }

// queryContext is a query as a context.
type queryContext Query

func (c *queryContext) Deadline() (time.Time, bool) { return c.life.Deadline((*owner)(c)) }
func (c *queryContext) Limit(t time.Time) bool      { return c.life.Limit(t) }
func (c *queryContext) Done() <-chan struct{}       { return c.life.Done((*owner)(c)) }
func (c *queryContext) Err() error                  { return c.life.Err((*owner)(c)) }
func (c *queryContext) Value(key any) any           { return c.life.Value(key) }

// owner is a query as its lifetime sees it.
type owner Query

func (o *owner) Deadline() (time.Time, bool) { return o.req.expires, true }

// GaveUp implements lifetime.Owner.
func (o *owner) GaveUp() error {
	if asker := o.life.asker; asker != nil {
		if asker.session.Err() != nil {
			return context.Canceled
		}
		if err := asker.ctx.Err(); err != nil {
			return err
		}
	}
	if !time.Now().Before(o.req.expires) {
		return context.DeadlineExceeded
	}
	return nil
}

// Follow implements lifetime.Owner: nobody waits for the asker's context but a handler on its goroutine.
func (o *owner) Follow() (asker context.Context, over bool) {
	if o.life.asker == nil {
		return nil, false
	}
	return o.life.asker.ctx, o.life.asker.session.Err() != nil
}
