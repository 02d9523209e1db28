package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

var t0 = time.Unix(1_700_000_000, 0)

func testCore(o coreOptions) *core {
	if o.Attempts == 0 {
		o = coreOptions{Attempts: 2, Queue: 4, Completed: 8, CompletedBytes: 1 << 10, CompletedFor: time.Minute, HotModules: 16}
	}
	return newCore(o, rand.New(rand.NewPCG(1, 2)))
}

func spec(n byte) callSpec {
	return callSpec{
		id: hlc.ID{n}, kind: "call", remember: true, deadline: t0.Add(time.Minute),
		target: target{deployment: "shop", module: "m", function: "f"},
	}
}

func mustDo(t *testing.T, d decision, want verb) decision {
	t.Helper()
	if d.do != want {
		t.Fatalf("decision %+v, want verb %d", d, want)
	}
	return d
}

var (
	errSafe  = status.Safe(status.Errorf(status.Unavailable, "engine died"))
	errMaybe = status.Errorf(status.Unavailable, "engine died; effects")
	errFull  = status.Safe(status.Errorf(status.Overloaded, "full"))
)

// A call waits while no executor is known and goes out when one appears.
func TestCallWaitsForTheFirstExecutor(t *testing.T) {
	c := testCore(coreOptions{})
	cl, d := c.submit(t0, spec(1))
	mustDo(t, d, hold)
	wakes := c.executorInfo(t0, "a", []string{"wazero"}, 10, nil)
	if len(wakes) != 1 || wakes[0].call != cl || wakes[0].d.executor != "a" {
		t.Fatalf("wakes %+v", wakes)
	}
	d, _ = c.finished(t0, cl, outcome{value: []byte("x")})
	mustDo(t, d, end)
	if len(c.calls) != 0 || c.execs["a"].inFlight != 0 {
		t.Fatal("the call left traces")
	}
}

func TestQueueIsBounded(t *testing.T) {
	c := testCore(coreOptions{})
	for i := byte(1); i <= 4; i++ {
		_, d := c.submit(t0, spec(i))
		mustDo(t, d, hold)
	}
	_, d := c.submit(t0, spec(5))
	mustDo(t, d, end)
	if status.Of(d.out.err) != status.Overloaded {
		t.Fatalf("error %v", d.out.err)
	}
}

// The rule of retries: safe failures within the attempts; others only where the deployment says always.
func TestRetryRule(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		always bool
		late   bool
		want   verb
	}{
		{"safe is tried again", errSafe, false, false, dispatch},
		{"effects are not", errMaybe, false, false, end},
		{"effects are where retry is always", errMaybe, true, false, dispatch},
		{"never past the deadline", errSafe, true, true, end},
		{"a guest's fault is final", status.Errorf(status.GuestFault, "trap"), true, false, end},
		{"a limit is final", status.LimitError("memory", "x"), true, false, end},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := testCore(coreOptions{})
			c.executorInfo(t0, "a", nil, 10, nil)
			c.executorInfo(t0, "b", nil, 10, nil)
			s := spec(1)
			s.always = tc.always
			cl, d := c.submit(t0, s)
			first := mustDo(t, d, dispatch).executor
			now := t0
			if tc.late {
				now = s.deadline
			}
			d, _ = c.finished(now, cl, outcome{err: tc.err})
			mustDo(t, d, tc.want)
			if d.do == dispatch && d.executor == first {
				t.Fatal("tried again where it has just failed, though another executor is free")
			}
			if d.do == dispatch {
				d, _ = c.finished(now, cl, outcome{err: tc.err})
				mustDo(t, d, end) // two attempts are the limit
			}
		})
	}
}

