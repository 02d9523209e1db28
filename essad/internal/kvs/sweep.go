package kvs

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

const (
	tickEvery   = 100 * time.Millisecond // so late at most watchers hear that a resident value has expired
	coldEvery   = time.Second            // and that a cold one has
	floorsEvery = time.Minute
	tickMax     = 1024 // entries of a shard settled at once
	coldMax     = 1024 // cold keys settled at once
)

// sweep does what is due: values expire, tombstones and leases end, memory returns to its bound.
func (r *Role) sweep(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	cold, floors := time.Now(), time.Now()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		r.tick(r.clock.Peek())
		now := time.Now()
		if r.opts.Store != nil && now.Sub(cold) >= coldEvery {
			cold = now
			if err := r.sweepCold(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("what is due in the store was not done", "error", err)
			}
		}
		if now.Sub(floors) >= floorsEvery {
			floors = now
			r.floors.forget(r.clock.Peek(), uint64(r.opts.TombstoneGrace))
			r.feeds.idle(now)
		}
	}
}

func (r *Role) tick(now uint64) {
	over := r.memory.Load() > r.opts.Memory
	for _, c := range r.cells {
		for more := true; more; {
			c.mu.Lock()
			more = c.core.tick(now, tickMax)
			c.core.endLeases(now, tickMax)
			if over {
				c.core.evict(r.share(), 16*evictSteps)
			}
			c.leave()
		}
	}
}

// sweepCold settles keys that are not in memory, by the store's list of what is due.
func (r *Role) sweepCold(ctx context.Context) error {
	now := r.clock.Peek()
	q := storage.Range{Prefix: []byte{dueSpace}, KeysOnly: true, Limit: coldMax}
	for {
		page, err := r.opts.Store.Scan(ctx, q)
		if err != nil {
			return err
		}
		var keys [][]byte
		var ats []uint64
		for _, it := range page.Items {
			at, key, ok := splitDue(it.Key)
			if !ok || at > now {
				page.More = false
				break
			}
			keys, ats = append(keys, key), append(ats, at)
		}
		release := r.warm(ctx, keys)
		for i, key := range keys {
			c := r.cell(key)
			c.mu.Lock()
			c.core.settleCold(key, ats[i], now) // a key that is still cold is met again
			c.leave()
		}
		release()
		if !page.More || len(page.Items) == 0 {
			return nil
		}
		q.After = page.Items[len(page.Items)-1].Key
	}
}

// floors holds the scopes that were deleted: what is older than that is gone, and new records begin with that generation.
type floors struct {
	count   atomic.Int64
	mu      sync.RWMutex
	byScope map[string]uint64 // by what stored keys of the scope begin with
}

func (f *floors) of(key string) uint64 {
	if f.count.Load() == 0 {
		return 0
	}
	scope := scopePart(key)
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.byScope[scope]
}

func (f *floors) all() map[string]uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return maps.Clone(f.byScope)
}

func (f *floors) set(scope string, at uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byScope[scope] = max(f.byScope[scope], at)
	f.count.Store(int64(len(f.byScope)))
}

// forget lets go of deletes that are older than grace: nothing from before them can still come.
func (f *floors) forget(now, grace uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for scope, at := range f.byScope {
		if at+grace < now {
			delete(f.byScope, scope)
		}
	}
	f.count.Store(int64(len(f.byScope)))
}

// maxFloors bounds the deleted scopes that are remembered. All of a scope is gone when its deletion ends; it is remembered
// for the sake of what other nodes may still send.
const maxFloors = 1 << 16

// trim forgets scope, whose keys are gone, where too many are remembered.
func (f *floors) trim(scope string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byScope) > maxFloors {
		delete(f.byScope, scope)
		f.count.Store(int64(len(f.byScope)))
	}
}

// read fills f from the store.
func (f *floors) read(ctx context.Context, store storage.Store, now uint64, grace time.Duration) error {
	if store == nil {
		return nil
	}
	prefix := appendScope(nil, annav1.Space_METADATA, scopeOwned)
	q := storage.Range{Prefix: prefix}
	for {
		page, err := store.Scan(ctx, q)
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			rec, err := storedRecord(string(it.Key), it.Value)
			if err != nil {
				return err
			}
			if at, ok := floorOf(rec); ok && rec.Present(now) && at+uint64(grace) > now {
				f.set(string(it.Key[len(prefix):]), at)
			}
		}
		if !page.More || len(page.Items) == 0 {
			return nil
		}
		q.After = page.Items[len(page.Items)-1].Key
	}
}

