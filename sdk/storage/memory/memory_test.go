package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
	"github.com/essa-project/essad/sdk/storage/storagetest"
)

type opener struct{}

func (opener) Open(testing.TB) (storage.Store, error) { return memory.New(memory.Options{}), nil }

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storagetest.Opener { return opener{} })
}

func TestMaxBytes(t *testing.T) {
	s := memory.New(memory.Options{MaxBytes: 100})
	put := func(k string, n int) error {
		return s.Apply(context.Background(), storage.Batch{Ops: []storage.Op{{Key: []byte(k), Value: make([]byte, n)}}})
	}
	for _, c := range []struct {
		key  string
		size int
		ok   bool
	}{
		{"a", 99, true}, {"b", 1, false}, {"a", 50, true}, {"a", 100, false}, {"b", 48, true}, {"c", 0, false}, {"a", 1, true}, {"c", 40, true},
	} {
		if err := put(c.key, c.size); (err == nil) != c.ok || (err != nil && status.Of(err) != status.Overloaded) {
			t.Errorf("%d bytes under %q: %v", c.size, c.key, err)
		}
	}
	// Within one batch only what is left at its end counts.
	ops := []storage.Op{{Key: []byte("d"), Value: make([]byte, 80)}, {Key: []byte("d")}, {Key: []byte("c"), Delete: true}}
	if err := s.Apply(context.Background(), storage.Batch{Ops: ops}); err != nil {
		t.Errorf("a batch that shrinks the store: %v", err)
	}
	st, err := s.Stats(context.Background())
	if err != nil || st.Keys != 3 || st.CacheBytes != 2+49+1 {
		t.Errorf("stats %+v, %v", st, err)
	}
}

func BenchmarkApply(b *testing.B) {
	s := memory.New(memory.Options{})
	v := make([]byte, 1024)
	for i := 0; b.Loop(); i++ {
		op := storage.Op{Key: fmt.Appendf(nil, "key%08d", i%100_000), Value: v}
		if err := s.Apply(context.Background(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetParallel(b *testing.B) {
	s := memory.New(memory.Options{})
	v := make([]byte, 1024)
	for i := range 100_000 {
		_ = s.Apply(context.Background(), storage.Batch{Ops: []storage.Op{{Key: fmt.Appendf(nil, "key%08d", i), Value: v}}})
	}
	var once sync.Once
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			items, err := s.Get(context.Background(), [][]byte{fmt.Appendf(nil, "key%08d", i*7919%100_000)})
			if err != nil || !items[0].Found {
				once.Do(func() { b.Errorf("%v %v", items, err) })
			}
		}
	})
}
