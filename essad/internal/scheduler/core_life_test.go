package scheduler

import (
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

var errGone = status.Errorf(status.Cancelled, "the asker is gone")

// A call that is placed in the moment in which its asker gives up leaves its slot to the next.
func TestAbandonedAfterPlacingLosesNoSlot(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 1, nil)
	first, _ := c.submit(t0, spec(1))
	second, d := c.submit(t0, spec(2))
	mustDo(t, d, hold)
	third, d := c.submit(t0, spec(3))
	mustDo(t, d, hold)
	_, wakes := c.finished(t0, first, outcome{})
	if len(wakes) != 1 || wakes[0].call != second {
		t.Fatalf("wakes %+v", wakes)
	}
	wakes = c.abandon(t0, second, errGone)
	if len(wakes) != 1 || wakes[0].call != third || c.execs["a"].inFlight != 1 {
		t.Fatalf("wakes %+v, %d in flight", wakes, c.execs["a"].inFlight)
	}
	if w := c.abandon(t0, second, errGone); w != nil || c.execs["a"].inFlight != 1 {
		t.Fatal("a call that was given up was given up again")
	}
	c.finished(t0, third, outcome{})
	if len(c.calls) != 0 || c.execs["a"].inFlight != 0 {
		t.Fatal("the calls left traces")
	}
}

func TestIDBelongsToOneRequest(t *testing.T) {
	for name, change := range map[string]func(*callSpec){
		"another function":   func(s *callSpec) { s.target.function = "g" },
		"another deployment": func(s *callSpec) { s.target.deployment = "other" },
		"not a client's id":  func(s *callSpec) { s.remember = false },
	} {
		c := testCore(coreOptions{})
		c.executorInfo(t0, "a", nil, 10, nil)
		cl, _ := c.submit(t0, spec(1))
		s := spec(1)
		change(&s)
		_, d := c.submit(t0, s)
		if status.Of(mustDo(t, d, end).out.err) != status.Conflict {
			t.Errorf("%s, while the first runs: %v", name, d.out.err)
		}
		c.finished(t0, cl, outcome{value: []byte("x")})
		if _, d = c.submit(t0, s); s.remember && status.Of(mustDo(t, d, end).out.err) != status.Conflict {
			t.Errorf("%s, after it: %v", name, d.out.err)
		}
	}
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	c.submit(t0, spec(1))
	s := spec(1)
	s.target.module = "m2" // deployed anew between the two
	_, d := c.submit(t0, s)
	mustDo(t, d, join)
}

// What the end of a call means to one who sent it again because the first asker was lost.
func TestJoinedOutliveTheFirst(t *testing.T) {
	for _, tc := range []struct {
		name        string
		ran, always bool
		again       bool
		want        status.Class
	}{
		{"never ran", false, false, true, status.OK},
		{"ran", true, false, false, status.Unavailable},
		{"ran, retry is always", true, true, true, status.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := testCore(coreOptions{})
			if tc.ran {
				c.executorInfo(t0, "a", nil, 10, nil)
			}
			s := spec(1)
			s.always = tc.always
			cl, _ := c.submit(t0, s)
			_, d := c.submit(t0, s)
			mustDo(t, d, join)
			if tc.ran {
				c.finished(t0, cl, outcome{err: errGone})
			} else {
				c.abandon(t0, cl, errGone)
			}
			out := <-d.wait
			if out.again != tc.again || status.Of(out.err) != tc.want || status.DetailOf(out.err) == status.DetailSafe {
				t.Fatalf("outcome %+v", out)
			}
		})
	}
}

func TestLeavingLeavesNothing(t *testing.T) {
	c := testCore(coreOptions{})
	cl, _ := c.submit(t0, spec(1))
	_, stays := c.submit(t0, spec(1))
	for range 1000 {
		_, d := c.submit(t0, spec(1))
		c.leave(d.joined, d.wait)
	}
	if len(cl.joined) != 1 {
		t.Fatalf("%d still wait", len(cl.joined))
	}
	c.abandon(t0, cl, status.Errorf(status.Deadline, "late"))
	if out := <-stays.wait; status.Of(out.err) != status.Deadline {
		t.Fatalf("outcome %+v", out)
	}
}

