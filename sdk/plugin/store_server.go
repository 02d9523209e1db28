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
		return newStoreService(st, p.log), nil
	}
}

// storeService answers a host's requests with a store.
type storeService struct {
	store   storage.Store
	starter storage.Starter // the same, if it is one
	log     hclog.Logger
	others  *handler // of requests that are no batches
	turn    func(*frame.Request)

	mu    sync.Mutex
	lanes map[uint32]*lane // of shards with batches that are not started
}

func newStoreService(st storage.Store, log hclog.Logger) *storeService {
	s := &storeService{store: st, log: log, lanes: map[uint32]*lane{}}
	s.starter, _ = st.(storage.Starter)
	s.others = newHandler(log, s.request)
	s.turn = s.run
	return s
}

// lane starts one shard's batches in the order they came. The host's limits bound it.
type lane struct{ waiting []*frame.Request }

func (s *storeService) Close() error { return s.store.Close() }

// handle runs on the connection's reader, so that the order of batches is the order of their frames.
func (s *storeService) handle(r *frame.Request) {
	if r.Type != typeApply {
		s.others.handle(r)
		return
	}
	shard := batchShard(r.Body)
	s.mu.Lock()
	l := s.lanes[shard]
	if l != nil {
		l.waiting = append(l.waiting, r)
		s.mu.Unlock()
		return
	}
	s.lanes[shard] = &lane{}
	s.mu.Unlock()
	r.Go(s.turn)
}

// run starts r, lets the next batch of its shard have its turn, and answers.
func (s *storeService) run(r *frame.Request) {
	shard := batchShard(r.Body) // its body is released on the way
	var wait func() error
	err := guarded(s.log, r, func(r *frame.Request) (err error) {
		wait, err = s.start(r)
		return err
	})
	s.pass(shard)
	if err == nil {
		err = guarded(s.log, r, func(r *frame.Request) error { return settle(r, nil, nil, wait()) })
	}
	if err != nil {
		reply(r, nil, nil, err)
	}
}

// pass gives the turn to the next batch of a shard.
func (s *storeService) pass(shard uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[shard]
	if len(l.waiting) == 0 {
		delete(s.lanes, shard)
		return
	}
	next := l.waiting[0]
	l.waiting = l.waiting[1:]
	next.Go(s.turn)
}

// start gives a batch to the store. One that cannot take the next batch meanwhile has done with it.
func (s *storeService) start(r *frame.Request) (wait func() error, err error) {
	b, timeout, err := parseBatch(r.Body)
	if err != nil {
		return nil, err
	}
	ctx := within(r, timeout)
	if err := ctx.Err(); err != nil {
		return nil, err // while it waited in its lane
	}
	if s.starter != nil {
		wait = s.starter.Start(ctx, b)
	} else {
		done := s.store.Apply(ctx, b)
		wait = func() error { return done }
	}
	r.Release() // the store has no claim to its arguments any more
	return wait, nil
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
