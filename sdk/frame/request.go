package frame

import (
	"context"
	"sync"
	"time"
)

// Request is a request of the peer. Whoever handles it calls Reply exactly once; Body may be kept or released like that
// of any frame.
type Request struct {
	Frame

	conn *Conn
	size int
	ctx  requestContext
}

// Conn returns the connection the request came on.
func (r *Request) Conn() *Conn { return r.conn }

// Context ends when the requester cancels, at the deadline given to SetDeadline, when the connection ends, and with
// Reply.
func (r *Request) Context() context.Context { return &r.ctx }

// SetDeadline makes the context end at t. It is called before Context is used, at most once.
func (r *Request) SetDeadline(t time.Time) { r.ctx.setDeadline(t) }

// Reply answers the request. It may wait until the peer has read what waits before it; neither head nor tail is referenced
// after it returned. A body larger than the peer accepts is ErrTooLarge, and the request is still to be answered.
func (r *Request) Reply(typ uint8, head, tail []byte) error { return r.conn.reply(r, typ, head, tail) }

// requestContext is the context of a request. The standard contexts cost several allocations and a goroutine or a timer
// each; this one costs nothing until somebody asks for Done.
type requestContext struct {
	mu       sync.Mutex
	done     chan struct{}
	err      error
	first    func() // to be called at the end; of most requests the only one
	taken    bool   // there was a first
	after    map[*func()]struct{}
	timer    *time.Timer
	deadline time.Time
}

func (c *requestContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, !c.deadline.IsZero()
}

func (c *requestContext) Value(any) any { return nil }

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc lets context.WithCancel and its like attach to this context without a goroutine.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if !c.taken {
		c.first, c.taken = f, true
		return c.stopFirst
	}
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.after[key]
		delete(c.after, key)
		return ok
	}
}

func (c *requestContext) stopFirst() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.first != nil
	c.first = nil
	return had
}

func (c *requestContext) setDeadline(t time.Time) {
	left := time.Until(t)
	c.mu.Lock()
	c.deadline = t
	if c.err == nil && left > 0 {
		c.timer = time.AfterFunc(left, func() { c.end(context.DeadlineExceeded) })
	}
	c.mu.Unlock()
	if left <= 0 {
		c.end(context.DeadlineExceeded)
	}
}

func (c *requestContext) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	first, after := c.first, c.after
	c.first, c.after = nil, nil
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if first != nil {
		go first()
	}
	for f := range after {
		go (*f)()
	}
}
