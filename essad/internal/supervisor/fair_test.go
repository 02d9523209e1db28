package supervisor

import (
	"os"
	"testing"
	"time"
)

// Time in which a process waits for a processor is not counted, up to a bound.
func TestFairTime(t *testing.T) {
	f := startFairTime(os.Getpid())
	if len(f.waits) == 0 {
		t.Skip("the kernel does not tell how long threads wait for a processor")
	}
	if f.passed(time.Hour) {
		t.Error("an hour has passed at once")
	}
	f.start = f.start.Add(-time.Minute)
	for thread := range f.waits { // as if each had waited for all but a second of the minute
		f.waits[thread] -= 59 * time.Second
	}
	if f.passed(5 * time.Second) {
		t.Error("a process that had a second is said to have had five")
	}
	if !f.passed(900*time.Millisecond) || !f.passed(3*time.Second) { // of 3 s a minute is 20 times
		t.Error("a process is given more time than it is owed")
	}
	gone := fairTime{pid: 1 << 30, start: time.Now().Add(-time.Second)}
	if !gone.passed(time.Second) || gone.passed(time.Minute) {
		t.Error("where the kernel does not tell, the clock does not count")
	}
}
