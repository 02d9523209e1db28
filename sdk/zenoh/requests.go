package zenoh

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/internal/self"
)

// requestStripes is a power of two.
const requestStripes = 16

// requestTable holds the requests that are not final, in stripes so that they rarely meet at a lock.
type requestTable struct {
	stripes [requestStripes]struct {
		mu sync.Mutex
		m  map[uint32]*request
		_  [40]byte // keeps stripes in cache lines of their own
	}
	count   atomic.Int32
	limit   int32
	waiters atomic.Int32
	mu      sync.Mutex
	left    sync.Cond // on mu: a handler has returned while somebody waited
}

func (t *requestTable) init(limit int) {
	t.limit = int32(min(limit, 1<<30)) //nolint:gosec // it fits
	t.left.L = &t.mu
	for i := range t.stripes {
		t.stripes[i].m = map[uint32]*request{}
	}
}

// enter reports whether there is room for one more.
func (t *requestTable) enter(r *request) bool {
	if t.count.Add(1) > t.limit {
		t.count.Add(-1)
		return false
	}
	s := &t.stripes[r.rid%requestStripes]
	s.mu.Lock()
	s.m[r.rid] = r
	s.mu.Unlock()
	return true
}

// busy reports whether others are being answered.
func (t *requestTable) busy() bool { return t.count.Load() > 0 }

func (t *requestTable) leave(r *request) {
	s := &t.stripes[r.rid%requestStripes]
	s.mu.Lock()
	if s.m[r.rid] == r {
		delete(s.m, r.rid)
	}
	s.mu.Unlock()
	t.count.Add(-1)
}

// begin enters the goroutine of a handler. It must come before the check whether the queryable is closed: whoever closes it
// sets that first and looks here then, so that one of the two sees the other.
func (t *requestTable) begin(q *Query, goroutine uintptr) {
	s := &t.stripes[q.req.rid%requestStripes]
	s.mu.Lock()
	q.self = goroutine
	s.mu.Unlock()
}

// finished is the end of a handler.
func (t *requestTable) finished(q *Query) {
	s := &t.stripes[q.req.rid%requestStripes]
	s.mu.Lock()
	q.self = 0
	s.mu.Unlock()
	if t.waiters.Load() > 0 {
		t.mu.Lock()
		t.left.Broadcast()
		t.mu.Unlock()
	}
}

// cancel ends the contexts of the queries of a request that nobody waits for.
func (t *requestTable) cancel(rid uint32) {
	s := &t.stripes[rid%requestStripes]
	s.mu.Lock()
	r := s.m[rid]
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	r.gone = true
	r.mu.Unlock()
	r.each(func(q *Query) bool {
		q.cancel()
		return true
	})
}

// each calls f for the queries of r until it returns false.
func (r *request) each(f func(*Query) bool) bool {
	if r.more == nil {
		return f(&r.first)
	}
	for i := range r.more {
		if !f(&r.more[i]) {
			return false
		}
	}
	return true
}

// where returns the queries that match. match must not block.
func (t *requestTable) where(match func(*Query) bool) (found []*Query) {
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		for _, r := range s.m {
			r.each(func(q *Query) bool {
				if match(q) {
					found = append(found, q)
				}
				return true
			})
		}
		s.mu.Unlock()
	}
	return found
}

// cancelWhere ends the contexts of the queries that match, and those that were kept altogether.
func (t *requestTable) cancelWhere(match func(*Query) bool) {
	for _, q := range t.where(match) {
		q.cancel()
		q.Drop()
	}
}

// wait blocks until no handler of a query that matches runs but those of the caller's own goroutine; it reports whether there
// are such.
func (t *requestTable) wait(match func(*Query) bool) (within bool) {
	me := self.Goroutine()
	busy := func() bool {
		others := false
		within = false
		t.where(func(q *Query) bool {
			if q.self != 0 && match(q) {
				within = within || q.self == me
				others = others || q.self != me
			}
			return false
		})
		return others
	}
	if !busy() {
		return within
	}
	t.waiters.Add(1)
	defer t.waiters.Add(-1)
	t.mu.Lock()
	defer t.mu.Unlock()
	for busy() {
		t.left.Wait()
	}
	return within
}

// join waits for all handlers but the caller's.
func (t *requestTable) join() { t.wait(func(*Query) bool { return true }) }
