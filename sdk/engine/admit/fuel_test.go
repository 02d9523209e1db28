package admit_test

import (
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	wasi "github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// newInterpreter makes a runtime that shares no code generator with the engine plugin's: another engine as far as fuel is
// concerned.
func newInterpreter(t testing.TB) wazero.Runtime {
	t.Helper()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { rt.Close(ctx) })
	wasi.MustInstantiate(ctx, rt)
	return rt
}

// optionsOf returns options for slices of some units; 0 stands for safepoints in place.
func optionsOf(units int) admit.Options { return admit.Options{SliceUnits: units, InPlace: units == 0} }

func setFuel(t testing.TB, m api.Module, limit int64, o admit.Options) {
	t.Helper()
	slice, fuel := o.Slice(limit)
	setGlobal(t, m, admit.GlobalSlice, api.EncodeI32(slice))
	setGlobal(t, m, admit.GlobalFuel, uint64(fuel))
}

// fuelUsed returns what a guest used of NoFuelLimit.
func fuelUsed(m api.Module) int64 {
	slice := api.DecodeI32(m.ExportedGlobal(admit.GlobalSlice).Get())
	return admit.NoFuelLimit - admit.Left(slice, int64(m.ExportedGlobal(admit.GlobalFuel).Get()))
}

// guestMaker makes clean instances of a guest that was admitted with slices of some size.
type guestMaker struct {
	rt   wazero.Runtime
	wasm map[int][]byte
}

var fuelSlices = []int{0, 1, 64, 5000, admit.SliceUnits}

func newGuestMaker(t testing.TB, rt wazero.Runtime, wasm []byte) *guestMaker {
	g := &guestMaker{rt, map[int][]byte{}}
	for _, n := range fuelSlices {
		g.wasm[n] = mustAdmit(t, wasm, optionsOf(n)).Wasm
	}
	return g
}

// run calls an export of a clean instance and returns how it ended, what fuel it used, and the reason if it trapped.
func (g *guestMaker) run(t testing.TB, slice int, limit int64, name string, arg uint64) (string, int64, uint64) {
	t.Helper()
	m := instantiate(t, g.rt, g.wasm[slice])
	defer m.Close(ctx)
	setFuel(t, m, limit, optionsOf(slice))
	out := outcome(m, name, arg)
	if limit == 0 {
		limit = admit.NoFuelLimit
	}
	used, reason := fuelUsed(m)-(admit.NoFuelLimit-limit), m.ExportedGlobal(admit.GlobalReason).Get()
	if reason == admit.ReasonNone && used > limit {
		reason = admit.ReasonFuel // it returned before its next check
	}
	return out, used, reason
}

// exact checks that a call uses the same fuel whatever the slices are, that just so much is enough for it, and that one
// unit less is not.
func (g *guestMaker) exact(t *testing.T, name string, arg uint64) (used int64) {
	t.Helper()
	want, used, _ := g.run(t, admit.SliceUnits, 0, name, arg)
	for _, slice := range fuelSlices {
		if out, n, _ := g.run(t, slice, 0, name, arg); out != want || n != used {
			t.Errorf("%s(%d): %s for %d units with slices of %d, and %s for %d with others", name, arg, out, n, slice, want, used)
		}
		if out, n, _ := g.run(t, slice, used, name, arg); used > 0 && (out != want || n != used) {
			t.Errorf("%s(%d), slices of %d: %d units are not enough: %s, %d used", name, arg, slice, used, out, n)
		}
		if out, n, reason := g.run(t, slice, used-1, name, arg); used > 1 && (reason != admit.ReasonFuel || n < used) {
			t.Errorf("%s(%d), slices of %d: %d units are enough: %s, %d used", name, arg, slice, used-1, out, n)
		}
	}
	return used
}

func TestFuelIsExact(t *testing.T) {
	wasm := readGuest(t, "bench.wasm")
	compiled, interpreted := newGuestMaker(t, newRuntime(t), wasm), newGuestMaker(t, newInterpreter(t), wasm)
	for _, j := range cJobs {
		for _, n := range []uint64{1, 17, j.n / 100} {
			a, b := compiled.exact(t, j.name, n), interpreted.exact(t, j.name, n)
			if a != b || a < 0 {
				t.Errorf("%s(%d): %d units compiled, %d interpreted", j.name, n, a, b)
			}
		}
	}
}

// TestFuelOfGo: Go's runtime asks for the time and for random numbers, and here is given the same ones each time.
func TestFuelOfGo(t *testing.T) {
	const slice = 5000
	g := &guestMaker{newRuntime(t), map[int][]byte{slice: mustAdmit(t, goGuest(t), admit.Options{SliceUnits: slice}).Wasm}}
	for _, j := range goJobs {
		want, used, _ := g.run(t, slice, 0, j.name, j.n/10)
		if strings.HasPrefix(want, "trap") || used == 0 {
			t.Fatalf("%s: %s for %d units", j.name, want, used)
		}
		if out, n, _ := g.run(t, slice, used, j.name, j.n/10); out != want || n != used {
			t.Errorf("%s: %s for %d units, then %s for %d", j.name, want, used, out, n)
		}
		if _, n, reason := g.run(t, slice, used-1, j.name, j.n/10); reason != admit.ReasonFuel {
			t.Errorf("%s: it needs %d units and was not ended after %d", j.name, used, n)
		}
	}
}

// TestFuelOfBulk: what fills memory pays by length, however the operation is cut into chunks.
func TestFuelOfBulk(t *testing.T) {
	m := &builder{memory: cat(0, uleb(128)), funcs: []fn{{name: "fill", params: i32t, code: cat(i32c(0), i32c(0), gets(1), 0xfc, 11, 0)}}}
	wasm := m.bytes()
	rt := newRuntime(t)
	base := int64(0)
	for i, n := range []uint64{2 << 10, 1 << 20, 3 << 20, 5<<20 + 12345, 5<<20 + 12345} {
		o := admit.Options{InPlace: i > 3}
		m := instantiate(t, rt, mustAdmit(t, wasm, o).Wasm)
		setFuel(t, m, 0, o)
		if out := outcome(m, "fill", n); out != "[]" {
			t.Fatalf("fill %d: %s", n, out)
		}
		used := fuelUsed(m) - int64(n/32)
		if i == 0 {
			base = used
		}
		if used != base {
			t.Errorf("filling %d bytes uses %d units beside those for its length, and %d for others", n, used, base)
		}
	}
}
