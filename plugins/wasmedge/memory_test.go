//go:build wasmedge

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/status"
)

// settled is what the process has in memory, without what C's allocator keeps for later.
func settled(t testing.TB) int {
	runtimetest.Resident(t) // what finalizers free is garbage once more
	trim()
	return runtimetest.Resident(t)
}

// TestWeight: what weigh says that an instance takes is what it takes, within an eighth, or the pages at its edges where it is
// small. The shapes are those that weigh has a number of its own for: instructions, targets of br_table, functions, and what a
// compiler makes of a program.
//
// It runs in a process of its own: what other tests have left in C's allocator, in pieces, would serve for some of the instances.
func TestWeight(t *testing.T) {
	const alone = "ESSAD_TEST_WEIGHT"
	if os.Getenv(alone) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestWeight$", "-test.v")
		cmd.Env = append(os.Environ(), alone+"=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Fatal(err)
		}
		return
	}
	splitter, err := os.ReadFile(filepath.Join("..", "..", "examples", "splitter", "splitter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	one := []byte{0, 0x0b}
	functions := runtimetest.Cat([]byte("\x00asm\x01\x00\x00\x00"), runtimetest.Section(1, []byte{1, 0x60, 0, 0}),
		runtimetest.Section(3, runtimetest.Cat(runtimetest.Leb(5000), bytes.Repeat([]byte{0}, 5000))),
		runtimetest.Section(10, runtimetest.Cat(runtimetest.Leb(5000), bytes.Repeat(append([]byte{2}, one...), 5000))))
	table := runtimetest.Cat([]byte{0, 0x02, 0x40, 0x20, 0, 0x0e}, runtimetest.Leb(60_000), bytes.Repeat([]byte{0}, 60_001), []byte{0x0b, 0x0b})
	for _, c := range []struct {
		name string
		wasm []byte
		many int
	}{
		{"C", splitter, 64},
		{"instructions", runtimetest.Module(runtimetest.Cat([]byte{0}, bytes.Repeat([]byte{0x41, 0, 0x1a}, 50_000), []byte{0x0b})), 16},
		{"br_table", runtimetest.Module(table), 32},
		{"functions", functions, 32},
		{"Go", runtimetest.GoGuest(t, "examples/bench-go"), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			if runtimetest.Race && c.name == "Go" {
				t.Skip("admitting a Go guest takes a minute under the race detector")
			}
			took, says := weighed(t, c.wasm, c.many)
			t.Logf("an instance of a module of %d bytes takes %d KiB; weigh says %d KiB", len(c.wasm), took>>10, says>>10)
			if off := max(took-says, says-took); off > says/8+(24<<10) {
				t.Errorf("it takes %d KiB and not %d", took>>10, says>>10)
			}
		})
	}
}

