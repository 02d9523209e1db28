package kvs

import (
	"context"
	"sync"

	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// load is a cold key on its way into memory. All who need it wait for the same one.
type load struct {
	cell    *cell
	key     string
	waiters int32 // guarded by cell.mu
	done    chan struct{}
	err     error
}

// loader reads cold records in batches: what gathers while one is read is the next. Whoever needs a record reads it himself
// where fewer than loaders read; that saves two switches between goroutines, which cost more than a read. Otherwise he
// queues, and when a reader has what he needs, goroutines of the loader read what is left.
type loader struct {
	store storage.Store
	wake  chan struct{}

	mu      sync.Mutex
	waiting []*load
	readers int
}

const (
	loaders   = 2       // batches read at once
	loadBatch = 256     // keys in one, so that values of a few KiB fit a page
	loadMax   = 1 << 16 // keys that wait; beyond it reads are refused
)

func newLoader(s storage.Store) *loader {
	return &loader{store: s, wake: make(chan struct{}, loaders)}
}

// add queues ld and reports whether there was room. The cell of ld is locked.
func (l *loader) add(ld *load) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= loadMax {
		return false
	}
	l.waiting = append(l.waiting, ld)
	return true
}

// lead reads what waits, ld among it, where there are few readers.
func (l *loader) lead(ctx context.Context) {
	batch := l.take(loadBatch, false)
	if len(batch) == 0 {
		return
	}
	items, err := l.read(ctx, batch)
	if err != nil && ctx.Err() != nil {
		l.again(batch) // it was this reader's time that was up, not the others'
	} else {
		l.end(batch, items, err)
	}
	l.leave()
}

// leave counts a reader off and has a goroutine read what is left.
func (l *loader) leave() {
	l.mu.Lock()
	l.readers--
	more := len(l.waiting) > 0
	l.mu.Unlock()
	if more {
		l.poke()
	}
}

func (l *loader) again(batch []*load) {
	l.mu.Lock()
	l.waiting = append(batch, l.waiting...)
	l.mu.Unlock()
}

func (l *loader) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run reads until ctx ends.
func (l *loader) run(ctx context.Context) {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			l.end(l.take(loadMax, true), nil, errStopping)
			return
		}
		for {
			batch := l.take(loadBatch, false)
			if len(batch) == 0 {
				break
			}
			items, err := l.read(ctx, batch)
			l.end(batch, items, err)
			l.leave()
		}
	}
}

// take takes the next batch and counts a reader, unless there are enough of them or nothing waits. The last take takes
// what there is, whoever reads.
func (l *loader) take(max int, last bool) []*load {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(max, len(l.waiting))
	if n == 0 || !last && l.readers >= loaders {
		return nil
	}
	l.readers++
	out := append([]*load(nil), l.waiting[:n]...)
	rest := copy(l.waiting, l.waiting[n:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	return out
}

func (l *loader) read(outer context.Context, batch []*load) ([]storage.Item, error) {
	ctx, cancel := context.WithTimeout(outer, applyTime)
	defer cancel()
	keys := make([][]byte, len(batch))
	for i, ld := range batch {
		keys[i] = []byte(ld.key)
	}
	items, err := l.store.Get(ctx, keys)
	if err == nil && len(items) != len(keys) {
		err = status.Errorf(status.Internal, "kvs: the store returned %d records for %d keys", len(items), len(keys))
	}
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		err = status.Errorf(status.Unavailable, "kvs: the store has not answered a read for %s", applyTime)
	}
	// One corrupt record must not fail its neighbours.
	if status.Of(err) == status.Corrupt && len(keys) > 1 {
		items = make([]storage.Item, len(keys))
		for i, ld := range batch {
			one, err := l.store.Get(ctx, keys[i:i+1])
			switch {
			case err != nil:
				ld.err = err
			case len(one) == 1:
				items[i] = one[0]
			}
		}
		return items, nil
	}
	return items, err
}

// end gives loads their records and wakes those who wait.
func (l *loader) end(batch []*load, items []storage.Item, err error) {
	for i, ld := range batch {
		var rec lattice.Record
		switch {
		case err != nil:
			ld.err = err
		case ld.err == nil && items[i].Found:
			rec, ld.err = storedRecord(ld.key, items[i].Value)
		case ld.err == nil:
			ld.cell.role.filter.vain.Add(1)
		}
		c := ld.cell
		c.mu.Lock()
		delete(c.loads, ld.key)
		if ld.err == nil {
			c.role.clock.Restore(rec.Version)
			c.core.loaded(ld.key, rec, ld.waiters)
		}
		c.leave()
		close(ld.done)
	}
}

// storedRecord reads a record as the store had it. Its value is not shared with the page it came in.
func storedRecord(key string, b []byte) (lattice.Record, error) {
	rec, err := lattice.DecodeRecord(b)
	if err != nil {
		return rec, status.Errorf(status.Corrupt, "kvs: the record of key %q cannot be read: %v", key, err)
	}
	if len(rec.Value) == 0 {
		rec.Value = nil
		return rec, nil
	}
	value, _, _, err := lattice.Normalize(append([]byte(nil), rec.Value...))
	if err != nil {
		return rec, status.Errorf(status.Corrupt, "kvs: the value of key %q cannot be read: %v", key, err)
	}
	rec.Value = value
	return rec, nil
}

// want queues a load of key, which is cold, for one more request. c is locked.
func (c *cell) want(key []byte) (*load, error) {
	if ld := c.loads[string(key)]; ld != nil {
		ld.waiters++
		return ld, nil
	}
	ld := &load{cell: c, key: string(key), waiters: 1, done: make(chan struct{})}
	if !c.role.loader.add(ld) {
		return nil, status.Safe(status.Errorf(status.Overloaded, "kvs: %d keys wait to be read from the store", loadMax))
	}
	c.loads[ld.key] = ld
	return ld, nil
}

// wait waits for a load. After an error the request no longer counts; otherwise the key is pinned for it.
func (ld *load) wait(ctx context.Context) error {
	ld.cell.role.loader.lead(ctx)
	select {
	case <-ld.done:
		return ld.err
	case <-ld.cell.role.halt.Done():
	case <-ctx.Done():
	}
	ld.cell.role.loader.poke() // it may still be queued
	c := ld.cell
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[ld.key] == ld {
		ld.waiters--
	} else if ld.err == nil {
		c.core.unpin([]byte(ld.key))
	}
	if ctx.Err() == nil {
		return errStopping
	}
	return status.Errorf(status.Of(ctx.Err()), "kvs: %w while a record was read from the store", ctx.Err())
}

// with calls f with the core of key's shard; f reports whether it met a cold key, and is called again when that is
// loaded. It returns with the cell of key.
func (r *Role) with(ctx context.Context, key []byte, f func(s *shard) (miss bool)) (*cell, error) {
	c := r.cell(key)
	c.mu.Lock()
	for f(c.core) {
		ld, err := c.want(key)
		c.leave()
		if err != nil {
			return c, err
		}
		if err := ld.wait(ctx); err != nil {
			return c, err
		}
		c.mu.Lock()
		c.core.unpin(key)
	}
	c.leave()
	return c, nil
}
