package enginetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
)

func testCache(t *testing.T, open Open) {
	t.Run("serves", func(t *testing.T) { testCacheServes(t, open) })
	t.Run("updates", func(t *testing.T) { testCacheUpdates(t, open) })
	t.Run("fresh", func(t *testing.T) { testFresh(t, open) })
	t.Run("race", func(t *testing.T) { testLateFill(t, open) })
	t.Run("lease", func(t *testing.T) { testLease(t, open) })
}

func (x *fixture) get(t testing.TB, key string, change func(*engine.Call)) string {
	t.Helper()
	c := x.function("get", []byte(key))
	if change != nil {
		change(c)
	}
	return string(x.mustInvoke(t, c).Value)
}

func (x *fixture) put(t testing.TB, key, value string) uint64 {
	t.Helper()
	v, err := x.border.Put(testScope, key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (x *fixture) update(t testing.TB, u engine.CacheUpdate) {
	t.Helper()
	if err := x.engine.Update(context.Background(), []engine.CacheUpdate{u}); err != nil {
		t.Fatal(err)
	}
}

func cached(t *testing.T, open Open, lease time.Duration) *fixture {
	return startWith(t, open, Options{}, &Border{Lease: lease}, "guest.wasm")
}

// testCacheServes: what was read once is not read again, absence is not cached, and scopes do not mix.
func testCacheServes(t *testing.T, open Open) {
	x := cached(t, open, time.Hour)
	s := &script{}
	length := s.space(4)
	missing := s.key("essa_get_lattice_len", "k", length)
	x.run(t, s, nil).want(t, missing, notFound)
	x.put(t, "k", set("a"))
	for range 3 {
		if got := x.get(t, "k", nil); got != set("a") {
			t.Errorf("read %q", got)
		}
	}
	if n := x.border.Loads(); n != 2 {
		t.Errorf("the store was read %d times, want 2", n)
	}
	if _, err := x.border.Put("another", "k", []byte(set("other"))); err != nil {
		t.Fatal(err)
	}
	if got := x.get(t, "k", func(c *engine.Call) { c.Scope = "another" }); got != set("other") {
		t.Errorf("another scope: %q", got)
	}
	// Its own put is seen at once.
	x.mustInvoke(t, x.function("put", append(append(u32(1), 'k'), set("b")...)))
	if got := x.get(t, "k", nil); got != set("a", "b") {
		t.Errorf("after a put: %q", got)
	}
}

func testCacheUpdates(t *testing.T, open Open) {
	x := cached(t, open, time.Hour)
	x.put(t, "k", set("a"))
	x.get(t, "k", nil)
	// A newer value replaces, an older one does not.
	version := x.put(t, "k", set("b"))
	value := func(text string, v uint64) engine.CacheUpdate {
		return engine.CacheUpdate{Scope: testScope, Key: []byte("k"), Value: engine.Value{Data: []byte(text), Version: v, Lease: time.Hour}}
	}
	x.update(t, value(set("a", "b"), version))
	loads := x.border.Loads()
	if got := x.get(t, "k", nil); got != set("a", "b") || x.border.Loads() != loads {
		t.Errorf("updated: %q, %d reads", got, x.border.Loads()-loads)
	}
	x.update(t, value(set("old"), version-1))
	if got := x.get(t, "k", nil); got != set("a", "b") {
		t.Errorf("after an older update: %q", got)
	}
	// Dropping: a key, a scope, everything.
	for _, drop := range []engine.CacheUpdate{
		{Scope: testScope, Key: []byte("k"), Drop: true}, {Scope: testScope, Drop: true}, {Drop: true},
	} {
		loads = x.border.Loads()
		x.update(t, drop)
		if x.get(t, "k", nil); x.border.Loads() != loads+1 {
			t.Errorf("after %+v the store was read %d times", drop, x.border.Loads()-loads)
		}
	}
	// What is not cached is not cached by an update.
	x.update(t, engine.CacheUpdate{Scope: testScope, Key: []byte("new"), Value: engine.Value{Data: []byte(set("x")), Version: 1, Lease: time.Hour}})
	s := &script{}
	length := s.space(4)
	missing := s.key("essa_get_lattice_len", "new", length)
	x.run(t, s, nil).want(t, missing, notFound)
}

// testFresh: a call sees at least the versions that it must.
func testFresh(t *testing.T, open Open) {
	x := cached(t, open, time.Hour)
	x.put(t, "k", set("a"))
	x.get(t, "k", nil)
	version := x.put(t, "k", set("b")) // and nobody tells the cache
	if got := x.get(t, "k", nil); got != set("a") {
		t.Errorf("the cache holds %q", got)
	}
	fresh := func(c *engine.Call) { c.Fresh = []engine.KeyVersion{{Key: "k", Version: version}} }
	if got := x.get(t, "k", fresh); got != set("a", "b") {
		t.Errorf("fresh: %q", got)
	}
	loads := x.border.Loads()
	if x.get(t, "k", fresh); x.border.Loads() != loads {
		t.Error("a fresh value was read again")
	}
	// A frontier stands for every key, and is reached by reading once.
	version = x.put(t, "k", set("c"))
	frontier := func(c *engine.Call) { c.Fresh = []engine.KeyVersion{{Version: version + 1}} }
	if got := x.get(t, "k", frontier); got != set("a", "b", "c") {
		t.Errorf("beyond the frontier: %q", got)
	}
	loads = x.border.Loads()
	if x.get(t, "k", nil); x.border.Loads() != loads {
		t.Error("a value read beyond the frontier was read again")
	}
}

// testLateFill: a value that was read before a change, and arrives after it, is not cached.
func testLateFill(t *testing.T, open Open) {
	for name, tell := range map[string]func(x *fixture, version uint64) engine.CacheUpdate{
		"drop": func(*fixture, uint64) engine.CacheUpdate {
			return engine.CacheUpdate{Scope: testScope, Key: []byte("k"), Drop: true}
		},
		"scope": func(*fixture, uint64) engine.CacheUpdate { return engine.CacheUpdate{Scope: testScope, Drop: true} },
		"newer": func(_ *fixture, v uint64) engine.CacheUpdate {
			return engine.CacheUpdate{Scope: testScope, Key: []byte("k"), Value: engine.Value{Data: []byte(set("a", "b")), Version: v, Lease: time.Hour}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var x *fixture
			var once atomic.Bool
			read, told := make(chan struct{}), make(chan struct{})
			late := &lateBorder{Border: Border{Lease: time.Hour}, hold: func() {
				if once.CompareAndSwap(false, true) {
					close(read)
					<-told
				}
			}}
			x = &fixture{border: &late.Border, engine: open(t, late, Options{})}
			t.Cleanup(func() { x.engine.Close() })
			x.module, _ = Prepare(t, x.engine, Wasm("guest.wasm"))
			x.put(t, "k", set("a"))
			var wg sync.WaitGroup
			wg.Go(func() { x.get(t, "k", nil) })
			<-read
			x.update(t, tell(x, x.put(t, "k", set("b"))))
			close(told)
			wg.Wait()
			if got := x.get(t, "k", nil); got != set("a", "b") {
				t.Errorf("the late value was cached: %q", got)
			}
		})
	}
}

// lateBorder answers loads late.
type lateBorder struct {
	Border
	hold func()
}

func (b *lateBorder) Load(ctx context.Context, o *engine.Origin, key []byte, wait bool) (engine.Value, error) {
	v, err := b.Border.Load(ctx, o, key, wait)
	b.hold()
	return v, err
}

func testLease(t *testing.T, open Open) {
	x := cached(t, open, 30*time.Millisecond)
	x.put(t, "k", set("a"))
	x.get(t, "k", nil)
	x.put(t, "k", set("b"))
	time.Sleep(40 * time.Millisecond)
	if got := x.get(t, "k", nil); got != set("a", "b") {
		t.Errorf("after the lease: %q", got)
	}
	x = cached(t, open, 0)
	x.put(t, "k", set("a"))
	x.get(t, "k", nil)
	x.put(t, "k", set("b"))
	if got := x.get(t, "k", nil); got != set("a", "b") {
		t.Errorf("without a lease: %q", got)
	}
}
