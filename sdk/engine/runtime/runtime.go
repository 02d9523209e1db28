// Package runtime makes an engine of a Backend: it is all of an executor engine that does not depend on how WebAssembly
// is executed. It admits and compiles modules once and keeps them, gives every invocation a clean instance and holds it
// to its limits, runs nested calls within the process, and caches state near the guests.
//
// How many guests execute at a time is bounded by worker slots; a guest that waits (for a nested call, for state, for
// input, for time) holds none. How many are alive is bounded by a budget of memory. Nested calls run newest first, by
// whoever waits for them where nobody has begun them, so a tree of calls needs instances by its depth and not by its size.
//
// Where does a clean instance come from? The first call of a module initialises one, and leaves a snapshot of its memory and
// globals: on disk, where nothing but the module decides it, so that the next process finds it. Instances are made by laying
// that over their memory, and are set back to it after each call that returned; then they wait for the next call, within
// bounds of number and memory, and give way to calls that need theirs. Heavy ones, of engines that copy code into each,
// wait for a few seconds (idle). What is not restored by that decides what is not kept:
// a call that traps, exits or is ended is its instance's last, on most engines also one that grows its memory, and modules with other state of their
// own (tables that code writes, segments that it drops) get new instances, as do those whose initialisation looks at the
// world. Data segments are taken out of modules at admission, for the host lays out memories anyway. So one compiled module
// serves all instances, on every engine: a second module, with the snapshot as its data, would have to be compiled for each
// environment, and made anew with every version of the engine.
//
// When does an invocation end? When its guest has ended and all calls it started have: a call that was started and not
// waited for runs to its end, as it does upstream, and nothing of an invocation is left behind. Where the guest failed or
// was ended, the calls it started are ended as well.
//
// It may import the standard library, sdk/{status,hlc,lattice} and the packages beside it; engine plugins import it.
package runtime

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// Runtime is an engine.Engine.
type Runtime struct {
	backend Backend
	border  engine.Border
	set     Settings
	log     func(string, ...any)
	info    engine.Info

	slots   *slots
	budget  *budget
	watch   *watchdog
	cache   *nearCache
	pools   *pools
	idle    *idle
	remains *remains

	restores atomic.Int64
	modules  *modules

	guests sync.Pool // *Guest that nobody refers to

	// Guarded by modules.mu, for who begins a call or ends one takes or gives back a module as well.
	closed bool
	live   *Guest        // calls from outside, a list; the newest
	gone   chan struct{} // is closed when there are none and will be none
}

var _ engine.Engine = (*Runtime)(nil)

// New makes an engine of a backend. Closing the engine closes the backend.
func New(b Backend, border engine.Border, s Settings) (*Runtime, error) {
	s = s.withDefaults()
	if s.Workers < 0 || s.Queue < 0 || s.Memory < 0 || s.Modules < 0 || s.Compiling < 0 || s.CacheKeys < 0 || s.DiskBytes < 0 ||
		s.Snapshots < 0 {
		return nil, status.Errorf(status.Invalid, "engine settings: no bound may be negative")
	}
	rt := &Runtime{backend: b, border: border, set: s, log: s.Log, info: b.Info(), gone: make(chan struct{})}
	rt.budget = &budget{most: s.Memory}
	rt.pools = &pools{budget: rt.budget, most: s.Parked, bytes: s.ParkedBytes, kinds: s.Snapshots}
	rt.idle = newIdle(rt, s.ParkedTime)
	rt.pools.idle = rt.idle
	rt.remains = newRemains(rt)
	rt.budget.shed = func(n int64) bool { return rt.remains.shed(n) || rt.pools.shed(n) }
	rt.budget.kept = rt.pools.kept
	rt.slots = newSlots(s.Workers, s.Queue, rt.budget, rt.runNested)
	rt.slots.share = s.Share
	rt.watch = newWatchdog()
	rt.cache = newNearCache(s.CacheKeys, s.CacheBytes, s.Clock)
	var err error
	if rt.modules, err = newModules(rt); err != nil {
		return nil, err
	}
	return rt, nil
}

// Info implements engine.Engine.
func (rt *Runtime) Info(context.Context) (engine.Info, error) { return rt.info, nil }

// Prepare implements engine.Engine.
func (rt *Runtime) Prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	info, err := rt.modules.prepare(ctx, m, open)
	if err != nil || m.WarmUp == "" {
		return info, err
	}
	made, err := rt.modules.take(m.SHA256)
	if err != nil { // it has just been forgotten; the first call prepares it again, and is checked, too
		return info, nil
	}
	defer rt.modules.give(made)
	return info, made.canWarmUp(m.WarmUp)
}

// Update implements engine.Engine.
func (rt *Runtime) Update(_ context.Context, us []engine.CacheUpdate) error {
	for i := range us {
		rt.cache.update(&us[i])
	}
	return nil
}

// Invoke implements engine.Engine. What a call of nothing takes is counted in microseconds, so the way is short: few locks,
// each for a moment, no more than the result is allocated, and where functions defer something they have few ends.
func (rt *Runtime) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	g := rt.newGuest()
	m, err := rt.enlist(g, c.Module)
	if err != nil {
		return nil, err
	}
	defer rt.dismiss(g, m)
	return g.invoke(ctx, c, m)
}

