package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

func (d *daemon) sha256(path string) string {
	d.t.Helper()
	sum := sha256.Sum256(readFile(d.t, path))
	return hex.EncodeToString(sum[:])
}

// startCall starts a call of the engine rogue, whose functions take text.
func startCall(c *client.Client, deployment, function, args string, timeout time.Duration) chan error {
	end := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_, err := c.Call(ctx, deployment, function, []byte(args), client.CallOptions{})
		end <- err
	}()
	return end
}

// A version of a deployment whose calls cost two processes is refused. Its neighbours are not, and what they lost with it is
// tried again; nor is another version. Everybody can see it, and it can be lifted.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	metrics := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	d, _ := startConfig(t, diskless+"executor {}\nengine \"rogue\" {}\nmetrics { listen = \""+metrics+"\" }\n")
	d.must("deploy", "bad", splitter)
	d.must("deploy", "good", splitter)
	c, _ := d.client()
	for i := range 2 {
		pid := d.plugin("rogue")
		neighbour := startCall(c, "good", "nap", "1500", patience)
		eventually(t, "the neighbour is there", func() bool { return strings.Contains(d.must("ps"), "nap") })
		d.must("call", "good", "pid") // a sign of life, so that the neighbour is no excuse for what comes now
		how := []string{"hang", "freeze"}[i]
		begin := time.Now()
		if err := <-startCall(c, "bad", how, "", 300*time.Millisecond); status.Of(err) != status.Deadline {
			t.Errorf("%s: %v", how, err)
		}
		eventually(t, "the process of a call that cannot be ended is killed", func() bool { return !alive(pid) })
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := <-neighbour; err != nil {
			t.Errorf("the neighbour of %s: %v", how, err)
		}
	}
	begin := time.Now()
	err := <-startCall(c, "bad", "pid", "", patience)
	if status.Code(err) != "denied/quarantine" || time.Since(begin) > 5*time.Second {
		t.Fatalf("a call after two kills, after %v: %v (%s)", time.Since(begin), err, status.Code(err))
	}
	version := versionForm.FindStringSubmatch(d.must("deploy", "bad", splitter))[1]
	d.fails(77, []string{"deployment bad version " + version, "until", "2 processes", "freeze", `engine "rogue"`, `executor "one"`, "essad quarantine lift bad"},
		"call", "bad", "pid")
	wantAll(t, "quarantine", d.must("quarantine"), "bad@"+version, "one", "rogue", "freeze")
	wantAll(t, "status", d.must("status"), "quarantine bad@"+version)
	if docs, _ := d.docs("quarantine")[0].([]any); len(docs) != 1 {
		t.Errorf("documents: %v", docs)
	}
	d.must("call", "good", "pid")
	if n := strings.Count(d.log.String(), "quarantine: calls are refused"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	body := get(t, "http://"+metrics+"/metrics")
	wantAll(t, "metrics", body, "essad_executor_kills_total 2", "essad_executor_quarantined 1", "quarantine_refused_total")

	// Another version is another matter, but going back is not.
	d.must("deploy", "bad", splitter, "--env", "A=1")
	d.must("call", "bad", "pid")
	d.must("rollback", "bad")
	d.fails(77, []string{"quarantine"}, "call", "bad", "pid")
	wantAll(t, "lift", d.must("quarantine", "lift", "bad"), "lifted bad@"+version, "executor one")
	d.must("call", "bad", "pid")
	d.fails(codeNotFound, []string{"nothing is held", "essad quarantine"}, "quarantine", "lift", "bad")
	if out := d.must("quarantine"); strings.Contains(out, "bad") {
		t.Errorf("after lifting:\n%s", out)
	}
}

