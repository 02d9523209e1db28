//go:build wasmedge

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

func cachedEngine(t *testing.T, dir string, change func(*runtime.Settings)) engine.Engine {
	t.Helper()
	s := runtime.Settings{CacheDir: dir, Compiler: []string{"/proc/self/exe", compileCommand}}
	if change != nil {
		change(&s)
	}
	e, err := newEngine(s, &enginetest.Border{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestDiskCache: a module that was admitted once is neither opened nor admitted again by the next process, and its
// initialisation is not run again.
func TestDiskCache(t *testing.T) {
	dir := t.TempDir()
	wasm := enginetest.Wasm("guest.wasm")
	for _, want := range []engine.Start{engine.Initialised, engine.Mapped} {
		e := cachedEngine(t, dir, nil)
		info, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), func() (io.ReadCloser, error) {
			if want == engine.Mapped {
				return nil, errors.New("opened although it is on disk")
			}
			return io.NopCloser(bytes.NewReader(wasm)), nil
		})
		if err != nil || info.CacheHit != (want == engine.Mapped) {
			t.Fatalf("%+v %v", info, err)
		}
		r, err := e.Invoke(context.Background(), &engine.Call{
			Module: enginetest.ModuleOf(wasm).SHA256, Function: "echo",
			Args: []byte("x"),
		})
		if err != nil || string(r.Value) != "x" || r.Stats.Instance != want {
			t.Errorf("%+v %v", r, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCompileBomb: WasmEdge decodes a byte of code into 32 of memory. A module for which that is too much fails in the
// process that has bounds, with the limit's name.
func TestCompileBomb(t *testing.T) {
	if race {
		t.Skip("the race detector's shadow memory counts toward the bound")
	}
	e := cachedEngine(t, t.TempDir(), func(s *runtime.Settings) {
		s.CompileMemory, s.Admit.MaxBodyBytes = 640<<20, 32<<20
	})
	body := append([]byte{0}, bytes.Repeat([]byte{0x01}, 20<<20)...) // nop
	wasm := module(append(body, 0x0b))
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
