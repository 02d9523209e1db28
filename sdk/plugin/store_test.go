package plugin

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
	"github.com/essa-project/essad/sdk/storage/storagetest"
)

type memoryOpener struct {
	t    *testing.T
	path pluginv1.HotPath
}

func (o memoryOpener) Open(t testing.TB) (storage.Store, error) {
	return startStore(t, o.path, func(StoreConfig) (storage.Store, error) { return memory.New(memory.Options{}), nil }), nil
}

// TestStoreOverTheBorder runs the contract's own suite.
func TestStoreOverTheBorder(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		storagetest.Run(t, func(t *testing.T) storagetest.Opener { return memoryOpener{t, path} })
	})
}

// gatedStore notes the order in which batches reach it, and lets none through before the gate opens.
type gatedStore struct {
	storage.Store
	gate chan struct{}
	mu   sync.Mutex
	seen map[uint32][]string
}

func (s *gatedStore) Apply(ctx context.Context, b storage.Batch) error {
	s.mu.Lock()
	s.seen[b.Shard] = append(s.seen[b.Shard], string(b.Ops[0].Key))
	s.mu.Unlock()
	<-s.gate
	return s.Store.Apply(ctx, b)
}

func TestBatchesOfAShardKeepTheirOrder(t *testing.T) {
	g := &gatedStore{Store: memory.New(memory.Options{}), gate: make(chan struct{}), seen: map[uint32][]string{}}
	st := startStore(t, pluginv1.HotPath_DESCRIPTOR, func(StoreConfig) (storage.Store, error) { return g, nil })
	var wg sync.WaitGroup
	var want []string
	sent := 0
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		for shard := range uint32(3) {
			wg.Go(func() {
				if err := st.Apply(context.Background(), storage.Batch{Shard: shard, Ops: []storage.Op{{Key: []byte(fmt.Sprint(i))}}}); err != nil {
					t.Error(err)
				}
			})
			for sent++; st.Unanswered() < sent; { // its turn is taken before the next is made
				time.Sleep(20 * time.Microsecond)
			}
			time.Sleep(100 * time.Microsecond) // and its frame is written
		}
	}
	g.mu.Lock()
	if len(g.seen) != 3 || len(g.seen[0]) != 1 {
		t.Errorf("before the first batch of each shard is through: %v", g.seen)
	}
	g.mu.Unlock()
	close(g.gate)
	wg.Wait()
	for shard, got := range g.seen {
		if !slices.Equal(got, want) {
			t.Errorf("shard %d: %v", shard, got)
		}
	}
}

// TestGetOfMoreThanAFrame: an answer is cut into frames, and the caller does not see it.
func TestGetOfMoreThanAFrame(t *testing.T) {
	st := startStore(t, pluginv1.HotPath_DESCRIPTOR, func(StoreConfig) (storage.Store, error) { return memory.New(memory.Options{}), nil })
	ctx := context.Background()
	value := bytes.Repeat([]byte("v"), 3<<20)
	var keys [][]byte
	for i := range 12 {
		key := []byte(fmt.Sprintf("key %d", i))
		keys = append(keys, key, []byte("absent"))
		if err := st.Apply(ctx, storage.Batch{Ops: []storage.Op{{Key: key, Value: value}}}); err != nil {
			t.Fatal(err)
		}
	}
	before := st.Progress()
	items, err := st.Get(ctx, keys)
	if err != nil || len(items) != len(keys) {
		t.Fatalf("%d items, %v", len(items), err)
	}
	for i, it := range items {
		if present := i%2 == 0; it.Found != present || !bytes.Equal(it.Key, keys[i]) || present && !bytes.Equal(it.Value, value) {
			t.Errorf("item %d: key %q, found %v, %d bytes", i, it.Key, it.Found, len(it.Value))
		}
	}
	if n := st.Progress() - before; n < 4 {
		t.Errorf("36 MiB came in %d frames", n)
	}
}
