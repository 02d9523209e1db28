//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// TestPanic: a panic of our own code under a guest ends that one invocation, and is told.
func TestPanic(t *testing.T) {
	var mu sync.Mutex
	var logged []string
	b := &enginetest.Border{Before: func(_ context.Context, op string, _ *engine.Origin, _ []byte) error {
		if op == "merge" {
			panic("a bug of ours")
		}
		return nil
	}}
	e, err := newEngine(runtime.Settings{Workers: 1, Log: func(msg string, pairs ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range pairs {
			if s, ok := p.(string); ok {
				msg += " " + s
			}
		}
		logged = append(logged, msg)
	}}, b)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	for range 3 {
		_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "put", Args: []byte("\x01\x00\x00\x00kvalue")})
		if status.Of(err) != status.Internal {
			t.Errorf("got %v", err)
		}
		r, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo", Args: []byte("x")})
		if err != nil || string(r.Value) != "x" {
			t.Errorf("afterwards: %v", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(logged) != 3 || !strings.Contains(logged[0], "a bug of ours") || !strings.Contains(logged[0], "direct_test.go") {
		t.Errorf("logged %q", logged)
	}
}

// TestEviction: of too many modules the one used least recently goes, but not from under a call.
func TestEviction(t *testing.T) {
	var waiting atomic.Bool
	b := &enginetest.Border{Before: func(_ context.Context, op string, _ *engine.Origin, key []byte) error {
		waiting.Store(waiting.Load() || string(key) == "never")
		return nil
	}}
	e, err := newEngine(runtime.Settings{Modules: 1}, b)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	done := make(chan error, 1)
	go func() {
		_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "waiter"})
		done <- err
	}()
	for !waiting.Load() {
		time.Sleep(time.Millisecond)
	}
	enginetest.Prepare(t, e, enginetest.Wasm("library.wasm"))
	_, err = e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo"})
	if status.Of(err) != status.NotFound || status.DetailOf(err) != "module" {
		t.Errorf("an evicted module: %v", err)
	}
	value := "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if _, err := b.Put("", "never", []byte(value)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the call that ran meanwhile: %v", err)
	}
	enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	if _, err = e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo"}); err != nil {
		t.Errorf("prepared again: %v", err)
	}
}

// TestMemoryClean: addresses are used again, what was written there is not.
func TestMemoryClean(t *testing.T) {
	b, err := newBackend("")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := admit.Module(enginetest.Wasm("guest.wasm"), admit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := b.Compile(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var (
		first []byte
		last  unsafe.Pointer
		again bool
	)
	for range 5 {
		i, err := c.Instantiate(&runtime.Guest{})
		if err != nil {
			t.Fatal(err)
		}
		mem := i.Memory()
		if first == nil {
			first = bytes.Clone(mem)
		}
		again = again || unsafe.Pointer(&mem[0]) == last
		last = unsafe.Pointer(&mem[0])
		if !bytes.Equal(mem, first) {
			t.Error("a new instance's memory is not as the first one's")
		}
		for n := range mem {
			mem[n] = 0xff
		}
		i.Close()
	}
	if !again {
		t.Error("no addresses were used again")
	}
}

// TestTrapText: a trap tells where it was, in the module's own names.
func TestTrapText(t *testing.T) {
	e := openTest(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "trap"})
	if want := "trap: unreachable\nstack:\n\ttrap(i32)"; err == nil || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}
