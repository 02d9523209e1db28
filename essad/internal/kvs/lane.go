package kvs

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/storage"
)

// lane brings the changes of some shards to the store, in batches, so that they stay in order. While a batch is on its way
// the next one gathers: how many writers share an fsync follows from how long it takes. A store that can be given a batch
// before it has answered the last one (storage.Starter) gets two at a time: while it writes one, the writers of the other
// are told and make their next changes.
//
// Why a lane for many shards and not a batch per shard? Because a batch that spans shards needs one fsync and one trip to
// the plugin for all of them.
type lane struct {
	role    *Role
	id      uint32
	starter storage.Starter // nil: the store takes one batch at a time
	cells   []*cell
	next    *commit
	start   int // cell that the next batch begins with, so that none starves

	wake   chan struct{} // there is something to write
	hurry  chan struct{} // somebody waits for it
	landed chan struct{} // a flight has landed
	under  chan *flight  // what is on its way, the oldest first
	free   chan *flight

	stopped atomic.Pointer[time.Time] // when the node was told to stop

	dirty  atomic.Int64 // entries that the next batch would take
	since  atomic.Int64 // when the oldest of them came, on the clock of now; 0: there are none
	taken  atomic.Int64 // the same of what is being gathered
	oldest atomic.Int64 // the same of what is under way
	now    func() int64 // nanoseconds; the role's, or a test's
	asked  atomic.Int64 // requests that wait for the next batch
	wanted atomic.Int64 // full is told when the load is so large
	full   chan struct{}
	batch  uint64 // number of the last batch
	timer  *time.Timer

	mu       sync.Mutex // of what gathering and landing share
	flying   []*flight  // the oldest first
	broken   bool       // a flight has failed: one at a time, until what is under way has been sent again
	company  int64      // load of the last batch and all that came while it was under way
	took     time.Duration
	patience time.Duration // for so long the next batch waits for company
}

const (
	lanesMax   = 1 // see lane
	flightsMax = 2
	// asyncDelay is how long changes nobody waits for gather before they go to the store.
	asyncDelay  = 3 * time.Millisecond
	asyncBytes  = 1 << 20     // so many go at once
	applyTime   = time.Minute // for an answer of the store
	roomDelay   = time.Millisecond
	minBackoff  = 5 * time.Millisecond
	maxBackoff  = time.Second
	maxArenaCap = 2 * batchBytes

	musterMin   = 100 * time.Microsecond
	musterMax   = 2 * time.Millisecond
	musterPart  = 4  // a batch waits at most this many times as long as the store took for the last one
	musterTrial = 64 // one batch of so many waits although it has not paid lately
)

func newLanes(r *Role) []*lane {
	out := make([]*lane, min(lanesMax, len(r.cells)))
	for i := range out {
		out[i] = newLane(r, uint32(i))
		out[i].starter, _ = r.opts.Store.(storage.Starter)
	}
	for i, c := range r.cells {
		l := out[i%len(out)]
		c.lane, c.next = l, l.next
		l.cells = append(l.cells, c)
	}
	return out
}

func newLane(r *Role, id uint32) *lane {
	l := &lane{
		role: r, id: id, next: newCommit(r),
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), landed: make(chan struct{}, 1), full: make(chan struct{}, 1),
		under: make(chan *flight, flightsMax), free: make(chan *flight, flightsMax),
		timer: time.NewTimer(time.Hour), patience: musterMax,
		now: func() int64 { return time.Now().UnixNano() },
	}
	for range flightsMax {
		l.free <- &flight{}
	}
	l.timer.Stop()
	l.wanted.Store(math.MaxInt64)
	return l
}

// count adds n, which may be negative, to the entries that the next batch would take.
func (l *lane) count(n int64) {
	have := l.dirty.Add(n)
	if n > 0 && have == n {
		l.since.Store(l.now())
	}
	l.look()
}

// ask tells that one more request waits for the next batch.
func (l *lane) ask() {
	l.asked.Add(1)
	l.look()
}

func (l *lane) look() {
	if l.load() >= l.wanted.Load() {
		signal(l.full)
	}
}

// load is how much waits for the next batch: requests where all wait, whose writers make their next ones when they are answered,
// and entries where none is known to.
func (l *lane) load() int64 {
	if l.role.durability == annav1.Durability_SYNC {
		return l.asked.Load()
	}
	return l.dirty.Load()
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (l *lane) poke(hurry bool) {
	if hurry {
		signal(l.hurry)
	} else {
		signal(l.wake)
	}
}

// run writes until ctx ends, and then what is left, for as long as Options.Drain.
func (l *lane) run(ctx context.Context) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	drain := time.AfterFunc(math.MaxInt64, end)
	defer drain.Stop()
	defer context.AfterFunc(ctx, func() {
		now := time.Now()
		l.stopped.Store(&now)
		drain.Reset(l.role.opts.Drain)
	})()
	var landing sync.WaitGroup
	landing.Go(func() { l.land(ctx, life, end) })
	for ctx.Err() == nil && l.wait(ctx) && l.muster(ctx) {
		if f := l.gather(); f != nil {
			l.launch(life, f)
		}
	}
	for life.Err() == nil && l.slot(life) {
		f := l.gather()
		if f == nil {
			break
		}
		l.launch(life, f)
	}
	close(l.under)
	landing.Wait()
	l.abandon()
}

