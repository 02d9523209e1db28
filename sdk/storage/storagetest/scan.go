package storagetest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

func fill(t *testing.T, s storage.Store, n, valueBytes int) (keys []string) {
	t.Helper()
	var ops []storage.Op
	for i := range n {
		keys = append(keys, fmt.Sprintf("key%05d", i))
		ops = append(ops, put(keys[i], fmt.Sprintf("%0*d", valueBytes, i)))
		if len(ops) == 1000 || i == n-1 {
			apply(t, s, ops...)
			ops = nil
		}
	}
	return keys
}

func testScanPages(t *testing.T, o Opener) {
	s := opened(t, o)
	if page, err := s.Scan(ctx(t), storage.Range{}); err != nil || len(page.Items) != 0 || page.More {
		t.Errorf("scan of an empty store: %+v, %v", page, err)
	}
	const n = storage.MaxPageItems + 904
	keys := fill(t, s, n, 8)
	for _, limit := range []int{0, 1000, 2500, n - 1, n, n + 1, 1 << 30} {
		items := scanAll(t, s, storage.Range{Limit: limit})
		if len(items) != n {
			t.Fatalf("limit %d: %d items, want %d", limit, len(items), n)
		}
		for i, it := range items {
			if string(it.Key) != keys[i] || string(it.Value) != fmt.Sprintf("%08d", i) {
				t.Fatalf("limit %d: item %d is %q = %q", limit, i, it.Key, it.Value)
			}
		}
	}
	page, err := s.Scan(ctx(t), storage.Range{Limit: n})
	if err != nil || len(page.Items) != storage.MaxPageItems || !page.More {
		t.Errorf("the longest page has %d items (more: %v), %v", len(page.Items), page.More, err)
	}
	page, err = s.Scan(ctx(t), storage.Range{After: []byte(keys[n-11]), Limit: 10})
	if err != nil || len(page.Items) != 10 || page.More {
		t.Errorf("a page that ends exactly at the last key has %d items (more: %v), %v", len(page.Items), page.More, err)
	}
	page, err = s.Scan(ctx(t), storage.Range{After: []byte("key00010x"), Limit: 1})
	if err != nil || len(page.Items) != 1 || string(page.Items[0].Key) != "key00011" {
		t.Errorf("after a key that does not exist: %s, %v", show(page.Items), err)
	}
}

func testScanPrefix(t *testing.T, o Opener) {
	s := opened(t, o)
	var ops []storage.Op
	for _, k := range []string{"a", "a\x00", "a/1", "a/2", "a\xff", "a\xff\xff", "b", "b/1", "\xff", "\xff\xff", "\xff\xff1"} {
		ops = append(ops, put(k, "v"))
	}
	apply(t, s, ops...)
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"a", "", []string{"a", "a\x00", "a/1", "a/2", "a\xff", "a\xff\xff"}},
		{"a/", "", []string{"a/1", "a/2"}},
		{"a/", "a/1", []string{"a/2"}},
		{"a", "a", []string{"a\x00", "a/1", "a/2", "a\xff", "a\xff\xff"}},
		{"b", "a/1", []string{"b", "b/1"}},
		{"a", "b", nil},
		{"a\xff", "", []string{"a\xff", "a\xff\xff"}},
		{"\xff", "", []string{"\xff", "\xff\xff", "\xff\xff1"}},
		{"\xff\xff", "\xff\xff", []string{"\xff\xff1"}},
		{"c", "", nil},
	} {
		for _, limit := range []int{0, 1, 2} {
			var got []string
			for _, it := range scanAll(t, s, storage.Range{Prefix: []byte(c.prefix), After: []byte(c.after), Limit: limit}) {
				got = append(got, string(it.Key))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
				t.Errorf("prefix %q after %q limit %d: %q, want %q", c.prefix, c.after, limit, got, c.want)
			}
		}
	}
}

func testScanBytes(t *testing.T, o Opener) {
	s := opened(t, o)
	fill(t, s, 100, 1000)
	page, err := s.Scan(ctx(t), storage.Range{Bytes: 10_000})
	if err != nil || len(page.Items) < 5 || len(page.Items) > 15 || !page.More {
		t.Errorf("10,000 bytes of items of 1,008 bytes: %d items (more: %v), %v", len(page.Items), page.More, err)
	}
	page, err = s.Scan(ctx(t), storage.Range{Bytes: 1})
	if err != nil || len(page.Items) != 1 || !page.More {
		t.Errorf("at least one item: %d items (more: %v), %v", len(page.Items), page.More, err)
	}
	if n := len(scanAll(t, s, storage.Range{Bytes: 10_000})); n != 100 {
		t.Errorf("all pages together have %d items, want 100", n)
	}
	apply(t, s, storage.Op{Key: []byte("key00050a"), Value: make([]byte, 5<<20)})
	if n := len(scanAll(t, s, storage.Range{})); n != 101 {
		t.Errorf("with a value larger than a page: %d items, want 101", n)
	}
}

