package runtime

import (
	"container/list"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// idleKeeper is an instance that can only be closed, idleCode a module that rests.
type idleKeeper struct {
	Keeper
	closed *atomic.Int32
}

func (k idleKeeper) Close() { k.closed.Add(1) }

type idleCode struct {
	Code
	rested atomic.Int32
}

func (c *idleCode) Rest() { c.rested.Add(1) }

// idleModule is a module whose instances weigh so much, in a runtime that has nothing else.
type idleModule struct {
	*module
	code   *idleCode
	pool   *pool
	closed atomic.Int32
}

func newIdleModule(rt *Runtime, id string, weight int64) *idleModule {
	m := &idleModule{module: &module{id: id, weight: weight, pools: map[string]*pool{}}, code: &idleCode{}}
	m.rests = m.code
	m.pool = &pool{mod: m.module}
	m.pools[""] = m.pool
	rt.modules.byID[id] = m.module
	m.place = rt.modules.order.PushFront(m.module)
	return m
}

// park parks an instance, new ones among them.
func (m *idleModule) park(rt *Runtime, r *resident) *resident {
	if r == nil {
		r = &resident{Keeper: idleKeeper{closed: &m.closed}, pool: m.pool, charge: m.weight}
		m.stir(rt.idle)
		rt.budget.reserve(r.charge)
	}
	rt.pools.park(r, false)
	return r
}

func newIdleRuntime(after time.Duration) *Runtime {
	rt := &Runtime{budget: &budget{most: 1 << 30}}
	rt.idle = newIdle(rt, after)
	rt.pools = &pools{budget: rt.budget, idle: rt.idle, most: 100, bytes: 1 << 30}
	rt.modules = &modules{rt: rt, byID: map[string]*module{}, order: list.New()}
	return rt
}

// TestIdle: heavy instances that nobody uses are closed, and their modules rest; what is in use stays, and light ones do.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after = 10 * time.Second
		rt := newIdleRuntime(after)
		defer rt.idle.stop()
		used, unused, light := newIdleModule(rt, "used", 1<<20), newIdleModule(rt, "unused", 1<<20), newIdleModule(rt, "light", 1<<10)
		light.rests = nil
		used.park(rt, nil)
		used.park(rt, nil) // one more, as two calls at a time leave it
		for range 3 {
			unused.park(rt, nil)
		}
		for range 5 {
			light.park(rt, nil)
		}
		begun := time.Now()
		for time.Since(begun) < 4*after { // the newest is taken first
			time.Sleep(after / 4)
			r := rt.pools.take(used.pool)
			if r == nil {
				t.Fatalf("the instance was closed that was used %v ago", after/4)
			}
			used.park(rt, r)
			if n := unused.closed.Load(); time.Since(begun) < after && n > 0 {
				t.Fatalf("%d were closed after %v", n, time.Since(begun))
			}
		}
		synctest.Wait()
		if a, b, c := used.closed.Load(), unused.closed.Load(), light.closed.Load(); a != 1 || b != 3 || c != 0 {
			t.Errorf("closed %d of 2, %d of 3 and %d of 5; want 1, 3 and none", a, b, c)
		}
		if a, b := used.code.rested.Load(), unused.code.rested.Load(); a == 0 || b == 0 {
			t.Errorf("modules rested %d and %d times; none of their instances was made", a, b)
		}
		if n := rt.budget.used.Load(); n != used.weight+5*light.weight {
			t.Errorf("%d bytes are reserved", n)
		}
		// Nothing is left but the light ones: no timer runs.
		time.Sleep(4 * after)
		synctest.Wait()
		if n := used.closed.Load(); n != 2 || rt.idle.armed.Load() {
			t.Errorf("closed %d of 2; the timer runs: %v", n, rt.idle.armed.Load())
		}
		rested := used.code.rested.Load()
		time.Sleep(4 * after)
		if used.code.rested.Load() != rested {
			t.Error("a module rested that had done so")
		}
	})
}

// TestIdleNever: without a time there is none.
func TestIdleNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newIdleRuntime(-1)
		defer rt.idle.stop()
		m := newIdleModule(rt, "m", 1<<20)
		m.park(rt, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if a, b := m.closed.Load(), m.code.rested.Load(); a > 0 || b > 0 {
			t.Errorf("closed %d, rested %d times", a, b)
		}
	})
}
