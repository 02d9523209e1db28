package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/client"
)

// diskless are the blocks of a daemon that keeps nothing.
const diskless = "routing {}\nkvs {}\nscheduler {}\n"

// engineBlock is an engine with the compiled code that all tests share.
func engineBlock(name, lines string) string {
	return fmt.Sprintf("engine %q {\n  %s\n  settings = { cache_dir = %q }\n}\n", name, lines, filepath.Join(bin, "compiled"))
}

// An executor runs several engines. A deployment names one or gets the first; so does a run.
func TestEngineChoice(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, diskless+"executor {\n  stop_grace = \"30s\"\n  engines = [\"spare\", \"wazero\"]\n}\n"+
		engineBlock("wazero", "")+engineBlock("spare", `plugin = "wazero"`))
	on := func(name string) string {
		t.Helper()
		m := d.doc("call", name, "noop")
		stats, _ := m["stats"].(map[string]any)
		return fmt.Sprint(stats["engine"])
	}
	plain := d.must("deploy", "plain", splitter)
	d.must("deploy", "chosen", splitter, "--engine", "wazero")
	if on("plain") != "spare" || on("chosen") != "wazero" {
		t.Errorf("plain runs on %s, chosen on %s", on("plain"), on("chosen"))
	}
	wantAll(t, "deployments", d.must("deployments"), "chosen", "wazero", "default")
	wantAll(t, "status", d.must("status"), "engines: spare (default), wazero")
	if other := d.must("deploy", "plain", splitter, "--engine", "wazero"); versionForm.FindString(other) == versionForm.FindString(plain) {
		t.Error("another engine makes no other version")
	}
	if on("plain") != "wazero" {
		t.Error("a deployment stays on the engine it had")
	}
	for _, args := range []string{"deploy x " + splitter + " --engine wasmedge", "run --engine wasmedge " + guest("hello")} {
		r := d.run(strings.Fields(args)...)
		if r.code == 0 || !strings.Contains(r.err, `no executor has an engine named "wasmedge"; there are: spare, wazero`) {
			t.Errorf("%s: code %d, %s", args, r.code, r.err)
		}
	}
	for _, name := range []string{"spare", "wazero"} {
		r := d.run("-o", "json", "run", "--engine", name, guest("hello"))
		if r.code != 0 || !strings.Contains(r.out, fmt.Sprintf(`"engine": %q`, name)) {
			t.Errorf("a run on %s: code %d, %s%s", name, r.code, r.out, r.err)
		}
	}
}

// What a call finds of those before it, and of what warmed up its instance, is its deployment's choice.
func TestIsolationOption(t *testing.T) {
	t.Parallel()
	d := shared(t)
	counter := filepath.Join("testdata", "counter.wasm")
	next := func(name, want string) {
		t.Helper()
		d.prints(want+"\n", "call", name, "next", "--as", "u64")
	}
	for _, tc := range []struct {
		flags  string
		first  string
		second string // want of each call after it
		shown  string
	}{
		{"", "1", "1", "snapshot"},
		{"--isolation snapshot --warm-up prepare", "101", "101", "snapshot after prepare"},
		{"--isolation fresh", "1", "1", "fresh"},
		{"--isolation instance", "1", "", "instance"},
	} {
		name := d.deploy("-"+strings.NewReplacer("--", "", " ", "-").Replace(tc.flags), counter, strings.Fields(tc.flags)...)
		next(name, tc.first)
		if tc.second != "" {
			next(name, tc.second)
			next(name, tc.second)
		} else { // on which instance a call runs is not promised, but one after the other has just one
			eventually(t, "a call sees what another left", func() bool { return d.must("call", name, "next", "--as", "u64") != "1\n" })
		}
		for line := range strings.Lines(d.must("deployments")) {
			if strings.HasPrefix(line, name+" ") && !strings.Contains(line, " "+tc.shown+" ") {
				t.Errorf("deployments shows no %q: %s", tc.shown, line)
			}
		}
	}
}

