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
	for round := range 3 {
		crash(t, o, round, k.Kill)
	}
}

func testPowerCut(t *testing.T, o Opener) {
	p, ok := o.(PowerCutter)
	if !ok {
		t.Skip("the opener cannot cut power")
	}
	for round := range 3 {
		crash(t, o, round, p.CutPower)
	}
}

const crashShards = 6

// crash ends the store under load, opens it again and compares. Each shard writes the numbers 1, 2, ... in batches of
// three keys of its own; every third batch is synced.
func crash(t *testing.T, o Opener, round int, end func(testing.TB)) {
	s := open(t, o)
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
				b := storage.Batch{Shard: uint32(shard), Sync: n%3 == 0, Ops: crashOps(crashPrefix(round, shard), n)}
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
	acked := waitForWrites(&synced)
	stopping.Store(true)
	end(t)
	_ = s.Close() // what is left of the store on this side; its answer means nothing
	wg.Wait()

	s = open(t, o)
	for shard := range crashShards {
		if err := checkCrashed(t, s, crashPrefix(round, shard), int(acked[shard]), started[shard]); err != nil {
			t.Errorf("shard %d: %v", shard, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close after the crash: %v", err)
	}
}

// waitForWrites returns what was acknowledged as durable when every shard has some of it.
func waitForWrites(synced *[crashShards]atomic.Int64) (acked [crashShards]int64) {
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		enough := true
		for i := range synced {
			acked[i] = synced[i].Load()
			enough = enough && acked[i] >= 6
		}
		if enough {
			break
		}
	}
	return acked
}

func crashPrefix(round, shard int) string { return fmt.Sprintf("%d/%d/", round, shard) }

func crashOps(prefix string, n int) []storage.Op {
	return []storage.Op{
		put(prefix+"last", strconv.Itoa(n)),
		put(fmt.Sprintf("%sn%06d", prefix, n), "here"),
		put(prefix+"copy", strconv.Itoa(n)),
	}
}

// checkCrashed checks that a shard holds a prefix of what was written, whole, and at least all that was acknowledged with
// Sync.
func checkCrashed(t *testing.T, s storage.Store, prefix string, acked, started int) error {
	items := get(t, s, prefix+"last", prefix+"copy")
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
	there := scanAll(t, s, storage.Range{Prefix: []byte(prefix + "n")})
	if len(there) != last {
		return fmt.Errorf("%d batches are there, the last is %d: one in the middle is lost", len(there), last)
	}
	return nil
}
