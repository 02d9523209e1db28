package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// echoProgram is the test plugin, built once.
var echoProgram string

func TestMain(m *testing.M) {
	if dir := os.Getenv("SUPERVISOR_TEST_HOST"); dir != "" {
		hostMain(dir)
		return
	}
	dir, err := os.MkdirTemp("", "supervisor-test-")
	if err != nil {
		panic(err)
	}
	echoProgram = filepath.Join(dir, "essad-plugin-echo")
	out, err := exec.Command("go", "build", "-o", echoProgram, "github.com/essa-project/essad/sdk/plugin/testdata/echo").CombinedOutput()
	if err != nil {
		panic(string(out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

type border struct{ engine.Border }

func (border) Load(_ context.Context, _ *engine.Origin, key []byte, _ bool) (engine.Value, error) {
	return engine.Value{Data: append([]byte("host has "), key...)}, nil
}

func newSupervisor(t testing.TB, o Options) *Supervisor {
	t.Helper()
	o.PluginDir = append(o.PluginDir, filepath.Dir(echoProgram))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func echoEngine(t testing.TB, s *Supervisor, spec EngineSpec) *Engine {
	t.Helper()
	spec.Name, spec.Border = "echo", border{}
	e, err := s.Engine(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func call(e engine.Engine, function string, args ...byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := e.Invoke(ctx, &engine.Call{Function: function, Args: args})
	if err != nil {
		return nil, err
	}
	return r.Value, nil
}

// eventually waits for a condition that is about to come true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	return !bytes.Contains(b, []byte(") Z ")) // a zombie is not
}

func TestEngineRuns(t *testing.T) {
	for _, mode := range []string{"descriptor", "stream"} {
		t.Run(mode, func(t *testing.T) {
			farewell := filepath.Join(t.TempDir(), "farewell")
			s := newSupervisor(t, Options{})
			e := echoEngine(t, s, EngineSpec{Env: []string{"ECHO_MODE=" + mode, "EXTRA=1"}, Settings: map[string]string{"farewell": farewell}})
			if v, err := call(e, "echo", 'h', 'i'); err != nil || string(v) != "hi" {
				t.Errorf("echo: %q, %v", v, err)
			}
			if v, err := call(e, "load", 'k'); err != nil || string(v) != "host has k" {
				t.Errorf("load: %q, %v", v, err)
			}
			st := s.Status()
			if len(st) != 1 || st[0].State != Ready || !alive(st[0].PID) || st[0].Version != "1.2.3" || st[0].Kind != "engine" || st[0].Path != echoProgram {
				t.Errorf("status %+v", st)
			}
			v, err := call(e, "environment")
			var env []string
			if err = errors.Join(err, json.Unmarshal(v, &env)); err != nil {
				t.Fatal(err)
			}
			slices.Sort(env)
			for _, kv := range env {
				name, _, _ := strings.Cut(kv, "=")
				if !strings.HasPrefix(name, "PLUGIN_") && !strings.HasPrefix(name, "ESSAD_PLUGIN") && !slices.Contains([]string{"PATH", "LANG", "EXTRA", "ECHO_MODE"}, name) {
					t.Errorf("the plugin's environment has %s", kv)
				}
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if alive(st[0].PID) {
				t.Error("a closed engine's process lives")
			}
			if b, _ := os.ReadFile(farewell); string(b) != "closed" {
				t.Error("the engine was not closed")
			}
			if _, err := call(e, "echo"); status.Code(err) != "unavailable/safe" {
				t.Errorf("call of a closed engine: %v (%s)", err, status.Code(err))
			}
		})
	}
}

func TestStartFailures(t *testing.T) {
	sum := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:])
	}
	notExecutable := filepath.Join(t.TempDir(), "essad-plugin-echo")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spec  EngineSpec
		class status.Class
		text  string
	}{
		{"missing", EngineSpec{Name: "fantasy"}, status.NotFound, "looked for /nowhere/essad-plugin-fantasy, " + filepath.Dir(echoProgram) + "/essad-plugin-fantasy; install it there or set the plugin's path"},
		{"missing path", EngineSpec{Path: "/nowhere/at/all"}, status.NotFound, `"/nowhere/at/all" does not exist`},
		{"not executable", EngineSpec{Path: notExecutable}, status.Invalid, "is not executable"},
		{"name with a slash", EngineSpec{Name: "../echo"}, status.Invalid, "is not a plugin's name"},
		{"wrong checksum", EngineSpec{SHA256: strings.Repeat("ab", 32)}, status.Denied, "has SHA-256 " + sum(echoProgram) + ", not abab"},
		{"crash", EngineSpec{Env: []string{"ECHO_MODE=crash"}}, status.Unavailable, "exit status 3; it wrote: cannot find my shoes"},
		{"hang", EngineSpec{Env: []string{"ECHO_MODE=hang"}}, status.Unavailable, "it was not ready in time"},
		{"not a plugin", EngineSpec{Env: []string{"ECHO_MODE=talk"}}, status.Unavailable, `it does not speak as a plugin does; it said "hello, world"`},
		{"another version", EngineSpec{Env: []string{"ECHO_MODE=version"}}, status.Unavailable, "incompatible API version with plugin. Plugin version: 99, Client versions: [1]"},
		{"bad setting", EngineSpec{Settings: map[string]string{"answer": "x"}}, status.Invalid, `setting "answer" must be a number, not "x"`},
		{"a store", EngineSpec{Env: []string{"ECHO_KIND=store"}}, status.Invalid, "is not an engine: it says it is a store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSupervisor(t, Options{PluginDir: []string{"/nowhere"}, StartTimeout: 2 * time.Second, StopTimeout: time.Second})
			if c.spec.Name == "" {
				c.spec.Name = "echo"
			}
			c.spec.Border = border{}
			start := time.Now()
			_, err := s.Engine(context.Background(), c.spec)
			if status.Of(err) != c.class || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("%v: %v\nwant %v: ... %s", status.Of(err), err, c.class, c.text)
			}
			if d := time.Since(start); d > 6*time.Second {
				t.Errorf("it took %v", d)
			}
			if st := s.Status(); len(st) != 0 {
				t.Errorf("status %+v", st)
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Run("right checksum", func(t *testing.T) {
		echoEngine(t, newSupervisor(t, Options{}), EngineSpec{SHA256: strings.ToUpper(sum(echoProgram))})
	})
	t.Run("twice", func(t *testing.T) {
		s := newSupervisor(t, Options{})
		echoEngine(t, s, EngineSpec{})
		if _, err := s.Engine(context.Background(), EngineSpec{Name: "echo", Border: border{}}); status.Of(err) != status.Conflict {
			t.Errorf("second engine of a name: %v", err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		s := newSupervisor(t, Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := s.Engine(ctx, EngineSpec{Name: "echo", Border: border{}, Env: []string{"ECHO_MODE=hang"}}); err == nil || time.Since(start) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestKilledMidCall(t *testing.T) {
	var mu sync.Mutex
	var states []State
	s := newSupervisor(t, Options{Observe: func(st PluginStatus) {
		mu.Lock()
		defer mu.Unlock()
		if len(states) == 0 || states[len(states)-1] != st.State {
			states = append(states, st.State)
		}
	}})
	e := echoEngine(t, s, EngineSpec{})
	pid := s.Status()[0].PID
	time.AfterFunc(50*time.Millisecond, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	_, err := call(e, "wait")
	if status.Of(err) != status.Unavailable || !status.Retryable(err) || status.DetailOf(err) == status.DetailSafe {
		t.Errorf("call under way: %v (%s)", err, status.Code(err))
	}
	if v, err := call(e, "echo", 'x'); err != nil || string(v) != "x" {
		t.Errorf("next call: %q, %v", v, err)
	}
	st := s.Status()[0]
	if st.State != Ready || st.Restarts != 1 || st.PID == pid || st.LastError != "signal: killed" {
		t.Errorf("status %+v", st)
	}
	eventually(t, "its states are told in their order", func() bool { // after the calls that wait for them
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(states, []State{Ready, BackingOff, Starting, Ready})
	})
}

func TestFailFast(t *testing.T) {
	s := newSupervisor(t, Options{MaxBackoff: time.Minute})
	e := echoEngine(t, s, EngineSpec{MaxWait: -1})
	for range 8 { // until the pause between two starts is long enough to meet it
		if _, err := call(e, "exit"); status.DetailOf(err) == status.DetailSafe {
			return
		}
		_, _ = call(e, "echo")
		if st := s.Status()[0]; st.State == BackingOff {
			start := time.Now()
			_, err := call(e, "echo")
			if d := time.Since(start); status.Code(err) == "unavailable/safe" && d < 20*time.Millisecond && strings.Contains(err.Error(), "exit status 7") {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("no call failed fast")
}

func TestKillOfWhatMissedItsDeadline(t *testing.T) {
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{})
	pid := s.Status()[0].PID
	other := make(chan error, 1)
	go func() {
		_, err := call(e, "wait")
		other <- err
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := e.Invoke(ctx, &engine.Call{Function: "sleep"})
	if status.Of(err) != status.Deadline || time.Since(start) > time.Second {
		t.Errorf("late call after %v: %v", time.Since(start), err)
	}
	if err := <-other; status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "did not end at its deadline") {
		t.Errorf("its neighbour: %v", err)
	}
	eventually(t, "the process is gone", func() bool { return !alive(pid) })
	if _, err := call(e, "echo"); err != nil {
		t.Errorf("next call: %v", err)
	}
	e.Kill("the test says so")
	eventually(t, "killed and restarted", func() bool {
		st := s.Status()[0]
		return st.Restarts == 2 && st.LastError == "killed: the test says so"
	})
}

// lines are a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestHealth(t *testing.T) {
	var log lines
	s := newSupervisor(t, Options{
		HealthEvery: 20 * time.Millisecond, HealthTimeout: 300 * time.Millisecond, CancelTimeout: 200 * time.Millisecond,
		Logger: hclog.New(&hclog.LoggerOptions{Output: &log}),
	})
	e := echoEngine(t, s, EngineSpec{KillAfter: -1})
	// A call that takes its time is not ill health.
	if _, err := call(e, "sleep"); err != nil {
		t.Errorf("slow call: %v", err)
	}
	if st := s.Status()[0]; st.Restarts != 0 {
		t.Errorf("restarted: %+v", st)
	}
	// A process that does nothing is.
	_, err := call(e, "freeze")
	if status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("call of a frozen plugin: %v", err)
	}
	// And so is a call that goes on after being cancelled.
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := call(e, "echo"); err != nil {
		t.Error(err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	id := hlc.NewID()
	if _, err := e.Invoke(ctx, &engine.Call{ID: id, Scope: "shop", Function: "sleep"}); status.Of(err) != status.Cancelled {
		t.Errorf("cancelled: %v", err)
	}
	eventually(t, "killed for the cancelled call", func() bool {
		return strings.Contains(s.Status()[0].LastError, "a cancelled call went on")
	})
	for _, want := range []string{"a cancelled call goes on", id.String(), "scope=shop", "function=sleep"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &log)
		}
	}
}

// Where the machine stands still, what it stood still for is not the plugin's time.
func TestHealthOfAStoppedMachine(t *testing.T) {
	s := newSupervisor(t, Options{HealthEvery: time.Hour})
	e := echoEngine(t, s, EngineSpec{KillAfter: -1})
	in := e.p.process()
	o := Options{HealthEvery: time.Second, HealthTimeout: 15 * time.Second, CancelTimeout: 10 * time.Second}
	h := health{in: in, opts: &o, log: hclog.NewNullLogger(), cancelMatters: true, last: time.Now(), alive: time.Now(), progress: in.conn.Progress()}
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	calls.Go(func() { _, _ = e.Invoke(ctx, &engine.Call{Function: "sleep"}) })
	eventually(t, "the call is there", func() bool { return in.conn.Unanswered() == 1 })
	back := func(d time.Duration) { // as if that had been so long ago
		h.last, h.alive, h.had.start = h.last.Add(-d), h.alive.Add(-d), h.had.start.Add(-d)
	}
	back(time.Hour)
	if ill := h.check(time.Now()); ill != "" {
		t.Errorf("after an hour in which nobody ran: %s", ill)
	}
	cancel()
	calls.Wait()
	for range 3 {
		if ill := h.check(time.Now()); ill != "" {
			t.Errorf("cancelled, after no time: %s", ill)
		}
		back(time.Hour)
	}
	if ill := h.check(time.Now()); ill != "" {
		t.Errorf("cancelled, after an hour in which nobody ran: %s", ill)
	}
	h.had.procs = nil
	h.had.start = h.had.start.Add(-10 * time.Second)
	if ill := h.check(time.Now()); !strings.Contains(ill, "a cancelled call went on") {
		t.Errorf("cancelled, after ten seconds: %q", ill)
	}
}

func TestRestartsBackOff(t *testing.T) {
	s := newSupervisor(t, Options{MaxBackoff: 200 * time.Millisecond})
	e := echoEngine(t, s, EngineSpec{})
	end := time.Now().Add(1500 * time.Millisecond)
	for time.Now().Before(end) {
		if _, err := call(e, "exit"); status.Of(err) != status.Unavailable {
			t.Fatalf("call of a plugin that exits: %v", err)
		}
	}
	// 0, 50, 100, 200, 200 ... ms and the starts themselves.
	if n := s.Status()[0].Restarts; n < 4 || n > 12 {
		t.Errorf("%d restarts in 1.5 s", n)
	}
}

func TestPluginThatWantsToEnd(t *testing.T) {
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{})
	pid := s.Status()[0].PID
	result := make(chan error, 1)
	go func() {
		_, err := call(e, "sleep")
		result <- err
	}()
	time.Sleep(50 * time.Millisecond)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		if !alive(pid) {
			t.Fatalf("%v ended the plugin in the middle of a call", sig)
		}
	}
	eventually(t, "draining", func() bool { return s.Status()[0].State == Draining })
	if err := <-result; err != nil {
		t.Errorf("call under way: %v", err)
	}
	if _, err := call(e, "echo"); err != nil {
		t.Errorf("next call: %v", err)
	}
	if st := s.Status()[0]; st.PID == pid || alive(pid) {
		t.Errorf("the old process is in use: %+v", st)
	}
}

func TestNoOrphans(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "SUPERVISOR_TEST_HOST="+dir, "SUPERVISOR_TEST_PLUGIN="+echoProgram)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(pid) {
		t.Fatalf("plugin %q: %v", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, "the plugin is gone with its host", func() bool { return !alive(pid) })

	// The next daemon finds the socket folder that was left, and sweeps it.
	if left, _ := filepath.Glob(filepath.Join(dir, "run", socketDirs)); len(left) == 0 {
		t.Error("nothing was left to sweep; the test proves nothing")
	}
	s, err := New(Options{RuntimeDir: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("not swept: %v", left)
	}
	if fi, err := os.Stat(s.dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("runtime folder: %v, %v", fi.Mode(), err)
	}
}

// hostMain is a daemon that is going to be killed.
func hostMain(dir string) {
	s, err := New(Options{RuntimeDir: filepath.Join(dir, "run")})
	if err == nil {
		_, err = s.Engine(context.Background(), EngineSpec{Name: "echo", Path: os.Getenv("SUPERVISOR_TEST_PLUGIN"), Border: border{}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.Status()[0].PID)
	select {}
}

func TestChildrenDieWithTheirPlugin(t *testing.T) {
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{})
	v, err := call(e, "child")
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(string(v))
	if err != nil || !alive(child) {
		t.Fatalf("child %q: %v", v, err)
	}
	e.Kill("test")
	eventually(t, "the child is gone", func() bool { return !alive(child) })
}

func TestLogsArrive(t *testing.T) {
	var mu sync.Mutex
	var b bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Name: "plugin", Level: hclog.Info, Output: &b, Mutex: &mu})
	s := newSupervisor(t, Options{Logger: log})
	echoEngine(t, s, EngineSpec{Settings: map[string]string{"answer": "1"}})
	eventually(t, "the plugin's line is in the log", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(b.String(), "plugin.echo: configured: settings=1")
	})
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(b.String(), "go-plugin") {
		t.Errorf("log:\n%s", b.String())
	}
}

func TestRuntimeFolder(t *testing.T) {
	if _, err := New(Options{RuntimeDir: "/tmp/" + strings.Repeat("x", 90)}); status.Of(err) != status.Invalid {
		t.Errorf("too long a path: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{RuntimeDir: file}); err == nil {
		t.Error("a file was taken for the runtime folder")
	}
}

func TestCloseIsBounded(t *testing.T) {
	s := newSupervisor(t, Options{})
	e := echoEngine(t, s, EngineSpec{})
	result := make(chan error, 1)
	go func() {
		_, err := call(e, "wait")
		result <- err
	}()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_ = s.Close(ctx)
	if d := time.Since(start); d < 150*time.Millisecond || d > 3*time.Second {
		t.Errorf("closing took %v", d)
	}
	if err := <-result; status.Of(err) != status.Unavailable {
		t.Errorf("call under way: %v", err)
	}
	if st := s.Status()[0]; st.State != Stopped {
		t.Errorf("status %+v", st)
	}
	s.launcher = newLauncher() // for the cleanup's Close
}

func TestStartIsFast(t *testing.T) {
	s := newSupervisor(t, Options{})
	start := time.Now()
	echoEngine(t, s, EngineSpec{})
	t.Logf("ready after %v", time.Since(start))
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
}
