package kvs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
)

// A store that is away for a while, as a plugin that is started again, costs time and no write.
func TestStoreComesBack(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d})
	d.set(func(d *disk) { d.fail = status.Errorf(status.Unavailable, "away") })
	time.AfterFunc(100*time.Millisecond, func() { d.set(func(d *disk) { d.fail = nil }) })
	began := time.Now()
	if _, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < 90*time.Millisecond {
		t.Error("it was acknowledged while the store was away")
	}
}

// A store that fails closes writes; what is in memory is still read. When it works again, so does everything.
func TestStoreFails(t *testing.T) {
	for _, c := range []status.Class{status.Unavailable, status.Corrupt, status.Overloaded} {
		t.Run(c.String(), func(t *testing.T) {
			d := newDisk(t)
			n := start(t, kvs.Options{Store: d, StoreRetry: 20 * time.Millisecond})
			ctx := ctxOf(t)
			if _, err := n.kvs.Set(ctx, user, "", []byte("k"), []byte("before"), client.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			d.set(func(d *disk) { d.fail = status.Errorf(c, "fsync failed") })
			_, err := n.kvs.Set(ctx, user, "", []byte("k"), []byte("during"), client.PutOptions{})
			wantClass(t, err, c)
			if status.DetailOf(err) == status.DetailSafe {
				t.Error("a write that may have been applied is called safe")
			}
			_, err = n.kvs.Set(ctx, user, "", []byte("k2"), []byte("refused"), client.PutOptions{})
			wantClass(t, err, c)
			if c != status.Corrupt && status.DetailOf(err) != status.DetailSafe {
				t.Error("a refused write is not called safe")
			}
			if _, _, err := n.kvs.Get(ctx, user, "", []byte("k")); err != nil {
				t.Errorf("a read: %v", err)
			}
			if st, err := n.kvs.Stats(ctx); err != nil || st[0].WritesClosed == "" || st[0].StoreLagNano == 0 {
				t.Errorf("%v %v", st, err)
			}
			d.set(func(d *disk) { d.fail = nil })
			for {
				if _, err = n.kvs.Set(ctx, user, "", []byte("k3"), []byte("after"), client.PutOptions{}); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			n.powerCut()
			if data, _, err := n.kvs.Data(ctx, user, "", []byte("k")); err != nil || string(data) != "during" {
				t.Errorf("the batch that failed was not sent again: %q %v", data, err)
			}
			_, _, err = n.kvs.Get(ctx, user, "", []byte("k2"))
			wantClass(t, err, status.NotFound)
		})
	}
}

// A store that says that it takes no more writes is not waited for.
func TestStoreFailsForGood(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d, StoreRetry: time.Hour})
	failed := status.Errorf(status.Unavailable, "fsync failed")
	failed.Detail = storage.DetailFinal
	d.set(func(d *disk) { d.fail = failed })
	_, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{})
	wantClass(t, err, status.Unavailable)
	if d := status.DetailOf(err); d != "" {
		t.Errorf("the writer is told %q: that is between the store and its owner, and nobody knows whether the write was applied", d)
	}
	_, err = n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("y"), client.PutOptions{})
	wantClass(t, err, status.Unavailable)
	if status.DetailOf(err) != status.DetailSafe {
		t.Error("a refused write is not called safe")
	}
	d.set(func(d *disk) { d.fail = nil })
}