// wait waits until there is something to write and either somebody waits for it or it has gathered for a while.
func (l *lane) wait(ctx context.Context) bool {
	select {
	case <-l.hurry:
		return true
	case <-l.wake:
	case <-ctx.Done():
		return false
	}
	if l.role.durability == annav1.Durability_SYNC || l.role.pending.Load() > asyncBytes {
		return true
	}
	t := time.NewTimer(asyncDelay)
	defer t.Stop()
	select {
	case <-l.hurry:
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// muster waits until the next batch may leave, and reports whether it is to.
//
// While another one is under way it is to be as large as that, so that the writers fall into two equal groups; otherwise
// the first to come back would take a trip for itself, and every later batch were what is left of it. Where none is under
// way, half of the writers there are make a batch: as many as the last one held and came while it was under way, which is
// who is to come back where each waits for its own before it makes the next.
func (l *lane) muster(ctx context.Context) bool {
	for ctx.Err() == nil {
		beside, busy := l.berth()
		if !busy {
			return l.gatherCompany(ctx)
		}
		if beside > 0 && l.load() >= beside {
			return true
		}
		if beside == 0 {
			beside = math.MaxInt64
		}
		l.wanted.Store(beside)
		if l.load() < beside {
			select {
			case <-l.full:
			case <-l.landed:
			case <-ctx.Done():
			}
		}
		l.wanted.Store(math.MaxInt64)
	}
	return false
}

// berth reports whether anything is under way, and how large a batch beside it has to be; 0: there is no room for one.
func (l *lane) berth() (beside int64, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.flying) == 0:
		return 0, false
	case len(l.flying) == flightsMax || l.starter == nil || l.broken:
		return 0, true
	}
	writers := max(l.company, l.flying[0].group+l.load())
	return max(1, min((writers+1)/2, writers-l.flying[0].group)), true
}

// slot waits until one more batch may be under way.
func (l *lane) slot(ctx context.Context) bool {
	for ctx.Err() == nil {
		if beside, busy := l.berth(); !busy || beside > 0 {
			return true
		}
		select {
		case <-l.landed:
		case <-ctx.Done():
		}
	}
	return false
}

// gatherCompany waits for the writers that are to come back. Where they do not come back in time it waits half as long the
// next time, until it does not wait at all but for a trial now and then: writers that come at times of their own lose
// little by it.
func (l *lane) gatherCompany(ctx context.Context) bool {
	l.mu.Lock()
	company, took, patience := l.company, l.took, l.patience
	l.mu.Unlock()
	if l.starter != nil {
		company = (company + 1) / 2
	}
	if l.role.durability != annav1.Durability_SYNC { // nobody is known to wait, and all have gathered already
		return true
	}
	if company < 2 || l.load() >= company {
		return true
	}
	if patience < musterMin {
		if l.batch%musterTrial != 0 {
			return true
		}
		patience = musterMax
	}
	select {
	case <-l.full: // of an earlier batch
	default:
	}
	l.wanted.Store(company)
	defer l.wanted.Store(math.MaxInt64)
	if l.load() < company {
		l.timer.Reset(min(patience, musterPart*took))
		select {
		case <-l.full:
			l.timer.Stop()
		case <-l.timer.C:
			l.bear(patience / 2)
			return true
		case <-ctx.Done():
			return false
		}
	}
	l.bear(min(2*patience, musterMax))
	return true
}

func (l *lane) bear(patience time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.patience = patience
}

// gather takes the next batch from the shards; nil: there is nothing to take. There is room for it.
func (l *lane) gather() *flight {
	f := <-l.free
	f.commit, l.next = l.next, newCommit(l.role)
	f.commit.sync.Store(l.role.durability != annav1.Durability_MEMORY)
	l.taken.Store(l.since.Load()) // before it is gone from there: see behind
	if f.since = l.since.Swap(0); f.since == 0 {
		f.since = l.now() // whoever made the first change has counted it, and is about to say when
	}
	l.taken.Store(f.since)
	f.group = l.load()
	l.asked.Store(0)
	size, empty := 0, true
	for i := range l.cells {
		c := l.cells[(l.start+i)%len(l.cells)]
		c.mu.Lock()
		if c.core.wantsWrite() {
			empty = false
			if c.core.wantSync || c.core.wantDisk {
				f.commit.sync.Store(true)
			}
			p := part{cell: c}
			f.ops, f.arena, p.batch = c.core.take(f.ops, f.arena, &size)
			f.parts = append(f.parts, p)
			c.flying = append(c.flying, flying{f.commit, p.batch.upTo})
		}
		c.next = l.next
		c.countDirty()
		c.mu.Unlock()
	}
	l.start++
	l.batch++
	if empty {
		l.taken.Store(0)
		f.commit.end(nil)
		l.recycle(f)
		return nil
	}
	if left := l.dirty.Load(); left > 0 { // some came meanwhile, or did not fit
		f.group = max(0, f.group-l.load())
		l.since.CompareAndSwap(0, f.since)
	}
	return f
}

// recycle makes f ready for the next batch.
func (l *lane) recycle(f *flight) {
	clear(f.ops)
	clear(f.parts)
	arena := f.arena[:0]
	if cap(arena) > maxArenaCap {
		arena = nil
	}
	*f = flight{ops: f.ops[:0], arena: arena, parts: f.parts[:0]}
	l.free <- f
}
