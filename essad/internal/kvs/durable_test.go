package kvs_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
)

// disk is a store that can lose power, fail and be slow.
type disk struct {
	*memory.Store // what it answers with

	mu       sync.Mutex
	safe     *memory.Store // what would survive
	unsynced []storage.Op
	fail     error // of Apply, until it is nil again
	failGet  error
	failScan error
	scans    int           // that still go well
	stuck    chan struct{} // Apply waits for it to be closed
	fsync    time.Duration
	dead     bool
	last     map[uint32]bool // shards with a batch under way
	batches  atomic.Int64
	synced   []time.Time // when batches began that were synced
	t        testing.TB
}

func newDisk(t testing.TB) *disk {
	return &disk{t: t, Store: memory.New(memory.Options{}), safe: memory.New(memory.Options{}), last: map[uint32]bool{}}
}

func (d *disk) Apply(ctx context.Context, b storage.Batch) error {
	began := time.Now()
	d.mu.Lock()
	if d.last[b.Shard] {
		d.t.Error("two batches of a shard at once: their order is lost")
	}
	d.last[b.Shard] = true
	stuck, fsync := d.stuck, d.fsync
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.last, b.Shard)
		d.mu.Unlock()
	}()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if b.Sync && fsync > 0 {
		time.Sleep(fsync)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return status.Errorf(status.Unavailable, "dead")
	}
	if d.fail != nil {
		return d.fail
	}
	d.batches.Add(1)
	if err := d.Store.Apply(ctx, b); err != nil {
		return err
	}
	for _, op := range b.Ops {
		d.unsynced = append(d.unsynced, storage.Op{Key: bytes.Clone(op.Key), Value: bytes.Clone(op.Value), Delete: op.Delete})
	}
	if !b.Sync {
		return nil
	}
	for len(d.unsynced) > 0 {
		n := min(1000, len(d.unsynced))
		if err := d.safe.Apply(ctx, storage.Batch{Ops: d.unsynced[:n]}); err != nil {
			return err
		}
		d.unsynced = d.unsynced[n:]
	}
	d.synced = append(d.synced, began)
	return nil
}

func (d *disk) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	d.mu.Lock()
	err := d.failGet
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return d.Store.Get(ctx, keys)
}

func (d *disk) Scan(ctx context.Context, r storage.Range) (storage.Page, error) {
	d.mu.Lock()
	err := d.failScan
	if err != nil && d.scans > 0 && r.Prefix[0] != 0xf0 {
		d.scans--
		err = nil
	}
	d.mu.Unlock()
	if err != nil {
		return storage.Page{}, err
	}
	return d.Store.Scan(ctx, r)
}

// cut loses the power: the disk answers no more, and what is returned holds what was synced.
func (d *disk) cut() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	out := newDisk(d.t)
	after := []byte(nil)
	for {
		page, err := d.safe.Scan(context.Background(), storage.Range{After: after})
		if err != nil {
			d.t.Fatal(err)
		}
		var ops []storage.Op
		for _, it := range page.Items {
			ops = append(ops, storage.Op{Key: it.Key, Value: it.Value})
			after = it.Key
		}
		if len(ops) > 0 {
			if err := out.Apply(context.Background(), storage.Batch{Ops: ops, Sync: true}); err != nil {
				d.t.Fatal(err)
			}
		}
		if !page.More {
			return out
		}
	}
}

