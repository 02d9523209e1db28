package runtime

import (
	"context"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// slots bounds how many guests execute at a time, and orders those that wait: first guests that already have an instance
// and want to go on, then nested calls, both newest first, then calls from outside, oldest first. So a tree of calls is
// walked depth first and few instances are alive, and what is begun ends before more is begun. Every fourth choice
// prefers a call from outside, lest one deep tree keep everybody else out.
//
// A guest that waits for a nested call which another worker has begun gives its slot to one more worker, and that one's calls may do
// the same: then chains of guests that wait stand side by side, and a tree needs memory for all of them. So where memory is no
// longer plenty, not many more workers than slots run nested calls; what is queued is run by who waits for it. Calls may wait
// for each other in other ways than that, so that is not for ever; see crowdAfter.
//
// Guests that compute for long would keep their slots for long. So where somebody waits and nobody has given a slot back for
// a while, one more guest may execute than there are slots, and the operating system's time is shared; see lend. Why not let
// Go have one processor more than slots at all times? It would see to all that without a thought, and costs calls that do
// little a tenth of their rate (64 clients, two processors), for a thread more that looks for work.
type slots struct {
	budget *budget
	most   int // roots waiting
	run    func(*future, *worker)

	mu       sync.Mutex
	slots    int
	running  int       // guests that execute
	lent     int       // how many more than slots may
	lendable int       // the most of those
	full     time.Time // when somebody took the last free slot
	lending  bool
	lender   *time.Timer
	share    func(int) // where set, is told how many processors more are wanted
	shared   int       // what it was told

	back   []*ticket
	left   int // of those that gave up
	nested nestedCalls
	chains int // workers that run nested calls, or wait within one
	roots  []*ticket
	gone   int         // roots that gave up
	hungry atomic.Bool // there are roots, which may want memory
	turn   int
	armed  bool // the timer will look after the nested calls
	timer  *time.Timer
	late   bool // when it does, one of them is begun whatever there is
	forced bool
}

// ticket is somebody who waits for a slot.
type ticket struct {
	ready chan struct{}
	need  int64 // bytes of memory
	state ticketState
}

type ticketState uint8

const (
	waiting ticketState = iota
	granted
	abandoned
)

// worker is a goroutine that runs guests, and whether it holds a slot.
type worker struct {
	has    bool
	inline int // nested calls it runs within each other
}

// stealAfter is how long a lone nested call waits before somebody else than its parent begins it. The parent of most
// calls waits for it at once, and then runs it itself, without waking anybody.
const stealAfter = 50 * time.Microsecond

// crowdAfter is how long nested calls wait for a worker where there are many already and memory is not plenty.
const crowdAfter = 8 * time.Millisecond

func newSlots(n, queue int, b *budget, run func(*future, *worker)) *slots {
	s := &slots{slots: n, lendable: maxLent * n, most: queue, budget: b, run: run}
	s.timer = time.AfterFunc(time.Hour, s.steal)
	s.timer.Stop()
	s.lender = time.AfterFunc(time.Hour, func() { s.lend(0) })
	s.lender.Stop()
	return s
}

// try takes a slot and the memory for a call from outside, where that is possible at once.
func (s *slots) try(need int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.slots+s.lent || len(s.back) > s.left || len(s.roots) > s.gone || !s.budget.reserve(need) {
		return false
	}
	s.take()
	return true
}

// take counts somebody who executes. The lock is held.
func (s *slots) take() {
	if s.running++; s.running >= s.slots+s.lent {
		s.full = time.Now()
	}
}

// acquire waits for both.
func (s *slots) acquire(ctx context.Context, deadline time.Time, need int64) error {
	if need > s.budget.most {
		return status.Errorf(status.Overloaded, "the module needs %d bytes of memory, and the engine has %d in all", need,
			s.budget.most)
	}
	s.mu.Lock()
	if len(s.roots)-s.gone >= s.most {
		s.mu.Unlock()
		return status.Safe(status.Errorf(status.Overloaded, "%d calls are waiting for the engine already", s.most))
	}
	t := &ticket{ready: make(chan struct{}), need: need}
	s.roots = append(s.roots, t)
	s.hungry.Store(true) // before it is tried: who releases memory after that looks for us
	s.lendNow()
	s.dispatch()
	s.watch()
	s.mu.Unlock()

	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	err := error(nil)
	select {
	case <-t.ready:
		return nil
	case <-late:
		err = status.Errorf(status.Deadline, "the deadline passed before the engine had a worker for the call")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if s.abandon(t, &s.gone) {
		return err
	}
	s.budget.release(need)
	s.release()
	return err
}

// acquireNested is acquire for a call that is nested in one elsewhere, whose engine has no room for it. It waits for a slot,
// which nobody holds who waits, and never for memory: what there is may be held by its own ancestors, over there and here.
func (s *slots) acquireNested(ctx context.Context, deadline time.Time, need int64) error {
	if !s.budget.reserveNested(need) {
		return status.Safe(status.Errorf(status.Overloaded, "the engine has no memory left for nested calls from elsewhere"))
	}
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	if s.resume(ctx.Done()) {
		return nil
	}
	s.budget.release(need)
	if status.Of(ctx.Err()) == status.Deadline {
		return status.Errorf(status.Deadline, "the deadline passed before the engine had a worker for the call")
	}
	return context.Cause(ctx)
}

// abandon takes a ticket back; it is too late where it was granted.
func (s *slots) abandon(t *ticket, count *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.state == granted {
		return false
	}
	t.state = abandoned
	*count++
	return true
}

// resume waits for a slot for a guest that gave its own away. It returns false where done came first.
func (s *slots) resume(done <-chan struct{}) bool {
	s.mu.Lock()
	s.lendNow()
	if s.running < s.slots+s.lent {
		s.take()
		s.mu.Unlock()
		return true
	}
	t := &ticket{ready: make(chan struct{})}
	s.back = append(s.back, t)
	s.watch()
	s.mu.Unlock()
	select {
	case <-t.ready:
		return true
	case <-done:
		return !s.abandon(t, &s.left)
	}
}

// release gives a slot to whoever is next.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.dispatch()
}

// dispatch hands out free slots. The lock is held.
func (s *slots) dispatch() {
	for s.running < s.slots+s.lent {
		begin := s.mayBegin()
		t, f := s.pick(begin)
		if t == nil && f == nil {
			if !begin && s.nested.queued > 0 && !s.armed {
				s.armed, s.late = true, true
				s.timer.Reset(crowdAfter)
			}
			return
		}
		s.take()
		if f != nil {
			s.chains++
			s.forced = false
			go s.work(f)
			continue
		}
		t.state = granted
		close(t.ready)
	}
}

// mayBegin tells whether one more worker may run nested calls. The lock is held.
func (s *slots) mayBegin() bool {
	return s.chains <= s.slots || s.running == 0 || s.forced || s.budget.plenty()
}

// pick chooses who is next; nested calls only where they may begin. The lock is held; a future is claimed.
func (s *slots) pick(begin bool) (*ticket, *future) {
	for len(s.back) > 0 {
		t := s.back[len(s.back)-1]
		s.back = s.back[:len(s.back)-1]
		if t.state == waiting {
			return t, nil
		}
		s.left--
	}
	s.turn++
	if s.turn%4 == 0 {
		if t := s.root(); t != nil {
			return t, nil
		}
	}
	if begin && s.running < s.slots { // what is lent is not for them: it could be their own tree that computes
		if f := s.nested.pop(); f != nil {
			return nil, f
		}
	}
	return s.root(), nil
}

// root takes the oldest call from outside, if there is memory for it.
func (s *slots) root() *ticket {
	for len(s.roots) > 0 {
		t := s.roots[0]
		if t.state == abandoned {
			s.gone--
			s.roots = s.roots[1:]
			continue
		}
		if !s.budget.reserve(t.need) {
			return nil
		}
		s.roots = s.roots[1:]
		s.hungry.Store(len(s.roots) > 0)
		return t
	}
	s.hungry.Store(false)
	return nil
}

// push queues a nested call.
func (s *slots) push(f *future) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nested.push(f)
	switch {
	case s.running >= s.slots:
	case s.nested.queued > 1:
		s.dispatch()
	case !s.armed:
		s.armed = true
		s.timer.Reset(stealAfter)
	}
}

