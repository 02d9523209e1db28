package admit_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/status"
)

// FuzzModule: no input makes the pass panic; what is not let through has a class; and what an engine accepts, it accepts
// after the rewriting as well.
func FuzzModule(f *testing.F) {
	f.Add(readGuest(f, "bench.wasm"))
	f.Add(controlModule().bytes())
	f.Add(body(0x03, 0x40, 0x0c, 0, 0x0b, 0x0b))
	f.Add(withMemory(i32c(0), 0x28, 2, 0, 0x1a, 0x0b))
	for _, wasm := range recursions() {
		if len(wasm) < 1000 {
			f.Add(wasm)
		}
	}
	// The interpreter validates like the compiler does, and is quick.
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { _ = rt.Close(ctx) })
	f.Fuzz(func(t *testing.T, wasm []byte) {
		a, err := admit.Module(wasm, admit.Options{ExportGlobals: len(wasm)%2 == 0, InPlace: len(wasm)%3 == 0})
		if err != nil {
			if c := status.Of(err); c != status.Invalid && c != status.Limit {
				t.Fatalf("%s: %v", c, err)
			}
			return
		}
		cm, err := rt.CompileModule(ctx, wasm)
		if err != nil {
			return
		}
		_ = cm.Close(ctx)
		if cm, err = rt.CompileModule(ctx, a.Wasm); err != nil {
			t.Fatalf("accepted before the rewriting, but not after it: %v", err)
		}
		_ = cm.Close(ctx)
	})
}

// FuzzPrograms writes random programs that end, and compares what they do before and after the rewriting.
func FuzzPrograms(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
		m := g.module()
		wasm := m.bytes()
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
		defer rt.Close(ctx)
		if _, err := rt.CompileModule(ctx, wasm); err != nil {
			t.Fatalf("the generator's fault: %v", err)
		}
		plain := instantiate(t, rt, wasm)
		admitted := instantiate(t, rt, mustAdmit(t, wasm, admit.Options{SliceUnits: 1 + int(seed%200)}).Wasm)
		interpreted := instantiate(t, newInterpreter(t), mustAdmit(t, wasm, admit.Options{}).Wasm)
		inPlace := instantiate(t, rt, mustAdmit(t, wasm, admit.Options{InPlace: true}).Wasm)
		trapped := false
		for _, f := range m.funcs {
			for arg := range uint64(4) {
				setGlobal(t, plain, "budget", 500)
				setGlobal(t, admitted, "budget", 500)
				setGlobal(t, interpreted, "budget", 500)
				setGlobal(t, inPlace, "budget", 500)
				trapped = sameCall(t, plain, admitted, f.name, arg*7, arg)[0] != '[' || trapped
				outcome(interpreted, f.name, arg*7, arg)
				outcome(inPlace, f.name, arg*7, arg)
				if a, b, c := fuelUsed(admitted), fuelUsed(interpreted), fuelUsed(inPlace); a != b || a != c {
					t.Fatalf("%s(%d): %d units of fuel compiled and with small slices, %d interpreted, %d in place", f.name, arg, a, b, c)
				}
			}
		}
		if left := admitted.ExportedGlobal(admit.GlobalStack).Get(); !trapped && left != admit.StackUnits {
			t.Fatalf("%d of %d stack units are left", left, admit.StackUnits)
		}
	})
}

// generator writes random functions (i32, i32) -> (i32). Each has four locals; every loop and call takes from a budget in
// a global, and returns early when that is used up, so that every program ends.
type generator struct {
	*rand.Rand
	functions int
	labels    []bool // open blocks from the outside in: does the label take a value?
	size      int    // instructions that may still be written
}

const generatedLocals = 5

func (g *generator) module() *builder {
	m := &builder{
		memory: cat(0, 1), exports: [][]byte{cat(str("memory"), 2, 0), cat(str("budget"), 3, 0)}, counted: true,
		globals: [][]byte{cat(i32t, 1, i32c(2000), 0x0b)}, data: [][]byte{cat(1, str("some data for memory.init"))},
	}
	g.functions = 1 + g.IntN(4)
	m.tables = [][]byte{cat(0x70, 0, g.functions+1)}
	elems := cat(0, i32c(0), 0x0b, g.functions)
	binary := m.typ(i32t+i32t, i32t)
	for i := range g.functions {
		g.size = 20 + g.IntN(200)
		g.labels = []bool{true}
		code := cat(g.block(), g.value())
		if binary != 0 {
			panic("calls through the table expect type 0")
		}
		m.funcs = append(m.funcs, fn{name: string(rune('a' + i)), params: i32t + i32t, results: i32t, locals: i32t + i32t + i32t, code: code})
		elems = cat(elems, i)
	}
	m.elems = [][]byte{elems}
	return m
}

// spend takes from the budget, and returns from the function when it is used up.
func (g *generator) spend() []byte {
	return cat(0x23, 0, i32c(1), 0x6b, 0x24, 0, 0x23, 0, i32c(0), 0x48, 0x04, 0x40, i32c(-9), 0x0f, 0x0b)
}