// A quarantine ends by itself, and can be turned off.
func TestQuarantineEnds(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, diskless+"executor { \n quarantine {\n  strikes = 1\n  for = \"4s\"\n}\n}\nengine \"rogue\" {}\n")
	d.must("deploy", "bad", splitter)
	c, _ := d.client()
	_ = <-startCall(c, "bad", "hang", "", 200*time.Millisecond)
	eventually(t, "it is in quarantine", func() bool { return d.run("call", "bad", "pid").code == 77 })
	eventually(t, "it is not any more", func() bool { return d.run("call", "bad", "pid").code == 0 })
	if d.run("quarantine", "lift", "bad").code != codeNotFound {
		t.Error("something is held against it still")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// However an engine's process ends, it costs the calls in it and nothing else: those that had no effect are tried again,
// the others are told, and the other engine and the store go on as they are.
func TestCrashes(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, diskless+"executor { engines = [\"rogue\", \"wazero\"] }\nengine \"rogue\" {}\n"+engineBlock("wazero", ""))
	d.must("deploy", "rogue", splitter)
	d.must("deploy", "calm", splitter, "--engine", "wazero")
	c, _ := d.client()
	dir, wazero := t.TempDir(), d.plugin("wazero")
	for how, says := range map[string]string{
		"exit": "exit status 7", "panic": "exit status 2", "segv": "segmentation fault", "oom": "signal: killed",
	} {
		file := func(name string) string { return filepath.Join(dir, how+name) }
		neighbour := startCall(c, "rogue", "nap", "500", patience)
		eventually(t, "the neighbour is there", func() bool { return strings.Contains(d.must("ps"), "nap") })
		if err := <-startCall(c, "rogue", how, file("1"), patience); err != nil {
			t.Errorf("%s: a call without effects is not tried again: %v", how, err)
		}
		if ran := len(readFile(t, file("1"))); ran != 2 {
			t.Errorf("%s: it ran %d times, want 2", how, ran)
		}
		if err := <-neighbour; err != nil {
			t.Errorf("%s: the neighbour: %v", how, err)
		}
		wantAll(t, "plugins after "+how, d.must("plugins"), says)
		err := <-startCall(c, "rogue", "effect", how+" "+file("2"), patience)
		if status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "may have run") {
			t.Errorf("%s: a call with effects: %v", how, err)
		}
		if ran := len(readFile(t, file("2"))); ran != 1 {
			t.Errorf("%s: a call with effects ran %d times, want 1", how, ran)
		}
		d.must("call", "calm", "noop")
	}
	if now := d.plugin("wazero"); now != wazero {
		t.Errorf("the other engine is process %d, and was %d", now, wazero)
	}
	if out := d.must("quarantine"); strings.Contains(out, "rogue") {
		t.Errorf("somebody is in quarantine, for crashes:\n%s", out)
	}
}

// A real engine dies by real signals.
func TestSignals(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "calm", rude)
	c, _ := d.client()
	for _, sig := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT, syscall.SIGKILL} {
		pid := d.plugin("wazero")
		end := startCall(c, "calm", "sleep", string(binary.LittleEndian.AppendUint64(nil, 1000)), patience)
		eventually(t, "a call is in flight", func() bool { return strings.Contains(d.must("ps"), "sleep") })
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Errorf("%v: %v", sig, err)
		}
		if now := d.plugin("wazero"); now == pid || now == 0 {
			t.Errorf("%v: the engine is process %d, and was %d", sig, now, pid)
		}
	}
}

// Out of memory, the kernel kills the engine, and not the daemon: the call that did it ends by its own limit when it is
// tried again in a process that has what it was promised, and its neighbours notice nothing.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "hog", rude, "--memory", "200MiB")
	d.must("deploy", "calm", rude)
	d.must("call", "calm", "count", "--arg", "k") // compiled, which takes memory too
	c, _ := d.client()
	pid := d.plugin("wazero")
	confine(t, pid, 64<<20)
	neighbour := startCall(c, "calm", "sleep", string(binary.LittleEndian.AppendUint64(nil, 2000)), patience)
	eventually(t, "the neighbour is there", func() bool { return strings.Contains(d.must("ps"), "sleep") })
	err := <-startCall(c, "hog", "hog", "", patience)
	if status.Code(err) != "limit/memory" {
		t.Errorf("the hog: %v (%s)", err, status.Code(err))
	}
	if err := <-neighbour; err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	if now := d.plugin("wazero"); now == pid || alive(pid) {
		t.Fatalf("the engine was not killed: process %d, was %d", now, pid)
	}
	wantAll(t, "plugins", d.must("plugins"), "signal: killed")
}

// confine moves a process into a memory cgroup of its own, with so many bytes beyond what it has. Where there are none to be
// made the test is skipped: most often the tests are not root's then.
func confine(t *testing.T, pid int, more int) {
	t.Helper()
	name, limit := fmt.Sprintf("essad-e2e-%d", pid), "memory.max"
	dir := filepath.Join("/sys/fs/cgroup", name)
	if _, err := os.Stat("/sys/fs/cgroup/memory/cgroup.procs"); err == nil { // version 1
		dir, limit = filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes"
	}
	skip := func(err error) {
		t.Helper()
		if err != nil {
			_ = os.Remove(dir)
			t.Skipf("no memory cgroup can be made here: %v", err)
		}
	}
	skip(os.Mkdir(dir, 0o755))
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
	})
	_, err := os.Stat(filepath.Join(dir, limit))
	skip(err) // version 2 without the controller
	size := fmt.Sprint(residentKiB(t, pid)<<10 + more)
	skip(os.WriteFile(filepath.Join(dir, limit), []byte(size), 0o600))
	for _, swap := range []string{"memory.swap.max", "memory.swappiness"} {
		err := os.WriteFile(filepath.Join(dir, swap), []byte("0"), 0o600)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
	}
	skip(os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0o600))
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/status", pid)))) {
		n := 0
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	t.Fatal("the kernel does not tell VmRSS")
	return 0
}
