package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
	fabrictransport "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

// daemon is one running essad.
type daemon struct {
	t      *testing.T
	dir    string
	socket string
	args   []string
	within []string // a command that starts another one, as "ip netns exec NAME"
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

// newDaemon is an `essad dev` that has not been started; flags are added to its command line.
//
// Its stop grace is long: on a busy machine a guest that obeys its deadline may be late by more than the default 10 ms, and
// then the engine is killed, as it should be; the tests that hold pids constant are about guests, not about the machine.
func newDaemon(t *testing.T, dir string, flags ...string) *daemon {
	t.Helper()
	args := []string{
		"dev", "--data", dir, "--address", shortSocket(t), "--set", "executor.stop_grace=30s",
		"--set", "engine.wazero.settings.cache_dir=" + filepath.Join(bin, "compiled"),
	}
	return &daemon{t: t, dir: dir, socket: args[4], args: append(args, flags...), log: &lockedBuffer{}}
}

// shortSocket makes a folder for a socket, whose path must be short.
func shortSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "essad")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "s")
}

// start starts `essad dev` on a fresh folder; flags are added to its command line.
func start(t *testing.T, flags ...string) *daemon {
	t.Helper()
	d := newDaemon(t, t.TempDir(), flags...)
	d.start()
	d.cleanUp()
	return d
}

// startConfig starts `essad --config` with a file that has these lines besides those that say where things are.
func startConfig(t *testing.T, lines string) (_ *daemon, file string) {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), socket: shortSocket(t), log: &lockedBuffer{}}
	file = filepath.Join(t.TempDir(), "essad.hcl")
	d.configure(file, lines)
	d.args = []string{"--config", file}
	d.start()
	d.cleanUp()
	return d, file
}

func (d *daemon) configure(file, lines string) {
	d.t.Helper()
	if err := os.WriteFile(file, []byte(config(d.dir, d.socket)+lines), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// config is a configuration of everything in a folder.
func config(dir, socket string) string {
	return fmt.Sprintf("node {\n  name = \"one\"\n  data_dir = %q\n  runtime_dir = %q\n  socket = %q\n  plugin_dir = %q\n}\n",
		filepath.Join(dir, "data"), filepath.Join(dir, "run"), socket, bin)
}

func (d *daemon) cleanUp() {
	d.t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.stop()
		}
		os.RemoveAll(filepath.Dir(d.socket))
		if d.t.Failed() {
			d.t.Logf("log of the daemon:\n%s", tail(d.log.String(), 6000))
		}
	})
}

// launch starts the process and does not wait until it is ready.
func (d *daemon) launch() {
	d.t.Helper()
	args := slices.Concat(d.within, []string{filepath.Join(bin, "essad")}, d.args)
	d.cmd = exec.Command(args[0], args[1:]...)
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(d.cmd, d.exited)
}

// start starts the process and waits until it is ready.
func (d *daemon) start() {
	d.t.Helper()
	from := len(d.log.String())
	d.launch()
	deadline := time.Now().Add(patience)
	for !strings.Contains(d.log.String()[from:], "essad: ready: ") {
		select {
		case <-d.exited:
			d.t.Fatalf("the daemon did not start:\n%s", tail(d.log.String(), 4000))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = d.cmd.Process.Kill()
			<-d.exited
			d.t.Fatalf("the daemon is not ready after %v:\n%s", patience, tail(d.log.String(), 4000))
		}
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
	case <-time.After(patience):
		_ = d.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines, into the log
		<-d.exited
		d.t.Errorf("the daemon did not stop within %v", patience)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the daemon ended with code %d", code)
	}
	d.gone(plugins)
}

// gone fails unless all processes end soon.
func (d *daemon) gone(pids []int) {
	d.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
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

// children returns the pids of the daemon's plugin processes.
func (d *daemon) children() []int { return childrenOf(d.cmd.Process.Pid) }

func childrenOf(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
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

// plugin returns the pid of a plugin's process, 0 where there is none.
func (d *daemon) plugin(name string) int {
	d.t.Helper()
	for _, pid := range d.children() {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if strings.HasSuffix(exe, "/essad-plugin-"+name) {
			return pid
		}
	}
	return 0
}

// killPlugin kills a plugin's process and waits until there is another one.
func (d *daemon) killPlugin(name string) {
	d.t.Helper()
	var old int
	eventually(d.t, "plugin "+name+" is running", func() bool { old = d.plugin(name); return old != 0 })
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, "plugin "+name+" is running again", func() bool { now := d.plugin(name); return now != 0 && now != old })
}

// result is how a command line ended.
type result struct {
	out, err string
	code     int
}

// command is a command line against the daemon, not yet started.
func (d *daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	args = slices.Concat(d.within, []string{filepath.Join(bin, "essad")}, args)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "ESSA_ADDRESS="+d.socket)
	return cmd
}