// essad plugins tells all there is to know of plugins, and which could be had.
func TestPlugins(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, "routing {}\nkvs { store = \"pebble\" }\nscheduler {}\nexecutor { engines = [\"wazero\"] }\n"+
		engineBlock("wazero", "shards = 2")+"store \"pebble\" {}\n")
	wantAll(t, "plugins", d.must("plugins"), "wazero/0", "wazero/1", "pebble", "wasm-2.0", "wasi-preview1", "ready")
	list, _ := d.doc("plugins")["one"].([]any)
	if len(list) != 3 {
		t.Fatalf("%d processes, want 3: %v", len(list), list)
	}
	for i, one := range list {
		p, _ := one.(map[string]any)
		sum := d.sha256(fmt.Sprint(p["path"]))
		if p["sha256"] != sum || p["pid"] == nil || p["started_unix_nano"] == nil || p["state"] != "ready" {
			t.Errorf("plugin %d, whose hash is %s: %v", i, sum, p)
		}
	}
	installed := d.must("plugins", "--installed")
	wantAll(t, "plugins --installed", installed, "pebble", "rogue", "wazero")
	for line := range strings.Lines(installed) {
		if f := strings.Fields(line); f[1] == "rogue" && f[2] != "-" {
			t.Errorf("a plugin that is not configured: %s", line)
		}
	}
	d.docs("plugins", "--installed")
}

// Each shard is a process. Calls of a deployment stay together while there is room; one shard that dies costs its own calls
// and no other's, and is there again.
func TestShards(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, diskless+"executor { workers = 1 }\nengine \"rogue\" { shards = 3 }\n")
	c, _ := d.client()
	pidOf := func(name string) string {
		t.Helper()
		res, err := c.Call(t.Context(), name, "pid", nil, client.CallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(res.Value)
	}
	byPid := map[string][]string{}
	for i := range 12 {
		name := fmt.Sprintf("d%d", i)
		d.must("deploy", name, splitter)
		home := pidOf(name)
		if again := pidOf(name); again != home {
			t.Errorf("%s is in process %s and then in %s, although nothing else goes on", name, home, again)
		}
		byPid[home] = append(byPid[home], name)
	}
	if len(byPid) != 3 {
		t.Fatalf("12 deployments have their home in %d of 3 processes: %v", len(byPid), byPid)
	}

	// While its home is full a call goes elsewhere, and then back.
	nap := func(name, ms string) chan error {
		end := make(chan error, 1)
		go func() {
			_, err := c.Call(context.Background(), name, "nap", []byte(ms), client.CallOptions{})
			end <- err
		}()
		eventually(t, "the call is in flight", func() bool { return strings.Contains(d.must("ps"), "nap") })
		return end
	}
	home := pidOf("d0")
	end := nap("d0", "1500")
	if away := pidOf("d0"); away == home {
		t.Error("a call waits for its home, which is full")
	}
	if err := <-end; err != nil {
		t.Error(err)
	}
	if back := pidOf("d0"); back != home {
		t.Errorf("when there is room again the call does not go home (%s) but to %s", home, back)
	}

	// A call in the shard that dies is tried again; those in the others go on as if nothing had been.
	var beside string
	for pid, names := range byPid {
		if pid != home {
			beside = names[0]
		}
	}
	killed, other := nap("d0", "1000"), nap(beside, "3000")
	pid := 0
	if _, err := fmt.Sscan(home, &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]chan error{"in the shard that was killed": killed, "in another": other} {
		if err := <-c; err != nil {
			t.Errorf("the call %s: %v", name, err)
		}
	}
	eventually(t, "all shards are ready", func() bool { return strings.Count(d.must("plugins"), "ready") == 3 })
	restarts := 0
	for _, one := range d.doc("plugins")["one"].([]any) {
		p, _ := one.(map[string]any)
		n, _ := p["restarts"].(float64)
		restarts += int(n)
		if at := fmt.Sprint(int(p["pid"].(float64))); n == 0 && byPid[at] == nil || n > 0 && byPid[at] != nil {
			t.Errorf("a shard with %v restarts is process %s", n, at)
		}
	}
	if restarts != 1 {
		t.Errorf("%d restarts of 3 shards, of which one was killed", restarts)
	}
}

