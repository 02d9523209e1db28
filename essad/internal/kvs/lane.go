package kvs

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// lane brings the changes of some shards to the store, one batch at a time, so that they stay in order. While a batch is
// on its way the next one gathers: how many writers share an fsync follows from how long it takes.
//
// Why a lane for many shards and not a batch per shard? Because a batch that spans shards needs one fsync and one trip to
// the plugin for all of them. Why not two lanes, so that one gathers while the other syncs? That was measured: groups are
// half as large, and 64 writers are slower for it.
type lane struct {
	role  *Role
	id    uint32
	cells []*cell
	next  *commit
	start int // cell that the next batch begins with, so that none starves

	wake  chan struct{} // there is something to write
	hurry chan struct{} // somebody waits for it

	ops   []storage.Op
	arena []byte
	taken []*cell

	began atomic.Int64  // when the batch under way was gathered, in Unix nanoseconds; 0: none is
	dirty atomic.Int64  // entries that the next batch would take
	group int64         // entries of the last batch
	took  time.Duration // for so long the store was busy with it
	batch uint64        // number of the last batch

	company  int64         // entries to wait for before the next batch
	patience time.Duration // for so long
	timer    *time.Timer
	wanted   atomic.Int64  // full is told when so many are dirty
	full     chan struct{} // it holds a token at most
}

// commit is the end of a batch: it is in the store, or, with err, those who wait are to be told that it is not known
// whether it will be.
//
// Nearly all who wait do so for less than lateAfter. Until then they wait for turn and nothing else: waiting for the end of
// their request as well is a select, and a channel that the request would make for it. From then on they wait for both.
type commit struct {
	done  chan struct{} // closed at the end
	turn  chan struct{} // closed at the end or after lateAfter
	sync  atomic.Bool   // it will be on disk, too
	ended atomic.Bool
	err   error
	once  sync.Once // closes turn
	late  *time.Timer

	mu      sync.Mutex
	answers []*answer // of those who wait on no goroutine
}

const lateAfter = 50 * time.Millisecond

func newCommit() *commit {
	t := &commit{done: make(chan struct{}), turn: make(chan struct{})}
	t.late = time.AfterFunc(lateAfter, t.look)
	return t
}

// look lets those who wait look whether their request has ended.
func (t *commit) look() { t.once.Do(func() { close(t.turn) }) }

func (t *commit) end(err error) {
	t.late.Stop()
	t.err = err
	t.ended.Store(true)
	close(t.done)
	t.look()
	t.tell(err)
}

// tell tells those who wait on no goroutine, so that their replies travel together. Nobody enlists with an ended commit.
func (t *commit) tell(err error) {
	t.mu.Lock()
	all := t.answers
	t.answers = nil
	t.mu.Unlock()
	if len(all) == 0 {
		return
	}
	all[0].role.batch(func() {
		for _, a := range all {
			a.ended(err)
		}
	})
}

// enlist has a answered when its change, which is not on disk, is there. c is locked.
func (c *cell) enlist(a *answer) {
	t := c.flying
	if t == nil || c.flight.upTo < a.seq || !t.sync.Load() {
		t = c.next
		c.core.wantSync = true
	}
	t.mu.Lock()
	t.answers = append(t.answers, a)
	t.mu.Unlock()
}

// abandon tells those who wait on no goroutine that the node stops. Whoever enlists later is told at the end of run.
func (l *lane) abandon() {
	for _, c := range l.cells {
		c.mu.Lock()
		next, flying := c.next, c.flying
		c.mu.Unlock()
		next.tell(errHalted)
		if flying != nil {
			flying.tell(errHalted)
		}
	}
}

const (
	lanesMax = 1 // see lane
	// asyncDelay is how long changes nobody waits for gather before they go to the store. It leaves time for the fsync
	// within the 10 ms of durability batched.
	asyncDelay  = 3 * time.Millisecond
	asyncBytes  = 1 << 20 // so many go at once
	applyTime   = time.Minute
	roomDelay   = time.Millisecond // a writer that found the buffer full looks again after this
	minBackoff  = 5 * time.Millisecond
	maxBackoff  = time.Second
	maxArenaCap = 2 * batchBytes
)

func newLanes(r *Role) []*lane {
	out := make([]*lane, min(lanesMax, len(r.cells)))
	for i := range out {
		out[i] = newLane(r, uint32(i))
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
		role: r, id: id, next: newCommit(),
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), full: make(chan struct{}, 1),
		timer: time.NewTimer(time.Hour), patience: musterMax,
	}
	l.timer.Stop()
	l.wanted.Store(math.MaxInt64)
	return l
}

