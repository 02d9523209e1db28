package enginetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// overrun is how much later than its deadline a guest may end. The goal is 20 ms on an idle machine; machines that run
// tests are not idle.
const overrun = 500 * time.Millisecond

func testLimits(t *testing.T, open Open) {
	x := start(t, open, Options{Memory: 3 << 30})
	t.Run("exceeded", func(t *testing.T) { testExceeded(t, x) })
	t.Run("held", func(t *testing.T) {
		x := start(t, open, Options{Workers: 1}) // so that nobody begins the calls meanwhile
		c := x.function("forgetful", make([]byte, 30_000))
		c.Limits.Memory = 200_000
		_, err := x.invoke(c)
		wantError(t, err, status.Limit, "memory")
	})
	t.Run("deadline", func(t *testing.T) { testDeadline(t, x) })
	t.Run("cancel", func(t *testing.T) { testCancel(t, x) })
	t.Run("modules", func(t *testing.T) { testHostileModules(t, x) })
	t.Run("fuel", func(t *testing.T) { testFuel(t, open) })
	t.Run("queue", func(t *testing.T) { testQueue(t, open) })
	t.Run("close", func(t *testing.T) { testClose(t, open) })
}

// testExceeded: each limit ends the invocation with its own name.
func testExceeded(t *testing.T, x *fixture) {
	for _, c := range []struct {
		function string
		args     []byte
		limits   engine.Limits
		detail   string
	}{
		{"bomb", nil, engine.Limits{Memory: 8 << 20}, "memory"},
		{"huge", nil, engine.Limits{Memory: 8 << 20}, "memory"},
		{"huge", nil, engine.Limits{Memory: 2 << 30, Result: 1 << 20}, "result"},
		{"none", nil, engine.Limits{Memory: 64 << 10}, "memory"},
		{"overflow", nil, engine.Limits{}, "stack"},
		{"overflow", nil, engine.Limits{Stack: 100_000}, "stack"},
		{"storm", nil, engine.Limits{HostCalls: 1_000_000}, "host_calls"},
		{"flood", nil, engine.Limits{Log: 1 << 20}, "log"},
		{"openhandles", nil, engine.Limits{Handles: 100}, "handles"},
		{"deep", u32(100), engine.Limits{CallDepth: 20}, ""},
		{"echo", make([]byte, 2000), engine.Limits{Args: 1999}, "args"},
		{"echo", make([]byte, 2000), engine.Limits{Result: 1999}, "result"},
		{"spin", nil, engine.Limits{WallTime: 30 * time.Millisecond}, "wall_time"},
		{"sleeper", nil, engine.Limits{WallTime: 30 * time.Millisecond}, "wall_time"},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.function, c.detail), func(t *testing.T) {
			call := x.function(c.function, c.args)
			call.Limits = c.limits
			_, err := x.invoke(call)
			if c.detail == "" { // the call that is too deep fails with the limit, those above it fail of that
				wantError(t, err, status.GuestFault, "")
				return
			}
			wantError(t, err, status.Limit, c.detail)
		})
	}
	x.working(t)

	// At its limit, nothing happens.
	call := x.function("echo", make([]byte, 2000))
	call.Limits = engine.Limits{Args: 2000, Result: 2000}
	x.mustInvoke(t, call)
	call = x.function("deep", u32(20))
	call.Limits = engine.Limits{CallDepth: 20}
	x.mustInvoke(t, call)
	call = x.function("grown", nil)
	call.Limits = engine.Limits{Memory: 64 << 20}
	if r := x.mustInvoke(t, call); binary.LittleEndian.Uint32(r.Value) != 0xffffffff {
		t.Errorf("growing beyond the limit returned %x", r.Value)
	}
	call.Limits = engine.Limits{Memory: 128 << 20}
	if r := x.mustInvoke(t, call); binary.LittleEndian.Uint32(r.Value) == 0xffffffff || r.Stats.Memory < 1600*65536 {
		t.Errorf("growing within the limit returned %x, %+v", r.Value, r.Stats)
	}
}