// What functions in different shards write and read is one state.
func TestShardsShareState(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, diskless+"executor {\n  workers = 1\n  stop_grace = \"30s\"\n}\n"+engineBlock("wazero", "shards = 3"))
	d.must("deploy", "shop", rude)
	c, _ := d.client()
	key := bincode.AppendString(nil, "k")
	count := func() uint64 {
		t.Helper()
		res, err := c.Call(t.Context(), "shop", "count", key, client.CallOptions{})
		if err != nil || len(res.Value) != 8 {
			t.Fatalf("%v, %v", res, err)
		}
		return binary.LittleEndian.Uint64(res.Value)
	}
	var wg sync.WaitGroup
	tick := func(n int, ms uint64) {
		for range n {
			wg.Go(func() {
				if _, err := c.Call(context.Background(), "shop", "tick", binary.LittleEndian.AppendUint64(slices.Clone(key), ms), client.CallOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	tick(12, 20) // more at once than one shard has workers, so all shards have the key in their caches
	wg.Wait()
	eventually(t, "a shard has seen all", func() bool { return count() == 12 })
	tick(3, 500) // they keep a shard each, and have changed what the others have cached
	eventually(t, "what a busy shard wrote is seen", func() bool { return count() == 15 })
	wg.Wait()
	tick(2, 0)
	wg.Wait()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if n := count(); n == 17 {
			return
		}
	}
	t.Error("a second later the last change is not seen")
}

// The scheduler sends calls only where their engine is; when nobody has it any more it says which engines there are.
func TestEngineOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	c.start()
	text := string(readFile(t, filepath.Join(c.dir, "executor.hcl")))
	second := c.add("second", strings.NewReplacer(`"executor"`, `"second"`, "executor/data", "second/data", "executor/run", "second/run",
		"executor {}", "executor { engines = [\"spare\"] }\nengine \"spare\" { plugin = \"wazero\" }").Replace(text))
	second.start()
	second.cleanUp()
	c.settle(len(fourRoles) + 1)
	d := c.daemons["scheduler"]
	eventually(t, "the scheduler knows both executors", func() bool {
		out := d.must("status")
		return strings.Contains(out, "executors: executor, second") || strings.Contains(out, "executors: second, executor")
	})
	d.must("deploy", "here", splitter, "--engine", "wazero")
	d.must("deploy", "there", splitter, "--engine", "spare")
	for range 20 {
		for name, want := range map[string]string{"here": "executor", "there": "second"} {
			m := d.doc("call", name, "noop")
			if stats, _ := m["stats"].(map[string]any); stats["executor"] != want {
				t.Fatalf("%s ran on %v, want %s", name, stats, want)
			}
		}
	}
	second.stop()
	eventually(t, "a call of an engine that is gone is refused with those that are there", func() bool {
		r := d.run("call", "there", "noop")
		return r.code == codeNotFound && strings.Contains(r.err, `no executor has an engine named "spare"; there are: wazero`)
	})
	d.must("call", "here", "noop")
}

// A nested call that its engine has no room for runs on another executor, and in the engine which that one has.
func TestNestedOnAnotherEngine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	const small = "executor {\n  memory = \"16MiB\"\n  limits { memory = \"16MiB\" }\n"
	first := c.daemons["executor"]
	text := string(readFile(t, filepath.Join(c.dir, "executor.hcl")))
	if err := os.WriteFile(filepath.Join(c.dir, "executor.hcl"), []byte(strings.Replace(text, "executor {}", small+"}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	second := c.add("second", strings.NewReplacer(`"executor"`, `"second"`, "executor/data", "second/data", "executor/run", "second/run",
		"executor {}", small+"  engines = [\"spare\"]\n}\nengine \"spare\" { plugin = \"wazero\" }").Replace(text))
	second.start()
	second.cleanUp()
	c.settle(len(fourRoles) + 1)
	d := c.daemons["scheduler"]
	eventually(t, "the scheduler knows both executors", func() bool { return strings.Contains(d.must("status"), "second") })
	d.must("deploy", "chain", rude)
	// Each call waits for the next, until nobody has room; the error of the last one is handed up.
	out := d.must("call", "chain", "chain", "--as", "str", "--timeout", patience.String())
	if !strings.Contains(out, "no other executor has room") && !strings.Contains(out, "no memory left") {
		t.Errorf("the chain ended for another reason: %s", out)
	}
	// The module is prepared on one of them when it is deployed, and on the other only because of the chain.
	worked := func(d *daemon) bool {
		for _, n := range d.docs("status")[0].([]any) {
			n, _ := n.(map[string]any)
			e, ok := n["executor"].(map[string]any)
			if !ok || n["node"] != d.name() {
				continue
			}
			for _, engine := range e["engines"].([]any) {
				if engine, _ := engine.(map[string]any); engine["modules"] != nil {
					return true
				}
			}
		}
		return false
	}
	if !worked(first) || !worked(second) {
		t.Errorf("of one chain of calls, %v ran on the first executor and %v on the second; it ended with %q, and now:\n%s",
			worked(first), worked(second), out, d.must("status"))
	}
}