func testScanKeysOnly(t *testing.T, o Opener) {
	s := opened(t, o)
	fill(t, s, 500, 1000)
	page, err := s.Scan(ctx(t), storage.Range{KeysOnly: true, Bytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkPage(storage.Range{KeysOnly: true}, page); err != nil || len(page.Items) != 500 {
		t.Errorf("values count although they are not given: %d items, %v", len(page.Items), err)
	}
}

func testSnapshot(t *testing.T, o Opener) {
	s := opened(t, o)
	fill(t, s, 300, 10)
	before := scanAll(t, s, storage.Range{})
	snap, err := s.Snapshot(ctx(t))
	if err != nil || snap == 0 {
		t.Fatalf("snapshot %d: %v", snap, err)
	}
	done := make(chan error, 1)
	go func() { done <- overwrite(t, s) }()
	for writing := true; writing; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			writing = false
		default:
		}
		now := scanAll(t, s, storage.Range{Snapshot: snap, Limit: 7 + len(before)/3})
		if len(now) != len(before) {
			t.Fatalf("the snapshot had %d keys and has %d", len(before), len(now))
		}
		for i := range now {
			if !bytes.Equal(now[i].Key, before[i].Key) || !bytes.Equal(now[i].Value, before[i].Value) {
				t.Fatalf("the snapshot had %s and has %s", show(before[i:i+1]), show(now[i:i+1]))
			}
		}
	}
	wantAbsent(t, s, "key00007")
	want(t, s, "new00007", "new")
	if err := s.Release(ctx(t), snap); err != nil {
		t.Fatal(err)
	}
}

// overwrite changes every key of fill, deletes some and adds some.
func overwrite(t testing.TB, s storage.Store) error {
	for round := range 2 {
		for i := range 300 {
			ops := []storage.Op{put(fmt.Sprintf("key%05d", i), fmt.Sprint("round ", round)), put(fmt.Sprintf("new%05d", i), "new")}
			if i%7 == 0 {
				ops[0].Delete = true
			}
			if err := s.Apply(ctx(t), storage.Batch{Ops: ops}); err != nil {
				return fmt.Errorf("overwrite: %w", err)
			}
		}
	}
	return nil
}

func testSnapshotErrors(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, put("a", "1"))
	_, err := s.Scan(ctx(t), storage.Range{Snapshot: 12345})
	wantClass(t, "scan of an unknown snapshot", err, status.NotFound)
	wantClass(t, "release of an unknown snapshot", s.Release(ctx(t), 12345), status.NotFound)

	// A bound is allowed but not required; either way what was taken works, and a release makes room.
	var snaps []uint64
	for len(snaps) < 100 {
		snap, err := s.Snapshot(ctx(t))
		if err != nil {
			wantClass(t, "one snapshot too many", err, status.Overloaded)
			break
		}
		snaps = append(snaps, snap)
	}
	if len(snaps) < 4 {
		t.Fatalf("only %d snapshots at once", len(snaps))
	}
	apply(t, s, put("b", "2"))
	for _, snap := range snaps {
		if n := len(scanAll(t, s, storage.Range{Snapshot: snap})); n != 1 {
			t.Errorf("snapshot %d has %d keys, want 1", snap, n)
		}
		if err := s.Release(ctx(t), snap); err != nil {
			t.Errorf("release: %v", err)
		}
		_, err := s.Scan(ctx(t), storage.Range{Snapshot: snap})
		wantClass(t, "scan of a released snapshot", err, status.NotFound)
		wantClass(t, "second release", s.Release(ctx(t), snap), status.NotFound)
	}
	if snap, err := s.Snapshot(ctx(t)); err != nil {
		t.Errorf("snapshot after releases: %v", err)
	} else if n := len(scanAll(t, s, storage.Range{Snapshot: snap})); n != 2 {
		t.Errorf("the new snapshot has %d keys, want 2", n)
	}
}
