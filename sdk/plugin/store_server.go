package plugin

import (
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/storage"
)

// StoreConfig is what a storage plugin is given when it is configured.
type StoreConfig struct {
	Name     string // what the host calls the plugin
	Settings map[string]string
	Logger   hclog.Logger
	Path     string // the setting "path": the folder the daemon assigns, or ""
}

// ServeStore is the main function of a storage plugin. open is called once, with the settings; its error is what the
// daemon reports. ServeStore returns when the daemon is done with the plugin, after the store was closed.
func ServeStore(open func(StoreConfig) (storage.Store, error), about About) {
	serve(StoreKind, about, storeRequests, storeBuild(open))
}

func storeBuild(open func(StoreConfig) (storage.Store, error)) build {
	return func(p *served, name string, settings map[string]string) (service, error) {
		st, err := open(StoreConfig{Name: name, Settings: settings, Logger: p.log, Path: settings["path"]})
		if err != nil {
			return nil, err
		}
		return &storeService{store: st, log: p.log, lanes: map[uint32]*lane{}}, nil
	}
}

// storeService answers a host's requests with a store.
type storeService struct {
	store storage.Store
	log   hclog.Logger

	mu    sync.Mutex
	lanes map[uint32]*lane // of shards with batches under way
}

// lane applies one shard's batches in the order they came. The host's limits bound it.
type lane struct{ waiting []*frame.Request }

func (s *storeService) Close() error { return s.store.Close() }

// handle runs on the connection's reader, so that the order of batches is the order of their frames.
func (s *storeService) handle(r *frame.Request) {
	if r.Type != typeApply {
		handle(s.log, r, s.request)
		return
	}
	shard := batchShard(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[shard]; l != nil {
		l.waiting = append(l.waiting, r)
		return
	}
	s.lanes[shard] = &lane{}
	go s.run(shard, r)
}

// run applies r and what follows it in its lane.
func (s *storeService) run(shard uint32, r *frame.Request) {
	for r != nil {
		if err := guarded(s.log, r, s.apply); err != nil {
			reply(r, nil, nil, err)
		}
		s.mu.Lock()
		l := s.lanes[shard]
		r = nil
		if len(l.waiting) > 0 {
			r, l.waiting = l.waiting[0], l.waiting[1:]
		} else {
			delete(s.lanes, shard)
		}
		s.mu.Unlock()
	}
}

func (s *storeService) apply(r *frame.Request) error {
	b, timeout, err := parseBatch(r.Body)
	if err != nil {
		return err
	}
	ctx := within(r, timeout)
	if err := ctx.Err(); err != nil {
		return err // while it waited in its lane
	}
	err = s.store.Apply(ctx, b)
	r.Release() // the store has no claim to its arguments any more
	return settle(r, nil, nil, err)
}

func (s *storeService) request(r *frame.Request) error {
	w := getScratch()
	defer w.put()
	switch r.Type {
	case typeGet:
		return s.get(r, w)
	case typeScan:
		return s.scan(r, w)
	case typeStoreInfo:
		w.b = appendStoreInfo(w.b, s.store.Info())
		return settle(r, w.b, nil, nil)
	case typeSnapshot:
		n, err := s.store.Snapshot(r.Context())
		w.b = putUint(w.b, 1, n)
		return settle(r, w.b, nil, err)
	case typeRelease:
		n, err := parseNumber(r.Body)
		if err == nil {
			err = s.store.Release(r.Context(), n)
		}
		return settle(r, nil, nil, err)
	case typeStats:
		st, err := s.store.Stats(r.Context())
		w.b = appendStoreStats(w.b, st)
		return settle(r, w.b, nil, err)
	}
	return settle(r, nil, nil, s.store.Close())
}

const (
	// getStep is how many keys are read at once, getBytes the size from which an answer takes no further ones: a Get of
	// many long values must neither fill this process's memory nor exceed a frame.
	getStep  = 256
	getBytes = 8 << 20
)

func (s *storeService) get(r *frame.Request, w *scratch) error {
	keys, timeout, err := parseGet(r.Body)
	if err == nil {
		err = storage.CheckKeys(keys)
	}
	if err != nil {
		return err
	}
	ctx := within(r, timeout)
	for at := 0; at < len(keys) && len(w.b) < getBytes; {
		items, err := s.store.Get(ctx, keys[at:min(at+getStep, len(keys))])
		if err != nil {
			return err
		}
		for i := range items {
			if at > 0 && len(w.b) >= getBytes {
				break
			}
			w.b = appendItem(w.b, &items[i], false)
			at++
		}
	}
	r.Release()
	return settle(r, nil, w.b, nil)
}

func (s *storeService) scan(r *frame.Request, w *scratch) error {
	q, timeout, err := parseRange(r.Body)
	if err != nil {
		return err
	}
	p, err := s.store.Scan(within(r, timeout), q)
	if err != nil {
		return err
	}
	for i := range p.Items {
		w.b = appendItem(w.b, &p.Items[i], true)
	}
	w.b = putBool(w.b, 2, p.More)
	r.Release()
	return settle(r, nil, w.b, nil)
}
