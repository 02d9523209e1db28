package main

import (
	"context"
	"encoding/binary"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// bencher is an engine with the suite's guest.
type bencher struct {
	engine engine.Engine
	module string
	border *enginetest.Border
}

func newBencher(b *testing.B) *bencher {
	x := &bencher{border: &enginetest.Border{Lease: time.Hour}}
	var err error
	if x.engine, err = newEngine(runtime.Settings{}, x.border); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.engine.Close() })
	x.module, _ = enginetest.Prepare(b, x.engine, enginetest.Wasm("guest.wasm"))
	return x
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

// cpu reports the processor time of the whole process per operation, garbage collection included: on a shared machine it
// says more than the time that passed. The function it returns ends the measurement.
func cpu(b *testing.B) func() {
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

// BenchmarkIsolation is a call by how its instance comes about, of guests in C and Go: functions that do nothing, and one
// that does what functions do. "instance" is the live one, which is never set back.
func BenchmarkIsolation(b *testing.B) {
	for _, g := range []struct {
		name  string
		wasm  func(testing.TB) []byte
		calls []engine.Call
	}{
		{"C", func(testing.TB) []byte { return enginetest.Wasm("guest.wasm") }, []engine.Call{{Function: "none"}}},
		{"Go", goGuest, []engine.Call{{Function: "nop"}, {Function: "work"}, {Function: "work", WarmUp: "warm"}}},
	} {
		b.Run(g.name, func(b *testing.B) {
			e, err := newEngine(runtime.Settings{}, &enginetest.Border{})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			id, _ := enginetest.Prepare(b, e, g.wasm(b))
			for _, c := range g.calls {
				for _, how := range []engine.Isolation{engine.Restored, engine.Reused, engine.Fresh} {
					c.Module, c.Scope, c.Isolation = id, c.Function, how
					b.Run(c.Function+c.WarmUp+"/"+how.String(), func(b *testing.B) { benchCall(b, e, &c) })
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
	defer cpu(b)()
	for b.Loop() {
		call()
	}
}

// BenchmarkParked reports what a waiting instance takes of memory: the process's, without the garbage collector's spare.
func BenchmarkParked(b *testing.B) {
	const instances = 200
	for _, g := range []struct {
		name, function string
		wasm           func(testing.TB) []byte
	}{
		{"C", "waiter", func(testing.TB) []byte { return enginetest.Wasm("guest.wasm") }},
		{"Go", "sleep", goGuest},
	} {
		b.Run(g.name, func(b *testing.B) {
			for b.Loop() {
				met := &meeting{}
				e, err := newEngine(runtime.Settings{Workers: 8}, &enginetest.Border{Before: met.wait})
				if err != nil {
					b.Fatal(err)
				}
				id, _ := enginetest.Prepare(b, e, g.wasm(b))
				together := func(n int) {
					met.begin(n)
					var wait sync.WaitGroup
					for range n {
						wait.Go(func() {
							if _, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: g.function}); err != nil {
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
				e.Close()
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

// BenchmarkGoTree is a call within a tree of 4,096 leaves of Go functions.
func BenchmarkGoTree(b *testing.B) {
	e, err := newEngine(runtime.Settings{}, &enginetest.Border{})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	id, _ := enginetest.Prepare(b, e, goGuest(b))
	if _, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "tree", Args: number(0)}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	defer cpu(b)()
	for n := 0; n < b.N; n += 8191 {
		c := &engine.Call{Module: id, Function: "tree", Args: number(12)}
		if _, err := e.Invoke(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCall is an isolated call of a C guest of 192 KiB; BenchmarkBare is wazero alone doing the least for it.
func BenchmarkCall(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		x.call(b, "echo", []byte("hello"))
	}
}

func BenchmarkCallParallel(b *testing.B) {
	x := newBencher(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			x.call(b, "echo", []byte("hello"))
		}
	})
}

func BenchmarkBare(b *testing.B) {
	be, err := newBackend("")
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	ctx := context.Background()
	c, err := be.rt.CompileModule(ctx, enginetest.Wasm("guest.wasm"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		m, err := be.rt.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.ExportedFunction("notfunction").Call(ctx, 1); err != nil {
			b.Fatal(err)
		}
		m.Close(ctx)
	}
}

// BenchmarkNested is one nested call and the wait for it, of many in one invocation.
func BenchmarkNested(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for left := b.N; left > 0; left -= 10_000 {
		x.call(b, "nested", number(min(left, 10_000)))
	}
}

// BenchmarkTree is a call within a tree of 4,096 leaves.
func BenchmarkTree(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for n := 0; n < b.N; n += 8191 {
		x.call(b, "tree", append(number(12), number(2)...))
	}
}

// BenchmarkRead is a cached read, length and data; BenchmarkHostCall is the cheapest host call.
func BenchmarkRead(b *testing.B) {
	x := newBencher(b)
	value := []byte("\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00hello")
	if _, err := x.border.Put("s", "k", value); err != nil {
		b.Fatal(err)
	}
	x.call(b, "reads", number(1))
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "reads", number(b.N))
}

func BenchmarkHostCall(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "bare", number(b.N))
}
