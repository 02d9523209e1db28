// Package e2e tests essad as its users have it: the built programs, real plugins, real guests, real signals. It has no
// code of its own but tests, and nobody imports it.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is the folder with the programs and guests that TestMain builds.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "essad-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build:", err)
		return 1
	}
	return m.Run()
}

func build(dir string) error {
	root := filepath.Join("..", "..", "..")
	run := func(env []string, args ...string) error {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	for out, pkg := range map[string]string{
		"essad": "./essad", "essad-plugin-wazero": "./plugins/wazero", "essad-plugin-pebble": "./plugins/pebble",
	} {
		if err := run(nil, "build", "-o", filepath.Join(dir, out), pkg); err != nil {
			return err
		}
	}
	for _, guest := range []string{"test-function", "hello", "bench-go"} {
		err := run([]string{"GOOS=wasip1", "GOARCH=wasm"}, "build", "-buildmode=c-shared", "-ldflags=-s -w",
			"-o", filepath.Join(dir, guest+".wasm"), "./examples/"+guest)
		if err != nil {
			return err
		}
	}
	return nil
}

// daemon is one running essad.
type daemon struct {
	t      *testing.T
	dir    string
	socket string
	args   []string
	cmd    *exec.Cmd
	log    *lockedBuffer
	exited chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts `essad dev` on a fresh folder; flags are added to its command line.
func start(t *testing.T, flags ...string) *daemon {
	t.Helper()
	dir := t.TempDir()
	sockDir, err := os.MkdirTemp("", "essad") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockDir) })
	d := &daemon{t: t, dir: dir, socket: filepath.Join(sockDir, "s"), args: flags}
	d.start()
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.stop()
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", tail(d.log.String(), 6000))
		}
	})
	return d
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (d *daemon) start() {
	d.t.Helper()
	args := append([]string{"dev", "--data", d.dir, "--address", d.socket}, d.args...)
	d.cmd = exec.Command(filepath.Join(bin, "essad"), args...)
	if d.log == nil {
		d.log = &lockedBuffer{}
	}
	d.cmd.Stderr = d.log
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	exited, ready := make(chan struct{}), make(chan struct{})
	d.exited = exited
	cmd := d.cmd
	go func() {
		var once sync.Once
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.HasPrefix(s.Text(), "essad is ready") {
				once.Do(func() { close(ready) })
			}
		}
		_ = cmd.Wait()
		close(exited)
	}()
	select {
	case <-ready:
	case <-exited:
		d.t.Fatalf("the daemon did not start:\n%s", tail(d.log.String(), 4000))
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		d.t.Fatalf("the daemon is not ready after 30 s:\n%s", tail(d.log.String(), 4000))
	}
}

// kill ends the daemon as a power cut would, and waits until its plugins are gone too.
func (d *daemon) kill() {
	d.t.Helper()
	plugins := d.children()
	if err := d.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	<-d.exited
	d.gone(plugins)
}

// stop ends the daemon as systemd would.
func (d *daemon) stop() {
	d.t.Helper()
	plugins := d.children()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(45 * time.Second):
		_ = d.cmd.Process.Kill()
		d.t.Errorf("the daemon did not stop within 45 s")
		<-d.exited
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the daemon ended with code %d", code)
	}
	d.gone(plugins)
}

// gone fails unless all processes end soon.
func (d *daemon) gone(pids []int) {
	d.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				d.t.Errorf("plugin process %d outlived its daemon", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// children returns the pids of the daemon's plugin processes.
func (d *daemon) children() []int {
	d.t.Helper()
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	for _, f := range tasks {
		raw, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(s); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// plugin returns the pid of a plugin's process.
func (d *daemon) plugin(name string) int {
	d.t.Helper()
	for _, pid := range d.children() {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(raw, []byte("essad-plugin-"+name)) {
			return pid
		}
	}
	d.t.Fatalf("plugin %s is not running", name)
	return 0
}

// result is how a command line ended.
type result struct {
	out, err string
	code     int
}

// run runs a command line against the daemon.
func (d *daemon) run(args ...string) result {
	d.t.Helper()
	return d.runIn("", args...)
}

func (d *daemon) runIn(stdin string, args ...string) result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "essad"), args...)
	cmd.Env = append(os.Environ(), "ESSA_ADDRESS="+d.socket)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("essad %s: %v", strings.Join(args, " "), err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command line that is to succeed and returns what it printed.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	r := d.run(args...)
	if r.code != 0 {
		d.t.Fatalf("essad %s: code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// fails runs a command line that is to fail with a code and a text that says all of wants.
func (d *daemon) fails(code int, wants []string, args ...string) {
	d.t.Helper()
	r := d.run(args...)
	if r.code != code {
		d.t.Errorf("essad %s: code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
	}
	for _, w := range wants {
		if !strings.Contains(r.err, w) {
			d.t.Errorf("essad %s: the error does not say %q:\n%s", strings.Join(args, " "), w, r.err)
		}
	}
}

func guest(name string) string { return filepath.Join(bin, name+".wasm") }

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