func floorOf(rec lattice.Record) (at uint64, ok bool) {
	if len(rec.Value) == 0 {
		return 0, false
	}
	v, err := lattice.Decode(rec.Value)
	l, isLWW := v.(lattice.LWW)
	if err != nil || !isLWW || len(l.Data) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(l.Data), true
}

// dropScope deletes all keys of a scope. The clock of the deletion is durable before the first key goes, so it is finished
// whatever happens meanwhile: a record from before it is absent wherever it is met.
func (r *Role) dropScope(ctx context.Context, space annav1.Space, scope string) error {
	if space == annav1.Space_METADATA {
		return status.Errorf(status.Denied, "kvs: metadata cannot be deleted by scope")
	}
	prefix := string(appendScope(nil, space, scope))
	if err := r.flush(ctx); err != nil {
		return fmt.Errorf("delete scope %q: %w", scope, err)
	}
	// Most runs put nothing: nothing needs to be remembered then.
	if keys, _, err := r.keysOf(ctx, prefix, ""); err != nil || len(keys) == 0 {
		return err
	}
	at := r.clock.Now()
	r.floors.set(prefix, at)
	if err := r.writeFloor(ctx, prefix, at); err != nil {
		return fmt.Errorf("delete scope %q: %w", scope, err)
	}
	if err := r.purge(ctx, prefix, at); err != nil {
		return fmt.Errorf("delete scope %q: %w", scope, err)
	}
	r.floors.trim(prefix)
	return r.flush(ctx)
}

func (r *Role) writeFloor(ctx context.Context, prefix string, at uint64) error {
	key := append(appendScope(nil, annav1.Space_METADATA, scopeOwned), prefix...)
	res, c, seq := r.write(ctx, key, &annav1.Op{
		Kind: annav1.OpKind_PUT, Stamp: true, Value: binary.BigEndian.AppendUint64(nil, at), TtlNano: int64(r.opts.TombstoneGrace),
	}, annav1.Durability_SYNC, &annav1.Result{})
	if res.Code != "" {
		return status.FromCode(res.Code, res.Text)
	}
	if r.opts.Store == nil {
		return nil
	}
	return c.await(ctx, seq, true)
}

// resume ends the deletions of scopes that a stop has interrupted.
func (r *Role) resume(ctx context.Context) {
	for scope, at := range r.floors.all() {
		if err := r.purge(ctx, scope, at); err != nil {
			if ctx.Err() == nil {
				r.log.Warn("the deletion of a scope was not ended; the next start tries again", "error", err)
			}
			return
		}
	}
}

// purge erases records of a prefix that are older than floor.
func (r *Role) purge(ctx context.Context, prefix string, floor uint64) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	after := ""
	for {
		keys, more, err := r.keysOf(ctx, prefix, after)
		if err != nil {
			return err
		}
		release := r.warm(ctx, keys)
		for _, key := range keys {
			if _, err = r.with(ctx, key, func(s *shard) (miss bool) {
				return s.purge(key, floor)
			}); err != nil {
				break
			}
		}
		release()
		if err != nil || !more {
			return err
		}
		after = string(keys[len(keys)-1])
	}
}

// keysOf returns the next stored keys of a prefix.
func (r *Role) keysOf(ctx context.Context, prefix, after string) (keys [][]byte, more bool, err error) {
	if r.opts.Store == nil {
		page, more := r.page(prefix, after)
		for _, p := range page {
			keys = append(keys, []byte(p.key))
		}
		return keys, more && len(keys) > 0, nil
	}
	page, err := r.opts.Store.Scan(ctx, storage.Range{Prefix: []byte(prefix), After: []byte(after), KeysOnly: true, Limit: 1024})
	if err != nil {
		return nil, false, fmt.Errorf("kvs: scan the store: %w", err)
	}
	for _, it := range page.Items {
		keys = append(keys, it.Key)
	}
	return keys, page.More && len(keys) > 0, nil
}
