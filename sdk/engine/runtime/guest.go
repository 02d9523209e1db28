package runtime

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
	"github.com/essa-project/essad/sdk/engine/wasi"
	"github.com/essa-project/essad/sdk/status"
)

// Guest is one invocation. What is exported of it is for backends.
type Guest struct {
	rt   *Runtime
	call *engine.Call
	mod  *module
	lim  engine.Limits
	base context.Context // of whoever invoked

	// The goroutine that runs the guest owns these.
	w         *worker
	own       worker         // w, where no other goroutine runs it
	asks      *engine.Origin // made when first needed, for whoever is asked may keep it
	scope     *scope         // likewise
	pool      *pool          // nil where its instance is its own
	ready     *resident      // a parked instance that obtain will find
	inst      Instance
	res       *resident // inst, where it may be kept
	initial   *step     // what is running of the initialisation
	touched   string    // what of the world initialisation has seen or changed
	wide      bool      // its data are mapped
	pinned    bool      // to its thread
	faults    snapshot.Watch
	shift     int64    // of its monotonic clock
	seeds     [][]byte // what initialisation was given as random
	given     int      // bytes of that
	abi       abi.State
	wasi      wasi.State
	param     [1]uint64
	hostCalls int64
	entered   int64 // fuel that the guest was entered with
	paid      int64 // fuel of nested calls that was taken from it
	logged    int64
	words     stderrTail
	out       *output // nil until it writes something
	newest    uint64  // newest timestamp it has read
	importErr error
	stats     engine.Stats
	begun     time.Time

	need     int64 // bytes of memory to begin with
	tables   int64 // of those, its tables
	reserved int64 // of the engine's budget, which only the goroutine that runs it changes
	denied   error // why memory did not grow

	watch watch
	queue callQueue // nested calls that nobody has begun; guarded by slots
	loose bool      // somebody may still refer to it who has nothing to do with it any more
	calls bool      // it has made nested calls; the goroutine's that runs the guest

	parent     *Guest // of a nested call; it ends later
	root       *Guest // of a nested call: the one from outside, which ends last
	prev, next *Guest // calls from outside; guarded by modules.mu

	ended    atomic.Bool // cause is set
	returned atomic.Bool // its call has; of one from outside that failed or made others

	mu    sync.Mutex // guards what follows, and stats.Nested and stats.Fuel
	cause error      // why it is to end
	armed Instance
	ctx   context.Context // made when first needed
	stop  context.CancelFunc
	open  *future             // nested calls that have not ended, newest first
	runs  map[*Guest]struct{} // those of them that somebody runs
	held  int64               // bytes of arguments and results of nested calls
	wrote writes

	settled int           // nested calls that have ended
	awaited int           // nested calls that idle is for
	idle    chan struct{} // closed when they have ended
}

// instanceBytes is what an instance costs beside its memory and tables, where the engine does not say that it is more.
const instanceBytes = 64 << 10

// newGuest makes an invocation, of which nothing is known yet.
func (rt *Runtime) newGuest() *Guest {
	g, ok := rt.guests.Get().(*Guest)
	if !ok {
		g = new(Guest)
	}
	g.rt = rt
	return g
}

// recycle lets an invocation be another one, where nobody can refer to it any more. It has ended, and no lock of it is held:
// of those it is known to, its parent and the runtime have forgotten it.
func (rt *Runtime) recycle(g *Guest) {
	// Who ends an invocation does so at any time; its nested calls are known to workers; and what began as the first of its
	// pool may have left itself to others.
	if g.loose || g.ended.Load() || g.calls || g.stats.Instance == engine.Initialised || g.inst != nil {
		return
	}
	*g = Guest{}
	rt.guests.Put(g)
}

