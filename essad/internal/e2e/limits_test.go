package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

// neighbour calls a function of another deployment all the time, and wants an answer to each call.
type neighbour struct {
	answers atomic.Int64
	mu      sync.Mutex
	err     error
}

func (n *neighbour) run(ctx context.Context, c *client.Client, deployment, function string) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, patience)
		_, err := c.Call(call, deployment, function, nil, client.CallOptions{})
		cancel()
		if err != nil && ctx.Err() == nil {
			n.mu.Lock()
			n.err = err
			n.mu.Unlock()
			return
		}
		n.answers.Add(1)
	}
}

func (n *neighbour) failed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Each way of taking too much ends the call that does so, with its own class and text, and nothing else: a neighbour keeps
// getting answers, and the daemon and its plugins are the same processes afterwards.
func TestLimits(t *testing.T) {
	d := start(t)
	d.must("deploy", "rude", rude, "--memory", "32MiB", "--max-result", "1MiB", "--max-log", "64KiB", "--host-calls", "20000", "--call-depth", "40")
	d.must("deploy", "calm", splitter)
	c, _ := d.client()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var n neighbour
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.run(ctx, c, "calm", "noop")
	}()
	before := fmt.Sprint(d.cmd.Process.Pid, d.children())

	const (
		deadline = 74
		limit    = 76
		fault    = 1
	)
	for _, c := range []struct {
		args  string
		code  int
		wants []string
	}{
		{"spin --timeout 500ms", deadline, []string{"rude/", "spin", "deadline"}},
		{"sleep --arg u64:1000000 --timeout 200ms", deadline, []string{"sleep", "deadline"}},
		{"tree --timeout 500ms", fault, []string{"tree"}}, // a parent that cannot go on without its child
		{"hog", limit, []string{"memory", "33554432"}},
		{"overflow", limit, []string{"stack"}},
		{"host_calls --arg u64:1000000", limit, []string{"20000 host calls"}},
		{"big_result --arg u64:2000000", limit, []string{"result", "2000000", "1048576"}},
		{"big_result --arg u64:1073741824", limit, []string{"memory"}}, // 1 GiB does not even fit into the guest
		{"flood --arg u64:1000000", limit, []string{"65536 bytes of output"}},
		{"trap", fault, []string{"unreachable", "essa_function_trap"}},
		{"leave --arg u32:5", fault, []string{"exited with status 5"}},
		{"getenv --as u8", 65, []string{"--as"}}, // what is wrong here is the command line's guess
	} {
		seen := n.answers.Load()
		args := append([]string{"call", "rude"}, strings.Fields(c.args)...)
		if r := d.run(args...); strings.HasPrefix(c.args, "tree") && r.code == deadline {
			continue // the machine was too slow to get to the bottom of it
		} else if r.code != c.code {
			t.Errorf("%s: code %d, want %d\n%s", c.args, r.code, c.code, tail(r.err, 2000))
		} else {
			wantAll(t, "the error of "+c.args, r.err, c.wants...)
		}
		eventually(t, "the neighbour was answered after "+c.args, func() bool { return n.answers.Load() > seen+2 || n.failed() != nil })
	}
	out := d.must("call", "rude", "chain", "--as", "str")
	wantAll(t, "the error that the end of a chain of calls gets", out, "deeper than 40")

	cancel()
	<-done
	if err := n.failed(); err != nil {
		t.Errorf("after %d answers a call of the neighbour failed: %v", n.answers.Load(), err)
	}
	if after := fmt.Sprint(d.cmd.Process.Pid, d.children()); after != before {
		t.Errorf("the processes are %s, and were %s before", after, before)
	}
}

// A run has no deadline but the limits it is given.
func TestRunLimits(t *testing.T) {
	t.Parallel()
	d := shared(t)
	for _, c := range []struct {
		flags, main string
		wants       []string
	}{
		{"--wall-time 300ms", "spin", []string{"300ms"}},
		{"--max-log 64KiB", "lines 100000", []string{"65536 bytes of output"}},
		{"--host-calls 100", "lines 1000", []string{"100 host calls"}},
	} {
		args := append([]string{"run"}, strings.Fields(c.flags)...)
		r := d.run(append(append(args, rude, "--"), strings.Fields(c.main)...)...)
		if r.code != 1 {
			t.Errorf("a run of %s with %s ends with %d\n%s", c.main, c.flags, r.code, tail(r.err, 1000))
		}
		wantAll(t, "the error of a run with "+c.flags, r.err, c.wants...)
	}
}

