package enginetest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// RunIsolation runs only the tests of isolation, for the ways in which an engine can be set to do it.
func RunIsolation(t *testing.T, open Open) { testIsolation(t, open) }

// testIsolation: nothing that one call leaves is seen by another, however its instance came about.
func testIsolation(t *testing.T, open Open) {
	t.Run("Dirty", func(t *testing.T) { testDirty(t, open, isolationCalls) })
	t.Run("Grown", func(t *testing.T) { testGrown(t, open) })
	t.Run("Reused", func(t *testing.T) { testReused(t, open) })
	t.Run("WarmUp", func(t *testing.T) { testWarmUp(t, open) })
	t.Run("Hook", func(t *testing.T) { testHook(t, open) })
	t.Run("Environments", func(t *testing.T) { testEnvironments(t, open) })
	t.Run("Ends", func(t *testing.T) { testEnds(t, open) })
	t.Run("Looks", func(t *testing.T) { testLooks(t, open) })
	t.Run("Memory", func(t *testing.T) { testParkedMemory(t, open) })
}

// isolationCalls is how many calls testDirty makes, from isolationCallers goroutines, or as many of them as isolationTime
// has room for, but at least a tenth.
const (
	isolationCalls   = 3000
	isolationCallers = 4
	isolationTime    = 2 * time.Second
)

// What a call of "dirty" does at its end.
const (
	dirtyGrows = 1 << iota
	dirtyCloses
	dirtyTraps
	dirtyExits
	dirtySpins
)

// dirty makes the arguments of a call that changes all there is.
func dirty(r *rand.Rand, ends uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, r.Uint64())
	b = le.AppendUint32(b, r.Uint32N(60))
	return le.AppendUint32(b, ends)
}

// testDirty has a guest change memory, globals of every type, WASI's streams and its size, and end in every way. Each call
// must find the same, and its memory must be the same byte for byte.
func testDirty(t *testing.T, open Open, calls int) {
	x := startWith(t, open, Options{}, &Border{}, "dirty.wasm")
	digest := x.mustInvoke(t, x.function("dirty", dirty(rand.New(rand.NewPCG(0, 0)), dirtyTraps>>1))).Value
	fresh := x.function("dump", nil)
	fresh.Isolation = engine.Fresh
	image := x.mustInvoke(t, fresh).Value
	if len(image) != 5*64<<10 || string(image[1000:1016]) != "the DATA segment" || string(image[200000:200011]) != "another one" {
		t.Fatalf("a new instance's memory of %d bytes begins with other data", len(image))
	}
	var kept, made atomic.Int64
	until := time.Now().Add(isolationTime)
	var wait sync.WaitGroup
	for n := range isolationCallers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range calls / isolationCallers {
				if i >= calls/isolationCallers/10 && time.Now().After(until) {
					return
				}
				made.Add(1)
				x.dirtyOnce(t, r, digest, image, &kept)
				if t.Failed() {
					return
				}
			}
		})
	}
	wait.Wait()
	info, err := x.engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range info.Capabilities {
		if c == engine.CapSnapshot && kept.Load() < made.Load()/2 {
			t.Errorf("the engine sets instances back, and %d of %d calls found one", kept.Load(), made.Load())
		}
	}
}

