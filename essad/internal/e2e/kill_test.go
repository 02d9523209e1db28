package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

// writers put values under ever new keys, some as clients and some as functions, and keep account of what was
// acknowledged.
type writers struct {
	t      *testing.T
	d      *daemon
	cancel context.CancelFunc
	wg     sync.WaitGroup
	acks   atomic.Int64

	mu     sync.Mutex
	acked  map[string]string // of clients: key and value
	guests map[string]bool   // keys of functions
	errs   []error
}

const (
	clientWriters = 6
	guestWriters  = 2
	writerName    = "writer"
)

// startWriters deploys the function that writes and starts all writers. They end at the first error of their connection.
func startWriters(d *daemon) *writers {
	d.t.Helper()
	d.must("deploy", writerName, splitter)
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{t: d.t, d: d, cancel: cancel, acked: map[string]string{}, guests: map[string]bool{}}
	d.t.Cleanup(w.stop)
	for i := range clientWriters {
		_, k := d.client()
		w.wg.Go(func() { w.write(ctx, k, i) })
	}
	for i := range guestWriters {
		c, _ := d.client()
		w.wg.Go(func() { w.writeInGuest(ctx, c, i) })
	}
	return w
}

func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}

// failed notes an error and reports whether the writer should end.
func (w *writers) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	if err == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
	return status.Of(err) != status.Unavailable || len(w.errs) > 10_000 || !alive(w.d.cmd.Process.Pid)
}

func (w *writers) write(ctx context.Context, k *client.KVS, i int) {
	for n := 0; ; n++ {
		key, value := fmt.Sprintf("w/%d/%06d", i, n), fmt.Sprintf("%d-%d", n, i)
		_, err := k.Set(ctx, client.UserSpace, "", []byte(key), []byte(value), client.PutOptions{Durability: client.SyncDurability})
		if w.failed(ctx, err) {
			return
		}
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.acked[key] = value
		w.mu.Unlock()
		w.acks.Add(1)
	}
}

func (w *writers) writeInGuest(ctx context.Context, c *client.Client, i int) {
	for n := 0; ; n++ {
		key := fmt.Sprintf("g/%d/%06d", i, n)
		_, err := c.Call(ctx, writerName, "write_lww", lwwArgs(key, 32, 1), client.CallOptions{})
		if w.failed(ctx, err) {
			return
		}
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.guests[key] = true
		w.mu.Unlock()
		w.acks.Add(1)
	}
}

func lwwArgs(key string, size, n uint64) []byte {
	b := bincode.AppendString(nil, key)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, size), n)
}

// more waits for n more acknowledged writes, and for at least one of a function.
func (w *writers) more(n int64) {
	w.t.Helper()
	from := w.acks.Load()
	guests := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.guests)
	}
	had := guests()
	eventually(w.t, fmt.Sprintf("%d more writes are acknowledged (errors: %v)", n, w.errors()), func() bool {
		return w.acks.Load() >= from+n && guests() > had
	})
}

func (w *writers) errors() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.errs
}