// The output of a call is limited, and that of a run only where the run says so.
func TestRunOutputUnlimited(t *testing.T) {
	t.Parallel()
	d := start(t, "--set", "executor.limits.log=64KiB")
	if out := d.must("run", rude, "--", "lines", "512"); len(out) != 512<<10 {
		t.Errorf("a run that writes 512 KiB has %d bytes of output", len(out))
	}
	d.must("deploy", "rude", rude)
	d.fails(76, []string{"65536 bytes of output"}, "call", "rude", "flood", "--arg", "u64:512")
}

// The recursive splitter of the upstream demo: as many leaves as a daemon of any size has to carry.
// TestFuel: the same call uses the same fuel each time, just so much is enough for it, and one unit less is not.
func TestFuel(t *testing.T) {
	d := shared(t)
	used := regexp.MustCompile(`(\d+) units of fuel`)
	call := func(name string) result {
		return d.run("call", name, "split", "--arg", "u64:0", "--arg", "u64:64", "--stats")
	}
	d.must("deploy", "fuel", splitter)
	m := used.FindStringSubmatch(call("fuel").err)
	if m == nil {
		t.Fatalf("--stats tells of no fuel: %s", call("fuel").err)
	}
	units, err := strconv.Atoi(m[1])
	if err != nil || units < 1000 {
		t.Fatalf("%q: %v", m[1], err)
	}
	d.must("deploy", "enough", splitter, "--fuel", m[1])
	if r := call("enough"); r.code != 0 || !strings.Contains(r.err, m[0]) {
		t.Errorf("with a limit of %d units: exit %d, %s", units, r.code, r.err)
	}
	d.must("deploy", "too-little", splitter, "--fuel", strconv.Itoa(units-1))
	if r := call("too-little"); r.code == 0 {
		t.Errorf("%d units were enough: %s", units-1, r.err)
	}
	d.must("deploy", "hungry", rude, "--fuel", "1000000")
	d.fails(76, []string{"fuel of 1000000 units"}, "call", "hungry", "spin")
}

func TestSplitter(t *testing.T) {
	d := start(t, "--set", "executor.memory=256MiB")
	name := d.deploy("", splitter)
	for _, n := range []int{1, 2, 4096} {
		out := d.must("call", name, "split", "--arg", "u64:0", "--arg", fmt.Sprintf("u64:%d", n), "--as", "hex", "--timeout", patience.String())
		if want := fmt.Sprintf("00000000%s\n", littleHex(uint64(n))); out != want {
			t.Errorf("split(0, %d) is %s", n, out)
		}
	}
	out := d.must("call", name, "split", "--arg", "u64:1", "--arg", "u64:1", "--as", "hex")
	wantAll(t, "an empty range", out, fmt.Sprintf("01000000%s%x", littleHex(18), "the range is empty"))
	d.must("call", name, "concurrent_kvs_test", "--arg", "leaves", "--arg", "u64:0", "--arg", "u64:256")
	if testing.Short() {
		return
	}
	// A Go instance is some 4 MiB: 1023 at once would be 4 GiB.
	name = d.deploy("-go", guest("bench-go"))
	out = d.must("call", name, "split", "--arg", "u64:0", "--arg", "u64:512", "--as", "hex", "--timeout", (2 * patience).String())
	if want := fmt.Sprintf("00000000%s\n", littleHex(512)); out != want {
		t.Errorf("in Go split(0, 512) is %s", out)
	}
	if peak := peakKiB(t, d.plugin("wazero")); peak > 768<<10 {
		t.Errorf("with executor.memory=256MiB the engine took %d MiB", peak>>10)
	}
}

func littleHex(v uint64) string {
	var b strings.Builder
	for range 8 {
		fmt.Fprintf(&b, "%02x", byte(v))
		v >>= 8
	}
	return b.String()
}

// peakKiB is the most memory a process has had.
func peakKiB(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/status", pid)))) {
		n := 0
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
			return n
		}
	}
	t.Fatal("the kernel does not tell VmHWM")
	return 0
}

