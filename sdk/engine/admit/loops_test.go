package admit_test

import (
	"fmt"
	"testing"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// down writes: local 0 counts down, and is left as an operand.
func down() []byte { return cat(0x20, 0, i32c(1), 0x6b, 0x22, 0) }

// exits are functions (i32) -> (i32) of which each leaves its loops in another way. Local 1 sums up what local 0 was; calls
// are there so that frames are counted, too.
func exits() []fn {
	sum := cat(0x20, 1, 0x20, 0, 0x10, 0, 0x6a, 0x21, 1)
	list := []fn{
		{name: "falls out", code: cat(0x03, 0x40, sum, down(), 0x0d, 0, 0x0b, 0x20, 1)},
		{name: "falls out with a value", code: cat(0x03, 0x7f, sum, down(), 0x0d, 0, 0x20, 1, 0x0b, i32c(1), 0x6a)},
		{name: "leaves for a block", code: cat(0x02, 0x40, 0x03, 0x40, sum, down(), 0x45, 0x0d, 1, 0x0c, 0, 0x0b, 0x0b, 0x20, 1)},
		{name: "leaves with a value", code: cat(0x02, 0x7f, 0x03, 0x40, sum, i32c(5), down(), 0x45, 0x0d, 1, 0x1a, 0x0c, 0, 0x0b, 0x00, 0x0b, 0x20, 1, 0x6a)},
		{name: "leaves for the function", code: cat(0x03, 0x40, sum, 0x20, 1, down(), 0x45, 0x0d, 1, 0x1a, 0x0c, 0, 0x0b, 0x00)},
		{name: "returns", code: cat(0x03, 0x40, sum, down(), 0x45, 0x04, 0x40, 0x20, 1, 0x0f, 0x0b, 0x0c, 0, 0x0b, 0x00)},
		{name: "returns from inner loops", code: cat(
			0x03, 0x40, 0x03, 0x40, 0x03, 0x40, sum, down(), i32c(3), 0x71, 0x0d, 0, 0x20, 0, 0x45, 0x04, 0x40, 0x20, 1, 0x0f, 0x0b,
			0x20, 0, i32c(7), 0x71, 0x0d, 1, 0x0c, 2, 0x0b, 0x0b, 0x0b, 0x00)},
		{name: "goes on with outer loops", code: cat(
			0x03, 0x40, 0x02, 0x40, 0x03, 0x40, 0x02, 0x40, sum, down(), 0x45, 0x0d, 2, 0x20, 0, i32c(1), 0x71, 0x0d, 3, 0x20, 0, i32c(2), 0x71, 0x0d, 1,
			0x0b, 0x0c, 0, 0x0b, 0x0b, 0x0b, 0x20, 1)},
		{name: "table", code: cat( // to its own loop, the outer one, a block between, a block around, and the function
			0x02, 0x40, 0x03, 0x40, 0x02, 0x40, 0x03, 0x40, sum, down(), 0x45, 0x04, 0x40, 0x20, 1, 0x0f, 0x0b,
			0x20, 0, 0x0e, 3, 0, 1, 2, 0, 0x0b, 0x0b, 0x20, 0, i32c(5), 0x6b, 0x22, 0, i32c(0), 0x4a, 0x0d, 0, 0x0b, 0x0b, 0x20, 1)},
		{name: "table with values", code: cat(
			0x02, 0x7f, 0x03, 0x40, sum, 0x20, 1, down(), 0x04, 0x40, 0x0c, 1, 0x0b, 0x20, 1, i32c(1), 0x71, 0x0e, 1, 1, 2, 0x0b, 0x00, 0x0b, i32c(100), 0x6a)},
		{name: "a loop in an arm", code: cat(
			0x20, 0, i32c(1), 0x71, 0x04, 0x7f, 0x03, 0x7f, sum, down(), 0x0d, 0, 0x20, 1, 0x0b, 0x05, 0x02, 0x7f, 0x03, 0x40, sum, i32c(9), down(), 0x45, 0x0d, 1,
			0x1a, 0x0c, 0, 0x0b, 0x00, 0x0b, 0x0b)},
		{name: "operands below", code: cat(0x20, 0, i32c(3), 0x03, 0x40, sum, down(), 0x0d, 0, 0x0b, 0x6a, 0x20, 1, 0x6a)},
		{name: "dead code", code: cat(0x03, 0x40, sum, down(), 0x0d, 0, 0x20, 1, 0x0f, 0x0c, 0, 0x03, 0x40, 0x0c, 1, 0x0b, 0x0b, 0x00)},
	}
	for i := range list {
		list[i].params, list[i].results, list[i].locals = i32t, i32t, i32t
	}
	return list
}

// TestLoopsAreLeft: whichever way a loop is left or gone round, the guest gives the same, wherever its safepoints are; and all
// of its frames are given back.
func TestLoopsAreLeft(t *testing.T) {
	leaf := fn{params: i32t, results: i32t, code: cat(0x20, 0, i32c(3), 0x6c)}
	m := &builder{memory: cat(0, 1), funcs: append([]fn{leaf}, exits()...)}
	wasm := m.bytes()
	rt := newRuntime(t)
	plain := instantiate(t, rt, wasm)
	for _, slice := range []int{1, 17, 100, admit.SliceUnits} {
		admitted := instantiate(t, rt, mustAdmit(t, wasm, admit.Options{SliceUnits: slice}).Wasm)
		for _, f := range m.funcs[1:] {
			for _, n := range []uint64{1, 2, 3, 4, 5, 8, 13, 64, 1001} {
				sameCall(t, plain, admitted, f.name, n)
				if left := admitted.ExportedGlobal(admit.GlobalStack).Get(); left != admit.StackUnits {
					t.Fatalf("%s(%d): %d of %d stack units are left", f.name, n, left, admit.StackUnits)
				}
			}
		}
	}
	g := newGuestMaker(t, rt, wasm)
	for _, f := range m.funcs[1:] {
		for _, n := range []uint64{1, 50, 3000} {
			g.exact(t, f.name, n)
		}
	}
}

// TestManyLoops: loops deep within each other and very many of them give what they gave.
func TestManyLoops(t *testing.T) {
	deep := cat(0x20, 1, i32c(1), 0x6a, 0x21, 1)
	for i := range 40 { // each goes round once more where the bit is set that it then clears
		clear := cat(0x20, 0, i32c(int64(1<<(i%31))), 0x71, 0x04, 0x40, 0x20, 0, i32c(int64(1<<(i%31))), 0x73, 0x21, 0, 0x0c, 1, 0x0b)
		deep = cat(0x03, 0x40, deep, clear, 0x0b)
	}
	var many []byte
	for range 3000 {
		many = cat(many, 0x03, 0x40, 0x20, 1, i32c(1), 0x6a, 0x22, 1, 0x20, 0, 0x71, 0x0d, 0, 0x0b)
	}
	m := &builder{memory: cat(0, 1), funcs: []fn{{name: "deep", code: cat(deep, 0x20, 1)}, {name: "many", code: cat(many, 0x20, 1)}}}
	for i := range m.funcs {
		m.funcs[i].params, m.funcs[i].results, m.funcs[i].locals = i32t, i32t, i32t
	}
	plain, admitted := both(t, m.bytes())
	for _, f := range m.funcs {
		for _, n := range []uint64{0, 1, 0x155, 0x7fff} {
			if out := sameCall(t, plain, admitted, f.name, n); out[0] != '[' {
				t.Error(fmt.Sprint(f.name, n), out)
			}
		}
	}
}
