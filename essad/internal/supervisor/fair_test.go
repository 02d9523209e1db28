package supervisor

import (
	"os"
	"testing"
	"time"
)

// Time in which a process waits for a processor is not counted, up to a bound.
func TestFairTime(t *testing.T) {
	f := startFairTime(os.Getpid())
	threads := f.procs[0].threads
	if len(threads) == 0 {
		t.Skip("the kernel does not tell how long threads wait for a processor")
	}
	if f.passed(time.Hour) {
		t.Error("an hour has passed at once")
	}
	f.start = f.start.Add(-time.Minute)
	for _, thread := range threads { // as if each had waited for all but a second of the minute
		thread.before.waited -= 59 * time.Second
	}
	if f.passed(5 * time.Second) {
		t.Error("a process that had a second is said to have had five")
	}
	if !f.passed(900*time.Millisecond) || !f.passed(3*time.Second) { // of 3 s a minute is 20 times
		t.Error("a process is given more time than it is owed")
	}
	two := startFairTime(os.Getpid(), os.Getpid())
	two.start = two.start.Add(-time.Minute)
	for _, p := range two.procs { // one after the other, so that nothing is left
		for _, thread := range p.threads {
			thread.before.waited -= 29 * time.Second
		}
	}
	if two.passed(5*time.Second) || !two.passed(1500*time.Millisecond) {
		t.Error("what two processes waited is not counted for both")
	}
	gone := startFairTime(1 << 30)
	gone.start = gone.start.Add(-time.Second)
	if !gone.passed(time.Second) || gone.passed(time.Minute) {
		t.Error("where the kernel does not tell, the clock does not count")
	}
}

// A wait that is not over is seen as well; the end of it, or that the thread does run, is its end.
func TestWaitsUnderWay(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	th := &thread{last: account{ran: 5, waited: 7, times: 1}, since: now}
	th.before = th.last
	w := &waits{threads: map[string]*thread{"a": th}}
	for i, step := range []struct {
		at    time.Duration
		ready bool
		a     account
		want  time.Duration
	}{
		{10, false, account{5, 7, 1}, 0},    // it sleeps
		{20, true, account{5, 7, 1}, 0},     // it is ready
		{50, true, account{5, 7, 1}, 30},    // and still is
		{60, true, account{6, 52, 2}, 45},   // it ran: so long did it wait
		{70, true, account{16, 52, 2}, 45},  // it runs
		{80, true, account{16, 52, 2}, 55},  // or does not any more
		{90, false, account{26, 52, 3}, 45}, // it did
	} {
		th.see(at(step.at), step.ready, step.a)
		if got := w.longest(at(step.at)); got != step.want {
			t.Errorf("step %d: it waited %d, and is said to have waited %d", i, step.want, got)
		}
	}
}
