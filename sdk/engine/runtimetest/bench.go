package runtimetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// Benchmark runs the benchmarks that are the same for all engines.
func Benchmark(b *testing.B, e *Engine) {
	b.Run("Isolation", e.benchIsolation)
	b.Run("Call", func(b *testing.B) { e.bencher(b).calls(b, "echo", []byte("hello")) })
	b.Run("CallParallel", e.benchParallel)
	b.Run("Nested", e.benchNested)
	b.Run("Tree", e.benchTree)
	b.Run("GoTree", e.benchGoTree)
	b.Run("Read", e.benchRead)
	b.Run("HostCall", e.benchHostCall)
	b.Run("ColdStart", e.benchColdStart)
	b.Run("Parked", e.benchParked)
}

// bencher is an engine with the suite's guest, of 192 KiB.
type bencher struct {
	engine engine.Engine
	module string
	border *enginetest.Border
}

func (x *Engine) bencher(b *testing.B) *bencher {
	run := &bencher{border: &enginetest.Border{Lease: time.Hour}}
	run.engine = x.make(b, runtime.Settings{}, run.border)
	b.Cleanup(func() { run.engine.Close() })
	run.module, _ = enginetest.Prepare(b, run.engine, enginetest.Wasm("guest.wasm"))
	return run
}

