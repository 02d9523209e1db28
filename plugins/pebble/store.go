package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// Version of the plugin, and of what it says of itself.
const Version = "1.0.0"

// closeTimeout bounds Close: a disk that does not answer must not hold the daemon.
const closeTimeout = 30 * time.Second

// Store is an open pebble store. Make one with Open.
//
// Writes go through one committer: the caller encodes its batch and queues it, the committer joins all that wait into one and
// hands it to Pebble. Another goroutine waits for the fsyncs and answers, so that a group is written and gets its places in
// memory while the disk works on the one before; one fsync serves all groups that came during the fsync before it.
type Store struct {
	opts  Options
	log   hclog.Logger
	fs    *watchFS
	marks *marks
	lock  *pebble.Lock
	cache *pebble.Cache
	db    *pebble.DB

	opened    atomic.Bool
	compactor *scheduler
	abandoned atomic.Bool
	gate      gate
	room      *semaphore.Weighted // of the queue, in bytes
	queue     queue
	committed chan struct{} // closed when the committer has ended
	space     space
	spares    *spares
	snapshots snapshots
	changes   changes

	failure  atomic.Pointer[failure]
	dead     context.Context // ended by the first failure
	die      context.CancelFunc
	leaving  chan struct{} // closed when Close begins
	closing  sync.Once
	closeErr error
}

var _ storage.Starter = (*Store)(nil)

// failure is why the store can no longer write.
type failure struct {
	err      error
	readable bool
}

// Info implements storage.Store.
func (*Store) Info() storage.Info {
	return storage.Info{Name: "pebble", Version: Version, Persistent: true}
}

// fail ends writing for good. Only the first failure counts. After a failed fsync nobody knows what is on the disk, and
// what reads show may not be there after a restart: so they end too.
func (s *Store) fail(what string, err error, fsync bool) {
	text := "the store is read-only until it is opened again"
	if fsync {
		text = "the store is closed until it is opened again"
	}
	final := status.Errorf(status.Unavailable, "store %q: %s: %w: %s", s.opts.Path, what, err, text)
	final.Detail = storage.DetailFinal
	f := &failure{err: final, readable: !fsync}
	if s.failure.CompareAndSwap(nil, f) {
		s.log.Error("store failed", "path", s.opts.Path, "what", what, "error", err)
		s.die()
	}
}

// enter begins a call; the caller must leave the gate if it succeeds.
func (s *Store) enter(ctx context.Context, write bool) error {
	if err := ctx.Err(); err != nil {
		return status.Errorf(status.Of(err), "store %q: %w", s.opts.Path, err)
	}
	if !s.gate.enter() {
		return status.Errorf(status.Unavailable, "store %q is closed", s.opts.Path)
	}
	if f := s.failure.Load(); f != nil && (write || !f.readable) {
		s.gate.leave()
		return f.err
	}
	return nil
}

// classify puts a class on an error of Pebble's and says which store it is.
func (s *Store) classify(what string, err error) error {
	if err == nil {
		return nil
	}
	c := status.Internal
	switch {
	case status.Of(err) != status.Internal:
		c = status.Of(err)
	case pebble.IsCorruptionError(err), errors.Is(err, os.ErrNotExist):
		c = status.Corrupt
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		c = status.Denied
	case isErrno(err):
		c = status.Unavailable
	}
	return status.Errorf(c, "store %q: %s: %w", s.opts.Path, what, err)
}

func isErrno(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// Stats implements storage.Store.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) {
	// Not after a failure: Pebble may hold the lock that its metrics need.
	if err := s.enter(ctx, true); err != nil {
		return storage.Stats{}, err
	}
	defer s.gate.leave()
	m := s.db.Metrics()
	keys, err := s.tableKeys()
	if err != nil {
		return storage.Stats{}, s.classify("read statistics", err)
	}
	return storage.Stats{
		Keys:       max(0, keys+s.changes.pending()),
		DiskBytes:  int64(m.DiskSpaceUsage()) + s.spares.bytes(),
		CacheBytes: m.BlockCache.Size + int64(m.MemTable.Size),
	}, nil
}

// tableKeys estimates the keys in tables: a deletion hides one older entry; overwritten ones count until compaction.
func (s *Store) tableKeys() (n int64, err error) {
	levels, err := s.db.SSTables(pebble.WithProperties())
	if err != nil {
		return 0, err
	}
	for _, tables := range levels {
		for _, t := range tables {
			n += int64(t.Properties.NumEntries) - 2*int64(t.Properties.NumDeletions)
		}
	}
	return n, nil
}