// steal begins nested calls that nobody has waited for.
func (s *slots) steal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	s.forced, s.late = s.late, false
	s.dispatch()
}

// claim takes a nested call out of the queue, for its parent to run. It returns false where it has begun.
func (s *slots) claim(f *future) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nested.claim(f)
}

// drop forgets the calls of a guest that has ended which nobody has begun, and returns how many somebody has.
func (s *slots) drop(g *Guest) (begun int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nested.drop(g)
}

// freed looks whether released memory lets somebody begin.
func (s *slots) freed() {
	if !s.hungry.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dispatch()
}

// work runs nested calls while there are any, on a slot that was taken for it.
func (s *slots) work(f *future) {
	w := &worker{has: true}
	defer s.ended()
	for f != nil {
		s.run(f, w)
		if !w.has {
			return
		}
		f = s.following()
	}
}

// ended is the end of a worker.
func (s *slots) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chains--
	if s.nested.queued > 0 {
		s.dispatch()
	}
}

// following returns the next nested call for a worker, or gives its slot away.
func (s *slots) following() *future {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	t, f := s.pick(true)
	switch {
	case f != nil:
		s.take()
		return f
	case t != nil:
		s.take()
		t.state = granted
		close(t.ready)
	}
	return nil
}

// lendAfter is how long nobody gives a slot back, while somebody waits for one, before one is lent; and how often that is
// looked at. maxLent bounds how many are, as a multiple of the slots.
const (
	lendAfter  = 8 * time.Millisecond
	spareAfter = 2 * time.Millisecond // after which there is a processor more
	maxLent    = 4
)