// An overloaded executor costs no attempt, and the call waits until there is room somewhere.
func TestOverloadIsWaitedOut(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	cl, d := c.submit(t0, spec(1))
	mustDo(t, d, dispatch)
	for i := range 5 {
		now := t0.Add(time.Duration(i) * 20 * time.Millisecond)
		d, _ = c.finished(now, cl, outcome{err: errFull})
		mustDo(t, d, hold)
		if w := c.drain(now); len(w) != 0 {
			t.Fatal("sent to an executor that has just said that it is full")
		}
		w := c.drain(now.Add(15 * time.Millisecond))
		if len(w) != 1 {
			t.Fatal("not sent when the executor may have room again")
		}
	}
	d, _ = c.finished(t0, cl, outcome{})
	mustDo(t, d, end)
}

func TestResendIsAbsorbed(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	cl, _ := c.submit(t0, spec(1))
	_, d := c.submit(t0, spec(1))
	ch := mustDo(t, d, join).wait
	c.finished(t0, cl, outcome{value: []byte("once")})
	if out := <-ch; string(out.value) != "once" {
		t.Fatalf("joined call got %q", out.value)
	}
	_, d = c.submit(t0.Add(time.Second), spec(1))
	if string(mustDo(t, d, end).out.value) != "once" {
		t.Fatalf("re-sent call got %q", d.out.value)
	}
	_, d = c.submit(t0.Add(time.Hour), spec(1))
	mustDo(t, d, dispatch) // forgotten after its time
}

// What was cancelled has no result to give: sent again, it runs again.
func TestCancelledIsNotRemembered(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	cl, _ := c.submit(t0, spec(1))
	c.finished(t0, cl, outcome{err: status.Errorf(status.Cancelled, "gone")})
	_, d := c.submit(t0, spec(1))
	mustDo(t, d, dispatch)
}

func TestCompletedIsBounded(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	for i := byte(1); i <= 20; i++ {
		cl, _ := c.submit(t0, spec(i))
		c.finished(t0, cl, outcome{value: make([]byte, 300)})
	}
	if n := len(c.done.byID); n != 8 {
		t.Fatalf("%d ids remembered, want 8", n)
	}
	if c.done.bytes > 1<<10 {
		t.Fatalf("%d bytes of results kept", c.done.bytes)
	}
	_, d := c.submit(t0, spec(13)) // remembered, its value let go
	if status.Of(mustDo(t, d, end).out.err) != status.Conflict {
		t.Fatalf("error %v", d.out.err)
	}
	_, d = c.submit(t0, spec(20))
	if len(mustDo(t, d, end).out.value) != 300 {
		t.Fatal("the newest value is gone")
	}
}

func TestNestedNeverWaitsNorGoesBack(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	s := spec(1)
	s.kind, s.exclude, s.remember = "nested", "a", false
	_, d := c.submit(t0, s)
	if status.Of(mustDo(t, d, end).out.err) != status.Overloaded {
		t.Fatalf("error %v", d.out.err)
	}
	c.executorInfo(t0, "b", nil, 10, nil)
	_, d = c.submit(t0, s)
	if mustDo(t, d, dispatch).executor != "b" {
		t.Fatal("sent back to the executor that has no room")
	}
}

func TestEngineChoice(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", []string{"wazero"}, 10, nil)
	s := spec(1)
	s.target.engine = "wasmtime"
	_, d := c.submit(t0, s)
	if status.Of(mustDo(t, d, end).out.err) != status.NotFound {
		t.Fatalf("error %v", d.out.err)
	}
	c.executorInfo(t0, "b", []string{"wasmtime"}, 10, nil)
	_, d = c.submit(t0, s)
	if mustDo(t, d, dispatch).executor != "b" {
		t.Fatal("sent to an executor without the engine")
	}
}