// changes counts what is applied but not yet in tables.
type changes struct {
	total    atomic.Int64
	flushing atomic.Int64
}

func (c *changes) pending() int64 { return c.total.Load() }
func (c *changes) flushBegins()   { c.flushing.Store(c.total.Load()) }
func (c *changes) flushEnds()     { c.total.Add(-c.flushing.Swap(0)) }

func (c *changes) count(ops []storage.Op) {
	n := int64(len(ops))
	for i := range ops {
		if ops[i].Delete {
			n -= 2
		}
	}
	c.total.Add(n)
}

// Close implements storage.Store. It waits for the calls that are under way.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.leaving)
		done := make(chan error, 1)
		go func() { done <- s.shutDown() }()
		select {
		case s.closeErr = <-done:
		case <-time.After(closeTimeout):
			s.closeErr = status.Errorf(status.Unavailable, "store %q: not closed within %v", s.opts.Path, closeTimeout)
		}
	})
	return s.closeErr
}

func (s *Store) shutDown() error {
	<-s.gate.close()
	s.spares.end()
	s.queue.close()
	select {
	case <-s.committed:
	case <-s.dead.Done(): // the committer may be parked
	}
	if f := s.failure.Load(); f != nil {
		return s.abandon(f)
	}
	s.snapshots.releaseAll()
	// With nothing left in the log the next start is fast, and damage to the log cannot take anything away.
	err := s.db.Flush()
	err = errors.Join(err, s.db.Close())
	if f := s.failure.Load(); f != nil {
		err = errors.Join(err, f.err)
	}
	s.cache.Unref()
	return s.classify("close", errors.Join(err, s.marks.close(), s.lock.Close()))
}

// abandon closes a failed store as far as that is possible. Pebble may wait for ever for locks that died with one of its
// goroutines, or panic; what matters is that the folder's lock is free again.
func (s *Store) abandon(f *failure) error {
	s.abandoned.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		s.snapshots.releaseAll()
		_ = s.db.Close()
	}()
	select {
	case <-done:
	case <-time.After(abandonTimeout):
		s.log.Warn("a failed store did not close; its memory is freed with the process", "path", s.opts.Path)
	}
	_ = s.marks.close()
	_ = s.lock.Close()
	return f.err
}

const abandonTimeout = 2 * time.Second

// gate counts the calls under way, so that Close can wait for them and none comes after it.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{}
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.closed {
		close(g.empty)
	}
}

// close lets nobody in any more; the channel is closed when the last one has left.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.empty = true, make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	return g.empty
}

// snapshots are the open ones.
type snapshots struct {
	mu   sync.RWMutex
	open map[uint64]*pebble.Snapshot
	last uint64
}

// MaxSnapshots is how many snapshots may be open at once: each keeps Pebble from dropping what it can see.
const MaxSnapshots = 16

// Snapshot implements storage.Store.
func (s *Store) Snapshot(ctx context.Context) (uint64, error) {
	if err := s.enter(ctx, true); err != nil { // not after a failure: see Stats
		return 0, err
	}
	defer s.gate.leave()
	s.snapshots.mu.Lock()
	defer s.snapshots.mu.Unlock()
	if len(s.snapshots.open) >= MaxSnapshots {
		return 0, status.Errorf(status.Overloaded, "store %q has %d snapshots open: release one first", s.opts.Path, MaxSnapshots)
	}
	s.snapshots.last++
	s.snapshots.open[s.snapshots.last] = s.db.NewSnapshot()
	return s.snapshots.last, nil
}

// Release implements storage.Store.
func (s *Store) Release(ctx context.Context, snapshot uint64) error {
	if err := s.enter(ctx, true); err != nil {
		return err
	}
	defer s.gate.leave()
	s.snapshots.mu.Lock()
	defer s.snapshots.mu.Unlock()
	snap := s.snapshots.open[snapshot]
	if snap == nil {
		return s.noSnapshot(snapshot)
	}
	delete(s.snapshots.open, snapshot)
	return s.classify(fmt.Sprintf("release snapshot %d", snapshot), snap.Close())
}

func (s *Store) noSnapshot(n uint64) error {
	return status.Errorf(status.NotFound, "store %q has no snapshot %d (released already, or taken before a restart)", s.opts.Path, n)
}

func (p *snapshots) releaseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, snap := range p.open {
		_ = snap.Close()
		delete(p.open, n)
	}
}
