package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// Store is a storage backend on the other side of the border. It is a storage.Starter, whatever the other side is.
//
// Limits are checked before anything is sent, so that a refusal costs nothing and looks the same everywhere.
type Store struct {
	Process

	info  storage.Info
	once  sync.Once
	ended error
}

var _ storage.Starter = (*Store)(nil)

// storeCloseTimeout bounds how long a store may take to flush and close.
const storeCloseTimeout = 60 * time.Second

func (s *Store) loadInfo(ctx context.Context) error {
	f, err := s.peer.call(ctx, 0, typeStoreInfo, nil, nil)
	if err != nil {
		return err
	}
	defer f.Release()
	s.info, err = parseStoreInfo(f.Body)
	return err
}

// Info implements storage.Store.
func (s *Store) Info() storage.Info { return s.info }

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, b storage.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	w := getScratch()
	defer w.put()
	w.b = appendBatch(w.b, b, deadlineOf(ctx))
	return s.peer.do(ctx, typeApply, nil, w.b)
}

// Start implements storage.Starter: the other side takes batches in the order that their frames come in.
func (s *Store) Start(ctx context.Context, b storage.Batch) (wait func() error) {
	if err := b.Check(); err != nil {
		return func() error { return err }
	}
	w := getScratch()
	defer w.put()
	w.b = appendBatch(w.b, b, deadlineOf(ctx))
	return s.peer.start(ctx, typeApply, nil, w.b)
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	items := make([]storage.Item, 0, len(keys))
	w := getScratch()
	defer w.put()
	for len(items) < len(keys) {
		w.b = appendGet(w.b[:0], keys[len(items):], deadlineOf(ctx))
		f, err := s.peer.call(ctx, 0, typeGet, nil, w.b)
		if err != nil {
			return nil, err
		}
		p, err := parsePage(f.Body) // the items point into the frame, which the garbage collector takes
		if err != nil {
			return nil, err
		}
		if len(p.Items) == 0 || len(items)+len(p.Items) > len(keys) {
			return nil, status.Errorf(status.Corrupt, "%s: %d items for %d keys", s.peer.who, len(p.Items), len(keys)-len(items))
		}
		for i := range p.Items {
			p.Items[i].Key = keys[len(items)]
			items = append(items, p.Items[i])
		}
	}
	return items, nil
}

// Scan implements storage.Store.
func (s *Store) Scan(ctx context.Context, r storage.Range) (storage.Page, error) {
	r, err := r.Normal()
	if err != nil {
		return storage.Page{}, err
	}
	w := getScratch()
	defer w.put()
	w.b = appendRange(w.b, r, deadlineOf(ctx))
	f, err := s.peer.call(ctx, 0, typeScan, w.b, nil)
	if err != nil {
		return storage.Page{}, err
	}
	return parsePage(f.Body) // the items point into the frame
}

// Snapshot implements storage.Store.
func (s *Store) Snapshot(ctx context.Context) (uint64, error) {
	f, err := s.peer.call(ctx, 0, typeSnapshot, nil, nil)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return parseNumber(f.Body)
}

// Release implements storage.Store.
func (s *Store) Release(ctx context.Context, snapshot uint64) error {
	return s.peer.do(ctx, typeRelease, putUint(nil, 1, snapshot), nil)
}

// Stats implements storage.Store.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) {
	f, err := s.peer.call(ctx, 0, typeStats, nil, nil)
	if err != nil {
		return storage.Stats{}, err
	}
	defer f.Release()
	return parseStoreStats(f.Body)
}

// Close implements storage.Store. It ends the connection, and thereby the plugin.
func (s *Store) Close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), storeCloseTimeout)
		defer cancel()
		s.ended = s.peer.do(ctx, typeClose, nil, nil)
		s.Disconnect()
	})
	return s.ended
}

// storeRequests are the requests a store answers.
var storeRequests = []uint8{
	typeStoreInfo, typeApply, typeGet, typeScan, typeSnapshot, typeRelease, typeStats, typeClose,
}
