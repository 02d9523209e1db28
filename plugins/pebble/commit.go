package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

const (
	// maxGroupBytes bounds what the committer joins into one Pebble batch; a larger batch travels alone.
	maxGroupBytes = 4 << 20
	// maxUnsettled bounds the groups that were handed to Pebble and are not known to be on the disk.
	maxUnsettled = 4
)

// request is one batch on its way.
type request struct {
	batch *pebble.Batch
	bytes int64
	sync  bool
	done  chan error // buffered; gets exactly one answer unless the store fails
}

// group is what one Pebble batch carries.
type group struct {
	batch *pebble.Batch
	reqs  []*request
}

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, b storage.Batch) error { return s.Start(ctx, b)() }

// Start implements storage.Starter.
func (s *Store) Start(ctx context.Context, b storage.Batch) (wait func() error) {
	failed := func(err error) func() error { return func() error { return err } }
	if err := b.Check(); err != nil {
		return failed(err)
	}
	if len(b.Ops) == 0 && !b.Sync {
		return failed(nil)
	}
	if err := s.enter(ctx, true); err != nil {
		return failed(err)
	}
	filled := s.space.filled()
	r, err := s.enqueue(ctx, b, filled)
	if err != nil {
		s.gate.leave()
		return failed(err)
	}
	return func() error {
		defer s.gate.leave()
		select {
		case err := <-r.done:
			return err
		case <-ctx.Done():
			return status.Errorf(status.Of(ctx.Err()), "store %q: wait for the log: %w", s.opts.Path, ctx.Err())
		case <-filled.Done():
			return fmt.Errorf("store %q: %w", s.opts.Path, s.space.lowSpace())
		case <-s.dead.Done():
			return s.failure.Load().err
		}
	}
}

// enqueue encodes b and puts it into the queue.
func (s *Store) enqueue(ctx context.Context, b storage.Batch, filled context.Context) (*request, error) {
	if err := s.space.check(); err != nil {
		return nil, fmt.Errorf("store %q: %w", s.opts.Path, err)
	}
	r := &request{bytes: min(int64(b.Bytes()), s.opts.WriteQueue), sync: b.Sync, done: make(chan error, 1)}
	if err := s.takeRoom(ctx, r.bytes, filled); err != nil {
		return nil, err
	}
	var err error
	if r.batch, err = s.encode(b); err != nil {
		s.room.Release(r.bytes)
		return nil, s.classify("encode batch", err)
	}
	s.changes.count(b.Ops)
	s.queue.push(r)
	return r, nil
}

// takeRoom waits until the queue has room for n bytes.
func (s *Store) takeRoom(ctx context.Context, n int64, filled context.Context) error {
	if s.room.TryAcquire(n) {
		return nil
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.dead, cancel)()
	defer context.AfterFunc(filled, cancel)()
	if err := s.room.Acquire(waiting, n); err != nil {
		if f := s.failure.Load(); f != nil {
			return f.err
		}
		if ctx.Err() == nil {
			return fmt.Errorf("store %q: %w", s.opts.Path, s.space.lowSpace())
		}
		return status.Errorf(status.Of(err), "store %q: wait for room in the write queue: %w", s.opts.Path, err)
	}
	return nil
}

// encode copies b into a Pebble batch, on the caller's time.
func (s *Store) encode(b storage.Batch) (*pebble.Batch, error) {
	out := s.db.NewBatchWithSize(b.Bytes() + 16*len(b.Ops) + 64)
	var err error
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Delete {
			err = errors.Join(err, out.Delete(op.Key, nil))
		} else {
			err = errors.Join(err, out.Set(op.Key, op.Value, nil))
		}
	}
	if len(b.Ops) == 0 {
		err = out.LogData(nil, nil) // nothing but a record to sync
	}
	return out, err
}

// queue holds the requests that the committer has not taken yet; Store.room bounds it.
type queue struct {
	mu     sync.Mutex
	ready  sync.Cond
	reqs   []*request
	closed bool
}

func (q *queue) push(r *request) {
	q.mu.Lock()
	q.reqs = append(q.reqs, r)
	q.mu.Unlock()
	q.ready.Signal()
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ready.Signal()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.reqs)
}

// take waits until there are requests and returns as many as one group may hold, in order. It returns none when the queue is
// closed and empty.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.reqs) == 0 && !q.closed {
		q.ready.Wait()
	}
	n, bytes := 0, int64(0)
	for n < len(q.reqs) && (n == 0 || bytes+q.reqs[n].bytes <= maxGroupBytes) {
		bytes += q.reqs[n].bytes
		n++
	}
	taken := q.reqs[:n:n]
	q.reqs = append([]*request(nil), q.reqs[n:]...)
	return taken
}

// commit is the committer: it runs until the queue is closed and empty, or the store has failed.
func (s *Store) commit() {
	defer close(s.committed)
	written := make(chan group, maxUnsettled)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for g := range written {
			s.settle(g)
		}
	}()
	defer func() {
		close(written)
		<-settled
	}()
	for last := 0; s.failure.Load() == nil; {
		s.gather(last)
		reqs := s.queue.take()
		if len(reqs) == 0 {
			return
		}
		last = len(reqs)
		g, err := s.join(reqs)
		if err == nil {
			err = s.write(g)
		}
		if err != nil {
			s.fail("write batch", err, false)
			return
		}
		g.answerUnsynced()
		written <- g
	}
}

// answerUnsynced answers those who do not wait for the disk.
func (g group) answerUnsynced() {
	for _, r := range g.reqs {
		if !r.sync {
			r.done <- nil
		}
	}
}

// settle waits until g is on the disk, answers who waits for that, and makes room in the queue. Meanwhile the committer writes
// the next groups.
func (s *Store) settle(g group) {
	if s.failure.Load() != nil {
		return
	}
	if err := g.batch.SyncWait(); err != nil {
		s.fail("fsync write-ahead log", err, true)
		return
	}
	for _, r := range g.reqs {
		if r.sync {
			r.done <- nil
		}
		s.room.Release(r.bytes)
	}
	_ = g.batch.Close()
}

// gather lets callers that were just answered come back before the next group is closed, if the last one had company:
// otherwise the first to come would take an fsync for itself and the others would wait for it. It sleeps never.
func (s *Store) gather(last int) {
	for have := -1; last > 1; {
		n := s.queue.len()
		if n <= have || n >= last {
			return
		}
		have = n
		runtime.Gosched()
	}
}

// join makes one batch of many, in their order.
func (s *Store) join(reqs []*request) (group, error) {
	if len(reqs) == 1 {
		return group{reqs[0].batch, reqs}, nil
	}
	size := 0
	for _, r := range reqs {
		size += r.batch.Len()
	}
	batch := s.db.NewBatchWithSize(size)
	for _, r := range reqs {
		if err := batch.Apply(r.batch, nil); err != nil {
			return group{}, err
		}
		if err := r.batch.Close(); err != nil {
			return group{}, err
		}
	}
	return group{batch, reqs}, nil
}

// write makes g visible and starts its way to the disk. Unsynced batches are synced too, but nobody waits for it: so
// they reach the operating system at once and ride along with what others sync.
//
// Pebble ends its process over errors it cannot go on after; here only the store ends. A panic becomes an error; where
// the logger ends this goroutine (logger.Fatalf) it has ended the store before, and commit's defer lets Close go on.
func (s *Store) write(g group) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return s.db.ApplyNoSyncWait(g.batch, pebble.Sync)
}