func (g *Guest) invoke(ctx context.Context, c *engine.Call, m *module) (*engine.Result, error) {
	now := processStart.Add(time.Since(processStart)) // half of what time.Now costs; its wall clock is never set
	if !c.Deadline.IsZero() {
		if now = time.Now(); !now.Before(c.Deadline) {
			return nil, status.Errorf(status.Deadline, "the deadline of the call had passed when it came to the engine")
		}
	}
	if err := g.set(ctx, c, m); err != nil {
		return nil, err
	}
	stop := g.follow(ctx)
	err := g.admit(&now)
	var res *engine.Result
	if err != nil {
		g.discard()
	} else {
		res, err = g.serve(now)
	}
	if stop != nil && !stop() {
		g.loose = true
	}
	if err != nil || g.calls {
		g.returned.Store(true)
	}
	return res, err
}

// follow has the invocation end with ctx, until stop is called. stop returns false where it is ended by that.
func (g *Guest) follow(ctx context.Context) (stop func() bool) {
	// A context that has a way of its own to tell needs no channel for it.
	if c, ok := ctx.(interface{ AfterFunc(f func()) func() bool }); ok {
		return c.AfterFunc(func() { g.end(ctxError(ctx)) })
	}
	if ctx.Done() == nil {
		return nil
	}
	return context.AfterFunc(ctx, func() { g.end(ctxError(ctx)) })
}

// admit waits for a slot and memory. now is set to the time where that has passed.
func (g *Guest) admit(now *time.Time) error {
	s := g.rt.slots
	if g.reserve(s.try) {
		return nil
	}
	g.unready() // whoever waits holds nothing that others could use
	acquire := s.acquire
	if g.call.Depth > 0 {
		acquire = s.acquireNested
	}
	if err := acquire(g.context(), g.call.Deadline, g.need); err != nil {
		return g.orCause(err)
	}
	g.reserved = g.need
	begun := time.Now()
	g.stats.Queued = begun.Sub(*now)
	*now = begun
	return nil
}

// reserve has the invocation's memory reserved. A parked instance that is ready for it brings its own.
func (g *Guest) reserve(reserve func(int64) bool) bool {
	own := int64(0)
	if g.ready != nil {
		own = g.ready.charge
	}
	if !reserve(max(g.need-own, 0)) {
		return false
	}
	g.reserved = max(g.need, own)
	return true
}

// unready gives a parked instance back.
func (g *Guest) unready() {
	if g.ready != nil {
		g.rt.pools.park(g.ready, false)
		g.ready = nil
	}
}

// serve runs an invocation that holds a slot.
func (g *Guest) serve(begun time.Time) (res *engine.Result, err error) {
	w := &g.own
	w.has = true
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, g.rt.bug("a call", p)
			g.loose = true
		}
		if w.has {
			g.rt.slots.release()
		}
	}()
	return g.run(w, begun)
}

func errClosed() error {
	return status.Safe(status.Errorf(status.Unavailable, "the engine is closed"))
}

func ctxError(ctx context.Context) error {
	err := context.Cause(ctx)
	switch status.Of(err) {
	case status.Deadline:
		return status.Errorf(status.Deadline, "the deadline of the call passed")
	case status.Internal, status.Cancelled:
		return status.Errorf(status.Cancelled, "the call was cancelled")
	}
	return err
}

// enlist takes a call's module, and makes the call one that Close ends and waits for. It fails where the engine is closed.
func (rt *Runtime) enlist(g *Guest, module string) (*module, error) {
	ms := rt.modules
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if rt.closed {
		return nil, errClosed()
	}
	m, err := ms.find(module)
	if err != nil {
		return nil, err
	}
	if g.next = rt.live; g.next != nil {
		g.next.prev = g
	}
	rt.live = g
	return m, nil
}

// dismiss is the end of a call. Its module is given back first: Close waits for nothing else before it takes those away.
func (rt *Runtime) dismiss(g *Guest, m *module) {
	ms := rt.modules
	ms.mu.Lock()
	if m.refs--; m.dropped && m.refs == 0 {
		ms.mu.Unlock()
		ms.free(m)
		ms.mu.Lock()
	}
	if g.next != nil {
		g.next.prev = g.prev
	}
	if g.prev != nil {
		g.prev.next = g.next
	} else if rt.live = g.next; rt.live == nil && rt.closed {
		close(rt.gone)
	}
	ms.mu.Unlock()
	rt.recycle(g)
}

func errClosedWhile() error {
	return status.Errorf(status.Unavailable, "the engine was closed while the call ran")
}

// Close implements engine.Engine.
func (rt *Runtime) Close() error {
	rt.modules.mu.Lock()
	if rt.closed {
		rt.modules.mu.Unlock()
		return nil
	}
	rt.closed = true
	for g := rt.live; g != nil; g = g.next {
		g.end(errClosedWhile())
	}
	if rt.live == nil {
		close(rt.gone)
	}
	rt.modules.mu.Unlock()
	<-rt.gone
	rt.remains.wait()
	rt.watch.stop()
	rt.idle.stop()
	rt.modules.close()
	if err := rt.backend.Close(); err != nil {
		return fmt.Errorf("close engine %s: %w", rt.info.Name, err)
	}
	return nil
}
