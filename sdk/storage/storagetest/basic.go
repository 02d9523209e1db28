package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

func testInfo(t *testing.T, o Opener) {
	s := opened(t, o)
	if in := s.Info(); in.Name == "" || in.Version == "" {
		t.Errorf("a store must say its name and version: %+v", in)
	}
	if _, cuts := o.(PowerCutter); cuts && !s.Info().Persistent {
		t.Error("a store that survives power cuts must say that it is persistent")
	}
}

func testPutGet(t *testing.T, o Opener) {
	s := opened(t, o)
	wantAbsent(t, s, "a", "b")
	apply(t, s, put("b", "2"), put("a", "1"), put("\x00", "zero"), put("\xff\xff", "max"))
	want(t, s, "a", "1", "b", "2", "\x00", "zero", "\xff\xff", "max")
	apply(t, s, put("a", "one"))
	items := get(t, s, "b", "nobody", "a", "b")
	if string(items[0].Value) != "2" || items[1].Found || string(items[2].Value) != "one" || string(items[3].Value) != "2" {
		t.Errorf("items in the order of the keys: %s", show(items))
	}
	if items, err := s.Get(ctx(t), nil); err != nil || len(items) != 0 {
		t.Errorf("get of nothing: %v, %v", items, err)
	}
}

func testEmptyValue(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, put("empty", ""), storage.Op{Key: []byte("nil")}, put("full", "x"))
	want(t, s, "empty", "", "nil", "")
	wantAbsent(t, s, "absent")
	if n := len(scanAll(t, s, storage.Range{})); n != 3 {
		t.Errorf("scan finds %d keys, want 3", n)
	}
	apply(t, s, put("full", ""))
	want(t, s, "full", "")
}

func testDelete(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, del("never there"))
	apply(t, s, put("a", "1"), put("b", "2"))
	apply(t, s, storage.Op{Key: []byte("a"), Value: []byte("ignored"), Delete: true})
	wantAbsent(t, s, "a")
	want(t, s, "b", "2")
	if items := scanAll(t, s, storage.Range{}); len(items) != 1 || string(items[0].Key) != "b" {
		t.Errorf("scan after delete: %s", show(items))
	}
	apply(t, s, put("a", "again"))
	want(t, s, "a", "again")
}

func testOpsInOrder(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, put("a", "1"), put("a", "2"), del("b"), put("b", "3"), put("c", "4"), del("c"), put("d", "5"), del("d"), put("d", "6"))
	want(t, s, "a", "2", "b", "3", "d", "6")
	wantAbsent(t, s, "c")
}

func testBuffers(t *testing.T, o Opener) {
	s := opened(t, o)
	k, v := []byte("key"), []byte("value")
	if err := s.Apply(ctx(t), storage.Batch{Ops: []storage.Op{{Key: k, Value: v}}}); err != nil {
		t.Fatal(err)
	}
	copy(k, "xxx")
	copy(v, "xxxxx")
	want(t, s, "key", "value")
	kept := get(t, s, "key")[0]
	page := scanAll(t, s, storage.Range{})
	for i := range 100 {
		apply(t, s, put("key", fmt.Sprint("other", i)))
	}
	if string(kept.Value) != "value" || string(page[0].Value) != "value" {
		t.Errorf("answers changed afterwards: %q, %q", kept.Value, page[0].Value)
	}
}

func testApplyTwice(t *testing.T, o Opener) {
	s := opened(t, o)
	b := storage.Batch{Ops: []storage.Op{put("a", "1"), del("b"), put("c", "x"), put("c", "y")}, Sync: true}
	apply(t, s, put("b", "old"))
	for range 3 {
		if err := s.Apply(ctx(t), b); err != nil {
			t.Fatal(err)
		}
		want(t, s, "a", "1", "c", "y")
		wantAbsent(t, s, "b")
	}
}

func testEmptyBatch(t *testing.T, o Opener) {
	s := opened(t, o)
	for _, sync := range []bool{false, true} {
		if err := s.Apply(ctx(t), storage.Batch{Shard: 7, Sync: sync}); err != nil {
			t.Errorf("empty batch, sync %v: %v", sync, err)
		}
	}
}

