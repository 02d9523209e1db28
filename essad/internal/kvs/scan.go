package kvs

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/storage"
)

// scanBytes bounds the values in one answer to a scan; at least one item is in it.
const scanBytes = 1 << 20

// pair is a stored key and its record.
type pair struct {
	key string
	rec lattice.Record
}

// scan answers a scan. With a store it reads there, after what has changed before it has got there.
func (r *Role) scan(ctx context.Context, space annav1.Space, scope string, o *annav1.Scan) (*annav1.Reply, error) {
	r.scans.Add(1)
	base := appendScope(nil, space, scope)
	prefix := append(bytes.Clone(base), o.Prefix...)
	after := ""
	if len(o.After) > 0 {
		after = string(append(bytes.Clone(base), o.After...))
	}
	limit := int(o.Limit)
	if limit <= 0 || limit > maxOps {
		limit = maxOps
	}
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	rep := &annav1.Reply{}
	size, now := 0, r.clock.Peek()
	full := func(key string, rec lattice.Record) bool {
		if len(rep.Items) > 0 && (len(rep.Items) >= limit || size >= scanBytes) {
			rep.More = true
			return true
		}
		it := &annav1.Item{Key: []byte(key[len(base):]), Version: rec.Version, ExpiresUnixNano: rec.Expires}
		if !o.KeysOnly {
			it.Value = rec.Value
		}
		size += len(it.Key) + len(it.Value)
		rep.Items = append(rep.Items, it)
		return false
	}
	err := r.each(ctx, string(prefix), after, 0, func(p pair) bool {
		return !p.rec.Present(now) || !full(p.key, p.rec)
	})
	return rep, err
}

// each calls h with the stored records whose keys begin with prefix and come after after, in order, until h returns false.
func (r *Role) each(ctx context.Context, prefix, after string, snapshot uint64, h func(pair) bool) error {
	if r.opts.Store == nil {
		return r.eachInMemory(ctx, prefix, after, h)
	}
	q := storage.Range{Prefix: []byte(prefix), After: []byte(after), Snapshot: snapshot, Bytes: scanBytes, Limit: 1024}
	for {
		page, err := r.opts.Store.Scan(ctx, q)
		if err != nil {
			return fmt.Errorf("kvs: scan the store: %w", err)
		}
		for _, it := range page.Items {
			key := string(it.Key)
			rec, err := storedRecord(key, it.Value)
			if err != nil {
				return err
			}
			if rec.Generation < r.floors.of(key) {
				continue // its scope was deleted
			}
			if !h(pair{key, rec}) {
				return nil
			}
		}
		if !page.More || len(page.Items) == 0 {
			return nil
		}
		q.After = page.Items[len(page.Items)-1].Key
	}
}

// eachPage is how many records are taken from the shards at once.
const eachPage = 512

func (r *Role) eachInMemory(ctx context.Context, prefix, after string, h func(pair) bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, more := r.page(prefix, after)
		for _, p := range page {
			if !h(p) {
				return nil
			}
			after = p.key
		}
		if !more {
			return nil
		}
	}
}

// page merges the next records of all shards.
func (r *Role) page(prefix, after string) (page []pair, more bool) {
	start := max(prefix, after)
	for _, c := range r.cells {
		n := 0
		c.mu.Lock()
		c.core.order.from(start, func(key string) bool {
			if !strings.HasPrefix(key, prefix) || n == eachPage {
				more = more || n == eachPage
				return false
			}
			if key == after {
				return true
			}
			page = append(page, pair{key, c.core.entries[key].rec})
			n++
			return true
		})
		c.mu.Unlock()
	}
	slices.SortFunc(page, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	if len(page) > eachPage {
		page, more = page[:eachPage], true
	}
	return page, more
}
