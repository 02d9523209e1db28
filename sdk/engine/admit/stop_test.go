package admit_test

import (
	"flag"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// spinTime is how long guests spin beside their neighbour, per guest.
var spinTime = flag.Duration("spin", 300*time.Millisecond, "how long TestNeighbour watches each guest")

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

// onIdle tries a measurement of time a few times: one that holds on a busy machine proves the point, one that does not
// proves nothing.
func onIdle(t *testing.T, what string, limit time.Duration, measure func() time.Duration) {
	t.Helper()
	best := time.Hour
	for range 8 {
		if best = min(best, measure()); best <= limit {
			break
		}
	}
	t.Logf("%s: %v", what, best)
	if best > limit {
		t.Errorf("%s took %v, more than %v", what, best, limit)
	}
}

func TestStopEnds(t *testing.T) {
	rt := newRuntime(t)
	wasm := mustAdmit(t, readGuest(t, "bench.wasm"), admit.Options{}).Wasm
	for _, c := range []struct {
		name string
		n    uint64
	}{{"spin", 1<<32 - 1}, {"fib", 60}, {"interp", 0}, {"indirect", 1<<32 - 1}, {"fill_forever", 0}, {"copies", 1<<32 - 1}} {
		onIdle(t, c.name, 20*time.Millisecond, func() time.Duration {
			return stopAfter(t, instantiate(t, rt, wasm), 5*time.Millisecond, c.name, c.n)
		})
	}
}

// TestStopInPlace: where safepoints do not leave for the engine, they see that the host wants the guest to end all the same. It
// wants that from the start here: wazero's guests cannot be interrupted, so with safepoints in place nobody should wait for one.
func TestStopInPlace(t *testing.T) {
	rt := newRuntime(t)
	wasm := mustAdmit(t, readGuest(t, "bench.wasm"), admit.Options{InPlace: true}).Wasm
	for _, j := range cJobs {
		m := instantiate(t, rt, wasm)
		setGlobal(t, m, admit.GlobalStop, 1)
		out := outcome(m, j.name, j.n)
		if r := m.ExportedGlobal(admit.GlobalReason).Get(); r != admit.ReasonStop {
			t.Errorf("%s was not stopped: %s, reason %d", j.name, out, r)
		}
	}
}

// TestStopEndsBigFill stops one fill of a gigabyte, of which every page is new.
func TestStopEndsBigFill(t *testing.T) {
	rt := newRuntime(t)
	m := &builder{memory: cat(0, uleb(1<<14)), funcs: []fn{{name: "fill", code: cat(
		0x03, 0x40, i32c(0), i32c(1), i32c(1<<30), 0xfc, 11, 0, 0x0c, 0, 0x0b)}}}
	wasm := mustAdmit(t, m.bytes(), admit.Options{}).Wasm
	onIdle(t, "a fill of 1 GiB", 20*time.Millisecond, func() time.Duration {
		return stopAfter(t, instantiate(t, rt, wasm), 5*time.Millisecond, "fill")
	})
}

// TestUnreachableIsTheGuests: a trap of the guest's own leaves no reason.
func TestUnreachableIsTheGuests(t *testing.T) {
	m := instantiate(t, newRuntime(t), mustAdmit(t, one(fn{name: "trap", code: cat(0x00)}), admit.Options{}).Wasm)
	if got := outcome(m, "trap"); got != "trap: wasm error: unreachable" {
		t.Error(got)
	}
	if r := m.ExportedGlobal(admit.GlobalReason).Get(); r != admit.ReasonNone {
		t.Errorf("reason %d", r)
	}
}

// straightLine is a loop whose every round runs 20,000 divisions, each of which waits for the one before: the worst
// that code can do to the estimate of its cost.
func straightLine() []byte {
	code := cat(0x03, 0x40, 0x20, 0)
	for range 20_000 {
		code = cat(code, i64c(3), 0x7f)
	}
	return one(fn{name: "run", params: i64t, code: cat(code, 0x21, 0, 0x0c, 0, 0x0b)})
}

// TestNeighbour runs guests that never end beside a goroutine that allocates, so that collections must stop both. That
// goroutine must not stand still for much longer than it does beside an endless loop in Go.
func TestNeighbour(t *testing.T) {
	bench := readGuest(t, "bench.wasm")
	for _, c := range []struct {
		name, export string
		wasm         []byte
		n            uint64
	}{{"spin", "spin", bench, 1<<32 - 1}, {"fib", "fib", bench, 60}, {"fill", "fill_forever", bench, 0}, {"straight line", "run", straightLine(), 1 << 62}} {
		m := instantiate(t, newRuntime(t), mustAdmit(t, c.wasm, admit.Options{}).Wasm)
		onIdle(t, "stall beside "+c.name, 20*time.Millisecond, func() time.Duration {
			var stop atomic.Bool
			control := stall(t, func() {
				for !stop.Load() {
				}
			}, func() { stop.Store(true) })
			setGlobal(t, m, admit.GlobalStop, 0)
			setGlobal(t, m, admit.GlobalStack, admit.StackUnits)
			worst := stall(t, func() {
				if got := outcome(m, c.export, c.n); got != "trap: wasm error: unreachable" {
					t.Errorf("%s was not stopped: %s", c.name, got)
				}
			}, func() { setGlobal(t, m, admit.GlobalStop, 1) })
			t.Logf("%v beside %s, %v beside a loop in Go", worst, c.name, control)
			return max(worst-control, 0)
		})
	}
}

// stall allocates for a while beside some work and returns the longest time that one step took.
func stall(t *testing.T, work, stop func()) time.Duration {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	worst := time.Duration(0)
	for last, end := time.Now(), time.Now().Add(*spinTime); last.Before(end); {
		keep = make([]byte, 64<<10)
		now := time.Now()
		worst, last = max(worst, now.Sub(last)), now
	}
	stop()
	<-done
	return worst
}

var keep []byte