func testLimits(t *testing.T, o Opener) {
	s := opened(t, o)
	long := strings.Repeat("k", storage.MaxKeyBytes)
	apply(t, s, put(long, "longest"))
	want(t, s, long, "longest")

	good := put("good", "must not be applied")
	half := make([]byte, storage.MaxBatchBytes/2)
	many := make([]storage.Op, storage.MaxBatchOps+1)
	for i := range many {
		many[i] = good
	}
	for name, ops := range map[string][]storage.Op{
		"key too long":    {good, put(long+"k", "v")},
		"empty key":       {good, put("", "v")},
		"delete empty":    {good, del("")},
		"too many ops":    many,
		"batch too large": {good, {Key: []byte("x"), Value: half}, {Key: []byte("y"), Value: half}},
	} {
		wantClass(t, name, s.Apply(ctx(t), storage.Batch{Ops: ops}), status.Invalid)
	}
	wantAbsent(t, s, "good")
	_, err := s.Get(ctx(t), [][]byte{[]byte(long + "k")})
	wantClass(t, "get of a key too long", err, status.Invalid)
	_, err = s.Get(ctx(t), [][]byte{[]byte("a"), {}})
	wantClass(t, "get of the empty key", err, status.Invalid)
	_, err = s.Get(ctx(t), make([][]byte, storage.MaxBatchOps+1))
	wantClass(t, "get of too many keys", err, status.Invalid)
	_, err = s.Scan(ctx(t), storage.Range{Limit: -1})
	wantClass(t, "scan with a negative limit", err, status.Invalid)
	want(t, s, long, "longest")
}

func testLargeValue(t *testing.T, o Opener) {
	s := opened(t, o)
	large := bytes.Repeat([]byte("0123456789abcdef"), (storage.MaxBatchBytes+1<<20)/16)
	apply(t, s, storage.Op{Key: []byte("large"), Value: large})
	apply(t, s, put("small", "s"))
	if it := get(t, s, "large")[0]; !bytes.Equal(it.Value, large) {
		t.Errorf("a value of %d bytes comes back as %d bytes", len(large), len(it.Value))
	}
	want(t, s, "small", "s")
	if items := scanAll(t, s, storage.Range{}); len(items) != 2 || !bytes.Equal(items[0].Value, large) {
		t.Errorf("scan gives %d items", len(items))
	}
	apply(t, s, del("large"))
	wantAbsent(t, s, "large")
}

func testLargeBatch(t *testing.T, o Opener) {
	s := opened(t, o)
	ops := make([]storage.Op, storage.MaxBatchOps)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("key%06d", i), fmt.Sprintf("%0500d", i))
	}
	apply(t, s, ops...)
	keys := make([][]byte, len(ops))
	for i := range ops {
		keys[i] = ops[len(ops)-1-i].Key
	}
	items, err := s.Get(ctx(t), keys)
	if err != nil || len(items) != len(ops) {
		t.Fatalf("get of %d keys: %d items, %v", len(keys), len(items), err)
	}
	for i, it := range items {
		if !bytes.Equal(it.Key, keys[i]) || !bytes.Equal(it.Value, ops[len(ops)-1-i].Value) {
			t.Fatalf("item %d: %q = %q", i, it.Key, short(it.Value))
		}
	}
}

func testStats(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, put("a", "1"), put("b", "2"))
	st, err := s.Stats(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if st.Keys == 0 || (s.Info().Persistent && st.DiskBytes == 0) {
		t.Errorf("a store with keys has stats %+v", st)
	}
}

func testContext(t *testing.T, o Opener) {
	s := opened(t, o)
	apply(t, s, put("a", "1"))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, c := range []struct {
		ctx   context.Context
		class status.Class
	}{{cancelled, status.Cancelled}, {late, status.Deadline}} {
		wantClass(t, "apply", s.Apply(c.ctx, storage.Batch{Ops: []storage.Op{put("b", "1")}, Sync: true}), c.class)
		_, err := s.Get(c.ctx, [][]byte{[]byte("a")})
		wantClass(t, "get", err, c.class)
		_, err = s.Scan(c.ctx, storage.Range{})
		wantClass(t, "scan", err, c.class)
		_, err = s.Snapshot(c.ctx)
		wantClass(t, "snapshot", err, c.class)
	}
	want(t, s, "a", "1")
	testCancelInFlight(t, s)
}

// testCancelInFlight gives up on batches while they are on their way; the store must neither break nor touch buffers that
// are the caller's again (the race detector sees that).
func testCancelInFlight(t *testing.T, s storage.Store) {
	buf := make([]byte, 1024)
	for i := range 50 {
		c, cancel := context.WithTimeout(context.Background(), time.Duration(i)*10*time.Microsecond)
		err := s.Apply(c, storage.Batch{Shard: 1, Ops: []storage.Op{{Key: []byte("flight"), Value: buf}}, Sync: true})
		cancel()
		if err != nil && status.Of(err) != status.Deadline {
			t.Errorf("apply with a short deadline: %v", err)
		}
		for j := range buf {
			buf[j] = byte(i)
		}
	}
	apply(t, s, put("flight", "landed"))
	want(t, s, "flight", "landed")
}
