package admit_test

import (
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// TestRouteGrow: where the option is set, memory.grow is answered by the function in the exported table, the module's own
// tables, functions and helpers keep working beside it, and safepoints are not routed.
func TestRouteGrow(t *testing.T) {
	guest := &builder{
		memory: cat(0, 1), tables: [][]byte{cat(0x70, 0, 2)},
		elems: [][]byte{cat(0, i32c(0), 0x0b, 1, 0)},
		funcs: []fn{
			{name: "grow", params: i32t, results: i32t, code: cat(0x20, 0, 0x40, 0)},
			{name: "size", results: i32t, code: cat(0x3f, 0)},
			{name: "indirect", params: i32t, results: i32t, code: cat(0x20, 0, 0x41, 0, 0x11, 0, 0)},
			{name: "dead", results: i32t, code: cat(i32c(7), 0x0f, 0x40, 0)},
			// A long fill goes by a helper, whose index follows that of the routing function.
			{name: "fill", params: i32t, code: cat(i32c(0), i32c(5), 0x20, 0, 0xfc, 0x0b, 0)},
		},
	}
	a := mustAdmit(t, guest.bytes(), admit.Options{RouteGrow: true, SliceUnits: 1})
	if !a.GrowsMemory {
		t.Error("the module does not count as growing its memory")
	}
	rt := newRuntime(t)
	cm, err := rt.CompileModule(ctx, a.Wasm)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rt.InstantiateModule(ctx, cm, wazero.NewModuleConfig().WithName("guest"))
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string, args ...uint64) (uint64, error) {
		r, err := m.ExportedFunction(name).Call(ctx, args...)
		if err != nil || len(r) == 0 {
			return 0, err
		}
		return r[0], nil
	}
	if _, err := call("grow", 1); err == nil {
		t.Error("memory grew although nobody answered")
	}
	// A host that answers 40 more than it is asked for.
	host := &builder{
		imports: [][]byte{cat(str("guest"), str(admit.TableGrow), 1, 0x70, 1, 1, 1)},
		elems:   [][]byte{cat(0, i32c(0), 0x0b, 1, 0)},
		funcs:   []fn{{params: i32t, results: i32t, code: cat(0x20, 0, i32c(40), 0x6a)}},
	}
	if _, err := rt.InstantiateWithConfig(ctx, host.bytes(), wazero.NewModuleConfig().WithName("host")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []uint64
		want uint64
	}{{"grow", []uint64{2}, 42}, {admit.GrowExport, []uint64{5}, 45}, {"size", nil, 1}, {"indirect", []uint64{3}, 43}, {"dead", nil, 7}, {"fill", []uint64{60_000}, 0}, {"size", nil, 1}} {
		if got, err := call(c.name, c.args...); err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", c.name, got, err, c.want)
		}
	}
	if b, _ := m.Memory().ReadByte(59_999); b != 5 {
		t.Errorf("the fill left %d", b)
	}
	// A module without a table gets one.
	a = mustAdmit(t, one(fn{name: "grow", params: i32t, results: i32t, code: cat(0x20, 0, 0x40, 0)}), admit.Options{RouteGrow: true})
	instantiate(t, rt, a.Wasm)
}

// TestUncounted: code that is left as it was written gives what the counted code gives, counts nothing, is not stopped, and
// still has memory.grow go by the host where that is asked for.
func TestUncounted(t *testing.T) {
	o := admit.Options{RouteGrow: true}
	loop := &builder{memory: cat(0, 1), funcs: []fn{
		{name: "sum", params: i32t, results: i32t, locals: i32t, code: cat(
			0x03, 0x40, 0x20, 0, 0x20, 1, 0x6a, 0x21, 1, // loop: sum += n
			0x20, 0, i32c(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x20, 1)}, // while --n
		{name: "grow", params: i32t, results: i32t, code: cat(0x20, 0, 0x40, 0, i32c(1), 0x6a)},
	}}
	wasm := loop.bytes()
	a, err := admit.Uncounted(wasm, o)
	if err != nil {
		t.Fatal(err)
	}
	rt := newRuntime(t)
	plain, counted := instantiate(t, rt, a.Wasm), instantiate(t, rt, mustAdmit(t, wasm, o).Wasm)
	for _, m := range []api.Module{plain, counted} {
		setFuel(t, m, 0, o)
		if out := outcome(m, "sum", 1000); out != outcome(counted, "sum", 1000) {
			t.Errorf("the sum is %s", out)
		}
	}
	if n := fuelUsed(plain); n != 0 {
		t.Errorf("%d units were counted", n)
	}
	if n := fuelUsed(counted); n == 0 {
		t.Error("nothing was counted where it should be")
	}
	setGlobal(t, plain, admit.GlobalStop, 1)
	setFuel(t, plain, 1, o)
	if out := outcome(plain, "sum", 10_000_000); out != outcome(instantiate(t, rt, wasm), "sum", 10_000_000) {
		t.Errorf("stopped: %s", out)
	}
	// Nobody has put a function into the table.
	if out := outcome(plain, "grow", 1); out != outcome(counted, "grow", 1) || !strings.Contains(out, "table") {
		t.Errorf("memory.grow: %s", out)
	}
}
