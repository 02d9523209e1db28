//go:build wasmedge

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/second-state/WasmEdge-go/wasmedge"
	"github.com/tetratelabs/wazero"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
)

// bare is a module as it was, without admission.
func bare(b *testing.B, wasm []byte) *code {
	be, err := newBackend("")
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
		defer runtimetest.CPU(b)()
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
		defer runtimetest.CPU(b)()
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

// BenchmarkCompileGo is decoding and validating a small Go guest.
func BenchmarkCompileGo(b *testing.B) {
	wasm := runtimetest.GoGuest(b, "examples/bench-go")
	be, err := newBackend("")
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
}
