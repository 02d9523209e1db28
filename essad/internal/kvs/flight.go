package kvs

import (
	"context"
	"slices"
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
	group  int64 // see lane.load
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
	l.taken.Store(0)
	l.mu.Unlock()
	f.began = time.Now()
	if start {
		var ctx context.Context
		ctx, f.cancel = context.WithTimeout(life, applyTime)
		f.wait = l.starter.Start(ctx, f.batch(l))
	}
	l.under <- f
}

// refusedTime is how long a node that stops goes on with a store that refuses: for as long as it can only hope that somebody
// makes room, which may be never, whoever stopped it waits.
const refusedTime = 2 * time.Second

// stoppedFor is how long ago the node was told to stop, once it was.
func (l *lane) stoppedFor() time.Duration {
	if at := l.stopped.Load(); at != nil {
		return time.Since(*at)
	}
	return 0
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
// and at once where it says that it takes no more writes. A node that stops does not wait for such a store, and not for long
// for one that is there and refuses, as on a full disk.
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
		if ctx.Err() != nil && (final || class != status.Unavailable && l.stoppedFor() > refusedTime) {
			return storeFailed(class, err) // the node stops, and would wait in vain
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

// apply sends f and waits for the answer. The store has it behind all that was started before, and nothing is started meanwhile.
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
	l.company = f.group + l.load()
	oldest := int64(0)
	for i, other := range l.flying {
		if i == 0 {
			oldest = other.since
		}
		l.company += other.group
	}
	l.oldest.Store(oldest)
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
	f.commit = newCommit(l.role)
	f.commit.sync.Store(true)
	for _, p := range f.parts {
		c := p.cell
		c.mu.Lock()
		c.flying[0].commit = f.commit
		c.mu.Unlock()
	}
	told := storeFailed(status.Of(err), err)
	failed.end(told)
	for _, t := range l.commits() {
		t.giveUp(told) // it cannot end before f has
	}
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

	role    *Role
	mu      sync.Mutex
	answers []enlisted
	lost    chan struct{} // closed when those who wait are told that the store fails, and made anew
	failure error         // what they are told
}

// enlisted is who waits for a commit on no goroutine.
type enlisted interface{ ended(err error) }

const lateAfter = 50 * time.Millisecond

func newCommit(r *Role) *commit {
	t := &commit{role: r, done: make(chan struct{}), turn: make(chan struct{}), lost: make(chan struct{})}
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

// giveUp tells those who wait for t that the store fails, and lets t go on: its changes stay on their way.
func (t *commit) giveUp(err error) {
	t.mu.Lock()
	t.failure = err
	close(t.lost)
	t.lost = make(chan struct{})
	t.mu.Unlock()
	t.look()
	t.tell(err)
}

// whenLost returns what is closed when the store is next found to fail.
func (t *commit) whenLost() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

func (t *commit) lostTo() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
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
	t.role.batch(func() {
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

// enlist has a told when the commit has ended that brings the change seq, which is not on disk, there; next tells that it is the
// next one. c is locked.
func (c *cell) enlist(a enlisted, seq uint64) (next bool) {
	t, next := c.covering(seq, true)
	t.mu.Lock()
	t.answers = append(t.answers, a)
	t.mu.Unlock()
	return next
}

// abandon tells those who wait on no goroutine that the node stops. Whoever enlists later is told at the end of run.
func (l *lane) abandon() {
	for _, t := range l.commits() {
		t.tell(errHalted)
	}
}

// commits are those that have not ended.
func (l *lane) commits() []*commit {
	var all []*commit
	add := func(t *commit) {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	for _, c := range l.cells {
		c.mu.Lock()
		add(c.next)
		for _, p := range c.flying {
			add(p.commit)
		}
		c.mu.Unlock()
	}
	return all
}

var (
	errHalted  = status.Errorf(status.Unavailable, "kvs: the node is stopping while the write was on its way to the store; it may have been applied")
	errStopped = status.Errorf(status.Unavailable, "kvs: the node has stopped before the write was in the store; it may have been applied")
)

// storeFailed is what the writer of a change is told that has not reached the store.
func storeFailed(class status.Class, err error) error {
	return status.Errorf(class, "kvs: the store failed: %w; the write may have been applied", err)
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
		t, next := c.covering(seq, synced)
		lost := t.whenLost()
		c.mu.Unlock()
		if err := c.role.closed.Load(); err != nil {
			return storeFailed(err.Class, err)
		}
		if next {
			c.lane.ask()
			c.lane.poke(true)
		}
		if _ = <-t.turn; !t.ended.Load() {
			select {
			case <-t.done:
			case <-lost:
				return t.lostTo()
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