func (g *generator) local() byte { return byte(g.IntN(generatedLocals)) }

// value writes code that leaves an i32.
func (g *generator) value() []byte {
	g.size--
	if g.size < 0 {
		return cat(0x20, int(g.local()))
	}
	switch g.IntN(12) {
	case 0, 1:
		return i32c(int64(int32(g.Uint32())) >> g.IntN(32))
	case 2:
		return cat(g.value(), g.value(), []int{0x6a, 0x6b, 0x6c, 0x71, 0x73, 0x74, 0x48, 0x4b}[g.IntN(8)])
	case 3:
		return cat(g.value(), 0x45)
	case 4: // a load within the page
		return cat(g.value(), i32c(0xffff), 0x71, 0x2d, 0, 0)
	case 5:
		return cat(g.spend(), g.value(), g.value(), 0x10, g.IntN(g.functions))
	case 6:
		return cat(g.spend(), g.value(), g.value(), i32c(int64(g.IntN(g.functions))), 0x11, 0, 0)
	case 7:
		return g.open(0x02+g.IntN(2), true, nil)
	case 8:
		return g.open(0x04, true, g.value())
	case 9:
		return cat(g.value(), 0x22, int(g.local()))
	case 10:
		return cat(g.value(), g.value(), g.value(), 0x1b)
	}
	return cat(0x20, int(g.local()))
}

// open writes a block, loop or if.
func (g *generator) open(op int, value bool, condition []byte) []byte {
	typ, end := "\x40", []byte{}
	if value {
		typ = i32t
	}
	g.labels = append(g.labels, value && op != 0x03)
	inner := g.block()
	if op == 0x03 {
		inner = cat(g.spend(), inner) // a branch back always meets it
	}
	if value {
		inner = cat(inner, g.value())
	}
	if op == 0x04 && (value || g.IntN(2) == 0) {
		end = cat(0x05, g.block())
		if value {
			end = cat(end, g.value())
		}
	}
	g.labels = g.labels[:len(g.labels)-1]
	return cat(condition, op, typ, inner, end, 0x0b)
}

// label returns a random label and whether it takes a value.
func (g *generator) label() (depth int, value bool) {
	depth = g.IntN(len(g.labels))
	return depth, g.labels[len(g.labels)-1-depth]
}

// block writes a few instructions that leave nothing.
func (g *generator) block() []byte {
	var code []byte
	for range 1 + g.IntN(5) {
		if g.size--; g.size < 0 {
			break
		}
		code = cat(code, g.statement())
	}
	return code
}

func (g *generator) statement() []byte {
	switch g.IntN(14) {
	case 0, 1:
		return cat(g.value(), 0x21, int(g.local()))
	case 2: // a store within the page
		return cat(g.value(), i32c(0xffff), 0x71, g.value(), 0x3a, 0, 0)
	case 3:
		return g.open(0x02, false, nil)
	case 4, 5:
		return g.open(0x03, false, nil)
	case 6:
		return g.open(0x04, false, g.value())
	case 7: // a branch, sometimes with dead code behind it
		depth, value := g.label()
		if value {
			return cat(g.value(), 0x0c, depth)
		}
		return cat(0x0c, depth, g.block())
	case 8:
		depth, value := g.label()
		if value {
			return cat(g.value(), g.value(), 0x0d, depth, 0x1a)
		}
		return cat(g.value(), 0x0d, depth)
	case 9:
		return g.table()
	case 10:
		return cat(g.value(), 0x0f)
	case 11, 12: // bulk operations, some of which trap
		length := cat(g.value(), i32c(0x7ff), 0x71)
		op := [][]byte{cat(0xfc, 11, 0), cat(0xfc, 10, 0, 0), cat(0xfc, 8, 0, 0)}[g.IntN(3)]
		return cat(g.value(), i32c(0x7fff), 0x71, g.value(), i32c(0x3fff), 0x71, length, op)
	}
	return g.machine()
}

// table writes a br_table over labels that take nothing.
func (g *generator) table() []byte {
	var labels []byte
	for range 8 {
		if depth, value := g.label(); !value {
			labels = append(labels, byte(depth))
		}
	}
	if len(labels) == 0 {
		return nil
	}
	return cat(g.value(), 0x0e, len(labels)-1, labels)
}

// machine writes a loop in the form that Go compiles functions to.
func (g *generator) machine() []byte {
	states := 2 + g.IntN(4)
	var code []byte
	for range states {
		code = cat(code, 0x02, 0x40)
	}
	code = cat(code, 0x20, 4, 0x0e, states-1)
	for i := range states {
		code = cat(code, i)
	}
	g.labels = append(g.labels, make([]bool, states+1)...) // the loop and the blocks in it
	for i := range states {
		g.labels = g.labels[:len(g.labels)-1]
		code = cat(code, 0x0b, g.spend(), g.block(), i32c(int64(g.IntN(states+1))), 0x21, 4, 0x0c, states-1-i)
	}
	g.labels = g.labels[:len(g.labels)-1]
	return cat(0x03, 0x40, code, 0x0b)
}