func (x *fixture) dirtyOnce(t *testing.T, r *rand.Rand, digest, image []byte, kept *atomic.Int64) {
	ends := uint32(0)
	switch r.IntN(40) {
	case 0:
		ends = dirtyGrows
	case 1:
		ends = dirtyCloses
	case 2:
		ends = dirtyTraps
	case 3:
		ends = dirtyExits
	case 4:
		ends = dirtyCloses | dirtyGrows
	case 5:
		if r.IntN(10) == 0 {
			ends = dirtySpins
		}
	}
	c := x.function("dirty", dirty(r, ends))
	if ends == dirtySpins {
		c.Deadline = time.Now().Add(20 * time.Millisecond)
	}
	res, err := x.invoke(c)
	switch {
	case ends&(dirtyTraps|dirtyExits) != 0:
		wantError(t, err, status.GuestFault, "")
	case ends == dirtySpins:
		wantError(t, err, status.Deadline, "")
	case err != nil || !bytes.Equal(res.Value, digest):
		t.Errorf("a call found %v instead of %x, error %v", res, digest, err)
	case res.Stats.Instance == engine.Kept:
		kept.Add(1)
	}
	if r.IntN(10) > 0 {
		return
	}
	if res, err := x.invoke(x.function("dump", nil)); err != nil || !bytes.Equal(res.Value, image) {
		t.Errorf("the memory differs, error %v", err)
	}
	if res, err := x.invoke(x.function("says", nil)); err != nil || binary.LittleEndian.Uint32(res.Value) != 0 {
		t.Errorf("a stream that another call closed is closed: %v %v", res, err)
	}
}

// testGrown: memory that a call lets grow is as small as ever for the next one, has zeros where it grows again, and is not to be
// reached before, however many calls let it grow at a time and by how much.
func testGrown(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{}, "grows.wasm")
	until := time.Now().Add(isolationTime / 4)
	var wait sync.WaitGroup
	for n := range isolationCallers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 2))
			for i := 0; i < 20 || i < 300 && time.Now().Before(until); i++ {
				pages := r.Uint32N(6)
				if r.IntN(8) == 0 {
					pages = r.Uint32N(64) // as far as its maximum
				}
				res, err := x.invoke(x.function("grows", binary.LittleEndian.AppendUint32(nil, pages)))
				if err != nil || binary.LittleEndian.Uint32(res.Value) != 0 || res.Stats.Memory != uint64(1+pages)<<16 {
					t.Errorf("a call that needs %d pages: %+v, error %v", pages, res, err)
					return
				}
				if r.IntN(4) == 0 {
					_, err := x.invoke(x.function("beyond", nil))
					wantError(t, err, status.GuestFault, "")
				}
			}
		})
	}
	wait.Wait()
}

// counts returns how often its instance had served "counts" when c found it.
func (x *fixture) counts(t *testing.T, c *engine.Call) int {
	t.Helper()
	return int(binary.LittleEndian.Uint32(x.mustInvoke(t, c).Value))
}

// testReused: who asks for it gets the instance as its own calls have left it, and nobody else's.
func testReused(t *testing.T, open Open) {
	x := startWith(t, open, Options{Workers: 1}, &Border{}, "dirty.wasm")
	call := func(scope string, how engine.Isolation) *engine.Call {
		c := x.function("counts", nil)
		c.Scope, c.Isolation = scope, how
		return c
	}
	if n := x.counts(t, call("a", engine.Reused)); n != 0 {
		t.Errorf("a new scope's first call is the instance's number %d", n)
	}
	reuses := x.counts(t, call("a", engine.Reused)) == 1
	for n := range 20 {
		if got := x.counts(t, call("a", engine.Reused)); reuses && got != n+2 {
			t.Errorf("call %d found an instance that had served %d", n+2, got)
		}
		for scope, how := range map[string]engine.Isolation{"a": engine.Restored, "b": engine.Restored, "c": engine.Fresh} {
			if got := x.counts(t, call(scope, how)); got != 0 {
				t.Errorf("a call with isolation %v found an instance that had served %d", how, got)
			}
		}
		if got := x.counts(t, call("other", engine.Reused)); got > n {
			t.Errorf("another scope's call %d found an instance that had served %d", n, got)
		}
	}
	// An instance that has grown goes on; one that trapped does not.
	grow := x.function("dirty", dirty(rand.New(rand.NewPCG(1, 2)), dirtyGrows))
	grow.Scope, grow.Isolation = "a", engine.Reused
	x.mustInvoke(t, grow)
	trap := x.function("dirty", dirty(rand.New(rand.NewPCG(1, 2)), dirtyTraps))
	trap.Scope, trap.Isolation = "a", engine.Reused
	_, err := x.invoke(trap)
	wantError(t, err, status.GuestFault, "")
	if got := x.counts(t, call("a", engine.Reused)); got != 0 {
		t.Errorf("after a trap the instance goes on: it had served %d", got)
	}
}