// A node that stops does not wait for a store that takes no more writes: it says at once what was lost.
func TestStopWithFailedStore(t *testing.T) {
	for _, class := range []status.Class{status.Unavailable, status.Corrupt} {
		t.Run(class.String(), func(t *testing.T) {
			d := newDisk(t)
			n := start(t, kvs.Options{Store: d, StoreRetry: time.Hour, Drain: time.Hour})
			failed := status.Errorf(class, "fsync failed")
			if class == status.Unavailable {
				failed.Detail = storage.DetailFinal
			}
			d.set(func(d *disk) { d.fail = failed })
			_, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{})
			wantClass(t, err, class)
			began := time.Now()
			err = n.stop()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("stopping took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), "did not reach the store") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// Nor does it wait for long for one that is there and refuses; where that ends in time, all is written.
func TestStopWithFullStore(t *testing.T) {
	for _, room := range []bool{false, true} {
		t.Run(fmt.Sprint("room ", room), func(t *testing.T) {
			d := newDisk(t)
			n := start(t, kvs.Options{Store: d, Durability: "memory", Drain: time.Hour})
			d.set(func(d *disk) { d.fail = status.Errorf(status.Overloaded, "the disk is full") })
			if _, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if room {
				time.AfterFunc(500*time.Millisecond, func() { d.set(func(d *disk) { d.fail = nil }) })
			}
			began := time.Now()
			err := n.stop()
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("stopping took %v", took)
			}
			if room {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantClass(t, err, status.Unavailable)
			if err == nil || !strings.Contains(err.Error(), "did not reach the store") || !strings.Contains(err.Error(), "disk is full") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestFullWriteBuffer(t *testing.T) {
	d := newDisk(t)
	d.stuck = make(chan struct{})
	n := start(t, kvs.Options{Store: d, Durability: "memory", WriteBuffer: 64 << 10})
	var err error
	wrote := 0
	for ; err == nil && wrote < 100; wrote++ {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err = n.kvs.Set(ctx, user, "", []byte{byte(wrote)}, make([]byte, 8<<10), client.PutOptions{})
		cancel()
	}
	if c := status.Of(err); c != status.Overloaded && c != status.Deadline {
		t.Errorf("after %d writes: %v", wrote, err)
	}
	if wrote < 8 || wrote > 12 {
		t.Errorf("the buffer of 64 KiB took %d writes of 8 KiB", wrote)
	}
	close(d.stuck)
	if _, err = n.kvs.Set(ctxOf(t), user, "", []byte("x"), nil, client.PutOptions{}); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// Stopping is bounded, and says when something did not reach the store.
func TestStopWithStuckStore(t *testing.T) {
	d := newDisk(t)
	d.stuck = make(chan struct{})
	n := start(t, kvs.Options{Store: d, Drain: 50 * time.Millisecond})
	done := make(chan error, 1)
	go func() {
		_, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), nil, client.PutOptions{})
		done <- err
	}()
	for {
		if st, err := n.kvs.Stats(ctxOf(t)); err == nil && st[0].PendingBytes > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	if err := n.stop(); err == nil {
		t.Error("it says that all is well")
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	wantClass(t, <-done, status.Unavailable)
}

func TestStopWritesEverything(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d, Durability: "batched"})
	for i := range 5000 {
		if _, err := n.kvs.Set(ctxOf(t), user, "", fmt.Appendf(nil, "%d", i), []byte("x"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n.opts.Store = d.cut()
	n.run()
	count := 0
	if err := n.kvs.ScanAll(ctxOf(t), user, "", client.ScanOptions{KeysOnly: true}, func(client.Item) bool { count++; return true }); err != nil || count != 5000 {
		t.Errorf("%d keys, %v", count, err)
	}
}

// A corrupt record is an error of who asks for it, of nobody else.
func TestCorruptRecord(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d})
	ctx := ctxOf(t)
	var keys [][]byte
	for i := range 20 {
		keys = append(keys, fmt.Appendf(nil, "%02d", i))
		if _, err := n.kvs.Set(ctx, user, "", keys[i], []byte("x"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(ctx, storage.Batch{Ops: []storage.Op{{Key: append([]byte{1, 0}, keys[7]...), Value: []byte("garbage")}}}); err != nil {
		t.Fatal(err)
	}
	n.run()
	res, err := n.kvs.MultiGet(ctx, user, "", keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res {
		want := status.OK
		if i == 7 {
			want = status.Corrupt
		}
		wantClass(t, r.Err, want)
	}
	_, err = n.kvs.Set(ctx, user, "", keys[7], []byte("y"), client.PutOptions{})
	wantClass(t, err, status.Corrupt)
	d.set(func(d *disk) { d.failGet = status.Errorf(status.Unavailable, "away") })
	_, _, err = n.kvs.Get(ctx, user, "", []byte("cold"))
	wantClass(t, err, status.Unavailable)
	if _, _, err = n.kvs.Get(ctx, user, "", keys[1]); err != nil {
		t.Errorf("a hot key while the store cannot be read: %v", err)
	}
}

// What expires and what is deleted leaves the store, also where it is cold: after a restart, nobody reads it any more.
func TestStoreIsSwept(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d, TombstoneGrace: 100 * time.Millisecond})
	ctx := ctxOf(t)
	for i := range 100 {
		if _, err := n.kvs.Set(ctx, user, "", fmt.Appendf(nil, "ttl%d", i), []byte("x"), client.PutOptions{TTL: 300 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.kvs.Set(ctx, user, "", fmt.Appendf(nil, "del%d", i), []byte("x"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.kvs.Delete(ctx, user, "", fmt.Appendf(nil, "del%d", i), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	n.restart()
	events := make(chan client.Item, 1000)
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = n.kvs.Watch(wctx, user, "", client.WatchOptions{Key: []byte("ttl"), Prefix: true}, func(it client.Item) { events <- it })
	}()
	for {
		st, err := d.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Keys == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%d keys are left in the store", st.Keys)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(events) == 0 {
		t.Error("a watch is not told that cold keys have expired")
	}
}

// A deletion of a scope that a stop interrupts, after its clock was written, is ended by the next start.
func TestInterruptedDeleteScope(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d, MaxKey: 10, Drain: 50 * time.Millisecond})
	ctx := ctxOf(t)
	for i := range 100 {
		if _, err := n.kvs.Set(ctx, client.DataSpace, "run", fmt.Appendf(nil, "%d", i), []byte("x"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	d.set(func(d *disk) { d.scans, d.failScan = 1, status.Errorf(status.Unavailable, "away") })
	wantClass(t, n.kvs.DeleteScope(ctx, client.DataSpace, "run"), status.Unavailable)
	_, _, err := n.kvs.Get(ctx, client.DataSpace, "run", []byte("1"))
	wantClass(t, err, status.NotFound)
	d.set(func(d *disk) { d.failScan = nil })
	n.powerCut()
	_, _, err = n.kvs.Get(ctx, client.DataSpace, "run", []byte("1"))
	wantClass(t, err, status.NotFound)
	for {
		page, err := n.opts.Store.Scan(ctx, storage.Range{Prefix: []byte("\x02\x03run")})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The largest value goes to the store alone, its expiry before it.
func TestLargestValue(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector looks at every byte of each copy: most of what it takes here, and seconds for each value")
	}
	n := start(t, kvs.Options{Store: memory.New(memory.Options{}), MaxValue: 40 << 20})
	ctx := ctxOf(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			size := []int{39 << 20, 16<<20 - 100, 1, 1}[i]
			if _, err := n.kvs.Set(ctx, user, "", []byte{byte(i)}, make([]byte, size), client.PutOptions{TTL: time.Hour}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n.restart()
	if data, _, err := n.kvs.Data(ctxOf(t), user, "", []byte{0}); err != nil || len(data) != 39<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// counting counts what the store is asked for.
type counting struct {
	*disk
	reads atomic.Int64
}

func (c *counting) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	c.reads.Add(int64(len(keys)))
	return c.disk.Get(ctx, keys)
}

// A store that was empty is not asked for new keys; one that was not is no longer asked for absent keys once it has been
// asked often enough. No key that is there is ever taken for absent, however much is written meanwhile.
func TestAbsentKeys(t *testing.T) {
	c := &counting{disk: newDisk(t)}
	n := start(t, kvs.Options{Store: c, Durability: "memory", Memory: 1 << 20, WriteBuffer: 1 << 30})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var ops []client.Op
	put := func(prefix string, from, to int) {
		t.Helper()
		for at := from; at < to; at += 2000 {
			ops = ops[:0]
			for i := at; i < min(at+2000, to); i++ {
				ops = append(ops, client.Op{Kind: client.OpPut, Key: fmt.Append(nil, prefix, i), Value: []byte("v"), Stamp: true})
			}
			res, err := n.kvs.Do(ctx, user, "", client.DefaultDurability, ops)
			if err != nil || res[0].Err != nil {
				t.Error(err, res[0].Err)
				return
			}
		}
	}
	absent := func(count int) {
		t.Helper()
		var keys [][]byte
		for i := range count {
			keys = append(keys, fmt.Append(nil, "absent", i))
		}
		res, err := n.kvs.MultiGet(ctx, user, "", keys)
		if err != nil || status.Of(res[0].Err) != status.NotFound {
			t.Fatal(err, res[0].Err)
		}
	}
	put("a", 0, 5000)
	absent(2000)
	if r := c.reads.Load(); r > 1000 {
		t.Errorf("%d reads of a store that was empty", r)
	}
	n.restart()
	c.reads.Store(0)
	var wg sync.WaitGroup
	wg.Go(func() { put("b", 0, 15000) }) // fills the first table
	for {
		c.reads.Store(0)
		absent(2000)
		if c.reads.Load() < 500 {
			break
		}
	}
	wg.Wait()
	put("b", 15000, 16000)
	for _, k := range []struct {
		prefix string
		n      int
	}{{"a", 5000}, {"b", 16000}} {
		for at := 0; at < k.n; at += 1000 {
			var keys [][]byte
			for i := at; i < at+1000; i++ {
				keys = append(keys, fmt.Append(nil, k.prefix, i))
			}
			res, err := n.kvs.MultiGet(ctx, user, "", keys)
			if err != nil {
				t.Fatal(err)
			}
			for i := range res {
				if res[i].Err != nil {
					t.Fatalf("%s: %v", keys[i], res[i].Err)
				}
			}
		}
	}
}
