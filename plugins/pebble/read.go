package main

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// iterateFrom is from how many keys on Get uses an iterator: it costs more to make but asks the bloom filters of every
// level, the last one too, which a single get does not.
const iterateFrom = 4

// checkContextEvery is after how many keys a long read looks whether its caller is still there.
const checkContextEvery = 64

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	if err := s.enter(ctx, false); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	items := make([]storage.Item, len(keys))
	copied := slices.Concat(keys...) // one copy for all: keys are short, and callers seldom keep them
	for i, k := range keys {
		items[i].Key, copied = copied[:len(k):len(k)], copied[len(k):]
	}
	read := s.getEach
	if len(keys) >= iterateFrom {
		read = s.getAll
	}
	if err := read(ctx, items); err != nil {
		return nil, s.classify("read", err)
	}
	return items, nil
}

func (s *Store) getEach(_ context.Context, items []storage.Item) error {
	for i := range items {
		v, closer, err := s.db.Get(items[i].Key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		items[i].Value, items[i].Found = bytes.Clone(v), true
		if err := closer.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) getAll(ctx context.Context, items []storage.Item) (err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for i := range items {
		if i%checkContextEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !it.SeekPrefixGE(items[i].Key) {
			if err := it.Error(); err != nil {
				return err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		items[i].Value, items[i].Found = bytes.Clone(v), true
	}
	return nil
}

// Scan implements storage.Store.
func (s *Store) Scan(ctx context.Context, r storage.Range) (storage.Page, error) {
	r, err := r.Normal()
	if err != nil {
		return storage.Page{}, err
	}
	if err := s.enter(ctx, false); err != nil {
		return storage.Page{}, err
	}
	defer s.gate.leave()
	it, err := s.iterate(ctx, r)
	if err != nil {
		return storage.Page{}, err
	}
	page, err := readPage(ctx, it, r)
	if err = errors.Join(err, it.Close()); err != nil {
		return storage.Page{}, s.classify("scan", err)
	}
	return page, nil
}

func (s *Store) iterate(ctx context.Context, r storage.Range) (*pebble.Iterator, error) {
	opts := &pebble.IterOptions{LowerBound: r.Start(), UpperBound: r.End()}
	if opts.UpperBound != nil && bytes.Compare(opts.LowerBound, opts.UpperBound) > 0 {
		opts.LowerBound = opts.UpperBound // After lies behind the prefix: nothing is left
	}
	if r.Snapshot == 0 {
		it, err := s.db.NewIterWithContext(ctx, opts)
		return it, s.classify("scan", err)
	}
	s.snapshots.mu.RLock()
	defer s.snapshots.mu.RUnlock()
	snap := s.snapshots.open[r.Snapshot]
	if snap == nil {
		return nil, s.noSnapshot(r.Snapshot)
	}
	it, err := snap.NewIterWithContext(ctx, opts)
	return it, s.classify("scan", err)
}

func readPage(ctx context.Context, it *pebble.Iterator, r storage.Range) (page storage.Page, err error) {
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		if len(page.Items)%checkContextEvery == 0 && ctx.Err() != nil {
			return page, status.Wrap(status.Of(ctx.Err()), ctx.Err())
		}
		if len(page.Items) == r.Limit {
			page.More = true
			break
		}
		item := storage.Item{Key: it.Key(), Found: true}
		if !r.KeysOnly {
			if item.Value, err = it.ValueAndErr(); err != nil {
				return page, err
			}
		}
		size += len(item.Key) + len(item.Value)
		if len(page.Items) > 0 && size > r.Bytes {
			page.More = true
			break
		}
		item.Key, item.Value = bytes.Clone(item.Key), bytes.Clone(item.Value)
		page.Items = append(page.Items, item)
	}
	return page, it.Error()
}
