//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/status"
)

const (
	i64Type  = 0x7e
	v128Type = 0x7b
)

// recursive makes a module whose function f calls itself without an end and keeps n values alive meanwhile: in locals, or on
// the operand stack.
func recursive(typ byte, n int, stack bool) []byte {
	load, add := []byte{0x29, 3, 0}, []byte{0x7c}
	if typ == v128Type {
		load, add = []byte{0xfd, 0, 4, 0}, []byte{0xfd, 0xce, 1}
	}
	signed := func(v int) []byte { // LEB128
		var b []byte
		for {
			c := byte(v & 0x7f)
			if v >>= 7; v == 0 && c&0x40 == 0 {
				return append(b, c)
			}
			b = append(b, c|0x80)
		}
	}
	var code []byte
	for i := range n {
		code = runtimetest.Cat(code, []byte{0x41}, signed(i*16), load)
		if !stack {
			code = runtimetest.Cat(code, []byte{0x21}, runtimetest.Leb(i))
		}
	}
	code = append(code, 0x10, 0) // call itself
	for i := range n {
		if !stack {
			code = runtimetest.Cat(code, []byte{0x20}, runtimetest.Leb(i))
		}
		code = runtimetest.Cat(code, add)
	}
	locals := []byte{0}
	if !stack && n > 0 {
		locals = runtimetest.Cat([]byte{1}, runtimetest.Leb(n), []byte{typ})
	}
	body := runtimetest.Cat(locals, code, []byte{0x0b})
	return runtimetest.Cat([]byte("\x00asm\x01\x00\x00\x00"),
		runtimetest.Section(1, []byte{2, 0x60, 0, 1, typ, 0x60, 1, 0x7f, 0}),
		runtimetest.Section(3, []byte{2, 0, 1}),
		runtimetest.Section(5, []byte{1, 0, 1}),
		runtimetest.Section(7, []byte{2, 1, 'f', 0, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0}),
		runtimetest.Section(10, runtimetest.Cat([]byte{2}, runtimetest.Leb(len(body)), body, []byte{5, 0, 0x10, 0, 0x1a, 0x0b})))
}

// TestStack: whatever a guest's frames look like, admission's limit comes before the end of the stack.
func TestStack(t *testing.T) {
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	for _, typ := range []byte{i64Type, v128Type} {
		for _, n := range []int{0, 1, 10, 100, 1000} {
			for _, stack := range []bool{false, true} {
				name := fmt.Sprintf("%x/%d/%v", typ, n, stack)
				id, _ := enginetest.Prepare(t, e, recursive(typ, n, stack))
				for _, most := range []int64{0, -1} { // the default, and as much as can be had
					_, err := e.Invoke(context.Background(), &engine.Call{
						Module: id, Function: "f", Limits: engine.Limits{Stack: most},
						Deadline: time.Now().Add(10 * time.Second),
					})
					if status.Of(err) != status.Limit || status.DetailOf(err) != "stack" {
						t.Errorf("%s with limit %d: %v", name, most, err)
					}
				}
			}
		}
	}
}

// descending is a module whose function f goes 100,000 calls deep and returns.
func descending() []byte {
	deep := []byte{0, 0x20, 0, 0x04, 0x7f, 0x20, 0, 0x41, 1, 0x6b, 0x10, 0, 0x41, 1, 0x6a, 0x05, 0x41, 0, 0x0b, 0x0b}
	begin := []byte{0, 0x41, 0xa0, 0x8d, 0x06, 0x10, 0, 0x1a, 0x0b}
	return runtimetest.Cat([]byte("\x00asm\x01\x00\x00\x00"),
		runtimetest.Section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 0}),
		runtimetest.Section(3, []byte{2, 0, 1}),
		runtimetest.Section(7, []byte{1, 1, 'f', 0, 1}),
		runtimetest.Section(10, runtimetest.Cat([]byte{2}, runtimetest.Leb(len(deep)), deep, runtimetest.Leb(len(begin)), begin)))
}

// TestStackGivenBack: an instance that waits for its next call does not keep the stack that its last one needed.
func TestStackGivenBack(t *testing.T) {
	e := tested.Open(t, &enginetest.Border{}, enginetest.Options{})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, descending())
	before := runtimetest.Resident(t)
	for n := range 4 {
		r, err := e.Invoke(context.Background(), &engine.Call{Module: id, Scope: "s", Function: "f"})
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && r.Stats.Instance != engine.Kept {
			t.Errorf("call %d had an instance of kind %d", n, r.Stats.Instance)
		}
		more := (runtimetest.Resident(t) - before) >> 10
		t.Logf("%d KiB more after call %d", more, n)
		if more > 2<<10 {
			t.Error("that is too much")
		}
	}
}

// TestThreads: guests that wait hold no threads.
func TestThreads(t *testing.T) {
	const guests = 200
	b := &enginetest.Border{}
	e, err := wasmtimeEngine.New(runtime.Settings{Workers: 2}, b)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	before := threads(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, guests)
	for range guests {
		go func() {
			_, err := e.Invoke(ctx, &engine.Call{Module: id, Scope: "s", Function: "waiter"})
			done <- err
		}()
	}
	time.Sleep(300 * time.Millisecond)
	waiting := threads(t)
	cancel()
	for range guests {
		if err := <-done; status.Of(err) != status.Cancelled {
			t.Errorf("a guest that waited: %v", err)
		}
	}
	if waiting > before+20 {
		t.Errorf("%d threads with %d guests waiting, and %d before", waiting, guests, before)
	}
}

// TestParked: an instance that waits for its next call takes little: pages it has written, its stack, wasmtime's record.
func TestParked(t *testing.T) {
	const guests = 100
	b := &enginetest.Border{}
	e, err := wasmtimeEngine.New(runtime.Settings{Workers: 2, Parked: guests}, b)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	call := func(function string) error {
		_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Scope: "s", Function: function})
		return err
	}
	if err := call("echo"); err != nil {
		t.Fatal(err)
	}
	before := runtimetest.Resident(t)
	done := make(chan error, guests)
	for range guests {
		go func() { done <- call("waiter") }()
	}
	time.Sleep(300 * time.Millisecond)
	if _, err := b.Put("s", "never", []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	for range guests {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	each := (runtimetest.Resident(t) - before) / guests >> 10
	t.Logf("%d KiB each", each)
	if each > 200 && !runtimetest.Race {
		t.Error("that is too much")
	}
}

func threads(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