// testWarmUp: the export is called once before the snapshot, and what it leaves is in every instance.
func testWarmUp(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{}, "dirty.wasm")
	call := func(warm string) *engine.Call {
		c := x.function("counts", nil)
		c.WarmUp = warm
		return c
	}
	for range 5 {
		if n := x.counts(t, call("warm")); n != 100 && n != 0 { // 0 where the engine takes no snapshots
			t.Errorf("a warmed up instance counts %d", n)
		}
		if n := x.counts(t, call("")); n != 0 {
			t.Errorf("an instance that was not warmed up counts %d", n)
		}
	}
	c := call("warm")
	c.Isolation = engine.Fresh
	if n := x.counts(t, c); n != 0 {
		t.Errorf("a new instance counts %d", n)
	}
	_, err := x.invoke(call("nobody"))
	wantError(t, err, status.Invalid, "")
	_, err = x.invoke(call("_initialize"))
	if err != nil {
		t.Errorf("an export without parameters warms up: %v", err)
	}
	if _, info := Prepare(t, x.engine, Wasm("dirty.wasm")); info.Fresh == "" {
		_, err = x.invoke(call("warmtraps"))
		wantError(t, err, status.GuestFault, "")
	}
}

// testHook: a guest that exports the hook has it called once before each call that begins with a snapshot.
func testHook(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{}, "renews.wasm")
	_, info := Prepare(t, x.engine, Wasm("renews.wasm"))
	for n := range 10 {
		want := uint32(1)
		c := x.function("seen", nil)
		if n%3 == 2 {
			c.Isolation = engine.Fresh
		}
		if info.Fresh != "" || c.Isolation == engine.Fresh {
			want = 0
		}
		if got := binary.LittleEndian.Uint32(x.mustInvoke(t, c).Value); got != want {
			t.Errorf("call %d: the hook was called %d times, not %d", n, got, want)
		}
	}
}

// testEnvironments: what initialisation saw of one environment is not served to calls with another, however many there are.
func testEnvironments(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{}, "dirty.wasm")
	for n := range 100 {
		c := x.function("counts", nil)
		c.Env = []string{"N=" + string(rune('A'+n%40))}
		if got := x.counts(t, c); got != 0 {
			t.Errorf("call %d found an instance that had served %d", n, got)
		}
	}
}

// testLooks: initialisation that looks at state runs for every call, since state changes.
func testLooks(t *testing.T, open Open) {
	x := startWith(t, open, Options{}, &Border{}, "looks.wasm")
	found := func() int32 {
		return int32(binary.LittleEndian.Uint32(x.mustInvoke(t, x.function("found", nil)).Value))
	}
	for range 3 {
		if got := found(); got == 0 {
			t.Error("initialisation found a value where there is none")
		}
	}
	const emptySet = "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if _, err := x.border.Put(testScope, "key", []byte(emptySet)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := found(); got != 0 {
			t.Errorf("initialisation does not find the value: %d", got)
		}
	}
	if _, info := Prepare(t, x.engine, Wasm("looks.wasm")); info.Fresh == "" {
		t.Error("the engine does not say that the module gets new instances")
	}
}

// testParkedMemory: instances that wait for calls give way to calls that need their memory.
func testParkedMemory(t *testing.T, open Open) {
	// Room for four instances of 384 KiB, but not for another one beside them.
	x := startWith(t, open, Options{Workers: 4, Memory: 1600 << 10}, &Border{}, "dirty.wasm")
	other, _ := Prepare(t, x.engine, Wasm("guest.wasm"))
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 60 {
		var wait sync.WaitGroup
		for range 4 {
			args := dirty(r, 0)
			wait.Go(func() {
				if _, err := x.invoke(x.function("dirty", args)); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		c := x.function("echo", []byte("here"))
		c.Module = other
		if _, err := x.invoke(c); err != nil {
			t.Errorf("round %d: a call found no memory: %v", n, err)
		}
	}
}