// set checks a call and makes g its invocation. run or discard must follow, unless it fails.
func (g *Guest) set(ctx context.Context, c *engine.Call, m *module) error {
	rt := g.rt
	g.call, g.mod, g.base = c, m, ctx
	rt.limitsOf(c, &g.lim)
	if err := m.check(c); err != nil {
		return err
	}
	if most := g.lim.Args; most > 0 && int64(len(c.Args)) > most {
		return status.LimitError("args", "the call has %d bytes of arguments, and the limit is %d", len(c.Args), most)
	}
	if c.Depth > g.lim.CallDepth {
		return status.LimitError("call_depth", "calls are nested deeper than %d", g.lim.CallDepth)
	}
	if need := m.minimum(); need > g.lim.Memory {
		return status.LimitError("memory", "the module needs %d bytes of memory, and the limit is %d", need, g.lim.Memory)
	}
	g.tables, g.need = m.tables, m.minimum()+m.weight
	if p, r, size := rt.pools.use(m, c); p != nil {
		g.pool, g.ready = p, r
		if begins := int64(size) + m.tables; begins > g.lim.Memory {
			g.leavePool() // its own initialisation will tell what there is too little for
		} else {
			g.need = max(g.need, begins+m.weight)
		}
	}
	if len(c.Fresh) > 0 {
		g.see(c.Fresh)
	}
	g.abi.Host, g.abi.Args = (*host)(g), c.Args
	g.wasi.Env, g.wasi.Args, g.wasi.Environ, g.wasi.Line = (*env)(g), c.Argv, c.Env, int(g.lim.LogLine)
	return nil
}

// see has the near cache serve nothing older than these versions.
func (g *Guest) see(versions []engine.KeyVersion) {
	for _, v := range versions {
		if v.Key == "" {
			g.near().passed(v.Version)
			continue
		}
		g.near().wrote(v.Key, v.Version)
	}
}

// near returns what is cached of the invocation's scope. Most calls never ask for it; where nobody does nothing is cached.
func (g *Guest) near() *scope {
	if g.scope == nil {
		g.scope = g.rt.cache.use(g.call.Scope)
	}
	return g.scope
}

// origin says on whose behalf the border is asked.
func (g *Guest) origin() *engine.Origin {
	if g.asks == nil {
		c := g.call
		g.asks = &engine.Origin{
			Call: c.ID, Root: c.Root, Module: c.Module, Scope: c.Scope, Deadline: c.Deadline, Depth: c.Depth,
		}
	}
	return g.asks
}

// discard ends an invocation that did not run.
func (g *Guest) discard() { g.release() }

func (g *Guest) release() {
	g.leavePool()
	if g.scope != nil {
		g.rt.cache.unuse(g.scope)
		g.scope = nil
	}
	if g.stop != nil { // set by this goroutine
		g.stop()
	}
	g.unreserve()
}

// leavePool gives back what was got from the pool and has not been used.
func (g *Guest) leavePool() {
	switch {
	case g.ready != nil:
		g.rt.pools.park(g.ready, true)
	case g.pool != nil:
		g.rt.pools.leave(g.pool)
	}
	g.ready, g.pool = nil, nil
}

// unreserve gives back the memory.
func (g *Guest) unreserve() {
	if n := g.reserved; n > 0 {
		g.reserved = 0
		g.rt.budget.release(n)
		g.rt.slots.freed()
	}
}

// outermost returns the call from outside that all this is for.
func (g *Guest) outermost() *Guest {
	if g.root != nil {
		return g.root
	}
	return g
}

// context is done when the invocation is to end.
func (g *Guest) context() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx == nil {
		g.ctx, g.stop = context.WithCancel(context.WithoutCancel(g.base))
		if g.cause != nil {
			g.stop()
		}
	}
	return g.ctx
}

