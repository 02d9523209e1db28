package admit_test

import (
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// busy writes straight code that costs some n units and leaves nothing.
func busy(n int) (code []byte) {
	for range n / 4 {
		code = cat(code, 0x20, 0, i32c(3), 0x6c, 0x1a)
	}
	return code
}

// tree is a function that calls itself never, but the next one twice or more often, and so on: levels of them, and a last one.
// call writes a call of a function.
func tree(levels, times, cost int, last []byte, call func(next int) []byte) (list []fn) {
	for i := range levels {
		code := busy(cost)
		for range times {
			code = cat(code, 0x20, 0, call(i+1))
		}
		list = append(list, fn{params: i32t, code: code})
	}
	list[0].name = "run"
	return append(list, fn{params: i32t, code: last})
}

func direct(next int) []byte { return cat(0x10, uleb(uint64(next))) }

// trees are modules that have work without end and neither a loop nor a recursion of their own, or both in places where
// little seems to happen. Each exports run(i32).
func trees() map[string][]byte {
	module := func(list []fn) []byte { return (&builder{memory: cat(0, 1), funcs: list}).bytes() }
	skipped := func(next int) []byte { // a call that is made, and one that never is
		return cat(direct(next), 0x20, 0, i32c(77), 0x46, 0x04, 0x40, 0x20, 0, direct(next), 0x0b)
	}
	either := func(next int) []byte {
		return cat(0x04, 0x40, 0x20, 0, direct(next), 0x05, 0x20, 0, direct(next), 0x0b)
	}
	spin := cat(0x03, 0x40, 0x20, 0, direct(1), 0x0c, 0, 0x0b)
	empty := []byte{}
	less := func(to int) []byte { return cat(0x20, 0, i32c(1), 0x6b, direct(to)) }
	deep := fn{name: "run", params: i32t, code: cat(i32c(60), direct(1))}
	end := cat(0x20, 0, 0x45, 0x04, 0x40, 0x0f, 0x0b)
	m := map[string][]byte{
		"recursion":   module([]fn{deep, {params: i32t, code: cat(end, less(1), less(1))}}),
		"in turns":    module([]fn{deep, {params: i32t, code: cat(end, less(2), less(2))}, {params: i32t, code: cat(end, less(1), less(3))}, {params: i32t, code: cat(end, less(1))}}),
		"pairs":       module(tree(60, 2, 0, empty, direct)),
		"costly":      module(tree(60, 2, 500, busy(200), direct)),
		"wide":        module(tree(12, 40, 0, busy(60), direct)),
		"skipped":     module(tree(60, 2, 8, busy(30), skipped)),
		"either":      module(tree(60, 3, 8, busy(30), either)),
		"loops below": module(tree(60, 2, 4, cat(i32c(20), 0x21, 0, 0x03, 0x40, down(), 0x0d, 0, 0x0b), direct)),
		"leafs":       module([]fn{{name: "run", params: i32t, code: spin}, {params: i32t, code: busy(40)}}),
		"light loops": module([]fn{{name: "run", params: i32t, code: spin}, {params: i32t, code: cat(i32c(20), 0x21, 0, 0x03, 0x40, down(), 0x0d, 0, 0x0b)}}),
	}
	over := tree(60, 2, 0, empty, func(n int) []byte { return direct(n + 1) })
	over[0].name = ""
	m["loop over"] = module(append([]fn{{name: "run", params: i32t, code: spin}}, over...))
	// Through the table, every function with an index of its own.
	list := tree(60, 2, 4, empty, func(next int) []byte { return cat(i32c(int64(next)), 0x11, 0, 0) })
	elems := cat(0, i32c(0), 0x0b, len(list))
	for i := range list {
		elems = cat(elems, i)
	}
	m["by the table"] = (&builder{memory: cat(0, 1), funcs: list, tables: [][]byte{cat(0x70, 0, len(list))}, elems: [][]byte{elems}}).bytes()
	return m
}

// overdraft is the most that a guest may use beyond its limit where its functions are small.
const overdraft = 4 * (1 << 13)

// TestCallTrees: whatever the shape of calls is, there is a bounded amount of work between two checks.
func TestCallTrees(t *testing.T) {
	rt := newRuntime(t)
	for name, wasm := range trees() {
		t.Run(name, func(t *testing.T) {
			for _, o := range []admit.Options{{}, {InPlace: true}} {
				a := mustAdmit(t, wasm, o)
				for limit := int64(1 << 20); limit < 1<<20+20_000; limit += 777 {
					m := instantiate(t, rt, a.Wasm)
					setFuel(t, m, limit, o)
					outcome(m, "run", 5)
					used := fuelUsed(m) - (admit.NoFuelLimit - limit)
					if r := m.ExportedGlobal(admit.GlobalReason).Get(); r != admit.ReasonFuel || used > limit+overdraft {
						t.Fatalf("%+v: reason %d, %d units were used of %d", o, r, used, limit)
					}
				}
			}
			onIdle(t, name, 20*time.Millisecond, func() time.Duration {
				return stopAfter(t, instantiate(t, rt, mustAdmit(t, wasm, admit.Options{}).Wasm), 5*time.Millisecond, "run", 5)
			})
		})
	}
}

// TestUnwinding: work that is done while a recursion returns is checked like any other.
func TestUnwinding(t *testing.T) {
	rt := newRuntime(t)
	small := fn{params: i32t, code: busy(200)}
	light := fn{params: i32t, code: cat(busy(600), 0x20, 0, direct(0))}
	var tail []byte
	for range 30 {
		tail = cat(tail, 0x20, 0, direct(1))
	}
	down := cat(0x20, 0, 0x04, 0x40, 0x20, 0, i32c(1), 0x6b, direct(2), tail, 0x0b)
	wasm := (&builder{memory: cat(0, 1), funcs: []fn{small, light, {name: "run", params: i32t, code: down}}}).bytes()
	for _, o := range []admit.Options{{}, {InPlace: true}} {
		g := mustAdmit(t, wasm, o)
		for _, depth := range []uint64{1, 10, 2000} {
			m := instantiate(t, rt, g.Wasm)
			setFuel(t, m, 0, o)
			if out := outcome(m, "run", depth); out != "[]" {
				t.Fatal(out)
			}
			whole := fuelUsed(m)
			for _, part := range []int64{2, 3, 5} {
				m := instantiate(t, rt, g.Wasm)
				setFuel(t, m, whole/part, o)
				outcome(m, "run", depth)
				if used := fuelUsed(m) - (admit.NoFuelLimit - whole/part); used <= whole/part || used > whole/part+overdraft {
					t.Errorf("%+v, %d levels: %d units were used of %d", o, depth, used, whole/part)
				}
			}
		}
	}
}

// TestSmallCallsCount: what does nothing at its entry is paid for by those that call it, and never comes to much less than it
// does.
func TestSmallCallsCount(t *testing.T) {
	rt := newRuntime(t)
	loop := func(call []byte) []byte { return cat(0x03, 0x40, call, down(), 0x0d, 0, 0x0b) }
	list := []fn{
		{params: i32t, code: busy(200)},
		{params: i32t, code: cat(0x20, 0, direct(0), busy(40))},
		{name: "small", params: i32t, code: loop(cat(0x20, 0, direct(0)))},
		{name: "both", params: i32t, code: loop(cat(0x20, 0, direct(1)))},
		{name: "table", params: i32t, code: loop(cat(0x20, 0, i32c(0), 0x11, 0, 0))},
		{params: i32t, code: busy(200)},
	}
	m := instantiate(t, rt, mustAdmit(t, (&builder{
		memory: cat(0, 1), funcs: list, tables: [][]byte{cat(0x70, 0, 1)}, elems: [][]byte{cat(0, i32c(0), 0x0b, 1, 5)},
	}).bytes(), admit.Options{}).Wasm)
	use := func(m api.Module, name string, n uint64) int64 {
		setFuel(t, m, 0, admit.Options{})
		if out := outcome(m, name, n); out != "[]" {
			t.Fatal(name, out)
		}
		return fuelUsed(m)
	}
	for name, each := range map[string]int64{"small": 150, "both": 180, "table": 150} {
		if n := (use(m, name, 20_000) - use(m, name, 10_000)) / 10_000; n < each || n > 2*each {
			t.Errorf("%s: %d units each time, and it does some %d", name, n, each)
		}
	}
}