// check wants every acknowledged write to be there. The writers must have ended.
func (w *writers) check() {
	w.t.Helper()
	c, k := w.d.client()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	left := maps.Clone(w.acked)
	err := k.ScanAll(ctx, client.UserSpace, "", client.ScanOptions{Prefix: []byte("w/")}, func(i client.Item) bool {
		want, acked := left[string(i.Key)]
		if data, err := client.PlainData(i.Value); err != nil || acked && string(data) != want {
			w.t.Errorf("key %s holds %q, %v; want %q", i.Key, data, err, want)
		}
		delete(left, string(i.Key))
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for key := range left {
		w.t.Errorf("the acknowledged write of %s is lost", key)
	}
	for key := range w.guests {
		// It traps where there is no value.
		_, err := c.Call(ctx, writerName, "read_cached", binary.LittleEndian.AppendUint64(bincode.AppendString(nil, key), 1), client.CallOptions{})
		if err != nil {
			w.t.Errorf("the acknowledged write of a function, %s, is lost: %v", key, err)
		}
	}
	w.t.Logf("%d writes of clients and %d of functions were acknowledged, and %d failed", len(w.acked), len(w.guests), len(w.errs))
}

// A daemon that is killed in the middle of everything has lost nothing that it acknowledged, leaves no process behind and
// nothing that its successor trips over.
func TestKillDaemon(t *testing.T) {
	d := start(t)
	for round := range 2 {
		if round > 0 && testing.Short() {
			break
		}
		w := startWriters(d)
		c, _ := d.client()
		inFlight := make(chan error, 1)
		d.must("deploy", "rude", rude)
		go func() {
			_, err := c.Call(context.Background(), "rude", "sleep", binary.LittleEndian.AppendUint64(nil, 1<<40), client.CallOptions{})
			inFlight <- err
		}()
		eventually(t, "a call is in flight", func() bool { return strings.Contains(d.must("ps"), "sleep") })
		w.more(200)
		d.kill()
		w.wg.Wait()
		select {
		case err := <-inFlight:
			if status.Of(err) != status.Unavailable {
				t.Errorf("a call whose daemon was killed ends with class %v: %v", status.Of(err), err)
			}
		case <-time.After(patience):
			t.Error("a call whose daemon was killed does not end")
		}
		for _, err := range w.errs {
			if status.Of(err) != status.Unavailable {
				t.Errorf("a write whose daemon was killed ends with class %v: %v", status.Of(err), err)
			}
		}
		d.start()
		w.check()
	}
}

// A store that is killed is started again, and what it had not acknowledged is sent to it again: nobody notices.
func TestKillStore(t *testing.T) {
	d := start(t)
	w := startWriters(d)
	for range 3 {
		w.more(100)
		d.killPlugin("pebble")
	}
	w.more(100)
	w.stop()
	for _, err := range w.errs {
		t.Errorf("a write failed when the store was killed: %v", err)
	}
	w.check()
	wantAll(t, "plugins", d.must("plugins"), "pebble", "ready")
	d.kill() // what was acknowledged is on disk, not only in the daemon's memory
	d.start()
	w.check()
}

// Calls without effects are tried again when their engine is killed, and nobody notices; what functions wrote and
// had acknowledged stays.
func TestKillEngine(t *testing.T) {
	d := start(t)
	w := startWriters(d)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var (
		wg    sync.WaitGroup
		ended [4]atomic.Int64 // by caller
	)
	for i := range ended {
		c, _ := d.client()
		wg.Go(func() {
			for ctx.Err() == nil {
				function, args := "noop", []byte(nil)
				if i%2 == 0 {
					function, args = "split", binary.LittleEndian.AppendUint64(make([]byte, 8), 32)
				}
				_, err := c.Call(ctx, writerName, function, args, client.CallOptions{})
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s failed: %v", function, err)
					return
				}
				ended[i].Add(1)
			}
		})
	}
	// Every caller gets on: a call that was tried again after one kill has ended before the next, or it would have had all its attempts.
	progress := func() {
		t.Helper()
		for i := range ended {
			from := ended[i].Load()
			eventually(t, "calls end", func() bool { return ended[i].Load() > from+20 || t.Failed() })
		}
		w.more(20)
	}
	for range 3 {
		progress()
		d.killPlugin("wazero")
	}
	progress()
	cancel()
	wg.Wait()
	w.stop()
	for _, err := range w.errs {
		if status.Of(err) != status.Unavailable {
			t.Errorf("a function that writes ends with class %v when its engine is killed: %v", status.Of(err), err)
		}
	}
	w.check()
}

// A call with effects is tried again only where its deployment says that this is fine.
func TestKillEngineWithEffects(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "once", rude)
	d.must("deploy", "often", rude, "--retry", "always")
	call := func(deployment string, ms uint64) chan error {
		c, _ := d.client()
		out := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := c.Call(ctx, deployment, "tick", binary.LittleEndian.AppendUint64(bincode.AppendString(nil, "k"), ms), client.CallOptions{})
			out <- err
		}()
		eventually(t, "the call has had its effect", func() bool {
			return d.must("call", deployment, "count", "--arg", "k", "--as", "u64") == "1\n"
		})
		return out
	}
	once, often := call("once", 1<<40), call("often", 3000)
	d.killPlugin("wazero")
	if err := <-once; status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "may have run") {
		t.Errorf("a call with effects whose engine was killed: %v (%v)", err, status.Of(err))
	}
	if err := <-often; err != nil {
		t.Errorf("a call that may be repeated: %v", err)
	}
	d.prints("1\n", "call", "once", "count", "--arg", "k", "--as", "u64")
	d.prints("2\n", "call", "often", "count", "--arg", "k", "--as", "u64")
}

