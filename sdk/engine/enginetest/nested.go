package enginetest

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

func testNested(t *testing.T, open Open) {
	t.Run("tree", func(t *testing.T) { testTree(t, open) })
	t.Run("wide", func(t *testing.T) {
		x := start(t, open, Options{Workers: 2, Memory: 8 << 20})
		r := x.mustInvoke(t, x.function("tree", u32(2, 40)))
		if n := binary.LittleEndian.Uint32(r.Value); n != 1600 {
			t.Errorf("%d leaves", n)
		}
	})
	t.Run("deep", func(t *testing.T) {
		x := start(t, open, Options{})
		x.mustInvoke(t, x.function("deep", u32(200)))
	})
	t.Run("forgotten", func(t *testing.T) { testForgotten(t, open) })
	t.Run("memory", func(t *testing.T) { testNestedMemory(t, open) })
	t.Run("writes", func(t *testing.T) { testWrites(t, open) })
	t.Run("leaves", func(t *testing.T) { testLeaves(t, open) })
	t.Run("origin", func(t *testing.T) { testOrigin(t, open) })
	t.Run("mixed", func(t *testing.T) { testMixed(t, open) })
}

// testTree: a tree of calls needs instances by its depth and the workers, here some 26 and at times a few more, however many
// leaves it has. The memory is for some sixty of its 8,191.
func testTree(t *testing.T, open Open) {
	x := start(t, open, Options{Workers: 2, Memory: 16 << 20})
	began := time.Now()
	r := x.mustInvoke(t, x.function("tree", u32(12, 2)))
	if n := binary.LittleEndian.Uint32(r.Value); n != 4096 {
		t.Errorf("%d leaves", n)
	}
	t.Logf("8191 calls took %v", time.Since(began))
	if time.Since(began) > 10*time.Second {
		t.Errorf("8191 calls took %v", time.Since(began))
	}
}

// testForgotten: calls that nobody waits for run, and have ended when their caller's invocation has.
func testForgotten(t *testing.T, open Open) {
	x := start(t, open, Options{})
	value := set("kept")
	x.mustInvoke(t, x.function("forgetful", append(append(u32(1), 'k'), value...)))
	if v, ok := x.border.Value(testScope, "k"); !ok || string(v.Data) != value {
		t.Errorf("stored: %q", v.Data)
	}
}

// testNestedMemory: where there is no memory for nested calls they leave the engine, and fail where nobody else has room.
func testNestedMemory(t *testing.T, open Open) {
	x := start(t, open, Options{Memory: 1 << 20})
	_, err := x.invoke(x.function("deep", u32(50)))
	wantError(t, err, status.GuestFault, "") // the one that found no room failed, and the ones above it of that
	x.working(t)

	var left atomic.Int32
	b := &Border{OnCall: func(_ context.Context, o *engine.Origin, c *engine.Call) (*engine.Result, error) {
		left.Add(1)
		if c.Function != "deep" || c.Module != o.Module || c.Scope != testScope || c.Depth == 0 || c.Root.IsZero() || c.ID == c.Root {
			t.Errorf("the call that left: %+v", c)
		}
		return &engine.Result{Value: u32(1), HasValue: true, Writes: []engine.KeyVersion{{Key: "far", Version: 77}}}, nil
	}}
	x = startWith(t, open, Options{Memory: 1 << 20}, b, "guest.wasm")
	r := x.mustInvoke(t, x.function("deep", u32(50)))
	if left.Load() != 1 {
		t.Errorf("%d calls left the engine", left.Load())
	}
	if len(r.Writes) != 1 || r.Writes[0] != (engine.KeyVersion{Key: "far", Version: 77}) {
		t.Errorf("writes %v", r.Writes)
	}
	if _, err := x.invoke(&engine.Call{Module: x.module, Function: "grown"}); err != nil {
		t.Errorf("a guest that is denied memory and lives with it: %v", err)
	}
	_, err = x.invoke(x.function("bomb", nil))
	wantError(t, err, status.Overloaded, "")
}

// testWrites: what callees wrote is visible to whoever waits for them, and told with the result.
func testWrites(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{Lease: time.Minute}, "guest.wasm")
	s := &script{}
	length, buf := s.space(4), s.space(128)
	a := set("a")
	ap, an := s.data(a)
	s.key("essa_put_lattice", "k", ap, an)
	first := s.key("essa_get_lattice_data", "k", buf, 128, length) // now it is cached
	h, _ := s.start("put", string(append(append(u32(1), 'k'), set("b")...)))
	s.move(0, h)
	wait := s.call("essa_get_result_len", 0, length)
	second := s.key("essa_get_lattice_data", "k", buf, 128, length)
	want := set("a", "b")
	got := s.dump(buf, len(want))
	o := x.run(t, s, nil)
	for _, i := range []int{first, wait, second} {
		o.want(t, i, ok)
	}
	o.wantDump(t, got, want)
	v, _ := x.border.Value(testScope, "k")
	if len(o.raw.Writes) != 1 || o.raw.Writes[0].Version != v.Version {
		t.Errorf("writes %v, want version %d", o.raw.Writes, v.Version)
	}
}

