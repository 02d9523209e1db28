package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fairTime measures how long processes had to do something that each has a part in. Where their threads wait for a processor,
// because the machine has other things to do, that is not their time: what they do not do then says nothing about them.
type fairTime struct {
	start  time.Time
	looked time.Time
	still  time.Duration // in which this process did not run either
	procs  []*waits
}

func startFairTime(pids ...int) fairTime {
	now := time.Now()
	f := fairTime{start: now, looked: now}
	for _, pid := range pids {
		f.procs = append(f.procs, watchWaits(pid, now))
	}
	return f
}

// lookEvery is how often a look is worth what it takes.
const lookEvery = 2 * time.Millisecond

// look has the waits seen that are not over when passed is asked: the more often there was a look before, the better.
func (f *fairTime) look() {
	now := time.Now()
	if now.Sub(f.looked) < lookEvery {
		return
	}
	f.looked = now
	for _, w := range f.procs {
		w.look(now)
	}
}

// passed reports whether the processes had d. After latePatience times d they had it, whatever the machine did meanwhile.
func (f *fairTime) passed(d time.Duration) bool {
	wall := time.Since(f.start) - f.still
	switch {
	case wall < d:
		return false
	case wall >= latePatience*d:
		return true
	}
	now := time.Now()
	for _, w := range f.procs {
		w.look(now)
		wall -= w.longest(now)
	}
	return wall >= d
}

// waits are how long the threads of a process have been ready to run without running, since a time. There are none where the
// kernel does not tell.
type waits struct {
	pid     int
	threads map[string]*thread
}

// thread is one of them.
type thread struct {
	before, last account
	// The kernel counts a wait when it is over. So a thread that is ready and has neither run nor waited any more since this
	// time has waited for so long, or it runs: of that it hears at every tick of its clock, within a few milliseconds.
	since time.Time
	ready bool
}

// account is what the kernel says of a thread: time on a processor, time waiting for one, how often.
type account struct {
	ran, waited time.Duration
	times       int64
}

func watchWaits(pid int, now time.Time) *waits {
	w := &waits{pid: pid, threads: map[string]*thread{}}
	w.look(now)
	for _, t := range w.threads { // those of later are counted from their beginning
		t.before = t.last
	}
	return w
}

func (w *waits) look(now time.Time) {
	for _, f := range threadsOf(w.pid) {
		a, ok := accountOf(f)
		if !ok {
			continue // the thread has ended
		}
		t, known := w.threads[f]
		if !known {
			t = &thread{since: now}
			w.threads[f] = t
		}
		t.see(now, isReady(f) && filepath.Base(f) != strconv.Itoa(syscall.Gettid()), a) // this one runs, and looks
	}
}

// threadsOf names the folders of a process's threads.
func threadsOf(pid int) []string {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil // it has ended
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // of those that end meanwhile there is nothing to tell
	for i, n := range names {
		names[i] = filepath.Join(dir.Name(), n)
	}
	return names
}

func (t *thread) see(now time.Time, ready bool, a account) {
	if !t.ready || a != t.last {
		t.since = now
	}
	t.ready, t.last = ready, a
}

// longest returns the most that one thread has waited.
func (w *waits) longest(now time.Time) (most time.Duration) {
	for _, t := range w.threads {
		d := t.last.waited - t.before.waited
		if t.ready {
			d += now.Sub(t.since)
		}
		most = max(most, d)
	}
	return most
}

func accountOf(folder string) (a account, ok bool) {
	raw, err := os.ReadFile(folder + "/schedstat")
	if err != nil {
		return a, false
	}
	fields := strings.Fields(string(raw))
	if len(fields) != 3 {
		return a, false
	}
	var n [3]int64
	for i, f := range fields {
		if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return a, false
		}
	}
	return account{time.Duration(n[0]), time.Duration(n[1]), n[2]}, true
}

// isReady tells whether a thread runs or waits for a processor.
func isReady(folder string) bool {
	raw, err := os.ReadFile(folder + "/stat")
	return err == nil && bytes.Contains(raw, []byte(") R "))
}
