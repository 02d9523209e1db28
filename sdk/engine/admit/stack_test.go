package admit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// recursive makes a function that keeps n values of a type alive across a call of itself, in locals or on the operand
// stack. load leaves a value that the engine cannot compute again.
func recursive(typ string, n int, stack bool, load, add []byte) []byte {
	var code []byte
	for i := range n {
		code = cat(code, i32c(int64(i*16)), load)
		if !stack {
			code = cat(code, 0x21, uleb(uint64(i)))
		}
	}
	code = cat(code, 0x10, 0) // call itself
	for i := range n {
		if !stack {
			code = cat(code, 0x20, uleb(uint64(i)))
		}
		code = cat(code, add)
	}
	f := fn{name: "run", results: typ, code: code}
	if !stack {
		f.locals = strings.Repeat(typ, n)
	}
	return one(f)
}

// recursions are functions without an end, with frames of every shape an engine may find hard.
func recursions() map[string][]byte {
	i64load, i64add := cat(0x29, 3, 0), cat(0x7c)
	vload, vadd := cat(0xfd, 0, 4, 0), cat(0xfd, 0xce, 1)
	shapes := map[string][]byte{}
	for _, n := range []int{0, 1, 10, 100, 1000} {
		shapes[fmt.Sprint(n, " locals")] = recursive(i64t, n, false, i64load, i64add)
		shapes[fmt.Sprint(n, " operands")] = recursive(i64t, n, true, i64load, i64add)
		shapes[fmt.Sprint(n, " vectors")] = recursive(vect, n, false, vload, vadd)
	}
	// Few locals, but many values that live across one call each: an engine may give each a place of its own.
	var code []byte
	for range 500 {
		code = cat(code, 0x20, 0, i32c(8), 0x6a, 0x22, 0, 0x29, 3, 0, 0x10, 0, 0x7c, 0x1a)
	}
	shapes["500 calls"] = one(fn{name: "run", results: i64t, locals: i32t, code: cat(code, i64c(1))})
	// Through a table, each frame of another function.
	indirect := cat(i32c(1), 0x10, 1, 0x1a, i32c(0), 0x11, 0, 0)
	m := &builder{
		funcs:  []fn{{name: "run", results: i32t, code: indirect}, {params: i32t, results: i32t, code: i32c(1)}},
		tables: [][]byte{cat(0x70, 0, 1)}, elems: [][]byte{cat(0, i32c(0), 0x0b, 1, 0)}, memory: cat(0, 1),
	}
	shapes["indirect"] = m.bytes()
	return shapes
}

// TestStackLimit: every endless recursion ends at our limit and before the engine's, up to the largest limit that the
// package allows.
func TestStackLimit(t *testing.T) {
	rt := newRuntime(t)
	for name, wasm := range recursions() {
		t.Run(name, func(t *testing.T) {
			for _, units := range []int{admit.StackUnits, admit.MaxStackUnits} {
				m := instantiate(t, rt, mustAdmit(t, wasm, admit.Options{StackUnits: units}).Wasm)
				start := time.Now()
				_, err := m.ExportedFunction("run").Call(ctx)
				took := time.Since(start)
				if err == nil {
					t.Fatal("an endless recursion returned")
				}
				if r := m.ExportedGlobal(admit.GlobalReason).Get(); r != admit.ReasonStack {
					t.Fatalf("reason %d at %d units: %v", r, units, err)
				}
				if units == admit.StackUnits {
					t.Logf("ended after %v", took)
				}
			}
		})
	}
}

// TestStackIsGivenBack: whichever way a function is left, its frame is given back.
func TestStackIsGivenBack(t *testing.T) {
	leaf := fn{params: i32t, results: i32t, code: cat(0x20, 0, i32c(1), 0x6a)}
	call := cat(0x20, 0, 0x10, 0) // leaf(argument)
	ways := []fn{
		{name: "end", code: call},
		{name: "return", code: cat(call, 0x0f)},
		{name: "branch", code: cat(call, 0x0c, 0)},
		{name: "branch out of blocks", code: cat(0x02, 0x40, 0x03, 0x40, call, 0x0c, 2, 0x0b, 0x0b, 0x00)},
		{name: "return out of a loop", code: cat(0x03, 0x40, 0x02, 0x40, call, 0x0f, 0x0b, 0x0b, 0x00)},
		{name: "conditional", code: cat(call, 0x20, 0, 0x0d, 0, 0x1a, i32c(7))},
		{name: "table", code: cat(0x02, 0x7f, call, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, i32c(3), 0x6a)},
		{name: "large leaf", locals: strings.Repeat(i64t, 1000), code: cat(0x20, 0, 0x04, 0x40, i32c(5), 0x0f, 0x0b, i32c(6))},
		{name: "dead code", code: cat(call, 0x0f, 0x00, 0x10, 0)},
	}
	m := &builder{funcs: append([]fn{leaf}, ways...), memory: cat(0, 1)}
	for i := range ways {
		m.funcs[i+1].params, m.funcs[i+1].results = i32t, i32t
	}
	wasm := m.bytes()
	rt := newRuntime(t)
	plain, admitted := instantiate(t, rt, wasm), instantiate(t, rt, mustAdmit(t, wasm, admit.Options{}).Wasm)
	for _, w := range ways {
		for arg := range uint64(3) {
			sameCall(t, plain, admitted, w.name, arg)
			if left := admitted.ExportedGlobal(admit.GlobalStack).Get(); left != admit.StackUnits {
				t.Fatalf("%s(%d): %d of %d stack units are left", w.name, arg, left, admit.StackUnits)
			}
		}
	}
}

