//go:build wasmedge

package main

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/second-state/WasmEdge-go/wasmedge"
	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

// bencher is an engine with a guest.
type bencher struct {
	engine engine.Engine
	module string
	border *enginetest.Border
}

func newBencher(b *testing.B, wasm []byte) *bencher {
	x := &bencher{border: &enginetest.Border{Lease: time.Hour}}
	var err error
	if x.engine, err = newEngine(runtime.Settings{}, x.border); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.engine.Close() })
	x.module, _ = enginetest.Prepare(b, x.engine, wasm)
	return x
}

func (x *bencher) call(b *testing.B, function string, args []byte, how engine.Isolation) *engine.Result {
	r, err := x.engine.Invoke(context.Background(), &engine.Call{
		Module: x.module, Scope: "s", Function: function, Args: args, Isolation: how,
		Deadline: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// cpu reports the processor time of the whole process per operation: on a shared machine it says more than the time that
// passed. The function it returns ends the measurement.
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

// BenchmarkCall is a call of a C guest of 192 KiB by how its instance comes about; BenchmarkBare is WasmEdge alone doing the
// least for it: through the same shim, but with the module as it was.
func BenchmarkCall(b *testing.B) {
	for _, how := range []engine.Isolation{engine.Restored, engine.Fresh, engine.Reused} {
		b.Run(how.String(), func(b *testing.B) {
			x := newBencher(b, enginetest.Wasm("guest.wasm"))
			x.call(b, "echo", []byte("hello"), how)
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				x.call(b, "echo", []byte("hello"), how)
			}
		})
	}
}

// bare is a module as it was, without admission.
func bare(b *testing.B, wasm []byte) *code {
	be, err := newBackend()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = be.Close() })
	c, _, err := be.Compile(context.Background(), &admit.Admitted{Wasm: wasm})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c.(*code)
}

func BenchmarkBare(b *testing.B) {
	c := bare(b, enginetest.Wasm("guest.wasm"))
	b.Run("fresh", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			i, err := c.Instantiate(nil)
			if err != nil {
				b.Fatal(err)
			}
			enter(b, i, "_initialize", nil)
			enter(b, i, "notfunction", []uint64{1})
			i.Close()
		}
	})
	b.Run("call", func(b *testing.B) {
		i, err := c.Instantiate(nil)
		if err != nil {
			b.Fatal(err)
		}
		defer i.Close()
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			enter(b, i, "notfunction", []uint64{1})
		}
	})
	// The binding's own call of the same function, for what the shim is there.
	b.Run("binding", func(b *testing.B) {
		vm := wasmedge.NewVM()
		defer vm.Release()
		if err := vm.LoadWasmBuffer(enginetest.Wasm("library.wasm")); err != nil {
			b.Fatal(err)
		}
		if err := vm.Validate(); err != nil {
			b.Fatal(err)
		}
		if err := vm.Instantiate(); err != nil {
			b.Fatal(err)
		}
		names, _ := vm.GetFunctionList()
		f, e := vm.GetActiveModule().FindFunction(names[0]), vm.GetExecutor()
		params := make([]any, f.GetFunctionType().GetParametersLength())
		for n := range params {
			params[n] = int32(1)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Invoke(f, params...); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func enter(b *testing.B, i runtime.Instance, export string, params []uint64) {
	if err := i.Call(export, params); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCode is what guests that compute take: functions as they were, and admitted, and the latter compiled by wazero.
func BenchmarkCode(b *testing.B) {
	wasm, err := os.ReadFile(filepath.Join("..", "..", "sdk", "engine", "admit", "testdata", "bench.wasm"))
	if err != nil {
		b.Fatal(err)
	}
	a, err := admit.Module(wasm, admit.Options{RouteGrow: true, SliceUnits: sliceUnits})
	if err != nil {
		b.Fatal(err)
	}
	compiled, err := admit.Module(wasm, admit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range []struct {
		name string
		n    uint64
	}{{"fib", 20}, {"spin", 100_000}, {"crc", 10_000}, {"quicksort", 2_000}, {"matmul", 20}, {"copies", 10}} {
		for _, m := range []struct {
			name string
			wasm []byte
		}{{"plain", wasm}, {"admitted", a.Wasm}} {
			b.Run(f.name+"/"+m.name, func(b *testing.B) {
				i, err := bare(b, m.wasm).Instantiate(nil)
				if err != nil {
					b.Fatal(err)
				}
				defer i.Close()
				for b.Loop() {
					enter(b, i, f.name, []uint64{f.n})
				}
			})
		}
		b.Run(f.name+"/wazero", func(b *testing.B) {
			ctx := context.Background()
			rt := wazero.NewRuntime(ctx)
			defer rt.Close(ctx)
			m, err := rt.Instantiate(ctx, compiled.Wasm)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := m.ExportedFunction(f.name).Call(ctx, f.n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGo is a small Go guest: decoding and validating it, an instance with its initialisation, and a call.
func BenchmarkGo(b *testing.B) {
	file := filepath.Join(b.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./examples/bench-go")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compile", func(b *testing.B) {
		be, err := newBackend()
		if err != nil {
			b.Fatal(err)
		}
		defer be.Close()
		a, err := admit.Module(wasm, admit.Options{RouteGrow: true})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			c, _, err := be.Compile(context.Background(), a)
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	for _, how := range []engine.Isolation{engine.Restored, engine.Fresh, engine.Reused} {
		b.Run(how.String(), func(b *testing.B) {
			x := newBencher(b, wasm)
			x.call(b, "__essa_wrapper__noop", nil, how)
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				x.call(b, "__essa_wrapper__noop", nil, how)
			}
		})
	}
}

// BenchmarkNested is one nested call and the wait for it, of many in one invocation.
func BenchmarkNested(b *testing.B) {
	x := newBencher(b, enginetest.Wasm("guest.wasm"))
	b.ReportAllocs()
	defer cpu(b)()
	for left := b.N; left > 0; left -= 10_000 {
		x.call(b, "nested", number(min(left, 10_000)), engine.Restored)
	}
}

// BenchmarkTree is a tree of 4,096 leaves: 8,191 calls.
func BenchmarkTree(b *testing.B) {
	x := newBencher(b, enginetest.Wasm("guest.wasm"))
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		x.call(b, "tree", append(number(12), number(2)...), engine.Restored)
	}
}

// BenchmarkRead is a cached read, length and data; BenchmarkHostCall is the cheapest host call.
func BenchmarkRead(b *testing.B) {
	x := newBencher(b, enginetest.Wasm("guest.wasm"))
	value := []byte("\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00hello")
	if _, err := x.border.Put("s", "k", value); err != nil {
		b.Fatal(err)
	}
	x.call(b, "reads", number(1), engine.Restored)
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "reads", number(b.N), engine.Restored)
}

func BenchmarkHostCall(b *testing.B) {
	x := newBencher(b, enginetest.Wasm("guest.wasm"))
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "bare", number(b.N), engine.Restored)
}