// end ends the invocation and every call it started: the guest at its next safepoint, or where it waits. Any goroutine
// may call it; the first cause counts.
func (g *Guest) end(cause error) {
	g.mu.Lock()
	if g.cause != nil {
		g.mu.Unlock()
		return
	}
	g.cause = cause
	g.ended.Store(true)
	if g.armed != nil {
		g.armed.SetGlobal(admit.GlobalStop, 1)
	}
	if g.stop != nil {
		g.stop()
	}
	running := slices.Collect(maps.Keys(g.runs)) // of the others there may be very many; they see the cause before they begin
	g.mu.Unlock()
	for _, c := range running {
		c.end(cause)
	}
}

// why returns the reason for the end.
func (g *Guest) why() error {
	if !g.ended.Load() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

func (g *Guest) orCause(err error) error {
	if cause := g.why(); cause != nil {
		return cause
	}
	return err
}

func errDeadline() error { return status.Errorf(status.Deadline, "the deadline of the call passed") }

// timeUp is called by the watchdog.
func (g *Guest) timeUp() {
	if d := g.call.Deadline; !d.IsZero() && !g.watch.at.Before(d) {
		g.end(errDeadline())
		return
	}
	g.end(status.LimitError("wall_time", "the invocation took longer than %v", g.lim.WallTime))
}

// timed puts the invocation under the watchdog, where its time is bounded.
func (g *Guest) timed() {
	at := g.call.Deadline
	if g.lim.WallTime > 0 {
		if wall := g.begun.Add(g.lim.WallTime); at.IsZero() || wall.Before(at) {
			at = wall
		}
	}
	if !at.IsZero() {
		g.rt.watch.add(g, at)
	}
}

// untimed takes it out again. Where it was not there the watchdog is about to end it, however late.
func (g *Guest) untimed() {
	if !g.watch.at.IsZero() && !g.rt.watch.remove(g) {
		g.loose = true
	}
}

// run runs the invocation to its end and releases all it holds. Its memory is reserved; w holds a slot, and holds one
// afterwards unless the invocation ended while it waited for it. begun is the time.
func (g *Guest) run(w *worker, begun time.Time) (*engine.Result, error) {
	g.w, g.begun = w, begun
	defer g.release()
	g.timed()
	defer g.untimed()

	exit, err := g.execute()
	g.leaveInstance(err == nil)
	if flushErr := g.flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		err = g.fault(err)
		g.end(err)
	}
	g.finishNested()
	if err == nil {
		err = g.why()
	}
	g.stats.Guest = time.Since(g.begun)
	if d := g.call.Deadline; err == nil && !d.IsZero() && !g.begun.Add(g.stats.Guest).Before(d) {
		err = errDeadline() // the watchdog would have said so in a moment, and may have ended a nested call by it
	}
	g.stats.HostCalls = g.hostCalls
	if err != nil {
		return nil, err
	}
	return g.result(exit), nil
}

func (g *Guest) result(exit uint32) *engine.Result {
	r := &engine.Result{ExitCode: exit, Stats: g.stats}
	if !g.call.Run {
		r.Value, r.HasValue = g.abi.Result()
	}
	r.Writes, r.Frontier = g.wrote.list(), g.wrote.frontier // nested calls have ended
	return r
}

// execute makes an instance and runs what was asked for in it.
func (g *Guest) execute() (exit uint32, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = g.rt.bug("an invocation", p)
		}
	}()
	if cause := g.why(); cause != nil {
		return 0, cause
	}
	if err := g.obtain(); err != nil {
		return 0, err
	}
	if g.lim.Stack != g.rt.stackUnits() {
		g.inst.SetGlobal(admit.GlobalStack, int32(g.lim.Stack))
	}
	g.mu.Lock()
	g.armed = g.inst
	cause := g.cause
	g.mu.Unlock()
	if cause != nil {
		return 0, cause
	}
	if g.stats.Instance == engine.Initialised {
		if s, err := g.initialise(); err != nil {
			if s == nil {
				return 0, err
			}
			return g.verdict(*s, err)
		}
	}
	if err := g.refresh(); err != nil {
		return g.verdict(step{export: RestoredExport}, err)
	}
	last := g.mod.last(g.call)
	g.meter()
	if err := g.enter(last); err != nil {
		return g.verdict(last, err)
	}
	if g.lim.Fuel > 0 && g.fuel() < 0 {
		return 0, g.outOfFuel() // it has returned before its next check
	}
	return 0, nil
}