// testLeaves: a call that leaves the engine is told what it must see: what those above it wrote, however far above, and what
// they were told themselves. Where it fails its caller sees nevertheless what it wrote.
func testLeaves(t *testing.T, open Open) {
	b := &Border{Lease: time.Hour}
	var told []engine.KeyVersion
	b.OnCall = func(_ context.Context, _ *engine.Origin, c *engine.Call) (*engine.Result, error) {
		told = c.Fresh
		if _, err := b.Put(testScope, "k", []byte(set("b"))); err != nil { // and no cache hears of it
			t.Error(err)
		}
		return nil, status.Errorf(status.GuestFault, "it failed")
	}
	x := startWith(t, open, Options{Memory: 1 << 20}, b, "guest.wasm")
	s := &script{}
	length, buf := s.space(4), s.space(128)
	a := set("a")
	ap, an := s.data(a)
	put := s.key("essa_put_lattice", "k", ap, an)
	before := s.key("essa_get_lattice_data", "k", buf, 128, length) // now it is cached
	h, _ := s.start("deep", string(u32(50)))
	s.move(0, h)
	s.call("essa_get_result_len", 0, length)
	after := s.key("essa_get_lattice_data", "k", buf, 128, length)
	want := set("a", "b")
	got := s.dump(buf, len(want))
	o := x.run(t, s, func(c *engine.Call) {
		c.Fresh = []engine.KeyVersion{{Key: "told", Version: 7}, {Version: 5}}
	})
	for _, i := range []int{put, before, after} {
		o.want(t, i, ok)
	}
	o.wantDump(t, got, want)
	versions := map[string]uint64{}
	for _, v := range told {
		versions[v.Key] = v.Version
	}
	if len(told) != 3 || versions["told"] != 7 || versions[""] != 5 || len(o.raw.Writes) != 1 || versions["k"] != o.raw.Writes[0].Version {
		t.Errorf("the call that left was told %v; its caller had written %v, and was told of 7 and 5", told, o.raw.Writes)
	}
}

// testOrigin: the border learns on whose behalf it is asked.
func testOrigin(t *testing.T, open Open) {
	var mu sync.Mutex
	var origins []engine.Origin
	b := &Border{Before: func(_ context.Context, op string, o *engine.Origin, _ []byte) error {
		mu.Lock()
		defer mu.Unlock()
		origins = append(origins, *o)
		return nil
	}}
	x := startWith(t, open, Options{}, b, "guest.wasm")
	c := x.function("forgetful", append(append(u32(1), 'k'), set("v")...))
	c.Deadline = time.Now().Add(time.Hour)
	x.mustInvoke(t, c)
	mu.Lock()
	defer mu.Unlock()
	if len(origins) != 8 {
		t.Fatalf("%d operations", len(origins))
	}
	for _, o := range origins {
		if o.Root != c.Root || o.Call == c.ID || o.Call.IsZero() || o.Module != x.module || o.Scope != testScope ||
			o.Depth != 1 || !o.Deadline.Equal(c.Deadline) {
			t.Errorf("origin %+v", o)
		}
	}
}

// testMixed runs everything at the same time, on few workers.
func testMixed(t *testing.T, open Open) {
	x := startWith(t, open, Options{Workers: 2}, &Border{Lease: time.Minute}, "guest.wasm")
	value := set("v")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				switch (i + j) % 4 {
				case 0:
					if r, err := x.invoke(x.function("tree", u32(3, 3))); err != nil || binary.LittleEndian.Uint32(r.Value) != 27 {
						t.Errorf("tree: %v", err)
					}
				case 1:
					if _, err := x.invoke(x.function("forgetful", append(append(u32(1), 'k'), value...))); err != nil {
						t.Errorf("forgetful: %v", err)
					}
				case 2:
					c := x.function("child_spins", nil)
					c.Deadline = time.Now().Add(10 * time.Millisecond)
					_, err := x.invoke(c)
					wantError(t, err, status.Deadline, "")
				case 3:
					_, err := x.invoke(x.function("trap", nil))
					wantError(t, err, status.GuestFault, "")
				}
			}
		})
	}
	wg.Wait()
	x.working(t)
}