// The output of functions is kept in a ring of bounded size, and followed while it is written.
func TestLogs(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", rude)
	d.must("call", name, "say", "--arg", "the first line")
	wantAll(t, "logs", d.must("logs", name), "the first line")

	f := d.follow("logs", "-f", name)
	wantAll(t, "logs -f", f.line(), "the first line")
	// What it follows begins some time after what it shows of the past.
	seen := make(chan string, 1)
	go func() { seen <- f.line() }()
	eventually(t, "a line is followed", func() bool {
		d.must("call", name, "say", "--arg", "a later line")
		select {
		case l := <-seen:
			wantAll(t, "logs -f", l, "a later line")
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	f.stop()

	d.must("call", name, "flood", "--arg", "u64:2000") // 2 MB through a ring of 1 MiB
	d.must("call", name, "say", "--arg", "the last line")
	out := d.must("logs", name, "--bytes", "100000000")
	if len(out) > 4<<20 || strings.Contains(out, "the first line") {
		t.Errorf("%d bytes of logs are kept", len(out))
	}
	wantAll(t, "logs", tail(out, 500), "the last line")
	doc := d.docs("logs", name, "--bytes", "1")
	if m, ok := doc[len(doc)-1].(map[string]any); !ok || !strings.Contains(fmt.Sprint(m["line"]), "the last line") {
		t.Errorf("the documents of logs: %v", doc)
	}
}

// More than there is room for is refused at once, as overloaded, and what was taken is done.
func TestOverload(t *testing.T) {
	t.Parallel()
	d := start(t, "--set", "scheduler.call.queue=2", "--set", "executor.capacity=2", "--set", "scheduler.async.queue=2",
		"--set", "executor.drain=0s")
	d.must("deploy", "rude", rude)
	c, _ := d.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []byte{200, 0, 0, 0, 0, 0, 0, 0} // 200 ms
	var wg sync.WaitGroup
	var done, refused atomic.Int64
	for range 32 {
		wg.Go(func() {
			switch _, err := c.Call(ctx, "rude", "sleep", args, client.CallOptions{}); status.Of(err) {
			case status.OK:
				done.Add(1)
			case status.Overloaded:
				refused.Add(1)
			default:
				t.Errorf("one call of many: %v", err)
			}
		})
	}
	wg.Wait()
	if done.Load() < 4 || refused.Load() == 0 {
		t.Errorf("of 32 calls, with room for 2 and 2 more in the queue, %d were done and %d refused", done.Load(), refused.Load())
	}
	for range 2 {
		d.must("call", "rude", "sleep", "--arg", "u64:3600000", "--async", "--timeout", "5m")
	}
	d.fails(75, []string{"scheduler.async.queue"}, "call", "rude", "sleep", "--arg", "u64:1", "--async")
	eventually(t, "both calls run", func() bool { return strings.Count(d.must("ps"), "running") == 2 })
	d.fails(codeDeadline, []string{"deadline"}, "call", "rude", "sleep", "--arg", "u64:1", "--timeout", "300ms") // waited for room
}

// A guest that computes on an engine's only processor leaves it to others, and hears that it is to stop, also where the engine
// was at rest before: then even the runtime's monitor sleeps, and has to be woken by what comes in.
func TestOneProcessor(t *testing.T) {
	t.Parallel()
	d := start(t, "--set", "engine.wazero.env.GOMAXPROCS=1")
	d.must("deploy", "rude", rude)
	c, _ := d.client()
	d.must("call", "rude", "say", "--arg", "warm") // from here on no compiler runs
	before := d.plugin("wazero")
	for i := range 8 {
		time.Sleep(time.Duration(100+50*i) * time.Millisecond) // the engine comes to rest
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := c.Call(ctx, "rude", "spin", nil, client.CallOptions{})
			ended <- err
		}()
		eventually(t, "the call is in flight", func() bool { return len(d.processes()) > 0 })
		d.must("call", "rude", "count", "--arg", "nothing")
		cancel()
		if err := <-ended; status.Of(err) != status.Cancelled {
			t.Errorf("a call that was cancelled: %v", err)
		}
		eventually(t, "the call has ended", func() bool { return len(d.processes()) == 0 })
	}
	if now := d.plugin("wazero"); now != before {
		t.Errorf("the engine is process %d, and was %d before the calls", now, before)
	}
}