// held tells whether guests have held all slots for so long. The lock is held.
func (s *slots) held(long time.Duration) bool {
	return s.running >= s.slots+s.lent && time.Since(s.full) >= long
}

// queued tells whether anybody waits for a slot who may be lent one. The lock is held.
func (s *slots) queued() bool { return len(s.roots) > s.gone || len(s.back) > s.left }

// lendNow lends a slot to somebody who finds that all have been held for long already. The lender may be late: where guests
// hold all of Go's processors, no timer fires before one of them is taken away. The lock is held.
func (s *slots) lendNow() {
	if s.lent >= s.lendable || !s.held(lendAfter) {
		return
	}
	s.lent++
	if !s.lending {
		s.rearm()
	}
}

// watch has the lender look, where somebody waits. The lock is held.
func (s *slots) watch() {
	if !s.lending && s.queued() {
		s.rearm()
	}
}

func (s *slots) rearm() {
	s.lending = true
	s.lender.Reset(max(lendAfter-time.Since(s.full), lendAfter/8))
}

// spare is called now and then by guests that compute. Where those hold all of Go's processors nobody else hears of a call or
// sees that a time has come, so they look themselves whether a slot is to be lent, and have Go have one processor more before
// anybody waits.
func (s *slots) spare() {
	s.mu.Lock()
	wanted := s.share != nil && s.shared == 0 && s.held(spareAfter) || s.queued() && s.held(lendAfter)
	mine := wanted && (!s.lending || s.lender.Stop())
	s.lending = s.lending || mine
	s.mu.Unlock()
	if mine {
		s.lend(1)
	}
}

// lend lets one more guest execute where all slots are held by guests that compute, and takes that back when a slot is free.
// While they do, Go has as many processors more, and at least so many. One goroutine at a time does this, who set lending or
// for whom it was set.
func (s *slots) lend(least int) {
	more, changed, again := s.relend(least)
	if changed && s.share != nil {
		s.share(more)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lending = false
	if again {
		s.rearm()
	} else {
		s.watch()
	}
}

// relend lends to calls from outside first: those that hold the slots may well be guests that had given theirs away for a moment.
func (s *slots) relend(least int) (more int, changed, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running < s.slots && s.lent > 0 {
		s.lent--
	}
	if s.held(lendAfter) && s.queued() && s.lent < s.lendable {
		s.lent++
		if t := s.root(); t != nil {
			s.take()
			t.state = granted
			close(t.ready)
		}
		s.dispatch()
	}
	if more = s.lent; s.held(spareAfter) {
		more = max(more, least, min(s.shared, 1))
	}
	changed, s.shared = more != s.shared, more
	return more, changed, more > 0
}

// ShareProcessors is a Settings.Share for an engine that has its process for itself.
func ShareProcessors() func(more int) {
	own := goruntime.GOMAXPROCS(0)
	return func(more int) { goruntime.GOMAXPROCS(own + more) }
}

// budget bounds the memory of all instances together.
type budget struct {
	// shed frees what is kept for later until n bytes are free that were not; it returns whether it freed any.
	shed func(n int64) bool
	// kept returns what of it that is.
	kept func() int64

	most int64
	used atomic.Int64
}

func (b *budget) reserve(n int64) bool { return b.reserveWithin(n, b.most) }

// reserveNested reserves for a nested call. Those leave some memory for calls from outside, lest a tree of calls that takes all
// there is keep everybody else out.
func (b *budget) reserveNested(n int64) bool { return b.reserveWithin(n, b.most-b.most/8) }

// plenty tells whether invocations have less than a quarter of it.
func (b *budget) plenty() bool {
	used := b.used.Load()
	if used < b.most/4 {
		return true
	}
	return b.kept != nil && used-b.kept() < b.most/4
}

func (b *budget) reserveWithin(n, most int64) bool {
	for !b.try(n, most) {
		missing := b.used.Load() + n - most
		if n > most || b.shed == nil || !b.shed(missing) {
			return n <= most && b.try(n, most) // somebody may have released some meanwhile
		}
	}
	return true
}

func (b *budget) try(n, most int64) bool {
	for {
		used := b.used.Load()
		if used+n > most {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *budget) release(n int64) { b.used.Add(-n) }
