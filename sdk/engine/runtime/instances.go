package runtime

import (
	"fmt"
	goruntime "runtime"
	"slices"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
	"github.com/essa-project/essad/sdk/status"
)

// How does an invocation come by its instance? In the order of what it costs:
//
//  1. It takes one that an earlier call left and that was set back since (kept: about a microsecond).
//  2. It makes one and lays the snapshot over its memory (mapped: what the engine takes to link a module).
//  3. It makes one, lays out its data and runs its initialisation (initialised). The first to do so for a pool takes the
//     snapshot before it goes on, and from then on its own instance is one of the first kind.
//
// An instance is set back only after its call returned: a trap, an exit or an end from outside is its last, as is a call that
// lets the memory grow where the engine cannot make it smaller again.

// obtain gives the invocation an instance.
func (g *Guest) obtain() error {
	p := g.pool
	if p == nil {
		return g.initialised()
	}
	r := g.ready
	if g.ready = nil; r == nil { // another call may have left one meanwhile
		if r = g.rt.pools.take(p); r != nil {
			g.reserved += r.charge
		}
	}
	if r != nil {
		if g.claim(g.extent(r.size, r) + g.tables + g.mod.weight) {
			r.Bind(g)
			g.inst, g.res, g.stats.Instance = r.Keeper, r, engine.Kept
			if p.reused {
				g.arrange()
			}
			return nil
		}
		r.Close()
	}
	s, fresh, look := g.rt.pools.state(p)
	if look {
		s = g.rt.modules.loadSnap(p, g.call.WarmUp)
	}
	if s != nil && fresh == "" {
		err := g.mapped(s)
		if err == nil || g.denied != nil {
			return err
		}
		g.giveUp(err.Error())
	}
	return g.initialised()
}

// extent is how many bytes an instance may come to hold whose memory has so many: what an earlier call's had beyond them is
// still there.
func (g *Guest) extent(size int, r *resident) int64 {
	if r != nil {
		size = max(size, r.high)
	}
	return int64(size)
}

// arrange prepares the globals of an instance that is not set back.
func (g *Guest) arrange() {
	g.inst.SetGlobal(admit.GlobalStop, 0)
	g.inst.SetGlobal(admit.GlobalReason, admit.ReasonNone)
	g.inst.SetGlobal(admit.GlobalStack, int32(g.rt.stackUnits()))
	slice, fuel := g.rt.set.Admit.Slice(0)
	g.inst.SetGlobal(admit.GlobalSlice, slice)
	g.inst.SetGlobal64(admit.GlobalFuel, fuel)
}

// mapped makes an instance of a snapshot. After an error there is none.
func (g *Guest) mapped(s *snap) (err error) {
	r, err := g.newResident()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if s.image != nil {
		if missing := s.size - len(r.Memory()); missing > 0 {
			if err := r.Call(admit.GrowExport, []uint64{uint64(missing / pageSize)}); err != nil {
				return err
			}
		}
		if n := len(r.Memory()); n != s.size {
			if g.denied != nil {
				return g.denied
			}
			return fmt.Errorf("its memory has %d bytes, and the snapshot has %d", n, s.size)
		}
		if r.mapping, err = s.image.MapZeros(r.Memory(), g.rt.set.restore); err != nil { // no code of the guest has run
			return err
		}
	}
	r.WriteGlobals(s.globals)
	r.snap = s
	g.inst, g.res, g.stats.Instance = r.Keeper, r, engine.Mapped
	return nil
}

// newResident makes an instance that can be kept.
func (g *Guest) newResident() (*resident, error) {
	inst, err := g.instantiate()
	if err != nil {
		return nil, err
	}
	k, ok := inst.(Keeper)
	if !ok {
		inst.Close()
		return nil, fmt.Errorf("the engine's instances cannot be kept")
	}
	if err := k.Globals(g.mod.globals); err != nil {
		inst.Close()
		return nil, err
	}
	return g.resident(k), nil
}

// instantiate makes an instance.
func (g *Guest) instantiate() (Instance, error) {
	defer g.mod.stir(g.rt.idle)
	return g.mod.code.Instantiate(g)
}

func (g *Guest) resident(k Keeper) *resident {
	r := &resident{Keeper: k, pool: g.pool}
	r.trimmer, _ = k.(Trimmer)
	return r
}

