package kvs

import (
	"context"
	goruntime "runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
	"github.com/essa-project/essad/sdk/transport"
)

// held is a store whose batches wait until they are let go.
type held struct {
	*memory.Store
	let   chan struct{}
	syncs atomic.Int64
}

func (h *held) Apply(ctx context.Context, b storage.Batch) error {
	select {
	case <-h.let:
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.Sync {
		h.syncs.Add(1)
	}
	return h.Store.Apply(ctx, b)
}

// Under batched, nothing is acknowledged while a write that was has waited for the disk for too long, whatever holds it up:
// the store, or a lane that does not get to gather it. The clock is the test's.
func TestBatchedWaitsForTheDisk(t *testing.T) {
	for _, durability := range []string{DurabilityBatched, DurabilityMemory} {
		t.Run(durability, func(t *testing.T) {
			bus := transport.NewBus()
			h := &held{Store: memory.New(memory.Options{}), let: make(chan struct{})}
			ready := make(chan struct{})
			r, err := New(Options{Node: "n", Session: bus.Open(), Store: h, Durability: durability, OnReady: func() { close(ready) }})
			if err != nil {
				t.Fatal(err)
			}
			var clock atomic.Int64
			clock.Store(1)
			l := r.lanes[0]
			l.now = clock.Load
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			<-ready
			k, err := client.NewKVS(bus.Open(), client.Internal)
			if err != nil {
				t.Fatal(err)
			}
			put := func(d time.Duration) error {
				ctx, cancel := context.WithTimeout(context.Background(), d)
				defer cancel()
				_, err := k.Set(ctx, client.UserSpace, "", []byte("k"), []byte("x"), client.PutOptions{Durability: client.BatchedDurability})
				return err
			}
			const patience = 10 * time.Second
			for range 3 { // in the time of the first one
				if err := put(patience); err != nil {
					t.Fatal(err)
				}
				clock.Add(int64(behindTime) / 3)
			}
			clock.Add(2)
			if !l.behind() {
				t.Error("the lane is not behind")
			}
			if err := put(50 * time.Millisecond); err == nil {
				t.Error("a write was acknowledged before one that has waited too long was on disk")
			}
			waiting := make(chan error, 1)
			go func() { waiting <- put(patience) }()
			close(h.let)
			if err := <-waiting; err != nil {
				t.Errorf("when the disk has caught up: %v", err)
			}
			if h.syncs.Load() == 0 {
				t.Error("nothing was synced")
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// What is on its way and what waits to be gathered both count, the older one first.
func TestBehind(t *testing.T) {
	l := newLane(&Role{durability: annav1.Durability_BATCHED}, 0)
	now := int64(1000)
	l.now = func() int64 { return now }
	behind := func(want bool, when string) {
		t.Helper()
		if l.behind() != want {
			t.Errorf("%s: behind is %v", when, !want)
		}
	}
	behind(false, "nothing is to be written")
	l.count(1)
	now += int64(behindTime)
	behind(false, "it has just time left")
	l.count(1)
	now++
	behind(true, "the first change has waited too long, though the second has not")
	l.oldest.Store(l.since.Swap(0))
	l.count(-2)
	behind(true, "it is under way")
	l.oldest.Store(0)
	behind(false, "it is on disk")
	l.count(behindOps + 1)
	behind(true, "more changes than a batch takes soon")
}

// While a batch is gathered nobody else is told that what is in it had no time to wait.
func TestBehindWhileGathered(t *testing.T) {
	r := &Role{durability: annav1.Durability_BATCHED, cells: []*cell{{core: &shard{}}}}
	l := newLanes(r)[0]
	now := int64(1000)
	l.now = func() int64 { return now }
	c := r.cells[0]
	l.count(1)
	now += int64(behindTime) + 1
	c.mu.Lock() // the gathering is held up before it has taken anything
	gathered := make(chan *flight)
	go func() { gathered <- l.gather() }()
	for l.since.Load() != 0 {
		goruntime.Gosched()
	}
	if !l.behind() {
		t.Error("the change has waited too long, and is not seen while its batch is gathered")
	}
	c.mu.Unlock()
	if f := <-gathered; f != nil {
		t.Fatalf("%+v", f)
	}
}
