package zenoh

import (
	"context"
	"sync"
	"time"
)

// lifetime is the context of a query. Most handlers never look at theirs, or only hand it on, so the context of the standard
// library that does the work is made when somebody asks for its channel.
type lifetime struct {
	// asker is who asks, where the handler runs on the asker's goroutine: only until it returns, for then the Get may be over.
	asker *get

	mu     sync.Mutex
	ended  bool
	told   bool // the handler was told that the asker gave up, while there was no inner
	inner  context.Context
	cancel context.CancelFunc
	unhook func() bool
}

// Context ends when the asker's time is over, when the asker is known to be gone or to wait no longer, when the queryable is
// undeclared or its session closed, and when the query is final.
func (q *Query) Context() context.Context { return (*queryContext)(q) }

// with returns the Get on whose goroutine the handler runs, or nil.
func (l *lifetime) with() *get {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asker
}

// leaveAsker is the return of a handler whose query goes on. What the context was hooked to ends with the Get.
func (l *lifetime) leaveAsker() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asker = nil
}

// cancel ends the query's context.
func (q *Query) cancel() {
	l := &q.life
	l.mu.Lock()
	l.ended = true
	cancel, unhook := l.cancel, l.unhook
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if unhook != nil {
		unhook()
	}
}

// passed reports whether the asker's time is over, where the handler could see it.
func (q *Query) passed() bool { return q.late() }

// late reports whether the handler could see that the asker gave up. A handler that never asked could not, and what it answers
// counts until the Get returns.
func (q *Query) late() bool {
	l := &q.life
	l.mu.Lock()
	told, inner := l.told, l.inner
	l.mu.Unlock()
	return told || (inner != nil && inner.Err() != nil && !q.to.closed.Load())
}

// queryContext is a query as a context.
type queryContext Query

func (c *queryContext) Deadline() (time.Time, bool) { return c.req.expires, true }

func (c *queryContext) Done() <-chan struct{} { return c.realise().Done() }

func (c *queryContext) Err() error {
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.inner != nil:
		return l.inner.Err()
	case l.ended:
		return context.Canceled
	}
	err := c.req.gaveUp(l.asker)
	l.told = err != nil
	return err
}

// gaveUp tells whether the asker no longer waits, as far as can be seen without waiting.
func (r *request) gaveUp(asker *get) error {
	if asker != nil {
		if asker.session.Err() != nil {
			return context.Canceled
		}
		if err := asker.ctx.Err(); err != nil {
			return err
		}
	}
	if !time.Now().Before(r.expires) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value finds nothing but what the standard library keeps in its own contexts, so that contexts made from this one hang
// directly on the real one.
func (c *queryContext) Value(key any) any {
	l := &c.life
	l.mu.Lock()
	inner := l.inner
	l.mu.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Value(key)
}

// realise makes the real context.
func (c *queryContext) realise() context.Context {
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		return l.inner
	}
	l.inner, l.cancel = context.WithDeadline(context.Background(), c.req.expires)
	asker := l.asker
	switch {
	case l.ended || asker != nil && asker.session.Err() != nil:
		l.cancel()
	case asker != nil: // nobody waits for the asker's context but this handler
		l.unhook = context.AfterFunc(asker.ctx, l.cancel)
	}
	return l.inner
}
