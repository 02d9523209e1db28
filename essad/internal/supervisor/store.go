package supervisor

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// Store is a store in a supervised process. It is a storage.Store whose requests outlive the process: those that were under
// way when it ended are sent to the next one, the batches of a shard in their order. That is sound because a batch holds
// absolute values. What the store itself answers, an error too, is passed on.
type Store struct {
	p    *supervised
	wait time.Duration
	once sync.Once // sets info, with the first process
	info storage.Info

	mu        sync.Mutex
	lanes     map[uint32]*shard
	snapshots map[uint64]snapshot
	last      uint64 // snapshot number given out
}

var _ storage.Starter = (*Store)(nil)

// shard is the turn-taking of one shard's batches: one is under way, so that a repeated one cannot overtake its follower.
type shard struct {
	turn  chan struct{} // holds a token while a batch is under way; waiters are served in order
	users int
}

// snapshot is a snapshot of one process's store; the next process does not know it.
type snapshot struct {
	in *instance
	id uint64
}

func newStore(s *Supervisor, spec StoreSpec) *Store {
	st := &Store{
		wait: orDefault(spec.MaxWait, defaultStoreWait), lanes: map[uint32]*shard{}, snapshots: map[uint64]snapshot{},
		p: s.supervise(program{
			kind: plugin.StoreKind, name: spec.Name, block: spec.Name, plugin: cmp.Or(spec.Plugin, spec.Name), path: spec.Path, sha256: spec.SHA256, settings: spec.Settings, env: spec.Env,
		}),
	}
	st.p.connect = func(ctx context.Context, in *instance, o plugin.DialOptions) (err error) {
		if in.store, err = plugin.DialStore(ctx, o); err == nil {
			in.conn = &in.store.Process
			st.once.Do(func() { st.info = in.store.Info() })
		}
		return err
	}
	st.p.finish = func(in *instance) error { return in.store.Close() }
	return st
}

// Info implements storage.Store.
func (s *Store) Info() storage.Info { return s.info }

// carry runs f with the process that takes requests, and again with the next where it ended under f.
func (s *Store) carry(ctx context.Context, f func(*instance) error) error {
	in := s.p.ready()
	var late <-chan time.Time
	for sent := false; ; sent = true {
		var err error
		if in == nil {
			if late == nil && s.wait > 0 {
				t := time.NewTimer(s.wait)
				defer t.Stop()
				late = t.C
			}
			if in, err = s.p.acquire(ctx, late); err != nil {
				if sent { // it may have had its effect: the error must not say that it is safe to repeat
					err = status.Errorf(status.Of(err), "request was under way: %w", err)
				}
				return err
			}
		}
		err = f(in)
		if err == nil || status.Of(err) != status.Unavailable || s.wait < 0 || !s.p.left(in) {
			return s.p.lost(in, err)
		}
		in = nil
	}
}

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, b storage.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	l := s.enter(b.Shard)
	defer s.leave(b.Shard, l)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return status.Errorf(status.Of(ctx.Err()), "apply: %w", ctx.Err())
	}
	defer func() { <-l.turn }()
	return s.carry(ctx, func(in *instance) error { return in.store.Apply(ctx, b) })
}

// Start implements storage.Starter. Nothing is sent again here: what was started after a batch that is lost may have reached
// the next process before it, and only who started them knows all that has to be sent again, and in which order.
func (s *Store) Start(ctx context.Context, b storage.Batch) (wait func() error) {
	failed := func(err error) func() error { return func() error { return err } }
	if err := b.Check(); err != nil {
		return failed(err)
	}
	l := s.enter(b.Shard)
	defer s.leave(b.Shard, l)
	select {
	case l.turn <- struct{}{}: // no Apply is under way that might be repeated
	case <-ctx.Done():
		return failed(status.Errorf(status.Of(ctx.Err()), "apply: %w", ctx.Err()))
	}
	defer func() { <-l.turn }()
	in := s.p.ready()
	if in == nil {
		return failed(s.p.unavailable("has no process at the moment"))
	}
	sent := in.store.Start(ctx, b)
	return func() error { return s.p.lost(in, sent()) }
}

func (s *Store) enter(n uint32) *shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[n]
	if l == nil {
		l = &shard{turn: make(chan struct{}, 1)}
		s.lanes[n] = l
	}
	l.users++
	return l
}

func (s *Store) leave(n uint32, l *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(s.lanes, n)
	}
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, keys [][]byte) (items []storage.Item, err error) {
	err = s.carry(ctx, func(in *instance) (err error) {
		items, err = in.store.Get(ctx, keys)
		return err
	})
	return items, err
}

// Scan implements storage.Store.
func (s *Store) Scan(ctx context.Context, r storage.Range) (page storage.Page, err error) {
	if r.Snapshot != 0 {
		sn, err := s.snapshot(r.Snapshot)
		if err != nil {
			return page, err
		}
		r.Snapshot = sn.id
		page, err = sn.in.store.Scan(ctx, r)
		return page, s.gone(sn, err)
	}
	err = s.carry(ctx, func(in *instance) (err error) {
		page, err = in.store.Scan(ctx, r)
		return err
	})
	return page, err
}

// Snapshot implements storage.Store. Snapshots end with their process: the numbers given out are the supervisor's own, so
// that one of an earlier process cannot be taken for another of the present.
func (s *Store) Snapshot(ctx context.Context) (n uint64, err error) {
	err = s.carry(ctx, func(in *instance) error {
		id, err := in.store.Snapshot(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for n, sn := range s.snapshots { // few, as a store allows few
			if sn.in != in {
				delete(s.snapshots, n)
			}
		}
		s.last++
		n = s.last
		s.snapshots[n] = snapshot{in, id}
		return nil
	})
	return n, err
}

func (s *Store) snapshot(n uint64) (snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sn, ok := s.snapshots[n]
	if !ok {
		return sn, status.Errorf(status.NotFound, "store %q has no snapshot %d", s.p.name, n)
	}
	return sn, nil
}

// gone makes an error of a snapshot whose process has ended what it is: the snapshot is not there.
func (s *Store) gone(sn snapshot, err error) error {
	if err == nil || sn.in.conn.Err() == nil {
		return err
	}
	return status.Errorf(status.NotFound, "store %q lost its snapshots when its process ended", s.p.name)
}

// Release implements storage.Store.
func (s *Store) Release(ctx context.Context, n uint64) error {
	sn, err := s.snapshot(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.snapshots, n)
	s.mu.Unlock()
	if err := sn.in.store.Release(ctx, sn.id); sn.in.conn.Err() == nil {
		return err
	}
	return nil // it went with its process
}

// Stats implements storage.Store.
func (s *Store) Stats(ctx context.Context) (st storage.Stats, err error) {
	err = s.carry(ctx, func(in *instance) (err error) {
		st, err = in.store.Stats(ctx)
		return err
	})
	return st, err
}

// Close stops the store: it flushes, closes and ends.
func (s *Store) Close() error { return s.p.close() }