// TestUncountedFrames: frames that are not counted come to a bounded number between those that are, whatever the shape of
// calls: every endless recursion through functions that are too small to count ends at our limit, and calls that end give back
// what they took.
func TestUncountedFrames(t *testing.T) {
	rt := newRuntime(t)
	chain := func(n int, last []byte) (fns []fn) { // run calls 1, 1 calls 2, ...
		for i := range n {
			fns = append(fns, fn{name: fmt.Sprint("f", i), params: i32t, results: i32t, code: cat(0x20, 0, 0x10, uleb(uint64(i+1)))})
		}
		return append(fns, fn{name: "last", params: i32t, results: i32t, code: last})
	}
	// Down to zero: if n { return f0(n-1) }, directly or by the table.
	again := func(call []byte) []byte {
		return cat(0x20, 0, 0x45, 0x04, 0x40, i32c(7), 0x0f, 0x0b, 0x20, 0, i32c(1), 0x6b, call)
	}
	for name, last := range map[string][]byte{"direct": again(cat(0x10, 0)), "indirect": again(cat(i32c(0), 0x11, 0, 0))} {
		for _, n := range []int{1, 3, 40, 400} {
			m := &builder{
				funcs: chain(n, last), tables: [][]byte{cat(0x70, 0, 1)}, elems: [][]byte{cat(0, i32c(0), 0x0b, 1, 0)}, memory: cat(0, 1),
			}
			guest := instantiate(t, rt, mustAdmit(t, m.bytes(), admit.Options{StackUnits: 1 << 20}).Wasm)
			stack := guest.ExportedGlobal(admit.GlobalStack)
			// Not one of the frames is of less than 64 units, and all but a few thousand units of them are counted.
			rounds := uint64(1<<20/64/(n+1)) + 100
			if out := outcome(guest, "f0", rounds); guest.ExportedGlobal(admit.GlobalReason).Get() != admit.ReasonStack {
				t.Errorf("%s, %d in a row: %d rounds ended with %s", name, n, rounds, out)
			}
			setGlobal(t, guest, admit.GlobalStack, 1<<20)
			if out := outcome(guest, "f0", 5); out != "[7]" || stack.Get() != 1<<20 {
				t.Errorf("%s, %d in a row: %s, and %d of %d units are left", name, n, out, stack.Get(), 1<<20)
			}
		}
	}
}

// TestDepthBegun: a recursion goes as deep when a function begins it that is too small to count as when the host does.
func TestDepthBegun(t *testing.T) {
	down := cat(0x20, 0, 0x45, 0x04, 0x40, i32c(7), 0x0f, 0x0b, 0x20, 0, i32c(1), 0x6b, 0x10, 0)
	guest := instantiate(t, newRuntime(t), mustAdmit(t, (&builder{
		funcs: []fn{
			{name: "down", params: i32t, results: i32t, code: down},
			{name: "begin", params: i32t, results: i32t, code: cat(0x20, 0, 0x10, 0)},
		},
		memory: cat(0, 1),
	}).bytes(), admit.Options{}).Wasm)
	depth := func(name string) (n uint64) {
		for step := uint64(1 << 20); step > 0; step /= 2 {
			setGlobal(t, guest, admit.GlobalStack, admit.StackUnits)
			if outcome(guest, name, n+step) == "[7]" {
				n += step
			}
		}
		return n
	}
	if host, begun := depth("down"), depth("begin"); host < 100_000 || host-begun > 10 {
		t.Errorf("%d levels, and %d where a function begins them", host, begun)
	}
}

// TestGoDepth: Go programs recurse deeply without meeting the default limit.
func TestGoDepth(t *testing.T) {
	_, m := goGuests(t)
	levels := 50_000
	if raceEnabled {
		levels = 1000 // wazero's interpreter has a limit of its own
	}
	if got := outcome(m, "deep", uint64(levels)); got != fmt.Sprintf("[%d]", levels+1) {
		t.Errorf("%d levels of Go recursion: %s", levels, got)
	}
}