// A run is not repeated: its output has been seen. Whoever follows it is told.
func TestKillEngineUnderRun(t *testing.T) {
	t.Parallel()
	d := start(t)
	f := d.follow("run", rude, "--", "put-spin", "k")
	var said strings.Builder
	if l := f.line(); l != "stored\n" {
		t.Fatalf("the first line is %q", l)
	}
	d.killPlugin("wazero")
	for l := f.line(); l != ""; l = f.line() {
		said.WriteString(l)
	}
	_ = f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != 125 || said.Len() > 0 {
		t.Errorf("the run ends with %d after printing %q", code, said.String())
	}
	if out := d.must("ps"); strings.Contains(out, " run ") {
		t.Errorf("the run is still there:\n%s", out)
	}
}

// An engine that cannot be started again does not take the daemon with it, and the state stays in reach.
func TestDaemonOutlivesPlugins(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "calm", splitter)
	d.must("kvs", "PUT", "a", "b")
	for range 5 {
		d.killPlugin("wazero")
		d.killPlugin("pebble")
	}
	eventually(t, "calls work again", func() bool { return d.run("call", "calm", "noop").code == 0 })
	d.prints("b\n", "kvs", "GET", "a")
	d.must("kvs", "PUT", "a", "c")
	if err := d.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the daemon: %v", err)
	}
}

// A module is compiled in a process of its own, which ends with the daemon too, and what it had not finished is not taken
// for finished.
func TestKillWhileCompiling(t *testing.T) {
	t.Parallel()
	d := start(t, "--set", "engine.wazero.settings.cache_dir="+t.TempDir())
	f := d.follow("deploy", "go", guest("bench-go"))
	var compiler []int
	eventually(t, "a module is being compiled", func() bool { compiler = childrenOf(d.plugin("wazero")); return len(compiler) > 0 })
	d.kill()
	d.gone(compiler)
	_ = f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != codeUnavailable {
		t.Errorf("essad deploy ends with %d when its daemon is killed", code)
	}
	d.start()
	d.must("deploy", "go", guest("bench-go"))
	d.must("call", "go", "noop")
}

// A plugin that stops in its tracks is killed and started again. Until then calls end at their deadlines, and writes wait.
func TestHungPlugins(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a plugin may be silent")
	}
	t.Parallel()
	d := start(t)
	d.must("deploy", "calm", splitter)
	for _, name := range []string{"wazero", "pebble"} {
		if err := syscall.Kill(d.plugin(name), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	d.fails(codeDeadline, []string{"deadline"}, "call", "calm", "noop", "--timeout", "200ms")
	d.prints("Success!\n", "kvs", "PUT", "a", "b")
	d.must("call", "calm", "noop")
	for _, p := range []string{"wazero", "pebble"} {
		if d.plugin(p) == 0 {
			t.Errorf("plugin %s is not running", p)
		}
	}
	wantAll(t, "plugins", d.must("plugins"), "killed: no sign of life")
}

// SIGTERM under load: what runs ends or is told, and the daemon ends in time with nothing left.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	d := start(t, "--set", "executor.drain=2s", "--set", "node.shutdown_timeout=10s")
	w := startWriters(d)
	d.must("deploy", "rude", rude)
	type end struct {
		what string
		err  error
	}
	ends := make(chan end, 3)
	for what, ms := range map[string]uint64{"a short call": 500, "an endless call": 1 << 40} {
		c, _ := d.client()
		go func() {
			_, err := c.Call(context.Background(), "rude", "sleep", binary.LittleEndian.AppendUint64(nil, ms), client.CallOptions{})
			ends <- end{what, err}
		}()
	}
	run := d.follow("run", rude, "--", "spin")
	if l := run.line(); l != "spinning\n" {
		t.Fatalf("the run says %q", l)
	}
	eventually(t, "the calls are in flight", func() bool { return strings.Count(d.must("ps"), "sleep") >= 1 })
	w.more(50)
	begin := time.Now()
	d.stop() // fails unless the exit code is 0 and all processes are gone
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("stopping took %v", took)
	}
	w.wg.Wait()
	for range 2 {
		select {
		case e := <-ends:
			c := status.Of(e.err)
			if e.err != nil && c != status.Unavailable && c != status.Cancelled {
				t.Errorf("%s ends with class %v: %v", e.what, c, e.err)
			}
			if e.what == "an endless call" && e.err == nil {
				t.Error("an endless call has ended well")
			}
		case <-time.After(patience):
			t.Fatal("a call does not end when its daemon has stopped")
		}
	}
	_ = run.cmd.Wait()
	if code := run.cmd.ProcessState.ExitCode(); code != 125 && code != 130 {
		t.Errorf("a run whose daemon stops ends with %d", code)
	}
	if _, err := d.tryDial(); status.Of(err) != status.Unavailable {
		t.Errorf("the socket of a daemon that has stopped: %v", err)
	}
	d.start()
	w.check()
}