// enter runs a step. The parameter is the invocation's: one of its own would be an allocation.
func (g *Guest) enter(s step) error {
	if !s.withArgs {
		return g.inst.Call(s.export, nil)
	}
	g.param[0] = uint64(len(g.abi.Args))
	return g.inst.Call(s.export, g.param[:])
}

// verdict tells what an error that came out of the guest means.
func (g *Guest) verdict(s step, err error) (uint32, error) {
	if exit := (*wasi.Exit)(nil); errors.As(g.importErr, &exit) {
		g.importErr = nil
		if g.call.Run {
			return exit.Code, nil
		}
		return 0, status.Errorf(status.GuestFault, "function %q exited with status %d instead of returning", g.call.Function,
			exit.Code)
	}
	if end := (*abi.End)(nil); errors.As(g.importErr, &end) {
		return 0, end.Err
	}
	if cause := g.why(); cause != nil {
		return 0, cause
	}
	if d := g.call.Deadline; !d.IsZero() && !time.Now().Before(d) {
		return 0, errDeadline() // a nested call may have been told so already, and the guest has made of it what it could
	}
	switch trap := (*abi.Trap)(nil); {
	case errors.As(g.importErr, &trap):
		return 0, status.Errorf(status.GuestFault, "%s: %w", s.name(), err)
	case g.inst.Global(admit.GlobalReason) == admit.ReasonStack:
		return 0, status.LimitError("stack", "%s: the guest's stack overflowed its limit of %d", s.name(), g.lim.Stack)
	case g.inst.Global(admit.GlobalReason) == admit.ReasonFuel:
		return 0, g.outOfFuel()
	case g.denied != nil:
		return 0, g.denied
	}
	return 0, status.Errorf(status.GuestFault, "%s: %w", s.name(), err)
}

// leaveInstance keeps the instance where that is wanted and its call returned, or frees it; nobody stops it any more. What
// the guest has used is counted.
func (g *Guest) leaveInstance(returned bool) {
	used := int64(0)
	if g.inst != nil {
		used = g.used()
	}
	g.mu.Lock()
	g.armed = nil
	returned = returned && g.cause == nil
	g.stats.Fuel += used
	g.mu.Unlock()
	if g.inst == nil {
		return
	}
	defer g.unpin()
	size := len(g.inst.Memory())
	g.stats.Memory = uint64(size)
	if returned && g.keep(size) {
		g.rt.slots.freed()
		return
	}
	if g.ended.Load() {
		g.rt.remains.add(remain{g.inst, g.mod, g.outermost(), g.reserved})
		g.inst, g.res, g.reserved = nil, nil, 0
		return
	}
	g.inst.Close()
	g.mod.stir(g.rt.idle)
	g.inst, g.res = nil, nil
	g.unreserve()
}

// GrowMemory tells whether the instance's memory may grow from one size to another, and accounts for it.
func (g *Guest) GrowMemory(_, to uint64) bool {
	if int64(to)+g.tables > g.lim.Memory {
		g.denied = status.LimitError("memory", "the guest needed more than its limit of %d bytes of memory", g.lim.Memory)
		return false
	}
	return g.claim(g.extent(int(to), g.res) + g.tables + g.mod.weight)
}

// claim sees to it that so many bytes of the engine's budget are the invocation's.
func (g *Guest) claim(total int64) bool {
	more := total - g.reserved
	if more <= 0 {
		return true
	}
	if !g.rt.budget.reserve(more) {
		g.denied = status.Errorf(status.Overloaded, "the engine had no memory left for the guest to have %d bytes", total)
		return false
	}
	g.reserved += more
	return true
}

