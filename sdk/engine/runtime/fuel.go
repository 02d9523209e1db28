package runtime

import (
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/status"
)

// meter notes the fuel that the guest is entered with, after it was set to the limit if there is one. What initialisation
// takes has the same limit and does not count: a call that finds its instance initialised uses as much as one that does not.
func (g *Guest) meter() {
	g.paid = 0
	switch {
	case g.lim.Fuel > 0:
		g.setFuel(g.lim.Fuel)
		g.entered = min(g.lim.Fuel, admit.NoFuelLimit)
	case g.clean():
		g.entered = admit.NoFuelLimit
	default:
		g.entered = g.fuel()
	}
}

// clean tells whether nothing has run in the instance since its globals were set to what calls begin with.
func (g *Guest) clean() bool {
	return g.res != nil && g.stats.Instance != engine.Initialised && !g.mod.renews
}

// fuel returns what the guest has left.
func (g *Guest) fuel() int64 {
	return admit.Left(g.inst.Global(admit.GlobalSlice), g.inst.Global64(admit.GlobalFuel))
}

func (g *Guest) setFuel(left int64) {
	slice, fuel := int32(0), left // overdrawn: the next check ends the guest
	if left > 0 {
		slice, fuel = g.rt.set.Admit.Slice(left)
	}
	g.inst.SetGlobal(admit.GlobalSlice, slice)
	g.inst.SetGlobal64(admit.GlobalFuel, fuel)
}

// used returns what the guest has used since it was entered. What it paid for nested calls is counted with them.
func (g *Guest) used() int64 {
	if g.entered == 0 { // it never was
		return 0
	}
	return g.entered - g.fuel() - g.paid
}

// nestedFuel returns the limit for a nested call: what its caller has left.
func (g *Guest) nestedFuel() int64 {
	if g.lim.Fuel <= 0 {
		return 0
	}
	return max(g.fuel(), 1)
}

// payFor takes what a nested call used from the guest that has waited for it, once. The guest's way decides when, so a limit
// ends it at the same place however its calls were scheduled.
func (g *Guest) payFor(f *future) error {
	if f.paid || g.lim.Fuel <= 0 {
		return nil
	}
	f.paid = true
	g.paid += f.fuel
	left := g.fuel() - f.fuel
	g.setFuel(left)
	if left < 0 {
		return &abi.End{Err: g.outOfFuel()}
	}
	return nil
}

func (g *Guest) outOfFuel() error {
	return status.LimitError("fuel", "the guest and what it called used up its fuel of %d units", g.lim.Fuel)
}
