package storagetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

const (
	atomicWrites = 300
	// atomicScans is how many scans there are between writes at least. On a busy machine the writer may be through before the
	// first one begins, and nothing would have been looked at.
	atomicScans = 50
	// maxAtomicWrites ends the test where scans never come.
	maxAtomicWrites = 30_000
)

// testAtomic writes the same number under several keys in one batch; whoever scans must see the same number everywhere.
func testAtomic(t *testing.T, o Opener) {
	s := opened(t, o)
	batch := func(n uint64) storage.Batch {
		b := storage.Batch{Shard: 3, Sync: n%5 == 0}
		for k := range 20 {
			v := binary.BigEndian.AppendUint64(nil, n)
			b.Ops = append(b.Ops, storage.Op{Key: fmt.Appendf(nil, "key%02d", k), Value: v})
		}
		return b
	}
	if err := s.Apply(ctx(t), batch(0)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	var scans atomic.Int64
	go func() {
		for n := uint64(0); n < atomicWrites || n < maxAtomicWrites && scans.Load() < atomicScans; n++ {
			if err := s.Apply(ctx(t), batch(n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		page, err := s.Scan(ctx(t), storage.Range{})
		if err != nil || len(page.Items) != 20 {
			t.Fatalf("scan: %d items, %v", len(page.Items), err)
		}
		for _, it := range page.Items {
			if string(it.Value) != string(page.Items[0].Value) {
				t.Fatalf("a batch is half visible: %x beside %x", it.Value, page.Items[0].Value)
			}
		}
		scans.Add(1)
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

// testShardOrder lets many shards overwrite a key of their own and one that they share with nobody but themselves.
func testShardOrder(t *testing.T, o Opener) {
	s := opened(t, o)
	const shards, writes = 16, 60
	var wg sync.WaitGroup
	for shard := range uint32(shards) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range writes {
				ops := []storage.Op{put(fmt.Sprintf("shard%02d", shard), fmt.Sprint(n)), put(fmt.Sprintf("shard%02d/%03d", shard, n), "x")}
				if n > 0 {
					ops = append(ops, del(fmt.Sprintf("shard%02d/%03d", shard, n-1)))
				}
				if err := s.Apply(ctx(t), storage.Batch{Shard: shard, Ops: ops, Sync: n%3 == 0}); err != nil {
					t.Errorf("shard %d: %v", shard, err)
					return
				}
				want(t, s, fmt.Sprintf("shard%02d", shard), fmt.Sprint(n))
			}
		}()
	}
	wg.Wait()
	if n := len(scanAll(t, s, storage.Range{})); n != 2*shards {
		t.Errorf("%d keys are left, want %d", n, 2*shards)
	}
}

// testStarted starts many batches before it waits for any, and waits for the last one first.
func testStarted(t *testing.T, o Opener) {
	s, ok := opened(t, o).(storage.Starter)
	if !ok {
		t.Skip("the store is no Starter")
	}
	const writes = 30
	var waits []func() error
	value := make([]byte, 16)
	for n := range writes {
		copy(value, fmt.Sprintf("%016d", n))
		waits = append(waits, s.Start(ctx(t), storage.Batch{Shard: 3, Ops: []storage.Op{{Key: []byte("k"), Value: value}}, Sync: n%3 == 0}))
		clear(value) // it is the caller's again
	}
	for _, wait := range slices.Backward(waits) {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, s, "k", fmt.Sprintf("%016d", writes-1))
	wantClass(t, "a batch that breaks a limit", s.Start(ctx(t), storage.Batch{Ops: []storage.Op{put("", "x")}})(), status.Invalid)
	over, cancel := context.WithCancel(ctx(t))
	cancel()
	wantClass(t, "a batch that nobody waits for", s.Start(over, storage.Batch{Ops: []storage.Op{put("b", "x")}})(), status.Cancelled)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantClass(t, "a batch for a closed store", s.Start(ctx(t), storage.Batch{Ops: []storage.Op{put("c", "x")}})(), status.Unavailable)
}

func testClosed(t *testing.T, o Opener) {
	s := open(t, o)
	apply(t, s, put("a", "1"))
	snap, err := s.Snapshot(ctx(t)) // left open on purpose
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	wantClass(t, "apply", s.Apply(ctx(t), storage.Batch{Ops: []storage.Op{put("a", "2")}}), status.Unavailable)
	_, err = s.Get(ctx(t), [][]byte{[]byte("a")})
	wantClass(t, "get", err, status.Unavailable)
	_, err = s.Scan(ctx(t), storage.Range{})
	wantClass(t, "scan", err, status.Unavailable)
	_, err = s.Scan(ctx(t), storage.Range{Snapshot: snap})
	wantClass(t, "scan of a snapshot", err, status.Unavailable)
	_, err = s.Snapshot(ctx(t))
	wantClass(t, "snapshot", err, status.Unavailable)
	wantClass(t, "release", s.Release(ctx(t), snap), status.Unavailable)
	_, err = s.Stats(ctx(t))
	wantClass(t, "stats", err, status.Unavailable)
}

// testCloseDuringUse closes under load: every call either succeeds or is Unavailable, and none hangs.
func testCloseDuringUse(t *testing.T, o Opener) {
	s := open(t, o)
	var wg sync.WaitGroup
	for w := range uint32(8) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				var err error
				switch (n + int(w)) % 4 {
				case 0, 1:
					err = s.Apply(ctx(t), storage.Batch{Shard: w, Ops: []storage.Op{put(fmt.Sprint(w), fmt.Sprint(n))}, Sync: n%2 == 0})
				case 2:
					_, err = s.Get(ctx(t), [][]byte{[]byte("1")})
				case 3:
					_, err = s.Scan(ctx(t), storage.Range{})
				}
				if err != nil {
					wantClass(t, "call during close", err, status.Unavailable)
					return
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
}
