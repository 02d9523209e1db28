package runtimetest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// testPanic: a panic of our own code under a guest ends that one invocation, and is told.
func (x *Engine) testPanic(t *testing.T) {
	var mu sync.Mutex
	var logged []string
	b := &enginetest.Border{Before: func(_ context.Context, op string, _ *engine.Origin, _ []byte) error {
		if op == "merge" {
			panic("a bug of ours")
		}
		return nil
	}}
	e := x.make(t, runtime.Settings{Workers: 1, Log: func(msg string, pairs ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range pairs {
			if s, ok := p.(string); ok {
				msg += " " + s
			}
		}
		logged = append(logged, msg)
	}}, b)
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
	if len(logged) != 3 || !strings.Contains(logged[0], "a bug of ours") || !strings.Contains(logged[0], "direct.go") {
		t.Errorf("logged %q", logged)
	}
}

// testEviction: of too many modules the one used least recently goes, but not from under a call.
func (x *Engine) testEviction(t *testing.T) {
	var waiting atomic.Bool
	b := &enginetest.Border{Before: func(_ context.Context, op string, _ *engine.Origin, key []byte) error {
		waiting.Store(waiting.Load() || string(key) == "never")
		return nil
	}}
	e := x.make(t, runtime.Settings{Modules: 1}, b)
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
	_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo"})
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

// testTrapText: a trap tells what it was, and where in the module's own names, if the engine can tell.
func (x *Engine) testTrapText(t *testing.T) {
	e := x.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "trap"})
	if err == nil || err.Error() != x.Trap {
		t.Errorf("got %q, want %q", err, x.Trap)
	}
}