// A scheduler that stops takes nothing new, but what is inside can end, which needs its nested calls.
func TestStopping(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", nil, 10, nil)
	cl, _ := c.submit(t0, spec(1))
	c.stopping = true
	_, d := c.submit(t0, spec(2))
	if err := mustDo(t, d, end).out.err; status.Of(err) != status.Unavailable || status.DetailOf(err) != status.DetailSafe {
		t.Fatalf("error %v", err)
	}
	_, d = c.submit(t0, spec(1))
	mustDo(t, d, join)
	n := spec(3)
	n.kind, n.remember = "nested", false
	_, d = c.submit(t0, n)
	mustDo(t, d, dispatch)
	d, _ = c.finished(t0, cl, outcome{err: errSafe})
	mustDo(t, d, dispatch)
}

// One that came before any executor is told when those that come do not have its engine.
func TestQueuedForAnEngineNobodyHas(t *testing.T) {
	c := testCore(coreOptions{})
	s := spec(1)
	s.target.engine = "wasmtime"
	cl, d := c.submit(t0, s)
	mustDo(t, d, hold)
	wakes := c.executorInfo(t0, "a", []string{"wazero"}, 1, nil)
	if len(wakes) != 1 || wakes[0].call != cl || status.Of(mustDo(t, wakes[0].d, end).out.err) != status.NotFound {
		t.Fatalf("wakes %+v", wakes)
	}
	if len(c.calls) != 0 || c.queue.len() != 0 {
		t.Fatal("the call left traces")
	}
}

// Holes behind a call that waits for long do not pile up.
func TestQueueStaysSmall(t *testing.T) {
	var q fifo
	oldest := &call{}
	q.push(oldest)
	for range 100_000 {
		x := &call{}
		q.push(x)
		q.remove(x)
	}
	if q.len() != 1 || len(q.items) > 1024 {
		t.Fatalf("%d waiting in %d places", q.len(), len(q.items))
	}
	q.each(func(c *call) (bool, bool) {
		if c != oldest {
			t.Error("the oldest was lost")
		}
		return true, true
	})
	if q.len() != 0 || q.items != nil {
		t.Fatal("not empty")
	}
}

func TestCompletedForgetsValuesOldestFirst(t *testing.T) {
	o := coreOptions{Completed: 4, CompletedBytes: 250, CompletedFor: time.Minute}
	d := completed{byID: map[hlc.ID]*ended{}}
	for i := range byte(6) {
		d.add(t0.Add(time.Duration(i)), hlc.ID{i}, target{deployment: "d"}, outcome{value: make([]byte, 100)}, o)
	}
	for i, want := range []string{"gone", "gone", "lost", "lost", "kept", "kept"} {
		e, got := d.find(hlc.ID{byte(i)}, t0), "gone"
		if e != nil {
			got = map[bool]string{true: "lost", false: "kept"}[e.lost]
		}
		if got != want {
			t.Errorf("call %d is %s, want %s", i, got, want)
		}
	}
}

func TestChecks(t *testing.T) {
	long := make([]string, maxEnvEntries+1)
	for i := range long {
		long[i] = "a=b"
	}
	for _, env := range [][]string{{"novalue"}, {"=x"}, {"a=\x00"}, {"a=" + string(make([]byte, maxEnvBytes))}, long} {
		if err := checkEnv(env); status.Of(err) != status.Invalid {
			t.Errorf("environment %.20q is taken: %v", env, err)
		}
	}
	if err := checkEnv([]string{"A=", "B=x=y"}); err != nil {
		t.Error(err)
	}
	for _, argv := range [][]string{{"a\x00"}, {string(make([]byte, 10))}, make([]string, maxArgvEntries+1)} {
		if err := checkArgv(argv); status.Of(err) != status.Invalid {
			t.Errorf("arguments %.20q are taken: %v", argv, err)
		}
	}
	for _, sha := range []string{"", "index", "ABCDEF", "../x"} {
		if checkSHA(sha) == nil {
			t.Errorf("module %q is taken", sha)
		}
	}
}
