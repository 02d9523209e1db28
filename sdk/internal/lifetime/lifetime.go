// Package lifetime makes the contexts that handlers of queries get. Most handlers never look at theirs, or only hand it on, so the context
// of the standard library that does the work is made when somebody asks for its channel.
//
// It imports the standard library only; sdk/transport with its implementations and sdk/zenoh may import it.
package lifetime

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Owner is the query that a Lifetime belongs to. Its methods are called with the Lifetime's lock held.
type Owner interface {
	Deadline() (time.Time, bool)
	// GaveUp tells whether the asker no longer waits, as far as can be seen without waiting.
	GaveUp() error
	// Follow returns a context with whose end the query's is to end, too, or nil; over says that it is to end at once.
	Follow() (asker context.Context, over bool)
}

// Lifetime is the life of a query. The zero value lives. Its lock also guards what the Owner's methods look at.
type Lifetime struct {
	sync.Mutex
	ended  bool
	told   bool // the handler was told that the asker gave up, while there was no inner
	inner  context.Context
	cancel context.CancelFunc
	unhook func() bool
	limit  time.Time // zero: none
}

// Limit makes the context end at t at the latest, for less than context.WithDeadline costs. It is the handler's own, so it does not
// count as the asker's giving up. It reports false where it is too late for that: then it has to be the standard library's.
func (l *Lifetime) Limit(t time.Time) bool {
	l.Lock()
	defer l.Unlock()
	if l.inner != nil || l.ended {
		return false
	}
	if l.limit.IsZero() || t.Before(l.limit) {
		l.limit = t
	}
	return true
}

// Deadline is the context's.
func (l *Lifetime) Deadline(o Owner) (time.Time, bool) {
	l.Lock()
	defer l.Unlock()
	return l.deadline(o)
}

func (l *Lifetime) deadline(o Owner) (time.Time, bool) {
	t, ok := o.Deadline()
	if !l.limit.IsZero() && (!ok || l.limit.Before(t)) {
		return l.limit, true
	}
	return t, ok
}

// End ends the context.
func (l *Lifetime) End() {
	l.Lock()
	l.ended = true
	cancel, unhook := l.cancel, l.unhook
	l.Unlock()
	if cancel != nil {
		cancel()
	}
	if unhook != nil {
		unhook()
	}
}

// Told reports whether the handler was told that the asker gave up.
func (l *Lifetime) Told() bool {
	l.Lock()
	defer l.Unlock()
	return l.told
}

// Ended reports whether the handler could see its context end, if it looked for that, for another reason than its own limit.
func (l *Lifetime) Ended(o Owner) bool {
	l.Lock()
	defer l.Unlock()
	if l.inner == nil {
		return false
	}
	err := l.inner.Err()
	if l.limit.IsZero() || l.ended || !errors.Is(err, context.DeadlineExceeded) {
		return err != nil
	}
	return o.GaveUp() != nil
}

// Err is the context's.
func (l *Lifetime) Err(o Owner) error {
	l.Lock()
	defer l.Unlock()
	switch {
	case l.inner != nil:
		return l.inner.Err()
	case l.ended:
		return context.Canceled
	}
	err := o.GaveUp()
	l.told = err != nil
	if err == nil && !l.limit.IsZero() && !time.Now().Before(l.limit) {
		return context.DeadlineExceeded
	}
	return err
}

// Value is the context's. It finds nothing but what the standard library keeps in its own contexts, so that contexts made from this
// one hang directly on the real one.
func (l *Lifetime) Value(key any) any {
	l.Lock()
	inner := l.inner
	l.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Value(key)
}

// Done is the context's: it makes the real one.
func (l *Lifetime) Done(o Owner) <-chan struct{} {
	l.Lock()
	defer l.Unlock()
	if l.inner != nil {
		return l.inner.Done()
	}
	if d, ok := l.deadline(o); ok {
		l.inner, l.cancel = context.WithDeadline(context.Background(), d)
	} else {
		l.inner, l.cancel = context.WithCancel(context.Background())
	}
	asker, over := o.Follow()
	switch {
	case l.ended || over:
		l.cancel()
	case asker != nil:
		l.unhook = context.AfterFunc(asker, l.cancel)
	}
	return l.inner.Done()
}
