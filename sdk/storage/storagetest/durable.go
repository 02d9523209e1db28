package storagetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/storage"
)

func persistent(t *testing.T, o Opener) storage.Store {
	t.Helper()
	s := open(t, o)
	if !s.Info().Persistent {
		_ = s.Close()
		t.Skip("the store is not persistent")
	}
	return s
}

func testReopen(t *testing.T, o Opener) {
	s := persistent(t, o)
	apply(t, s, put("gone", "x"))
	keys := fill(t, s, 2000, 100)
	apply(t, s, put("empty", ""), del("gone"))
	large := put("large", string(make([]byte, 9<<20)))
	apply(t, s, large)
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		s = open(t, o)
		if n := len(scanAll(t, s, storage.Range{})); n != len(keys)+2 {
			t.Fatalf("after reopening %d keys, want %d", n, len(keys)+2)
		}
		want(t, s, keys[17], fmt.Sprintf("%0100d", 17), "empty", "", "large", string(large.Value))
		wantAbsent(t, s, "gone")
		apply(t, s, put(keys[3], "changed after reopening"))
		want(t, s, keys[3], "changed after reopening")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func testKill(t *testing.T, o Opener) {
	k, ok := o.(Killer)
	if !ok {
		t.Skip("the opener cannot kill")
	}
	for range 3 {
		crash(t, o, k.Kill)
	}
}

func testPowerCut(t *testing.T, o Opener) {
	p, ok := o.(PowerCutter)
	if !ok {
		t.Skip("the opener cannot cut power")
	}
	for range 3 {
		crash(t, o, p.CutPower)
	}
}

const crashShards = 6

// crash ends the store under load, opens it again and compares. Each shard writes the numbers 1, 2, ... in batches of
// three keys; every third batch is synced.
func crash(t *testing.T, o Opener, end func(testing.TB)) {
	s := open(t, o)
	if items := scanAll(t, s, storage.Range{KeysOnly: true}); len(items) > 0 { // of the round before
		ops := make([]storage.Op, len(items))
		for i := range items {
			ops[i] = storage.Op{Key: items[i].Key, Delete: true}
		}
		if err := s.Apply(ctx(t), storage.Batch{Ops: ops, Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	var started [crashShards]int
	var synced [crashShards]atomic.Int64
	var stopping atomic.Bool
	for shard := range crashShards {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 1; ; n++ {
				started[shard] = n
				b := storage.Batch{Shard: uint32(shard), Sync: n%3 == 0, Ops: crashOps(shard, n)}
				if err := s.Apply(ctx(t), b); err != nil {
					if !stopping.Load() {
						t.Errorf("shard %d: %v", shard, err)
					}
					return
				}
				if b.Sync {
					synced[shard].Store(int64(n))
				}
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	var acked [crashShards]int64
	for i := range synced {
		acked[i] = synced[i].Load()
	}
	stopping.Store(true)
	end(t)
	_ = s.Close() // what is left of the store on this side; its answer means nothing
	wg.Wait()

	s = open(t, o)
	for shard := range crashShards {
		if err := checkCrashed(t, s, shard, int(acked[shard]), started[shard]); err != nil {
			t.Errorf("shard %d: %v", shard, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close after the crash: %v", err)
	}
}

func crashOps(shard, n int) []storage.Op {
	key := func(name string) string { return fmt.Sprintf("%d/%s", shard, name) }
	return []storage.Op{put(key("last"), strconv.Itoa(n)), put(key(fmt.Sprintf("n%06d", n)), "here"), put(key("copy"), strconv.Itoa(n))}
}

// checkCrashed checks that a shard holds a prefix of what was written, whole, and at least all that was acknowledged with
// Sync.
func checkCrashed(t *testing.T, s storage.Store, shard, acked, started int) error {
	key := func(name string) string { return fmt.Sprintf("%d/%s", shard, name) }
	items := get(t, s, key("last"), key("copy"))
	if string(items[0].Value) != string(items[1].Value) {
		return fmt.Errorf("a batch is torn: %q beside %q", items[0].Value, items[1].Value)
	}
	last := 0
	if items[0].Found {
		var err error
		if last, err = strconv.Atoi(string(items[0].Value)); err != nil {
			return err
		}
	}
	if last < acked || last > started {
		return fmt.Errorf("the last batch found is %d; %d was acknowledged as durable, %d was started", last, acked, started)
	}
	if acked == 0 {
		return errors.New("no batch was acknowledged before the crash: the test tests nothing")
	}
	there := scanAll(t, s, storage.Range{Prefix: []byte(key("n"))})
	if len(there) != last {
		return fmt.Errorf("%d batches are there, the last is %d: one in the middle is lost", len(there), last)
	}
	return nil
}
