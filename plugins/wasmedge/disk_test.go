//go:build wasmedge

package main

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/status"
)

// TestCodeBomb: WasmEdge decodes a byte of code into 32 of memory. A module for which that is too much fails in the
// process that has bounds, with the limit's name.
func TestCodeBomb(t *testing.T) {
	if runtimetest.Race {
		t.Skip("the race detector's shadow memory counts toward the bound")
	}
	e := tested.Cached(t, t.TempDir(), func(s *runtime.Settings) {
		s.CompileMemory, s.Admit.MaxBodyBytes = 640<<20, 32<<20
	})
	body := append([]byte{0}, bytes.Repeat([]byte{0x01}, 20<<20)...) // nop
	wasm := runtimetest.Module(append(body, 0x0b))
	began := time.Now()
	_, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(wasm)), nil
	})
	t.Logf("after %v: %v", time.Since(began), err)
	if status.Of(err) != status.Limit || status.DetailOf(err) != "compile_memory" {
		t.Errorf("%v", err)
	}
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	if _, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "none"}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
