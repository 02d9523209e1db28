// Package memory is a storage backend that keeps everything in memory and nothing on disk: the reference that other
// backends are compared with, and the store of tests.
//
// It promises the whole contract of package storage except durability (Info.Persistent is false). Reads do not wait for
// each other; a snapshot costs nothing when taken and one copied tree node per changed region afterwards.
//
// Everybody may import it; it imports sdk/storage, sdk/status and a B-tree.
package memory

import (
	"bytes"
	"context"
	"sync"

	"github.com/RaduBerinde/btreemap"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// MaxSnapshots is how many snapshots may be open at once.
const MaxSnapshots = 16

const treeDegree = 32

// Options of a store.
type Options struct {
	// MaxBytes bounds keys and values together; 0 means no bound. A batch that would exceed it is Overloaded.
	MaxBytes int64
}

type tree = btreemap.BTreeMap[[]byte, []byte]

// Store is the in-memory store. Make one with New.
type Store struct {
	opts Options

	mu        sync.RWMutex
	tree      *tree
	bytes     int64
	snapshots map[uint64]*tree
	lastSnap  uint64
	closed    bool
}

var _ storage.Store = (*Store)(nil)

// New returns an empty store.
func New(opts Options) *Store {
	return &Store{opts: opts, tree: btreemap.New[[]byte, []byte](treeDegree, bytes.Compare), snapshots: map[uint64]*tree{}}
}

// Info implements storage.Store.
func (*Store) Info() storage.Info { return storage.Info{Name: "memory", Version: "1"} }

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, b storage.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	ops := clone(b.Ops)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if s.opts.MaxBytes > 0 && s.bytes+max(0, s.growth(ops)) > s.opts.MaxBytes {
		return status.Errorf(status.Overloaded, "store \"memory\" is full: %d of %d bytes are used", s.bytes, s.opts.MaxBytes)
	}
	for _, op := range ops {
		s.apply(op)
	}
	return nil
}

// clone copies all keys and values into one buffer, since the caller may use its own again.
func clone(ops []storage.Op) []storage.Op {
	buf := make([]byte, 0, storage.Batch{Ops: ops}.Bytes())
	cut := func(p []byte) []byte {
		start := len(buf)
		buf = append(buf, p...)
		return buf[start:len(buf):len(buf)]
	}
	out := make([]storage.Op, len(ops))
	for i, op := range ops {
		out[i] = storage.Op{Key: cut(op.Key), Delete: op.Delete}
		if !op.Delete {
			out[i].Value = cut(op.Value)
		}
	}
	return out
}

// growth is by how many bytes ops would enlarge the store.
func (s *Store) growth(ops []storage.Op) (n int64) {
	sizes := make(map[string]int64, len(ops)) // of the keys in ops, after the ops so far
	for _, op := range ops {
		before, seen := sizes[string(op.Key)]
		if _, old, found := s.tree.Get(op.Key); !seen && found {
			before = int64(len(op.Key) + len(old))
		}
		after := int64(0)
		if !op.Delete {
			after = int64(len(op.Key) + len(op.Value))
		}
		sizes[string(op.Key)] = after
		n += after - before
	}
	return n
}

func (s *Store) apply(op storage.Op) {
	if op.Delete {
		if k, v, found := s.tree.Delete(op.Key); found {
			s.bytes -= int64(len(k) + len(v))
		}
		return
	}
	k, v, replaced := s.tree.ReplaceOrInsert(op.Key, op.Value)
	if replaced {
		s.bytes -= int64(len(k) + len(v))
	}
	s.bytes += int64(len(op.Key) + len(op.Value))
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	items := make([]storage.Item, len(keys))
	for i, k := range keys {
		_, v, found := s.tree.Get(k)
		items[i] = storage.Item{Key: bytes.Clone(k), Value: v, Found: found}
	}
	return items, nil
}

// Scan implements storage.Store.
func (s *Store) Scan(ctx context.Context, r storage.Range) (storage.Page, error) {
	r, err := r.Normal()
	if err != nil {
		return storage.Page{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return storage.Page{}, err
	}
	t := s.tree
	if r.Snapshot != 0 {
		if t = s.snapshots[r.Snapshot]; t == nil {
			return storage.Page{}, noSnapshot(r.Snapshot)
		}
	}
	return scan(t, r), nil
}

func scan(t *tree, r storage.Range) (page storage.Page) {
	stop := btreemap.Max[[]byte]()
	if end := r.End(); end != nil {
		stop = btreemap.LT(end)
	}
	size := 0
	for k, v := range t.Ascend(btreemap.GE(r.Start()), stop) {
		item := storage.Item{Key: k, Found: true}
		if !r.KeysOnly {
			item.Value = v
		}
		size += len(item.Key) + len(item.Value)
		if len(page.Items) == r.Limit || (len(page.Items) > 0 && size > r.Bytes) {
			page.More = true
			break
		}
		page.Items = append(page.Items, item)
	}
	return page
}

// Snapshot implements storage.Store.
func (s *Store) Snapshot(ctx context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if len(s.snapshots) >= MaxSnapshots {
		return 0, status.Errorf(status.Overloaded, "store \"memory\" has %d snapshots open: release one first", MaxSnapshots)
	}
	s.lastSnap++
	s.snapshots[s.lastSnap] = s.tree.Clone()
	return s.lastSnap, nil
}

// Release implements storage.Store.
func (s *Store) Release(ctx context.Context, snapshot uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if s.snapshots[snapshot] == nil {
		return noSnapshot(snapshot)
	}
	delete(s.snapshots, snapshot)
	return nil
}

func noSnapshot(n uint64) error {
	return status.Errorf(status.NotFound, "store \"memory\" has no snapshot %d (released already?)", n)
}

// Stats implements storage.Store.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return storage.Stats{}, err
	}
	return storage.Stats{Keys: int64(s.tree.Len()), CacheBytes: s.bytes}, nil
}

// Close implements storage.Store. It forgets everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.tree, s.snapshots, s.bytes = true, nil, nil, 0
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return status.Errorf(status.Unavailable, "store \"memory\" is closed")
	}
	return status.Wrap(status.Of(ctx.Err()), ctx.Err())
}