// Load spreads, and an executor that has the module ready in the engine of the call is preferred while it is not much busier.
func TestPlacement(t *testing.T) {
	c := testCore(coreOptions{})
	both := []string{"wazero", "wasmtime"}
	c.executorInfo(t0, "cold", both, 1000, map[string][]string{"wasmtime": {"m"}}) // which is not where its calls go
	c.executorInfo(t0, "warm", both, 1000, map[string][]string{"wazero": {"m"}})
	count := map[string]int{}
	for i := range 200 {
		s := spec(0)
		s.id, s.remember = hlc.ID{byte(i), 1}, false
		_, d := c.submit(t0, s)
		count[mustDo(t, d, dispatch).executor]++
	}
	if count["warm"] < 64 || count["cold"] < 32 {
		t.Fatalf("placed %v", count)
	}
}

// A deployment that has chosen an engine goes where that engine has its module ready, and not where another one has.
func TestPlacementByEngine(t *testing.T) {
	for _, engine := range []string{"wazero", "wasmtime"} {
		c := testCore(coreOptions{})
		for _, e := range []string{"wazero", "wasmtime"} {
			c.executorInfo(t0, "with "+e, []string{"wazero", "wasmtime"}, 1000, map[string][]string{e: {"m"}})
		}
		for i := range 60 {
			s := spec(0)
			s.id, s.remember, s.target.engine = hlc.ID{byte(i), 1}, false, engine
			_, d := c.submit(t0, s)
			if got := mustDo(t, d, dispatch).executor; got != "with "+engine {
				t.Fatalf("call %d for %s was sent to the executor %s", i, engine, got)
			}
		}
	}
}

// Whatever happens in whatever order, no slot is lost, no call is forgotten and no bound is exceeded.
func TestRandomLife(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	c := testCore(coreOptions{Attempts: 2, Queue: 16, Completed: 32, CompletedBytes: 4096, CompletedFor: time.Second, HotModules: 4})
	type live struct{ waiting bool }
	calls := map[*call]*live{}
	apply := func(cl *call, d decision) {
		switch d.do {
		case end:
			delete(calls, cl)
		case hold:
			calls[cl] = &live{waiting: true}
		case dispatch:
			calls[cl] = &live{}
		}
	}
	woken := func(ws []wakeUp) {
		for _, w := range ws {
			if !calls[w.call].waiting {
				t.Fatal("woke a call that does not wait")
			}
			apply(w.call, w.d)
		}
	}
	now := t0
	for i := range 20_000 {
		now = now.Add(time.Duration(r.IntN(3)) * time.Millisecond)
		switch r.IntN(10) {
		case 0:
			woken(c.executorInfo(now, fmt.Sprint("e", r.IntN(3)), nil, 1+r.IntN(4), nil))
		case 1:
			if r.IntN(20) == 0 {
				c.executorLost(fmt.Sprint("e", r.IntN(3)))
			}
		case 2, 3, 4:
			s := spec(0)
			s.id, s.deadline = hlc.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, now.Add(time.Duration(r.IntN(50))*time.Millisecond)
			cl, d := c.submit(now, s)
			if cl != nil {
				apply(cl, d)
			}
		default:
			for cl, l := range calls {
				if l.waiting {
					if r.IntN(4) == 0 {
						c.abandon(now, cl, status.Errorf(status.Deadline, "late"))
						delete(calls, cl)
					}
					break
				}
				errs := []error{nil, nil, errSafe, errMaybe, errFull}
				d, ws := c.finished(now, cl, outcome{err: errs[r.IntN(len(errs))]})
				apply(cl, d)
				woken(ws)
				break
			}
		}
		for _, e := range c.order {
			if e.inFlight < 0 || e.inFlight > 4 {
				t.Fatalf("step %d: executor %s has %d in flight", i, e.id, e.inFlight)
			}
		}
		waiting := 0
		for _, l := range calls {
			if l.waiting {
				waiting++
			}
		}
		if waiting != c.queue.len() || len(calls) != len(c.calls) || waiting > 16 {
			t.Fatalf("step %d: %d waiting, queue %d; %d live, core has %d", i, waiting, c.queue.len(), len(calls), len(c.calls))
		}
	}
}