// initialised makes an instance from scratch and fills its memory with its data. Its initialisation is still to run.
func (g *Guest) initialised() error {
	g.stats.Instance = engine.Initialised
	base, err := g.mod.base.get()
	if err != nil {
		return g.rt.modules.damaged(g.mod, err)
	}
	g.wide = base != nil && base.Stored() > copyBytes
	inst, err := g.instantiate()
	if err != nil {
		return status.Wrap(status.GuestFault, err)
	}
	if k, ok := inst.(Keeper); ok && g.pool != nil {
		// Before others may stop the guest, which is by a global as well.
		if err := k.Globals(g.mod.globals); err != nil {
			g.giveUp(err.Error())
		}
	}
	if base == nil {
		g.inst = inst
		return nil
	}
	mem := inst.Memory()
	switch _, keeper := inst.(Keeper); {
	case len(mem) != base.Size():
		err = fmt.Errorf("its memory has %d bytes, and its data are laid out for %d", len(mem), base.Size())
	case keeper && g.wide:
		_, err = base.Map(mem, snapshot.All)
	default:
		base.CopyTo(mem)
	}
	if err != nil {
		inst.Close()
		return fmt.Errorf("fill the memory: %w", err)
	}
	g.inst = inst
	return nil
}

// copyBytes is up to how much data are copied: mapping them costs a page fault for each page that is touched.
const copyBytes = 128 << 10

// initialise runs the initialisation of a new instance, warms it up, and keeps what came of it.
func (g *Guest) initialise() (*step, error) {
	if len(g.mod.initial) > 0 {
		g.meter()
	}
	for i := range g.mod.initial {
		g.initial = &g.mod.initial[i]
		if err := g.inst.Call(g.initial.export, nil); err != nil {
			return g.initial, err
		}
	}
	p := g.pool
	defer func() { g.initial = nil }()
	if p == nil || g.denied != nil { // without memory it may have come out otherwise than for others
		return nil, nil
	}
	if _, fresh, _ := g.rt.pools.state(p); fresh != "" {
		return nil, nil
	}
	if !p.reused && g.captured() {
		g.refuse("its initialisation " + g.touched)
		return nil, nil
	}
	if name := g.call.WarmUp; name != "" {
		g.initial = &step{export: name, withArgs: len(g.mod.facts.Functions[name].Params) > 0, warmUp: true}
		own := g.abi
		g.abi = abi.State{Host: own.Host}
		err := g.inst.Call(name, g.initial.params(nil))
		g.abi = own
		if err != nil {
			return g.initial, err
		}
	}
	if p.reused {
		return nil, g.adoptInstance()
	}
	if g.captured() {
		g.refuse("its warm-up " + g.touched)
		return nil, nil
	}
	return nil, g.snapshot()
}

// captured tells whether something of this invocation, or of the world, is in the instance that others must not find.
func (g *Guest) captured() bool {
	if g.touched == "" && !g.wasi.Pristine() {
		g.touched = "closes a standard stream"
	}
	return g.touched != ""
}

// adoptInstance makes a new instance one that is kept as it is.
func (g *Guest) adoptInstance() error {
	if k, ok := g.inst.(Keeper); ok {
		g.res = g.resident(k)
	}
	return nil
}

// snapshot makes a snapshot of the instance as it is, and lays it over its memory. Where that is not possible instances
// are made anew; an error is one that has cost the instance.
func (g *Guest) snapshot() error {
	k, ok := g.inst.(Keeper)
	if !ok {
		g.giveUp("the engine's instances cannot be kept")
		return nil
	}
	s := &snap{globals: make([]uint64, len(g.mod.globals))}
	k.ReadGlobals(s.globals)
	g.rt.cleanGlobals(g.mod, s.globals)
	mem := k.Memory()
	s.size = len(mem)
	if s.size > 0 {
		s.seeds = findSeeds(mem, g.seeds)
		if err := g.rt.modules.image(g.pool, g.call.WarmUp, s, mem); err != nil {
			g.giveUp(err.Error())
			return nil
		}
	}
	r := g.resident(k)
	r.snap = s
	if s.image != nil {
		var err error
		if r.mapping, err = s.image.Map(mem, g.rt.set.restore); err != nil {
			g.giveUp(err.Error())
			s.close()
			g.rt.budget.release(s.charged)
			return status.Errorf(status.Unavailable, "the engine could not map the instance's snapshot: %w", err)
		}
	}
	if !g.rt.pools.publish(g.pool, s) {
		// Another call was faster. This instance goes on as it is, and is not kept.
		s.close()
		g.rt.budget.release(s.charged)
		return nil
	}
	g.res = r
	return nil
}

