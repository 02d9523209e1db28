package storagetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/sdk/storage"
)

// testModel runs random operations on the store and on a map, and compares every answer.
func testModel(t *testing.T, o Opener) {
	m := &model{t: t, o: o, s: open(t, o), now: map[string]string{}}
	defer func() { _ = m.s.Close() }()
	rapid.Check(t, func(rt *rapid.T) {
		m.reset(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":         m.checkAll,
			"apply":    m.apply,
			"get":      m.get,
			"scan":     m.scan,
			"snapshot": m.snapshot,
			"release":  m.release,
			"reopen":   m.reopen,
		})
	})
}

type model struct {
	t     *testing.T
	o     Opener
	s     storage.Store
	now   map[string]string
	snaps []view
}

// reset empties the store: opening a new one for each sequence would cost a process each.
func (m *model) reset(t *rapid.T) {
	for _, v := range m.snaps {
		if err := m.s.Release(ctx(m.t), v.id); err != nil {
			t.Fatalf("release: %v", err)
		}
	}
	m.snaps = nil
	var b storage.Batch
	for k := range m.now {
		b.Ops = append(b.Ops, del(k))
	}
	if err := m.s.Apply(ctx(m.t), b); err != nil {
		t.Fatalf("empty the store: %v", err)
	}
	m.now = map[string]string{}
}

type view struct {
	id   uint64
	data map[string]string
}

// Few short keys, so that operations meet; bytes at both ends of the order among them.
var genKey = rapid.Custom(func(t *rapid.T) string {
	return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xfe, 0xff}), 1, 3).Draw(t, "key"))
})

var genValue = rapid.Custom(func(t *rapid.T) string {
	b := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value")
	return string(bytes.Repeat(b, rapid.SampledFrom([]int{1, 1, 1, 50, 2000}).Draw(t, "times")))
})

func (m *model) apply(t *rapid.T) {
	b := storage.Batch{Shard: rapid.Uint32Range(0, 3).Draw(t, "shard"), Sync: rapid.Bool().Draw(t, "sync")}
	for range rapid.IntRange(0, 8).Draw(t, "ops") {
		op := storage.Op{Key: []byte(genKey.Draw(t, "key")), Delete: rapid.IntRange(0, 2).Draw(t, "kind") == 0}
		if !op.Delete {
			op.Value = []byte(genValue.Draw(t, "value"))
		}
		b.Ops = append(b.Ops, op)
	}
	if err := m.s.Apply(ctx(m.t), b); err != nil {
		t.Fatalf("apply: %v", err)
	}
	for _, op := range b.Ops {
		if op.Delete {
			delete(m.now, string(op.Key))
		} else {
			m.now[string(op.Key)] = string(op.Value)
		}
	}
}

func (m *model) get(t *rapid.T) {
	keys := rapid.SliceOfN(genKey, 0, 10).Draw(t, "keys")
	asked := make([][]byte, len(keys))
	for i, k := range keys {
		asked[i] = []byte(k)
	}
	items, err := m.s.Get(ctx(m.t), asked)
	if err != nil || len(items) != len(keys) {
		t.Fatalf("get of %d keys: %d items, %v", len(keys), len(items), err)
	}
	for i, it := range items {
		v, found := m.now[keys[i]]
		if it.Found != found || string(it.Value) != v {
			t.Fatalf("get %q: %q (found %v), want %q (found %v)", keys[i], short(it.Value), it.Found, short([]byte(v)), found)
		}
	}
}

func (m *model) scan(t *rapid.T) {
	r := storage.Range{
		Limit:    rapid.IntRange(0, 20).Draw(t, "limit"),
		Bytes:    rapid.SampledFrom([]int{0, 1, 100, 10_000}).Draw(t, "bytes"),
		KeysOnly: rapid.Bool().Draw(t, "keysonly"),
	}
	if rapid.Bool().Draw(t, "prefixed") {
		r.Prefix = []byte(genKey.Draw(t, "prefix"))
	}
	if rapid.Bool().Draw(t, "resumed") {
		r.After = []byte(genKey.Draw(t, "after"))
	}
	data := m.now
	if i := rapid.IntRange(-1, len(m.snaps)-1).Draw(t, "view"); i >= 0 {
		r.Snapshot, data = m.snaps[i].id, m.snaps[i].data
	}
	m.compare(t, r, data)
}

func (m *model) compare(t *rapid.T, r storage.Range, data map[string]string) {
	items, err := scanPages(ctx(m.t), m.s, r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	i := 0
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if !bytes.HasPrefix([]byte(k), r.Prefix) || (len(r.After) > 0 && k <= string(r.After)) {
			continue
		}
		if i >= len(items) || string(items[i].Key) != k || (!r.KeysOnly && string(items[i].Value) != data[k]) {
			t.Fatalf("scan %+v: item %d of %d is not %q", r, i, len(items), k)
		}
		i++
	}
	if i != len(items) {
		t.Fatalf("scan %+v: %d items, want %d", r, len(items), i)
	}
}

func (m *model) checkAll(t *rapid.T) { m.compare(t, storage.Range{}, m.now) }

func (m *model) snapshot(t *rapid.T) {
	if len(m.snaps) >= 3 {
		t.Skip("enough snapshots")
	}
	id, err := m.s.Snapshot(ctx(m.t))
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	m.snaps = append(m.snaps, view{id, maps.Clone(m.now)})
}

func (m *model) release(t *rapid.T) {
	if len(m.snaps) == 0 {
		t.Skip("no snapshot")
	}
	i := rapid.IntRange(0, len(m.snaps)-1).Draw(t, "snapshot")
	if err := m.s.Release(ctx(m.t), m.snaps[i].id); err != nil {
		t.Fatalf("release: %v", err)
	}
	m.snaps = slices.Delete(m.snaps, i, i+1)
}

// reopen closes and opens, or kills or cuts the power where that can lose nothing.
func (m *model) reopen(t *rapid.T) {
	if rapid.IntRange(0, 15).Draw(t, "luck") > 0 {
		t.Skip("seldom")
	}
	persistent := m.s.Info().Persistent
	ends := []func() error{m.s.Close}
	if k, ok := m.o.(Killer); ok {
		ends = append(ends, m.synced(t, k.Kill))
	}
	if p, ok := m.o.(PowerCutter); ok {
		ends = append(ends, m.synced(t, p.CutPower))
	}
	if err := ends[rapid.IntRange(0, len(ends)-1).Draw(t, "end")](); err != nil {
		t.Fatalf("end: %v", err)
	}
	s, err := m.o.Open(m.t)
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	m.s, m.snaps = s, nil
	if !persistent {
		m.now = map[string]string{}
	}
}

func (m *model) synced(t *rapid.T, end func(testing.TB)) func() error {
	return func() error {
		if err := m.s.Apply(ctx(m.t), storage.Batch{Sync: true}); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		end(m.t)
		_ = m.s.Close()
		return nil
	}
}
