package admit_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

func setGlobal(t testing.TB, m api.Module, name string, v uint64) {
	t.Helper()
	g, ok := m.ExportedGlobal(name).(api.MutableGlobal)
	if !ok {
		t.Fatalf("no mutable global %s", name)
	}
	g.Set(v)
}

// stopAfter calls an export, sets the stop global after d, and returns how long the call went on from there.
func stopAfter(t testing.TB, m api.Module, d time.Duration, name string, args ...uint64) time.Duration {
	t.Helper()
	ended := make(chan time.Time, 1)
	var err error
	go func() {
		_, err = m.ExportedFunction(name).Call(ctx, args...)
		ended <- time.Now()
	}()
	time.Sleep(d)
	select {
	case <-ended:
		t.Fatalf("%s ended before it was stopped: %v", name, err)
	default:
	}
	stop := time.Now()
	setGlobal(t, m, admit.GlobalStop, 1)
	end := <-ended
	if err == nil {
		t.Fatalf("%s returned instead of being stopped", name)
	}
	if r := m.ExportedGlobal(admit.GlobalReason).Get(); r != admit.ReasonStop {
		t.Fatalf("reason is %d after a stop (%v)", r, err)
	}
	return end.Sub(stop)
}

func TestStopEndsLoops(t *testing.T) {
	rt := newRuntime(t)
	wasm := mustAdmit(t, readGuest(t, "bench.wasm"), admit.Options{}).Wasm
	for _, c := range []struct {
		name string
		n    uint64
	}{{"spin", 1<<32 - 1}, {"fib", 60}, {"interp", 0}, {"indirect", 1<<32 - 1}} {
		m := instantiate(t, rt, wasm)
		took := stopAfter(t, m, 10*time.Millisecond, c.name, c.n)
		t.Logf("%s ended %v after it was stopped", c.name, took)
		if took > 20*time.Millisecond {
			t.Errorf("%s took %v to stop", c.name, took)
		}
	}
}

// TestNeighbour runs a guest that spins beside a goroutine that allocates, so that garbage collections must stop both.
func TestNeighbour(t *testing.T) {
	m := instantiate(t, newRuntime(t), mustAdmit(t, readGuest(t, "bench.wasm"), admit.Options{}).Wasm)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.ExportedFunction("spin").Call(ctx, 1<<32-1)
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	worst, ops := time.Duration(0), 0
	for last, end := time.Now(), time.Now().Add(500*time.Millisecond); last.Before(end); ops++ {
		keep = make([]byte, 64<<10)
		now := time.Now()
		worst, last = max(worst, now.Sub(last)), now
	}
	runtime.ReadMemStats(&after)
	setGlobal(t, m, admit.GlobalStop, 1)
	<-done
	t.Logf("%d steps beside a spinning guest, %d collections, worst stall %v", ops, after.NumGC-before.NumGC, worst)
	if worst > 20*time.Millisecond {
		t.Errorf("the neighbour stood still for %v", worst)
	}
}

var keep []byte