// cleanGlobals sets what admission added to what every call begins with.
func (rt *Runtime) cleanGlobals(m *module, bits []uint64) {
	slice, fuel := rt.set.Admit.Slice(0)
	for i, name := range m.globals {
		switch name {
		case admit.GlobalStop:
			bits[i] = 0
		case admit.GlobalReason:
			bits[i] = admit.ReasonNone
		case admit.GlobalStack:
			bits[i] = uint64(rt.stackUnits())
		case admit.GlobalSlice:
			bits[i] = uint64(uint32(slice))
		case admit.GlobalFuel:
			bits[i] = uint64(fuel)
		}
	}
}

// giveUp remembers that a pool has no snapshot, for a reason that is the engine's.
func (g *Guest) giveUp(why string) {
	if g.rt.pools.giveUp(g.pool, why) {
		g.rt.modules.setFresh(g.mod, why)
		g.rt.log("every call of a module needs a new instance", "module", g.mod.id, "why", why)
	}
}

// refuse is the same where the module is such: it is told to who prepares it, and not worth a warning.
func (g *Guest) refuse(why string) {
	if g.rt.pools.giveUp(g.pool, why) {
		g.rt.modules.setFresh(g.mod, why)
	}
}

// verify compares an instance that was set back with its snapshot.
func (g *Guest) verify(r *resident, s *snap) bool {
	globals := make([]uint64, len(s.globals))
	r.ReadGlobals(globals)
	same := slices.Equal(globals, s.globals)
	if s.image != nil {
		same = same && s.image.Equal(r.Memory()) && r.mapping.Clean()
	}
	if !same {
		g.rt.log("an instance that was set back differs from its snapshot", "module", g.mod.id, "function", g.call.Function)
	}
	return same
}

// pin holds the goroutine to its thread while the guest runs, so that the thread's page faults are the guest's.
func (g *Guest) pin() {
	goruntime.LockOSThread()
	g.pinned = true
	g.faults.Begin()
}

// unpin ends that, and tells whether all since pin was on one thread and took no fault.
func (g *Guest) unpin() (quiet bool) {
	if !g.pinned {
		return false
	}
	g.pinned = false
	quiet = g.faults.Quiet()
	goruntime.UnlockOSThread()
	return quiet
}

// shrinks tells whether an instance whose memory has grown can be set back, and prepares that.
func (g *Guest) shrinks(r *resident) bool {
	if _, ok := r.Keeper.(Shrinker); !ok || r.mapping == nil || r.size < r.snap.size {
		return false
	}
	// Where the limit was another one than when the instance was made its memory may have moved.
	return r.mapping.Extend(r.Memory()) == nil
}

// keep leaves the instance, whose call returned and whose memory has so many bytes, for others. It returns false where that
// is not possible: then it is to be closed.
func (g *Guest) keep(size int) bool {
	r := g.res
	if r == nil {
		return false
	}
	r.size = size
	r.charge = g.mod.weight + g.tables + int64(r.size)
	quiet := g.unpin()
	if !quiet && r.trimmer != nil {
		r.trimmer.Trim()
	}
	if s := r.snap; s != nil {
		if r.size != s.size && !g.shrinks(r) {
			return false
		}
		private := 0
		if r.mapping != nil {
			var err error
			if private, err = r.mapping.Restore(g.rt.set.ParkedPages, quiet); err != nil {
				g.rt.log("setting back an instance failed", "module", g.mod.id, "error", err)
				return false
			}
			r.high = r.mapping.High()
		}
		if r.size != s.size {
			if !r.Keeper.(Shrinker).Shrink(s.size) {
				return false
			}
			r.size = s.size
		}
		r.WriteGlobals(s.globals)
		if every := int64(g.rt.set.VerifyRestores); every > 0 && g.rt.restores.Add(1)%every == 0 && !g.verify(r, s) {
			return false
		}
		r.charge = g.mod.weight + g.tables + int64(private)
	}
	r.Bind(nil)
	g.res, g.inst, g.pool = nil, nil, nil
	spare := g.reserved - r.charge
	g.reserved = 0
	if spare > 0 {
		g.rt.budget.release(spare)
	} else if !g.rt.budget.reserve(-spare) {
		r.charge += spare
		g.rt.pools.close([]*resident{r})
		g.rt.pools.leave(r.pool)
		return true
	}
	g.rt.pools.park(r, true)
	return true
}