func u32(n ...uint32) (b []byte) {
	for _, v := range n {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// testDeadline: whatever the guest does, it ends at its deadline.
func testDeadline(t *testing.T, x *fixture) {
	for _, function := range []string{"spin", "expo", "storm", "fill", "randoms", "waiter", "sleeper", "child_spins", "flood", "forkbomb"} {
		t.Run(function, func(t *testing.T) {
			c := x.function(function, nil)
			c.Deadline = time.Now().Add(60 * time.Millisecond)
			c.Limits = engine.Limits{Log: -1, HostCalls: -1, CallDepth: 100, Handles: -1}
			_, err := x.invoke(c)
			late := time.Since(c.Deadline)
			wantError(t, err, status.Deadline, "")
			t.Logf("ended %v after its deadline", late)
			if late > overrun {
				t.Error("that is too late")
			}
		})
	}
	x.working(t)
	c := x.function("echo", nil)
	c.Deadline = time.Now().Add(-time.Second)
	_, err := x.invoke(c)
	wantError(t, err, status.Deadline, "")
}

func testCancel(t *testing.T, x *fixture) {
	for _, function := range []string{"spin", "waiter", "sleeper", "child_spins"} {
		t.Run(function, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			timer := time.AfterFunc(30*time.Millisecond, cancel)
			defer timer.Stop()
			began := time.Now()
			_, err := x.engine.Invoke(ctx, x.function(function, nil))
			wantError(t, err, status.Cancelled, "")
			if took := time.Since(began); took > overrun {
				t.Errorf("ended after %v", took)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := x.engine.Invoke(ctx, x.function("spin", nil))
	wantError(t, err, status.Cancelled, "")
	x.working(t)
}

func testHostileModules(t *testing.T, x *fixture) {
	for _, name := range []string{"loops.wasm", "initloops.wasm"} {
		id, _ := Prepare(t, x.engine, Wasm(name))
		c := x.function("f", nil)
		c.Module, c.Deadline = id, time.Now().Add(50*time.Millisecond)
		_, err := x.invoke(c)
		wantError(t, err, status.Deadline, "")
		if late := time.Since(c.Deadline); late > overrun {
			t.Errorf("%s ended %v after its deadline", name, late)
		}
	}
	id, info := Prepare(t, x.engine, Wasm("large.wasm"))
	c := x.function("f", nil)
	c.Module, c.Limits = id, engine.Limits{Memory: 64 << 20}
	if info.Memory < 100<<20 {
		t.Errorf("the large module says it needs %d bytes", info.Memory)
	}
	_, err := x.invoke(c)
	wantError(t, err, status.Limit, "memory")
	id, _ = Prepare(t, x.engine, Wasm("tables.wasm"))
	c = x.function("f", nil)
	c.Module = id
	if r := x.mustInvoke(t, c); binary.LittleEndian.Uint32(r.Value) > 1<<20 {
		t.Errorf("a table grew to %d entries", binary.LittleEndian.Uint32(r.Value))
	}
}

// testQueue: calls beyond the workers wait, calls beyond the queue are refused, and a waiting one can give up.
func testQueue(t *testing.T, open Open) {
	x := start(t, open, Options{Workers: 1, Queue: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	// An engine may let more guests execute for a while than it has workers, where all of them compute; not as many as this.
	const spinning = 10
	errs := make(chan error, spinning)
	for range spinning {
		wg.Go(func() {
			_, err := x.engine.Invoke(ctx, x.function("spin", nil))
			for status.Of(err) == status.Overloaded { // others were in its place
				time.Sleep(time.Millisecond)
				_, err = x.engine.Invoke(ctx, x.function("spin", nil))
			}
			errs <- err
		})
	}
	var refused error
	for range 200 { // until the others are there
		time.Sleep(5 * time.Millisecond)
		short, done := context.WithTimeout(context.Background(), 5*time.Millisecond)
		_, refused = x.engine.Invoke(short, x.function("none", nil))
		done()
		if status.Of(refused) == status.Overloaded {
			break
		}
	}
	wantError(t, refused, status.Overloaded, status.DetailSafe)
	cancel()
	wg.Wait()
	for range spinning {
		wantError(t, <-errs, status.Cancelled, "")
	}
	for range 200 { // the engine may be told of the end a moment later than the caller
		if _, err := x.invoke(x.function("none", nil)); status.Of(err) != status.Overloaded {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	x.working(t)
}

func testClose(t *testing.T, open Open) {
	b := &Border{}
	e := open(t, b, Options{})
	x := &fixture{engine: e, border: b}
	x.module, _ = Prepare(t, e, Wasm("guest.wasm"))
	errs := make(chan error, 1)
	go func() {
		_, err := x.engine.Invoke(context.Background(), x.function("spin", nil))
		errs <- err
	}()
	time.Sleep(30 * time.Millisecond)
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wantError(t, <-errs, status.Unavailable, "")
	if err := e.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	_, err := x.engine.Invoke(context.Background(), x.function("none", nil))
	wantError(t, err, status.Unavailable, "")
}
