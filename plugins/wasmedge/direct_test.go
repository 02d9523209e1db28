//go:build wasmedge

package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/second-state/WasmEdge-go/wasmedge"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/status"
)

// TestBinding: what inner relies on.
func TestBinding(t *testing.T) {
	for _, object := range []any{wasmedge.Configure{}, wasmedge.AST{}} {
		typ := reflect.TypeOf(object)
		if f := typ.Field(0); f.Name != "_inner" || f.Type.Kind() != reflect.Pointer || f.Offset != 0 {
			t.Errorf("%v begins with %s %v", typ, f.Name, f.Type)
		}
	}
	for _, i := range runtime.Imports() {
		if len(i.Params) > 16 {
			t.Errorf("import %s.%s has %d parameters: raise ESSAD_PARAMS", i.Module, i.Name, len(i.Params))
		}
	}
}

// quiet runs f and fails if anything was written to standard output or standard error meanwhile, by Go or by C: the first
// is a plugin's link to its host.
func quiet(t *testing.T, f func()) {
	t.Helper()
	for _, std := range []*os.File{os.Stdout, os.Stderr} {
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer redirect(t, std, file)()
	}
	f()
}

// TestTraps: traps have texts that people can read, and nothing is printed for them.
func TestTraps(t *testing.T) {
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	call := func(function string) error {
		_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: function})
		return err
	}
	quiet(t, func() {
		if err := call("trap"); err == nil || err.Error() != "trap: unreachable" {
			t.Errorf("got %q", err)
		}
		for range 100 {
			if err := call("trap"); status.Of(err) != status.GuestFault {
				t.Errorf("got %v", err)
			}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 500 {
					if err := call("trap"); status.Of(err) != status.GuestFault {
						t.Errorf("got %v", err)
					}
					_ = dereference(nil)
				}
			})
		}
		wg.Wait()
	})
}

// dereference needs Go's signal handlers where p is nil: they must be what they were before a guest trapped.
func dereference(p *int) (err any) {
	defer func() { err = recover() }()
	return *p
}

// recursion calls itself without end, with frames of the shape that costs WasmEdge most for what admission counts: many
// operands of 16 bytes where a unit is meant to be one of 8.
func recursion(locals int) []byte {
	body := []byte{1}
	body = append(append(body, runtimetest.Leb(locals)...), 0x7f) // i32
	body = append(body, 0x20, 0, 0x10, 0, 0x0b)                   // call itself
	return runtimetest.Module(body)
}

// TestDeepRecursion: admission's limit of the stack bounds the interpreter's, which has none of its own and is memory.
func TestDeepRecursion(t *testing.T) {
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	for _, locals := range []int{0, 1, 10, 1000} {
		id, _ := enginetest.Prepare(t, e, recursion(locals))
		before, peak := runtimetest.Resident(t), runtimetest.Peak(t)
		_, err := e.Invoke(context.Background(), &engine.Call{
			Module: id, Function: "f", Limits: engine.Limits{Stack: admit.MaxStackUnits},
		})
		if status.Of(err) != status.Limit || status.DetailOf(err) != "stack" {
			t.Errorf("%d locals: %v", locals, err)
		}
		took := peak() - before
		t.Logf("%d locals: %d MiB for a stack of %d units", locals, took>>20, admit.MaxStackUnits)
		if took > 4*admit.MaxStackUnits {
			t.Errorf("%d locals took %d MiB", locals, took>>20)
		}
	}
}

// TestBounded: there are at most maxInstances, and a call too many is told so.
func TestBounded(t *testing.T) {
	var r registry
	var all []*instance
	for range maxInstances {
		i := new(instance)
		if !r.add(i) {
			t.Fatalf("refused after %d", len(all))
		}
		all = append(all, i)
	}
	if r.add(new(instance)) {
		t.Error("one too many")
	}
	r.remove(all[7])
	again := new(instance)
	if !r.add(again) || again.id != all[7].id || r.slots[again.id].Load() != again {
		t.Errorf("an id that was free again: %d", again.id)
	}
}

// TestManyWaiting: guests that wait hold threads and nothing else; hundreds of them do not keep others from running.
func TestManyWaiting(t *testing.T) {
	const many = 300
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{Queue: many})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			_, err := e.Invoke(ctx, &engine.Call{Module: id, Function: "sleeper"})
			if status.Of(err) != status.Cancelled {
				t.Errorf("got %v", err)
			}
		})
	}
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		r, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo", Args: []byte("x")})
		if err != nil || string(r.Value) != "x" {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}

// TestFailedInstances: what cannot be instantiated leaves nothing behind.
func TestFailedInstances(t *testing.T) {
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	// An element segment beyond its table: instantiation traps.
	m := runtimetest.Module([]byte{0, 0x0b})
	code := len(m) - 6
	table, elem := []byte{4, 4, 1, 0x70, 0, 1}, []byte{9, 7, 1, 0, 0x41, 5, 0x0b, 1, 0}
	memory := 8 + 7 + 4 // the memory section follows the types and the functions
	bad := append(append(append(append([]byte{}, m[:memory]...), table...), m[memory:code]...), elem...)
	bad = append(bad, m[code:]...)
	id, _ := enginetest.Prepare(t, e, bad)
	for range 1000 {
		if _, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "f"}); status.Of(err) != status.GuestFault {
			t.Fatalf("got %v", err)
		}
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	if used := int(live.next) - len(live.free); used != 0 {
		t.Errorf("%d instances are left", used)
	}
}