func (d *disk) set(f func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// powerCut loses the power of n's disk and starts it again with what is left.
func (n *node) powerCut() {
	n.t.Helper()
	left := n.opts.Store.(*disk).cut()
	_ = n.stop() // what it says does not matter: it is dead
	n.opts.Store = left
	n.run()
}

func TestAcknowledgedWritesSurvive(t *testing.T) {
	for _, durability := range []string{"sync", "batched"} {
		t.Run(durability, func(t *testing.T) {
			d := newDisk(t)
			d.fsync = 200 * time.Microsecond
			n := start(t, kvs.Options{Store: d, Durability: durability, Memory: 64 << 10, Drain: time.Millisecond, StoreRetry: time.Millisecond})
			var (
				wg   sync.WaitGroup
				acks [16][]ack
				end  = make(chan struct{})
			)
			for w := range acks {
				wg.Go(func() {
					ctx := ctxOf(t)
					for i := 0; ; i++ {
						select {
						case <-end:
							return
						default:
						}
						// New keys, and sets that grow.
						key, elem := fmt.Sprintf("%d-%d", w, i/3), fmt.Sprint(i%3)
						if _, err := n.kvs.Put(ctx, user, "", []byte(key), set(elem), client.PutOptions{}); err != nil {
							return
						}
						acks[w] = append(acks[w], ack{key + "/" + elem, time.Now()})
						if i%10 == 9 {
							gone := fmt.Sprintf("%d-%d", w, i/3-1)
							if _, err := n.kvs.Delete(ctx, user, "", []byte(gone), client.PutOptions{}); err != nil {
								return
							}
							acks[w] = append(acks[w], ack{gone + "/", time.Now()})
						}
					}
				})
			}
			time.Sleep(400 * time.Millisecond)
			n.powerCut()
			// Under batched, the last batch that an acknowledged write can be missing from is one that began after it.
			safe := time.Now()
			if durability == "batched" {
				safe = d.synced[len(d.synced)-2]
			}
			close(end)
			wg.Wait()
			checked := 0
			for _, as := range acks {
				want := map[string][]string{}
				for _, a := range as {
					if !a.at.Before(safe) {
						break
					}
					key, elem, _ := bytes.Cut([]byte(a.what), []byte("/"))
					if len(elem) == 0 {
						want[string(key)] = nil
					} else {
						want[string(key)] = append(want[string(key)], string(elem))
					}
					checked++
				}
				for key, elems := range want {
					v, _, err := n.kvs.Get(ctxOf(t), user, "", []byte(key))
					if len(elems) == 0 {
						// Later writes may have come after the delete; none were made to these keys.
						wantClass(t, err, status.NotFound)
						continue
					}
					if err != nil {
						if status.Of(err) == status.NotFound && deletedLater(as, key) {
							continue
						}
						t.Errorf("%s: %v, want %v", key, err, elems)
						continue
					}
					for _, e := range elems {
						if !v.(lattice.Set).Contains([]byte(e)) {
							t.Errorf("%s: %v, want %v", key, v, elems)
						}
					}
				}
			}
			if checked < 100 {
				t.Errorf("only %d acknowledged writes were checked", checked)
			}
		})
	}
}

// ack is an acknowledged write: of key/element, or of the deletion of key.
type ack struct {
	what string
	at   time.Time
}

func deletedLater(as []ack, key string) bool {
	return slices.ContainsFunc(as, func(a ack) bool { return a.what == key+"/" })
}

// Under batched, a write is on disk soon, without another one.
func TestBatchedIsSoonOnDisk(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d, Durability: "batched"})
	began := time.Now()
	if _, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		if st, err := d.safe.Stats(ctxOf(t)); err == nil && st.Keys == 1 {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("it does not reach the disk")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("on disk after %v", time.Since(began))
}