// run runs a command line against the daemon.
func (d *daemon) run(args ...string) result {
	d.t.Helper()
	return d.runIn("", args...)
}

func (d *daemon) runIn(stdin string, args ...string) result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := d.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && !isExit(err) {
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

// prints runs a command line that is to succeed and to print exactly this.
func (d *daemon) prints(want string, args ...string) {
	d.t.Helper()
	if got := d.must(args...); got != want {
		d.t.Errorf("essad %s prints %q, want %q", strings.Join(args, " "), got, want)
	}
}

// fails runs a command line that is to fail with a code and a text that says all of wants.
func (d *daemon) fails(code int, wants []string, args ...string) {
	d.t.Helper()
	r := d.run(args...)
	if r.code != code {
		d.t.Errorf("essad %s: code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, tail(r.out, 500), tail(r.err, 2000))
	}
	wantAll(d.t, "the error of essad "+strings.Join(args, " "), r.err, wants...)
}

// docs runs a command line with --output json and returns the documents it printed, which must be there.
func (d *daemon) docs(args ...string) []any {
	d.t.Helper()
	args = append([]string{"--output", "json"}, args...)
	out := d.must(args...)
	var docs []any
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.t.Fatalf("essad %s prints what is not JSON: %v\n%s", strings.Join(args, " "), err, out)
		}
		docs = append(docs, v)
	}
	if len(docs) == 0 {
		d.t.Errorf("essad %s prints no document", strings.Join(args, " "))
	}
	return docs
}

// doc is docs where one object is wanted.
func (d *daemon) doc(args ...string) map[string]any {
	d.t.Helper()
	docs := d.docs(args...)
	if len(docs) == 1 {
		if m, ok := docs[0].(map[string]any); ok {
			return m
		}
	}
	d.t.Fatalf("essad %s prints %v, want one object", strings.Join(args, " "), docs)
	return nil
}

// processes is `essad ps`.
func (d *daemon) processes() []any {
	d.t.Helper()
	list, _ := d.docs("ps")[0].([]any)
	return list
}

// session opens a session to the daemon.
func (d *daemon) session() transport.Session {
	d.t.Helper()
	s := d.dial()
	d.t.Cleanup(func() { _ = s.Close() })
	return s
}

// dial opens a session that the caller closes.
func (d *daemon) dial() transport.Session {
	d.t.Helper()
	s, err := d.tryDial()
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *daemon) tryDial() (transport.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return fabrictransport.Open(ctx, zenoh.Config{
		Mode: zenoh.ModeClient, Connect: []string{"unixsock-stream/" + d.socket}, NoReconnect: true,
	})
}

// once is a client for one request.
func (d *daemon) once() (*client.Client, transport.Session) {
	d.t.Helper()
	s := d.dial()
	return client.New(s), s
}

func (d *daemon) client() (*client.Client, *client.KVS) {
	d.t.Helper()
	s := d.session()
	k, err := client.NewKVS(s, client.Public)
	if err != nil {
		d.t.Fatal(err)
	}
	return client.New(s), k
}

// uses numbers what tests name in daemons, so that a test can be repeated in the same one.
var uses atomic.Int64

// deploy deploys a module under a name of the test's own.
func (d *daemon) deploy(suffix, file string, flags ...string) string {
	d.t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(d.t.Name())) + suffix
	name = fmt.Sprintf("%s-%d", name[:min(len(name), 50)], uses.Add(1))
	d.must(append([]string{"deploy", name, file}, flags...)...)
	return name
}

// keys makes keys of the test's own.
func keys(name string) func(string) string {
	n := uses.Add(1)
	return func(key string) string { return fmt.Sprintf("%s/%d/%s", name, n, key) }
}

// follower is a command line that prints until it is interrupted.
type follower struct {
	d     *daemon
	cmd   *exec.Cmd
	lines *bufio.Reader
}

func (d *daemon) follow(args ...string) *follower {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	d.t.Cleanup(cancel)
	f := &follower{d: d, cmd: d.command(ctx, args...)}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	f.lines = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return f
}

// line waits for the next line; "" means that the command has ended.
func (f *follower) line() string {
	l, _ := f.lines.ReadString('\n')
	return l
}

// stop interrupts the command, which is how it is meant to end.
func (f *follower) stop() {
	f.d.t.Helper()
	_ = f.cmd.Process.Signal(os.Interrupt)
	go func() { _, _ = io.Copy(io.Discard, f.lines) }()
	_ = f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != 0 && code != 130 {
		f.d.t.Errorf("%s ends with %d after Ctrl-C", f.cmd, code)
	}
}