// Keeps tells whether the runtime means to keep the instance for other invocations, if it is a Keeper.
// Where it does not, the memory may be of any kind.
func (g *Guest) Keeps() bool { return g.pool != nil || g.wide }

// MemoryLimit returns the bytes up to which the instance's memory may ever grow.
func (g *Guest) MemoryLimit() uint64 { return uint64(g.lim.Memory - g.tables) }

// pause gives the slot away while f waits, once what the guest has written was taken. f's context ends with the invocation;
// then, or where the invocation ended before it had a slot again, the error ends the guest.
func (g *Guest) pause(f func(ctx context.Context)) error {
	var unheard error
	end := g.rest(func(ctx context.Context) {
		if unheard = g.out.wait(ctx, 0); unheard == nil {
			f(ctx)
		}
	})
	if end != nil {
		return end
	}
	return unheard
}

// rest is pause whatever is to be taken of the output.
func (g *Guest) rest(f func(ctx context.Context)) error {
	held, err := g.holdStack()
	if err != nil {
		return err
	}
	defer g.dropStack(held)
	ctx := g.context()
	g.unpin()
	g.leaveSlot()
	func() {
		defer g.regain(ctx)
		f(ctx)
	}()
	return g.alive()
}

// paidStack is how much of a waiting guest's stack instanceBytes pays for.
const paidStack = 32 << 10

// holdStack accounts for the stack of a guest that is about to wait, dropStack ends that. Where there is no memory for it the error ends the guest: it is there already, and must not be there uncounted.
func (g *Guest) holdStack() (held int64, err error) {
	if g.mod.stacks == nil || g.inst == nil { // a nested call that runs elsewhere has none
		return 0, nil
	}
	held = g.mod.stacks.StackBytes(g.lim.Stack - int64(g.inst.Global(admit.GlobalStack)))
	if held <= paidStack {
		return 0, nil
	}
	reserve := g.rt.budget.reserve
	if g.call.Depth > 0 {
		reserve = g.rt.budget.reserveNested
	}
	if !reserve(held) {
		return 0, g.note(&abi.End{Err: status.Errorf(status.Overloaded,
			"the engine had no memory left for the %d bytes of stack of a guest that waits", held)})
	}
	return held, nil
}

func (g *Guest) dropStack(held int64) {
	if held > 0 {
		g.rt.budget.release(held)
		g.rt.slots.freed()
	}
}

// regain waits for a slot, which a guest that was ended has no use for.
func (g *Guest) regain(ctx context.Context) {
	g.w.has = !g.ended.Load() && g.rt.slots.resume(ctx.Done())
}

// writes are versions that an invocation and its nested calls wrote.
type writes struct {
	versions map[string]uint64
	frontier uint64
}

func (w *writes) add(key string, version uint64) {
	old, have := w.versions[key]
	switch {
	case have && old >= version:
	case !have && len(w.versions) >= maxWrites:
		w.frontier = max(w.frontier, version)
	default:
		if w.versions == nil {
			w.versions = map[string]uint64{}
		}
		w.versions[key] = version
	}
}

func (w *writes) merge(list []engine.KeyVersion, frontier uint64) {
	for _, v := range list {
		w.add(v.Key, v.Version)
	}
	w.frontier = max(w.frontier, frontier)
}

// see adds one of a call's Fresh.
func (w *writes) see(v engine.KeyVersion) {
	if v.Key == "" {
		w.frontier = max(w.frontier, v.Version)
		return
	}
	w.add(v.Key, v.Version)
}

func (w *writes) list() []engine.KeyVersion {
	if len(w.versions) == 0 {
		return nil
	}
	list := make([]engine.KeyVersion, 0, len(w.versions))
	for k, v := range w.versions {
		list = append(list, engine.KeyVersion{Key: k, Version: v})
	}
	return list
}
