package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// fairTime measures how long a process had to do something. Where its threads wait for a processor, because the machine has
// other things to do, that is not its time: what it does not do then says nothing about it.
type fairTime struct {
	pid   int
	start time.Time
	still time.Duration            // in which this process did not run either
	waits map[string]time.Duration // of each thread, for a processor, until start
}

func startFairTime(pid int) fairTime {
	return fairTime{pid: pid, start: time.Now(), waits: waitsOf(pid)}
}

// passed reports whether the process had d. After latePatience times d it had it, whatever the machine did meanwhile.
func (f *fairTime) passed(d time.Duration) bool {
	wall := time.Since(f.start) - f.still
	switch {
	case wall < d:
		return false
	case wall >= latePatience*d:
		return true
	}
	var longest time.Duration
	for thread, wait := range waitsOf(f.pid) {
		if before, known := f.waits[thread]; known {
			longest = max(longest, wait-before)
		}
	}
	return wall-longest >= d
}

// waitsOf tells how long each thread of a process has been ready to run without running; none where the kernel does not say.
func waitsOf(pid int) map[string]time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // an error is that of a pattern, and this is one
	out := make(map[string]time.Duration, len(files))
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		// Time on a processor, time waiting for one, and how often; in nanoseconds.
		if fields := strings.Fields(string(raw)); len(fields) == 3 {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				out[f] = time.Duration(n)
			}
		}
	}
	return out
}