// weighed returns what an instance takes, the mean of many, and what weigh says of it.
func weighed(t *testing.T, wasm []byte, many int) (took, says int) {
	a, err := admit.Module(wasm, admit.Options{RouteGrow: true, ExportGlobals: true, SliceUnits: sliceUnits})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBackend("")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, _, err := b.Compile(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := []runtime.Instance{instantiate(t, c)} // with the first comes what is made once
	before := settled(t)
	for range many {
		all = append(all, instantiate(t, c))
	}
	took = (settled(t) - before) / many
	took -= int(a.Facts.DataBytes) // its memory's, which the runtime takes out
	for _, i := range all {
		i.Close()
	}
	if left := settled(t) - before; left > many*took/8 {
		t.Errorf("%d KiB are left of %d instances that were closed", left>>10, many)
	}
	// Anything at all may follow the header.
	for n := 0; n < len(a.Wasm); n += 1 + len(a.Wasm)/500 {
		weigh(a.Wasm[:n])
	}
	return took, int(weigh(a.Wasm))
}

func instantiate(t *testing.T, c runtime.Code) runtime.Instance {
	t.Helper()
	i, err := c.Instantiate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestParked: functions that nobody has called for a while take less than 200 KiB each, Go's as well, and what they return is
// what they returned. While they are called their instances stay.
func TestParked(t *testing.T) {
	if runtimetest.Race {
		t.Skip("the race detector's shadow memory counts toward the process's")
	}
	const programs, functions, each = 2, 40, 200 << 10
	e := tested.Cached(t, t.TempDir(), func(s *runtime.Settings) { s.ParkedTime = 300 * time.Millisecond })
	guest := runtimetest.GoGuest(t, "examples/bench-go")
	body := runtimetest.Cat([]byte{0}, bytes.Repeat([]byte{0x41, 0, 0x1a}, 50_000), []byte{0x0b})
	long := runtimetest.Cat([]byte("\x00asm\x01\x00\x00\x00"), // an instance takes 3 MB
		runtimetest.Section(1, []byte{1, 0x60, 1, 0x7f, 0}), runtimetest.Section(3, []byte{1, 0}), runtimetest.Section(5, []byte{1, 0, 1}),
		runtimetest.Section(7, []byte("\x02\x01f\x00\x00\x06memory\x02\x00")),
		runtimetest.Section(10, runtimetest.Cat([]byte{1}, runtimetest.Leb(len(body)), body)))
	calls := make([]*engine.Call, functions)
	var before int
	var peak func() int
	for n := range calls {
		wasm, function := guest, "__essa_wrapper__noop"
		if n >= programs {
			wasm, function = long, "f"
		}
		// A section that nobody reads makes it another module.
		id, _ := enginetest.Prepare(t, e, append(bytes.Clone(wasm), 0, 2, 1, byte(n)))
		calls[n] = &engine.Call{Module: id, Function: function}
		for _, want := range []engine.Start{engine.Initialised, engine.Kept} {
			switch r, err := e.Invoke(context.Background(), calls[n]); {
			case err != nil:
				t.Fatal(err)
			case r.Stats.Instance != want:
				t.Errorf("function %d: its instance came about in way %d, and not %d", n, r.Stats.Instance, want)
			}
		}
		if n == 0 { // what all of them share
			before, peak = resting(t, 0), runtimetest.Peak(t)
		}
	}
	awake := peak() - before
	took := (resting(t, before+(functions-1)*each/2) - before) / (functions - 1)
	t.Logf("a parked function takes %d KiB; they had up to %d MiB", took>>10, awake>>20)
	if awake < 30<<20 || took > each {
		t.Errorf("a parked function takes %d KiB, of %d KiB that it may; they had up to %d MiB", took>>10, each>>10, awake>>20)
	}
	for _, c := range calls {
		if r, err := e.Invoke(context.Background(), c); err != nil || r.Stats.Instance != engine.Mapped {
			t.Errorf("a function that was parked: %+v %v", r, err)
		}
	}
}

// resting waits until the process has no more than most in memory, or has it no longer: it returns what that is.
func resting(t *testing.T, most int) (now int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if now = runtimetest.Resident(t); now <= most {
			break
		}
	}
	return now
}

// waiter calls itself as often as its arguments have bytes, in frames of so many locals, and then sleeps for an hour.
func waiter(locals int) []byte {
	const i32 = 0x7f
	name := func(s string) []byte { return append(runtimetest.Leb(len(s)), s...) }
	body := runtimetest.Cat([]byte{1}, runtimetest.Leb(locals), []byte{
		i32,
		0x20, 0, 0x45, 0x04, 0x40, // if it is 0
		0x41, 0, 0x41, 0x40, 0x41, 1, 0x41, 0x3c, 0x10, 0, 0x1a, // poll_oneoff(0, -64, 1, 60)
		0x05, 0x20, 0, 0x41, 1, 0x6b, 0x10, 1, // else call itself
		0x0b, 0x0b,
	})
	body = bytes.Replace(body, []byte{0x41, 0x40}, []byte{0x41, 0x80, 1}, 1) // 128, in two bytes
	subscription := make([]byte, 48)
	binary.LittleEndian.PutUint32(subscription[16:], 1) // the monotonic clock
	binary.LittleEndian.PutUint64(subscription[24:], uint64(time.Hour))
	return runtimetest.Cat([]byte("\x00asm\x01\x00\x00\x00"),
		runtimetest.Section(1, []byte{2, 0x60, 1, i32, 0, 0x60, 4, i32, i32, i32, i32, 1, i32}),
		runtimetest.Section(2, runtimetest.Cat([]byte{1}, name("wasi_snapshot_preview1"), name("poll_oneoff"), []byte{0, 1})),
		runtimetest.Section(3, []byte{1, 0}), runtimetest.Section(5, []byte{1, 0, 1}),
		runtimetest.Section(7, runtimetest.Cat([]byte{2}, name("f"), []byte{0, 1}, name("memory"), []byte{2, 0})),
		runtimetest.Section(10, runtimetest.Cat([]byte{1}, runtimetest.Leb(len(body)), body)),
		runtimetest.Section(11, runtimetest.Cat([]byte{1, 0, 0x41, 0, 0x0b}, runtimetest.Leb(len(subscription)), subscription)))
}

// TestWaitingStacks: the stacks of guests that wait are in the engine's memory. Where it is used up guests that would wait are
// refused, and the process has no more than it was given.
func TestWaitingStacks(t *testing.T) {
	const (
		many, memory = 60, 66 << 20          // for 15 guests and a half
		depth        = 3 << 20 / (1000 * 16) // frames of 1000 values for 3 MiB
		threads      = 24 << 20              // what else they take
	)
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{Queue: many, Memory: memory})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, waiter(1000))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before, peak := settled(t), runtimetest.Peak(t)
	var mu sync.Mutex
	refused, ended := 0, 0
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			_, err := e.Invoke(ctx, &engine.Call{Module: id, Function: "f", Args: make([]byte, depth)})
			mu.Lock()
			defer mu.Unlock()
			switch status.Of(err) {
			case status.Overloaded:
				refused++
			case status.Cancelled:
				ended++
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	count := func() (gone, alive int) {
		mu.Lock()
		defer mu.Unlock()
		live.mu.Lock()
		defer live.mu.Unlock()
		return refused, int(live.next) - len(live.free)
	}
	gone, alive := count()
	for began := time.Now(); gone+alive != many || gone == 0; gone, alive = count() {
		if time.Since(began) > 8*time.Second {
			cancel()
			wg.Wait()
			t.Fatalf("%d guests were refused and %d are there, of %d", gone, alive, many)
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := peak() - before
	t.Logf("%d guests wait and %d were refused: %d MiB", alive, gone, took>>20)
	if !runtimetest.Race && took > memory+threads {
		t.Errorf("%d guests that wait took %d MiB", alive, took>>20)
	}
	cancel()
	wg.Wait()
	if ended < memory/(8<<20) {
		t.Errorf("only %d guests could wait in %d MiB", ended, memory>>20)
	}
	// All of it was given back.
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Invoke(ctx, &engine.Call{Module: id, Function: "f", Args: make([]byte, 5*depth)}); status.Of(err) != status.Deadline {
		t.Errorf("afterwards: %v", err)
	}
}
