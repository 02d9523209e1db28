//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"testing"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
)

// BenchmarkBare is wasmtime alone with an instance of its own.
func BenchmarkBare(b *testing.B) {
	c := bareCode(b)
	b.ReportAllocs()
	defer runtimetest.CPU(b)()
	for b.Loop() {
		i, err := c.Instantiate(&runtime.Guest{})
		if err != nil {
			b.Fatal(err)
		}
		if err := i.Call("none", []uint64{0}); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}

// BenchmarkBareCall is a call on an instance that is there already.
func BenchmarkBareCall(b *testing.B) {
	c := bareCode(b)
	i, err := c.Instantiate(&runtime.Guest{})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	b.ReportAllocs()
	defer runtimetest.CPU(b)()
	for b.Loop() {
		if err := i.Call("none", []uint64{0}); err != nil {
			b.Fatal(err)
		}
	}
}

func bareCode(b *testing.B) runtime.Code {
	be, err := newBackend("")
	if err != nil {
		b.Fatal(err)
	}
	a, err := admit.Module(enginetest.Wasm("guest.wasm"), admit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	c, _, err := be.Compile(context.Background(), a)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(c.Close(), be.Close()); err != nil {
			b.Error(err)
		}
	})
	return c
}
