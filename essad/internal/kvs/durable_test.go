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
	failures int   // so often at most, if it is not 0
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
	if err := d.fail; err != nil {
		if d.failures > 0 {
			if d.failures--; d.failures == 0 {
				d.fail = nil
			}
		}
		return err
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

// starter is a disk that is given batches before it has answered earlier ones. It applies them in their order, but has
// answered none when it has the next one.
type starter struct {
	*disk
	mu   sync.Mutex
	last chan struct{} // closed when the last batch that was started is done
	most int           // batches that were under way at once
	n    int
}

func (s *starter) Start(ctx context.Context, b storage.Batch) func() error {
	s.mu.Lock()
	before, mine := s.last, make(chan struct{})
	s.last = mine
	s.n++
	s.most = max(s.most, s.n)
	s.mu.Unlock()
	b.Ops = slices.Clone(b.Ops)
	for i := range b.Ops {
		b.Ops[i].Key, b.Ops[i].Value = bytes.Clone(b.Ops[i].Key), bytes.Clone(b.Ops[i].Value)
	}
	done := make(chan error, 1)
	go func() {
		defer close(mine)
		if before != nil {
			<-before
		}
		done <- s.disk.Apply(ctx, b)
	}()
	return func() error {
		err := <-done
		<-mine
		s.mu.Lock()
		s.n--
		s.mu.Unlock()
		return err
	}
}

// Apply has its place in the same order: a batch that is sent again goes behind those that were started before.
func (s *starter) Apply(ctx context.Context, b storage.Batch) error { return s.Start(ctx, b)() }

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

// syncs is how many batches were synced.
func (d *disk) syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.synced)
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
				done atomic.Int64
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
						done.Add(1)
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
			// For a while, and on a busy machine until there is something to check.
			for began := time.Now(); time.Since(began) < 400*time.Millisecond || (done.Load() < 2000 || d.syncs() < 2) && time.Since(began) < 20*time.Second; {
				time.Sleep(10 * time.Millisecond)
			}
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

// A writer who no longer wants to wait need not, however long the store takes.
func TestWriterLeaves(t *testing.T) {
	d := newDisk(t)
	n := start(t, kvs.Options{Store: d})
	stuck := make(chan struct{})
	d.set(func(d *disk) { d.stuck = stuck })
	for _, c := range []struct {
		class status.Class
		after time.Duration
	}{{status.Deadline, time.Millisecond}, {status.Deadline, 200 * time.Millisecond}, {status.Cancelled, 200 * time.Millisecond}} {
		ctx, cancel := context.WithCancel(ctxOf(t))
		if c.class == status.Deadline {
			ctx, cancel = context.WithTimeout(ctxOf(t), c.after)
		} else {
			time.AfterFunc(c.after, cancel)
		}
		_, err := n.kvs.Set(ctx, user, "", []byte("k"), []byte(c.class.String()), client.PutOptions{})
		wantClass(t, err, c.class)
		cancel()
	}
	close(stuck)
	if _, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), []byte("x"), client.PutOptions{}); err != nil {
		t.Error(err)
	}
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

// A batched write that changes nothing is on disk soon, too, where what it found in the store is not yet.
func TestBatchedOnDemand(t *testing.T) {
	n := start(t, kvs.Options{Store: newDisk(t), Durability: "memory"})
	ctx := ctxOf(t)
	for _, d := range []client.Durability{client.MemoryDurability, client.BatchedDurability} {
		if _, err := n.kvs.Put(ctx, user, "", []byte("k"), set("a"), client.PutOptions{Durability: d}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // now it is in the store; at first not on disk
	}
	time.Sleep(200 * time.Millisecond)
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
