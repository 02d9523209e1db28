package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// convicts collects the calls that engines were killed for.
type convicts struct {
	mu    sync.Mutex
	calls []LateCall
}

func (c *convicts) add(l LateCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, l)
}

func (c *convicts) functions() (out []string, silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.calls {
		out = append(out, l.Call.Function)
		silent = silent || l.Silent
	}
	return out, silent
}

func invokeFor(e engine.Engine, function string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_, err := e.Invoke(ctx, &engine.Call{Function: function})
	return err
}

// Of the calls that end with a killed process only the one that went on past its deadline is named: not one that was under
// its own, and not one that was late and obeyed.
func TestWhoseDoingAKillIs(t *testing.T) {
	var got convicts
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{Killed: got.add})
	pid := s.Status()[0].PID
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := invokeFor(e, "wait", 10*time.Second); status.Of(err) != status.Unavailable {
			t.Errorf("a neighbour under its deadline: %v", err)
		}
	})
	wg.Go(func() {
		if err := invokeFor(e, "tardy", 60*time.Millisecond); status.Of(err) != status.Deadline {
			t.Errorf("a neighbour that is late and ends: %v", err)
		}
	})
	if err := invokeFor(e, "sleep", 50*time.Millisecond); status.Of(err) != status.Deadline {
		t.Errorf("the culprit: %v", err)
	}
	wg.Wait()
	eventually(t, "the process is gone", func() bool { return !alive(pid) })
	if names, silent := got.functions(); !slices.Equal(names, []string{"sleep"}) || silent {
		t.Errorf("named as culprits: %q, silent %v", names, silent)
	}
}

// Where the whole process stands still the call that was late first is named, and that nothing has come from the process
// since it was sent: whoever asks can look for an older one.
func TestKillOfAFrozenProcess(t *testing.T) {
	var got convicts
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{Killed: got.add})
	if _, err := call(e, "echo"); err != nil {
		t.Fatal(err)
	}
	pid := s.Status()[0].PID
	hog := make(chan error, 1)
	go func() { hog <- invokeFor(e, "freeze", 10*time.Second) }()
	eventually(t, "the process stands still", func() bool { return stopped(pid) })
	if err := invokeFor(e, "wait", 50*time.Millisecond); status.Of(err) != status.Deadline {
		t.Errorf("the victim: %v", err)
	}
	if err := <-hog; status.Of(err) != status.Unavailable {
		t.Errorf("the hog: %v", err)
	}
	eventually(t, "the process is gone", func() bool { return !alive(pid) })
	if names, silent := got.functions(); !slices.Equal(names, []string{"wait"}) || !silent {
		t.Errorf("named: %q, silent %v", names, silent)
	}
}

func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(b, []byte(") T "))
}

// Stopping does not wait for what a late call may still do.
func TestStopWhileJudging(t *testing.T) {
	var got convicts
	s := newSupervisor(t, Options{DrainTimeout: 100 * time.Millisecond, StopTimeout: 100 * time.Millisecond})
	e := echoEngine(t, s, EngineSpec{Killed: got.add, KillAfter: 200 * time.Millisecond})
	if err := invokeFor(e, "sleep", 20*time.Millisecond); status.Of(err) != status.Deadline {
		t.Fatal(err)
	}
	start := time.Now()
	_ = e.Close()
	if d := time.Since(start); d > 1500*time.Millisecond { // the call would go on for 2 s, and has 4 s
		t.Errorf("closing took %v", d)
	}
	if names, _ := got.functions(); len(names) > 0 {
		t.Errorf("named as culprits: %q", names)
	}
}

// A process that ends by itself, however, is nobody's doing, and the next one is there for the next call.
func TestProcessThatEndsByItself(t *testing.T) {
	for _, c := range []struct{ how, text string }{
		{"exit", "exit status 7"},
		{"segv", "signal: segmentation fault"},
		{"oom", "signal: killed"},
		{"panic", "exit status 2"},
	} {
		t.Run(c.how, func(t *testing.T) {
			var got convicts
			s := newSupervisor(t, Options{})
			e := echoEngine(t, s, EngineSpec{Killed: got.add})
			neighbour := make(chan error, 1)
			go func() { neighbour <- invokeFor(e, "wait", 10*time.Second) }()
			err := invokeFor(e, c.how, 10*time.Second)
			for _, err := range []error{err, <-neighbour} {
				if status.Of(err) != status.Unavailable || status.DetailOf(err) == status.DetailSafe {
					t.Errorf("a call in a process that ends: %v (%s)", err, status.Code(err))
				}
			}
			if v, err := call(e, "echo", 'x'); err != nil || string(v) != "x" {
				t.Errorf("the next call: %q, %v", v, err)
			}
			if st := s.Status()[0]; !strings.Contains(st.LastError, c.text) || st.Restarts != 1 {
				t.Errorf("it says %q and has %d restarts", st.LastError, st.Restarts)
			}
			if names, _ := got.functions(); len(names) > 0 {
				t.Errorf("named as culprits: %q", names)
			}
		})
	}
}

// Shards are processes of one engine. One that dies leaves the others as they are.
func TestShards(t *testing.T) {
	s := newSupervisor(t, Options{})
	var shards []*Engine
	for i := range 3 {
		e, err := s.Engine(context.Background(), EngineSpec{Name: "many", Plugin: "echo", Shard: i, Shards: 3, Border: border{}})
		if err != nil {
			t.Fatal(err)
		}
		shards = append(shards, e)
	}
	before := s.Describe()
	want, err := hashOf(echoProgram)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range before {
		if st.Name != "many" || st.Shard != i || st.Shards != 3 || st.Plugin != "echo" || !slices.Equal(st.Capabilities, []string{"echo"}) ||
			st.SHA256 != want || time.Since(st.Started) > time.Minute || st.PID == 0 {
			t.Errorf("shard %d: %+v", i, st)
		}
	}
	_, err = call(shards[1], "exit")
	if status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "many/1") {
		t.Errorf("a call of the shard that died: %v", err)
	}
	for _, e := range shards {
		if _, err := call(e, "echo"); err != nil {
			t.Error(err)
		}
	}
	for i, st := range s.Status() {
		if same := st.PID == before[i].PID; same == (i == 1) || st.State != Ready {
			t.Errorf("shard %d is %v with pid %d, which was %d", i, st.State, st.PID, before[i].PID)
		}
	}
	if !shards[1].Ready() || shards[1].State() != Ready {
		t.Error("a shard that is ready does not say so")
	}
	if err := shards[1].Close(); err != nil || shards[1].Ready() {
		t.Errorf("closed: ready %v, %v", shards[1].Ready(), err)
	}
	if _, err := call(shards[2], "echo"); err != nil {
		t.Error(err)
	}
}

func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{
		"essad-plugin-other": 0o755, "essad-plugin-text": 0o644, "essad-plugin-": 0o755, "other": 0o755,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	s := newSupervisor(t, Options{PluginDir: []string{"/nowhere", dir}})
	if got := s.Installed(); !slices.Equal(got, []string{"echo", "other"}) {
		t.Errorf("installed: %q", got)
	}
}

// The hash is that of the program that runs, not of one that was put in its place.
func TestHashOfWhatRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	data, err := os.ReadFile(echoProgram)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{Path: path})
	want, err := hashOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := s.Describe()[0].SHA256; got != want {
		t.Errorf("hash %q, want %q", got, want)
	}
	if err := syscall.Kill(s.Status()[0].PID, syscall.Signal(0)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
