package kvs

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/storage"
)

// filter knows keys that are certainly not in the store, so that a put of a new key and a read of an absent one need not
// ask it. It is a Bloom filter of all stored keys, in blocks of one cache line.
//
// For an empty store it is complete at once. For another one it is made, by going over all keys in the background, only
// when the store has been asked in vain often enough for that to pay. A table that is full stays, and a larger one takes
// what comes from then on: going over all keys again would cost the store more than what it is asked for.
type filter struct {
	seed  maphash.Seed
	table atomic.Pointer[filterTable] // nil: none is kept
	full  chan struct{}               // table is
	vain  atomic.Int64                // times the store was asked in vain since there was no complete table
	off   atomic.Bool                 // there are more keys than a table may hold, or others write to the store as well
}

type filterTable struct {
	blocks   []filterBlock
	older    *filterTable // what came before it was made, if there was a table
	keys     atomic.Int64 // about
	complete atomic.Bool  // every stored key is in it
}

type filterBlock [8]atomic.Uint64

const (
	filterBits  = 12      // of a table, for each key: one absent key in a hundred is asked for all the same
	filterProbe = 6       // of which a key sets this many
	filterMin   = 1 << 10 // blocks: 64 KiB
	filterMax   = 1 << 18 // blocks of all tables: 16 MiB, 11 million keys
	filterGrow  = 8       // a table is so many times as large as the one before
	filterVain  = 1 << 12 // so often in vain, a table is made
	filterEvery = time.Second
)

func newFilterTable(blocks int64) *filterTable {
	return &filterTable{blocks: make([]filterBlock, max(filterMin, min(filterMax, blocks)))}
}

func (t *filterTable) capacity() int64 { return int64(len(t.blocks)) * 512 / filterBits }

// probe returns the block of a hash, and a number of which each 9 bits name one of its bits.
func (t *filterTable) probe(h uint64) (*filterBlock, uint64) {
	return &t.blocks[(h>>32)*uint64(len(t.blocks))>>32], h * 0x9e3779b97f4a7c15
}

func (t *filterTable) add(h uint64) {
	b, bits := t.probe(h)
	fresh := false
	for range filterProbe {
		w, bit := &b[bits>>6&7], uint64(1)<<(bits&63)
		if w.Load()&bit == 0 {
			w.Or(bit)
			fresh = true
		}
		bits >>= 9
	}
	if fresh {
		t.keys.Add(1)
	}
}

// has reports whether h is in t, or in one before it.
func (t *filterTable) has(h uint64) bool {
	for ; t != nil; t = t.older {
		if t.holds(h) {
			return true
		}
	}
	return false
}

func (t *filterTable) holds(h uint64) bool {
	b, bits := t.probe(h)
	for range filterProbe {
		if b[bits>>6&7].Load()&(1<<(bits&63)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

// next returns a larger table for what comes after t, or nil where that would be more than there may be.
func (t *filterTable) next() *filterTable {
	all := 0
	for x := t; x != nil; x = x.older {
		all += len(x.blocks)
	}
	blocks := min(filterGrow*len(t.blocks), filterMax-all)
	if blocks < len(t.blocks) {
		return nil
	}
	n := newFilterTable(int64(blocks))
	n.older = t
	n.complete.Store(true)
	return n
}

// absent reports whether key is certainly not in the store.
func (f *filter) absent(key []byte) bool {
	t := f.table.Load()
	return t != nil && t.complete.Load() && !t.has(maphash.Bytes(f.seed, key))
}

// add tells that key may be in the store from now on.
func (f *filter) add(key string) {
	if t := f.table.Load(); t != nil {
		t.add(maphash.String(f.seed, key))
		if t.keys.Load() > t.capacity() {
			signal(f.full)
		}
	}
}

// begin makes the filter of an empty store.
func (f *filter) begin(ctx context.Context, s storage.Store) error {
	if s.Info().Shared {
		f.off.Store(true)
		return nil
	}
	page, err := s.Scan(ctx, storage.Range{Limit: 1, KeysOnly: true})
	if err != nil {
		return fmt.Errorf("look whether the store is empty: %w", err)
	}
	if len(page.Items) == 0 {
		t := newFilterTable(0)
		t.complete.Store(true)
		f.table.Store(t)
	}
	return nil
}

// keepFilter makes a table where that pays and a larger one where it is full, until ctx ends.
func (r *Role) keepFilter(ctx context.Context) {
	tick := time.NewTicker(filterEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.filter.full:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		t := r.filter.table.Load()
		full := t != nil && t.keys.Load() > t.capacity()
		if r.filter.off.Load() || !full && (t != nil || r.filter.vain.Load() < filterVain) {
			continue
		}
		if full && t.complete.Load() {
			if larger := t.next(); larger != nil {
				r.filter.table.Store(larger) // what is added to t at this moment is found there
				continue
			}
		}
		if err := r.makeFilter(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("the filter of absent keys was not made", "error", err)
		}
	}
}

// makeFilter makes a table of all keys. Those that change meanwhile are added by their shards; what changed before the
// shards knew of the table is in the store when flush returns.
func (r *Role) makeFilter(ctx context.Context) error {
	st, err := r.opts.Store.Stats(ctx)
	if err != nil {
		return err
	}
	old := r.filter.table.Load()
	blocks := max(st.Keys, 0) * 2 * filterBits / 512
	if old != nil {
		blocks = max(blocks, int64(len(old.blocks))) // full: what it holds and what is estimated may both be wrong
	}
	for ; blocks <= filterMax; blocks *= 2 {
		t := newFilterTable(blocks)
		r.filter.table.Store(t)
		if err := r.fillFilter(ctx, t); err != nil {
			r.filter.table.Store(nil)
			r.filter.vain.Store(0) // later, perhaps
			return err
		}
		if t.keys.Load() <= t.capacity()*3/4 {
			t.complete.Store(true)
			return nil
		}
		blocks = int64(len(t.blocks))
	}
	r.filter.table.Store(nil)
	r.filter.off.Store(true)
	return nil
}

func (r *Role) fillFilter(ctx context.Context, t *filterTable) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	q := storage.Range{KeysOnly: true, Limit: 1024}
	for {
		page, err := r.opts.Store.Scan(ctx, q)
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			if it.Key[0] != dueSpace {
				t.add(maphash.Bytes(r.filter.seed, it.Key))
			}
		}
		if !page.More || len(page.Items) == 0 || t.keys.Load() > t.capacity() {
			return nil
		}
		q.After = page.Items[len(page.Items)-1].Key
	}
}
