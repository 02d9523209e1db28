package kvs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// flight is a batch on its way to the store.
type flight struct {
	ops    []storage.Op
	arena  []byte // what ops refer to
	parts  []part
	commit *commit
	since  int64 // when its oldest change came
	group  int64 // entries in it
	began  time.Time
	wait   func() error // for the store's answer; nil: it has not been sent
	cancel context.CancelFunc
}

// part is what of a flight is one shard's.
type part struct {
	cell  *cell
	batch batch
}

// flying is a part as its shard knows it.
type flying struct {
	commit *commit
	upTo   uint64
}

// launch sends f on its way, behind all that are under way.
func (l *lane) launch(life context.Context, f *flight) {
	l.mu.Lock()
	alone := len(l.flying) == 0
	if alone {
		l.broken = false
	}
	start := l.starter != nil && !l.broken
	l.flying = append(l.flying, f)
	l.oldest.Store(l.flying[0].since)
	l.mu.Unlock()
	f.began = time.Now()
	if start {
		var ctx context.Context
		ctx, f.cancel = context.WithTimeout(life, applyTime)
		f.wait = l.starter.Start(ctx, f.batch(l))
	}
	l.under <- f
}

func (f *flight) batch(l *lane) storage.Batch {
	return storage.Batch{Shard: l.id, Ops: f.ops, Sync: f.commit.sync.Load()}
}

// land ends flights, in their order, until there are no more. ctx ends when the node stops, and life when nothing is to be
// tried any longer; giveUp ends it.
func (l *lane) land(ctx, life context.Context, giveUp context.CancelFunc) {
	for f := range l.under {
		err := l.arrive(ctx, life, f)
		if err != nil {
			giveUp() // nothing that came later may arrive without it
		}
		l.finish(f, err)
	}
}

// arrive brings f to the store, however often it takes, until life ends; its error is for those who still wait. Sending it
// again is sound: it holds whole records, what was sent after it is sent again, too, and nothing of these shards is
// acknowledged before it. A store that is away for a while costs time; those who wait are told when it is away for long,
// and at once where it says that it takes no more writes.
func (l *lane) arrive(ctx, life context.Context, f *flight) error {
	backoff, began := minBackoff, time.Now()
	for err := l.outcome(life, f); ; err = l.apply(life, f) {
		if err == nil {
			l.role.reopen()
			return nil
		}
		if life.Err() != nil {
			return errStopped
		}
		class := status.Of(err)
		final := class == status.Corrupt || status.DetailOf(err) == storage.DetailFinal
		if final || class != status.Unavailable || time.Since(began) > l.role.opts.StoreRetry {
			l.fail(f, err)
		}
		if final && ctx.Err() != nil { // the node stops, and would wait in vain
			return status.Errorf(class, "kvs: the store failed: %w; the write may have been applied", err)
		}
		select {
		case <-time.After(backoff):
		case <-life.Done():
			return errStopped
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// outcome is how the first try went. Behind a flight that has failed, it does not count: that one is in the store since,
// and what f had written there first may be older again.
func (l *lane) outcome(life context.Context, f *flight) error {
	if f.wait == nil {
		return l.apply(life, f)
	}
	err := f.wait()
	f.cancel()
	l.mu.Lock()
	again := l.broken
	l.broken = l.broken || err != nil
	l.mu.Unlock()
	if again {
		return l.apply(life, f)
	}
	return err
}

// apply sends f and waits for the answer, while nothing else is under way.
func (l *lane) apply(life context.Context, f *flight) error {
	ctx, cancel := context.WithTimeout(life, applyTime)
	defer cancel()
	f.began = time.Now()
	return l.role.opts.Store.Apply(ctx, f.batch(l))
}

// finish ends a flight: it is in the store, or nobody tries any longer.
func (l *lane) finish(f *flight, err error) {
	if err == nil {
		l.role.batches.Add(1)
		l.role.ops.Add(uint64(len(f.ops)))
		for _, p := range f.parts {
			c := p.cell
			c.mu.Lock()
			c.core.done(p.batch, f.commit.sync.Load())
			c.flying = append(c.flying[:0], c.flying[1:]...)
			c.leave()
		}
	}
	commit := f.commit
	l.mu.Lock()
	l.flying = append(l.flying[:0], l.flying[1:]...)
	l.took = time.Since(f.began)
	l.company = f.group + l.dirty.Load()
	l.oldest.Store(0)
	for i, other := range l.flying {
		if i == 0 {
			l.oldest.Store(other.since)
		}
		l.company += other.group
	}
	l.mu.Unlock()
	l.recycle(f)
	signal(l.landed)
	commit.end(err)
}

// fail tells those who wait for f, closes writes, and keeps f for further tries. The next tries sync it, for what was
// applied before it without a sync may be lost.
func (l *lane) fail(f *flight, err error) {
	l.role.close(err)
	failed := f.commit
	f.commit = newCommit()
	f.commit.sync.Store(true)
	for _, p := range f.parts {
		c := p.cell
		c.mu.Lock()
		c.flying[0].commit = f.commit
		c.mu.Unlock()
	}
	failed.end(status.Errorf(status.Of(err), "kvs: the store failed: %w; the write may have been applied", err))
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

// commit is the end of a batch: it is in the store, or, with err, those who wait are to be told that it is not known
// whether it will be.
//
// Nearly all who wait on a goroutine do so for less than lateAfter. Until then they wait for turn and nothing else: waiting
// for the end of their request as well is a select, and a channel that the request would make for it. From then on they
// wait for both.
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

// covering returns the commit that will bring the changes up to seq to the store, or to the disk. It is the next one if
// nothing that is on its way does; then next is set. c is locked.
func (c *cell) covering(seq uint64, synced bool) (t *commit, next bool) {
	for i := range c.flying {
		if p := &c.flying[i]; p.upTo >= seq && (!synced || p.commit.sync.Load()) {
			return p.commit, false
		}
	}
	c.core.wantSync = c.core.wantSync || synced
	return c.next, true
}

// enlist has a answered when its change, which is not on disk, is there. c is locked.
func (c *cell) enlist(a *answer) {
	t, _ := c.covering(a.seq, true)
	t.mu.Lock()
	t.answers = append(t.answers, a)
	t.mu.Unlock()
}

// abandon tells those who wait on no goroutine that the node stops. Whoever enlists later is told at the end of run.
func (l *lane) abandon() {
	for _, c := range l.cells {
		c.mu.Lock()
		waited := []*commit{c.next}
		for _, p := range c.flying {
			waited = append(waited, p.commit)
		}
		c.mu.Unlock()
		for _, t := range waited {
			t.tell(errHalted)
		}
	}
}

var (
	errHalted  = status.Errorf(status.Unavailable, "kvs: the node is stopping while the write was on its way to the store; it may have been applied")
	errStopped = status.Errorf(status.Unavailable, "kvs: the node has stopped before the write was in the store; it may have been applied")
)

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
		t, next := c.covering(seq, synced)
		c.mu.Unlock()
		if next {
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