func (x *bencher) call(b *testing.B, function string, args []byte) *engine.Result {
	r, err := x.engine.Invoke(context.Background(), &engine.Call{
		Module: x.module, Scope: "s", Function: function, Args: args,
		Deadline: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// calls measures isolated calls.
func (x *bencher) calls(b *testing.B, function string, args []byte) {
	x.call(b, function, args)
	b.ReportAllocs()
	defer CPU(b)()
	for b.Loop() {
		x.call(b, function, args)
	}
}

// CPU reports the processor time of the whole process per operation, garbage collection included: on a shared machine it
// says more than the time that passed. The function it returns ends the measurement.
func CPU(b *testing.B) func() {
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func number(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

func cGuest(testing.TB) []byte    { return enginetest.Wasm("guest.wasm") }
func goBytes(t testing.TB) []byte { return GoGuest(t, goGuest) }

// benchIsolation is a call by how its instance comes about, of guests in C and Go: functions that do nothing, and one
// that does what functions do. "instance" is the live one, which is never set back.
func (x *Engine) benchIsolation(b *testing.B) {
	for _, g := range []struct {
		name  string
		wasm  func(testing.TB) []byte
		calls []engine.Call
	}{
		{"C", cGuest, []engine.Call{{Function: "none"}}},
		{"Go", goBytes, []engine.Call{{Function: "nop"}, {Function: "work"}, {Function: "work", WarmUp: "warm"}}},
	} {
		b.Run(g.name, func(b *testing.B) {
			made := x.make(b, runtime.Settings{}, &enginetest.Border{})
			defer made.Close()
			id, _ := enginetest.Prepare(b, made, g.wasm(b))
			for _, c := range g.calls {
				for _, how := range []engine.Isolation{engine.Restored, engine.Reused, engine.Fresh} {
					c.Module, c.Scope, c.Isolation = id, c.Function, how
					b.Run(c.Function+c.WarmUp+"/"+how.String(), func(b *testing.B) { benchCall(b, made, &c) })
				}
			}
		})
	}
}

func benchCall(b *testing.B, e engine.Engine, c *engine.Call) {
	call := func() {
		if _, err := e.Invoke(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
	call()
	b.ReportAllocs()
	b.ResetTimer()
	defer CPU(b)()
	for b.Loop() {
		call()
	}
}

// benchParked reports what a waiting instance takes of memory: the process's, without the garbage collector's spare.
func (x *Engine) benchParked(b *testing.B) {
	const instances = 200
	for _, g := range []struct {
		name, function string
		wasm           func(testing.TB) []byte
	}{
		{"C", "waiter", cGuest},
		{"Go", "sleep", goBytes},
	} {
		b.Run(g.name, func(b *testing.B) {
			for b.Loop() {
				met := &meeting{}
				made := x.make(b, runtime.Settings{Workers: 8}, &enginetest.Border{Before: met.wait})
				id, _ := enginetest.Prepare(b, made, g.wasm(b))
				together := func(n int) {
					met.begin(n)
					var wait sync.WaitGroup
					for range n {
						wait.Go(func() {
							if _, err := made.Invoke(context.Background(), &engine.Call{Module: id, Function: g.function}); err != nil {
								b.Error(err)
							}
						})
					}
					wait.Wait()
				}
				together(1)
				before := resident(b)
				together(instances)
				b.ReportMetric(float64(resident(b)-before)/instances, "B/instance")
				made.Close()
			}
		})
	}
}

// meeting holds calls until so many have come.
type meeting struct {
	mu   sync.Mutex
	left int
	all  chan struct{}
}

func (m *meeting) begin(n int) { m.left, m.all = n, make(chan struct{}) }

func (m *meeting) wait(context.Context, string, *engine.Origin, []byte) error {
	m.mu.Lock()
	if m.left--; m.left == 0 {
		close(m.all)
	}
	m.mu.Unlock()
	<-m.all
	return status.Errorf(status.NotFound, "there is nothing, but everybody has come")
}

// resident returns the bytes of the process that are in memory, those that it has mapped more than once counted once: every
// instance maps the pages of the one snapshot.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kilobytes, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	b.Skip("the kernel does not tell")
	return 0
}

// benchGoTree is a call within a tree of 4,096 leaves of Go functions.
func (x *Engine) benchGoTree(b *testing.B) {
	made := x.make(b, runtime.Settings{}, &enginetest.Border{})
	defer made.Close()
	id, _ := enginetest.Prepare(b, made, goBytes(b))
	if _, err := made.Invoke(context.Background(), &engine.Call{Module: id, Function: "tree", Args: number(0)}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	defer CPU(b)()
	for n := 0; n < b.N; n += 8191 {
		c := &engine.Call{Module: id, Function: "tree", Args: number(12)}
		if _, err := made.Invoke(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func (x *Engine) benchParallel(b *testing.B) {
	run := x.bencher(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			run.call(b, "echo", []byte("hello"))
		}
	})
}

// benchNested is one nested call and the wait for it, of many in one invocation.
func (x *Engine) benchNested(b *testing.B) {
	run := x.bencher(b)
	b.ReportAllocs()
	defer CPU(b)()
	for left := b.N; left > 0; left -= 10_000 {
		run.call(b, "nested", number(min(left, 10_000)))
	}
}

// benchTree is a call within a tree of 4,096 leaves.
func (x *Engine) benchTree(b *testing.B) {
	run := x.bencher(b)
	b.ReportAllocs()
	defer CPU(b)()
	for n := 0; n < b.N; n += 8191 {
		run.call(b, "tree", append(number(12), number(2)...))
	}
}

// benchRead is a cached read, length and data; benchHostCall is the cheapest host call.
func (x *Engine) benchRead(b *testing.B) {
	run := x.bencher(b)
	value := []byte("\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00hello")
	if _, err := run.border.Put("s", "k", value); err != nil {
		b.Fatal(err)
	}
	run.call(b, "reads", number(1))
	b.ReportAllocs()
	defer CPU(b)()
	b.ResetTimer()
	run.call(b, "reads", number(b.N))
}

func (x *Engine) benchHostCall(b *testing.B) {
	run := x.bencher(b)
	b.ReportAllocs()
	defer CPU(b)()
	b.ResetTimer()
	run.call(b, "bare", number(b.N))
}

// benchColdStart is the first call of a Go function that another process has compiled: all that there is of it is on
// disk.
func (x *Engine) benchColdStart(b *testing.B) {
	wasm, dir := GoGuest(b, "examples/test-function"), b.TempDir()
	module := enginetest.ModuleOf(wasm)
	once := func() time.Duration {
		e := x.make(b, runtime.Settings{CacheDir: dir, Compiler: x.Compiler}, &enginetest.Border{})
		defer e.Close()
		began := time.Now()
		info, err := e.Prepare(context.Background(), module, func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(wasm)), nil
		})
		if err != nil {
			b.Fatal(err)
		}
		_, err = e.Invoke(context.Background(), &engine.Call{
			Module: module.SHA256, Scope: "s", Function: info.Functions[0], Deadline: began.Add(time.Minute),
		})
		took := time.Since(began)
		if status.Of(err) == status.Internal || status.Of(err) == status.Unavailable {
			b.Fatal(err)
		}
		return took
	}
	once() // compiles, and takes the snapshot
	var all time.Duration
	for b.Loop() {
		all += once()
	}
	b.ReportMetric(float64(all.Nanoseconds())/float64(b.N), "start-ns/op")
}
