// Package e2e tests essad as its users have it: the built programs, real plugins, real guests, real signals. It has no
// code of its own but tests, and nobody imports it.
//
// Tests wait for what they want to see and never for a time. Those that only look at a daemon share one; those that kill
// it, fill it or configure it have their own. All daemons share one cache of compiled code, for a Go guest takes seconds
// to compile. What one call must not do to others is asserted as it is said: by pids that stay and neighbours that answer.
package e2e

import (
	"bufio"
	"errors"
	"flag"
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

// tags are those that the daemon is built with.
var tags string

// bin is the folder with the programs and guests that TestMain builds, and with the cache of compiled code.
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
	// Most of these tests wait most of their time, for processes and for disks.
	flag.Parse()
	_ = flag.Set("test.parallel", "6")
	code := m.Run()
	stopShared()
	for _, pid := range ours() {
		fmt.Fprintf(os.Stderr, "e2e: process %d of a test is still there\n", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		code = 1
	}
	return code
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
		"essad-plugin-rogue": "./essad/internal/e2e/testdata/rogue", "essad-plugin-frail": "./essad/internal/e2e/testdata/frail",
	} {
		if err := run(nil, "build", "-tags", tags, "-o", filepath.Join(dir, out), pkg); err != nil {
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

// ours lists the processes, but for the dead ones, that run a program of bin.
func ours() []int {
	var out []int
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, e := range exes {
		target, err := os.Readlink(e)
		if err != nil || !strings.HasPrefix(target, bin+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(e))); err == nil && alive(pid) {
			out = append(out, pid)
		}
	}
	return out
}

func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// patience bounds every wait for what must come. It is long, because machines that test are busy; nothing waits so long
// that works.
const patience = 60 * time.Second

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

var common struct {
	once sync.Once
	d    *daemon
}

// shared is a daemon for tests that do nothing to a daemon that others would notice. Names and keys that a test uses there
// begin with the test's own.
func shared(t *testing.T) *daemon {
	t.Helper()
	common.once.Do(func() {
		dir, err := os.MkdirTemp("", "essad-e2e-data-")
		if err != nil {
			t.Fatal(err)
		}
		common.d = newDaemon(t, dir)
		common.d.start()
	})
	if common.d == nil || common.d.cmd == nil {
		t.Fatal("the shared daemon did not start")
	}
	d := *common.d
	d.t = t
	from := len(d.log.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the shared daemon:\n%s", tail(d.log.String()[from:], 6000))
		}
	})
	return &d
}

func stopShared() {
	d := common.d
	if d == nil || d.cmd == nil {
		return
	}
	d.end()
	os.RemoveAll(d.dir)
	os.RemoveAll(filepath.Dir(d.socket))
}

// end has the daemon stop, and kills one that does not.
func (d *daemon) end() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}

// guest is a module that TestMain has built.
func guest(name string) string { return filepath.Join(bin, name+".wasm") }

// splitter is the guest in C.
var splitter = filepath.Join("..", "..", "..", "examples", "splitter", "splitter.wasm")

// rude is the guest that breaks rules: testdata/rude.c.
var rude = filepath.Join("testdata", "rude.wasm")

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
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantAll(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func isExit(err error) bool {
	exit := (*exec.ExitError)(nil)
	return errors.As(err, &exit)
}

// lineReader returns a function that reads one line after the other, without its end; "" is the end.
func lineReader(r io.Reader) func() string {
	lines := bufio.NewScanner(r)
	return func() string {
		if !lines.Scan() {
			return ""
		}
		return lines.Text()
	}
}
