package main

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
)

// BenchmarkBare is wazero alone, doing the least for what BenchmarkRuntime/Call does.
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
	defer runtimetest.CPU(b)()
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