// A put that is to be sync where the node is not survives as well, also when it changes nothing.
func TestSyncOnDemand(t *testing.T) {
	n := start(t, kvs.Options{Store: newDisk(t), Durability: "memory"})
	ctx := ctxOf(t)
	if _, err := n.kvs.Put(ctx, user, "", []byte("k"), set("a"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // now it is in the store, not on disk
	if _, err := n.kvs.Put(ctx, user, "", []byte("k"), set("a"), client.PutOptions{Durability: client.SyncDurability}); err != nil {
		t.Fatal(err)
	}
	n.powerCut()
	if _, _, err := n.kvs.Get(ctx, user, "", []byte("k")); err != nil {
		t.Error(err)
	}
}

func TestWritersShareAnFsync(t *testing.T) {
	d := newDisk(t)
	d.fsync = 2 * time.Millisecond
	n := start(t, kvs.Options{Store: d})
	const writers, each = 64, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := n.kvs.Set(ctxOf(t), user, "", fmt.Appendf(nil, "%d-%d", w, i), []byte("x"), client.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b := d.batches.Load(); b > writers*each/4 {
		t.Errorf("%d batches for %d writes", b, writers*each)
	}
}

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
	if data, _, err := n.kvs.Data(ctx, user, "", []byte{0}); err != nil || len(data) != 39<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// Random histories with restarts and power cuts, beside a map: under sync nothing acknowledged differs.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := start(t, kvs.Options{Store: newDisk(t), Memory: int64(rapid.SampledFrom([]int{1, 2000, 1 << 20}).Draw(rt, "memory")), Shards: 2, Drain: time.Second})
		defer n.stop()
		ctx := ctxOf(t)
		model := map[string]map[string]bool{} // scope/key -> elements
		genKey := rapid.SampledFrom([]string{"a", "ab", "b"})
		genScope := rapid.SampledFrom([]string{"", "s"})
		check := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		actions := map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				scope, key, e := genScope.Draw(rt, "scope"), genKey.Draw(rt, "key"), rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "e")
				_, err := n.kvs.Put(ctx, user, scope, []byte(key), set(e), client.PutOptions{})
				check(err)
				if model[scope+"/"+key] == nil {
					model[scope+"/"+key] = map[string]bool{}
				}
				model[scope+"/"+key][e] = true
			},
			"delete": func(rt *rapid.T) {
				scope, key := genScope.Draw(rt, "scope"), genKey.Draw(rt, "key")
				found, err := n.kvs.Delete(ctx, user, scope, []byte(key), client.PutOptions{})
				check(err)
				if found != (model[scope+"/"+key] != nil) {
					rt.Fatalf("delete found %v", found)
				}
				delete(model, scope+"/"+key)
			},
			"delete scope": func(rt *rapid.T) {
				scope := genScope.Draw(rt, "scope")
				check(n.kvs.DeleteScope(ctx, user, scope))
				for k := range model {
					if k[:len(k)-len(k[bytes.IndexByte([]byte(k), '/'):])] == scope {
						delete(model, k)
					}
				}
			},
			"restart":   func(*rapid.T) { n.restart() },
			"power cut": func(*rapid.T) { n.powerCut() },
			"": func(rt *rapid.T) {
				got := map[string]map[string]bool{}
				for _, scope := range []string{"", "s"} {
					check(n.kvs.ScanAll(ctx, user, scope, client.ScanOptions{}, func(it client.Item) bool {
						v, err := lattice.Decode(it.Value)
						check(err)
						got[scope+"/"+string(it.Key)] = map[string]bool{}
						for _, e := range v.(lattice.Set).Elements() {
							got[scope+"/"+string(it.Key)][string(e)] = true
						}
						return true
					}))
				}
				if fmt.Sprint(got) != fmt.Sprint(model) {
					rt.Fatalf("got %v, want %v", got, model)
				}
				key := genKey.Draw(rt, "get")
				_, _, err := n.kvs.Get(ctx, user, "s", []byte(key))
				if (err == nil) != (model["s/"+key] != nil) || err != nil && status.Of(err) != status.NotFound {
					rt.Fatalf("get %q: %v", key, err)
				}
			},
		}
		rt.Repeat(actions)
	})
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
	put("a", 0, 20000)
	absent(2000)
	if r := c.reads.Load(); r > 1000 {
		t.Errorf("%d reads of a store that was empty", r)
	}
	n.restart()
	c.reads.Store(0)
	var wg sync.WaitGroup
	wg.Go(func() { put("b", 0, 60000) }) // fills the first table
	for {
		c.reads.Store(0)
		absent(4000)
		if c.reads.Load() < 1000 {
			break
		}
	}
	wg.Wait()
	put("b", 60000, 61000)
	for _, k := range []struct {
		prefix string
		n      int
	}{{"a", 20000}, {"b", 61000}} {
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