// count adds n, which may be negative, to the entries that the next batch would take.
func (l *lane) count(n int64) {
	if l.dirty.Add(n) >= l.wanted.Load() {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

func (l *lane) poke(hurry bool) {
	ch := l.wake
	if hurry {
		ch = l.hurry
	}
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what is left.
func (l *lane) run(ctx context.Context) {
	// A batch that ctx's end interrupts stays gathered.
	for ctx.Err() == nil && l.wait(ctx) {
		l.muster(ctx)
		if ctx.Err() == nil && l.gather() {
			l.write(ctx)
		}
	}
	left, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.role.opts.Drain)
	defer cancel()
	for left.Err() == nil && (len(l.taken) > 0 || l.gather()) {
		l.write(left)
	}
	l.finish(status.Errorf(status.Unavailable, "kvs: the node has stopped before the write was in the store; it may have been applied"))
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

// muster waits for company: for as many changes as the last batch held and came while it was under way, which is how many
// writers there are where each waits for its own before it makes the next. Without it the writers fall into two groups, one
// of which gathers while the other is written, and every fsync and every trip to the store serves half of them.
//
// Where they do not come back in time it waits half as long the next time, until it does not wait at all but for a trial
// now and then: writers that come at times of their own lose little by it.
func (l *lane) muster(ctx context.Context) {
	if l.company < 2 || l.dirty.Load() >= l.company {
		return
	}
	patience := l.patience
	if patience < musterMin {
		if l.batch%musterTrial != 0 {
			return
		}
		patience = musterMax
	}
	select {
	case <-l.full: // of an earlier batch
	default:
	}
	l.wanted.Store(l.company)
	defer l.wanted.Store(math.MaxInt64)
	if l.dirty.Load() < l.company {
		l.timer.Reset(min(patience, musterPart*l.took))
		select {
		case <-l.full:
			l.timer.Stop()
		case <-l.timer.C:
			l.patience = patience / 2
			return
		case <-ctx.Done():
			return
		}
	}
	l.patience = min(2*patience, musterMax)
}

const (
	musterMin   = 100 * time.Microsecond
	musterMax   = 2 * time.Millisecond
	musterPart  = 4  // it waits at most this many times as long as the store took for the last batch
	musterTrial = 64 // one batch of so many waits although it has not paid lately
)

// gather takes the next batch from the shards and reports whether there is one.
func (l *lane) gather() bool {
	cur, next := l.next, newCommit()
	cur.sync.Store(l.role.durability != annav1.Durability_MEMORY)
	l.next = next
	size, empty := 0, true
	l.group = l.dirty.Load()
	l.ops, l.arena, l.taken = l.ops[:0], l.arena[:0], l.taken[:0]
	for i := range l.cells {
		c := l.cells[(l.start+i)%len(l.cells)]
		c.mu.Lock()
		if c.core.wantsWrite() {
			empty = false
			if c.core.wantSync {
				cur.sync.Store(true)
			}
			l.ops, l.arena, c.flight = c.core.take(l.ops, l.arena, &size)
			c.flying = cur
			l.taken = append(l.taken, c)
		}
		c.next = next
		c.countDirty()
		c.mu.Unlock()
	}
	l.start++
	l.batch++
	l.group -= l.dirty.Load() // what did not fit
	if !empty {
		l.began.Store(time.Now().UnixNano())
	}
	return !empty
}

// write brings the gathered batch to the store, however often it takes, until ctx ends. Sending it again is sound: it
// holds whole records, and nothing newer of these shards is on its way. A store that is away for a while costs time; those
// who wait are told when it is away for long, and at once where it says that it takes no more writes.
func (l *lane) write(ctx context.Context) {
	backoff, began := minBackoff, time.Now()
	for {
		err := l.apply(ctx)
		if err == nil {
			l.role.reopen()
			l.finish(nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		final := status.Of(err) != status.Unavailable || status.DetailOf(err) == storage.DetailFinal
		if final || time.Since(began) > l.role.opts.StoreRetry {
			l.fail(err)
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (l *lane) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	cur, began := l.current(), time.Now()
	err := l.role.opts.Store.Apply(ctx, storage.Batch{Shard: l.id, Ops: l.ops, Sync: cur.sync.Load()})
	if err == nil {
		l.role.batches.Add(1)
		l.role.ops.Add(uint64(len(l.ops)))
		l.took = time.Since(began)
	}
	return err
}

// current is the commit of the gathered batch. All cells in taken have the same.
func (l *lane) current() *commit {
	c := l.taken[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flying
}

// finish ends the gathered batch: it is in the store, or nobody tries any longer.
func (l *lane) finish(err error) {
	if len(l.taken) == 0 {
		return
	}
	cur := l.current()
	l.company = l.group + l.dirty.Load()
	for i, c := range l.taken {
		c.mu.Lock()
		if err == nil {
			c.core.done(c.flight, cur.sync.Load())
			c.flying = nil
		}
		c.leave()
		l.taken[i] = nil
	}
	l.taken = l.taken[:0]
	l.began.Store(0)
	clear(l.ops)
	if cap(l.arena) > maxArenaCap {
		l.arena = nil
	}
	cur.end(err)
}

// fail tells those who wait for the gathered batch, closes writes, and keeps the batch for further tries. The next tries
// sync it, for what was applied before it without a sync may be lost.
func (l *lane) fail(err error) {
	l.role.close(err)
	cur, again := l.current(), newCommit()
	again.sync.Store(true)
	for _, c := range l.taken {
		c.mu.Lock()
		c.flying = again
		c.mu.Unlock()
	}
	cur.end(status.Errorf(status.Of(err), "kvs: the store failed: %w; the write may have been applied", err))
}

// close refuses writes until a batch reaches the store again.
func (r *Role) close(err error) {
	c := status.Of(err)
	if c != status.Corrupt && c != status.Overloaded {
		c = status.Unavailable
	}
	if r.closed.Swap(status.Errorf(c, "kvs: node %s takes no writes while its store fails: %v", r.opts.Node, err)) == nil {
		r.log.Error("the store fails, writes are closed", "error", err)
	}
}

func (r *Role) reopen() {
	if r.closed.Load() != nil && r.closed.Swap(nil) != nil {
		r.log.Info("the store works again, writes are open")
	}
}

// await waits until the store has, or has synced, all changes of c up to seq.
func (c *cell) await(ctx context.Context, seq uint64, synced bool) error {
	for {
		c.mu.Lock()
		reached := c.core.applied
		if synced {
			reached = c.core.synced
		}
		if reached >= seq {
			c.mu.Unlock()
			return nil
		}
		t, poke := c.flying, false
		if t == nil || c.flight.upTo < seq || synced && !t.sync.Load() {
			t, poke = c.next, true
			c.core.wantSync = c.core.wantSync || synced
		}
		c.mu.Unlock()
		if poke {
			c.lane.poke(true)
		}
		if _ = <-t.turn; !t.ended.Load() {
			select {
			case <-t.done:
			case <-c.role.halt.Done():
				return errHalted
			case <-ctx.Done():
				return status.Errorf(status.Of(ctx.Err()), "kvs: %w while the write was on its way to the store; it may have been applied", ctx.Err())
			}
		}
		if t.err != nil {
			return t.err
		}
	}
}

// flush waits until the store has all that was changed before.
func (r *Role) flush(ctx context.Context) error {
	if r.opts.Store == nil {
		return nil
	}
	type point struct {
		c   *cell
		seq uint64
	}
	var wait []point
	for _, c := range r.cells {
		c.mu.Lock()
		if c.core.applied < c.core.seq {
			wait = append(wait, point{c, c.core.seq})
		}
		c.mu.Unlock()
	}
	for _, p := range wait {
		p.c.lane.poke(true)
	}
	for _, p := range wait {
		if err := p.c.await(ctx, p.seq, false); err != nil {
			return fmt.Errorf("bring changes to the store: %w", err)
		}
	}
	return nil
}

// behind reports whether a change made now would not be on disk within 10 ms, as far as can be told.
func (l *lane) behind() bool {
	began := l.began.Load()
	return l.dirty.Load() > behindOps || l.role.pending.Load() > behindBytes ||
		began != 0 && time.Now().UnixNano()-began > int64(behindTime)
}

const (
	behindOps   = storage.MaxBatchOps / 2
	behindBytes = batchBytes
	behindTime  = 7 * time.Millisecond // the batch on its way takes so long
)

// room waits until the write buffer takes another change; batched, until it would be on disk in time. Until then nothing
// was done about the request.
func (r *Role) room(ctx context.Context, c *cell, batched bool) error {
	for !r.roomNow(c, batched) {
		if err := r.closed.Load(); err != nil {
			return status.Safe(status.Errorf(err.Class, "%w", err))
		}
		// Changes of any shard fill the buffer and any batch makes room, so the end of one batch is not waited for.
		c.lane.poke(true)
		select {
		case <-time.After(roomDelay):
		case <-r.halt.Done():
			return status.Safe(status.Errorf(status.Unavailable, "kvs: the node is stopping"))
		case <-ctx.Done():
			return status.Safe(status.Errorf(status.Overloaded, "kvs: %d bytes of changes wait for the store, at most %d may", r.pending.Load(), r.opts.WriteBuffer))
		}
	}
	return nil
}

// roomNow reports whether room would not wait, nor refuse.
func (r *Role) roomNow(c *cell, batched bool) bool {
	return r.closed.Load() == nil && r.pending.Load() <= r.opts.WriteBuffer && (!batched || !c.lane.behind())
}
