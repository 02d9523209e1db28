package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

const allRoles = `
routing {}
kvs {}
scheduler {}
executor {}
engine "wazero" {}
store "pebble" {}
`

// refused starts a daemon that is not to start, and wants an exit code, a text, and no process left.
func refused(t *testing.T, code int, wants []string, args ...string) {
	t.Helper()
	d := &daemon{t: t, args: args, log: &lockedBuffer{}}
	d.launch()
	select {
	case <-d.exited:
	case <-time.After(patience):
		plugins := d.children()
		_ = d.cmd.Process.Kill()
		<-d.exited
		d.gone(plugins)
		t.Fatalf("essad %v goes on:\n%s", args, tail(d.log.String(), 2000))
	}
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("essad %v ends with %d, want %d\n%s", args, got, code, tail(d.log.String(), 2000))
	}
	wantAll(t, fmt.Sprintf("the error of essad %v", args), d.log.String(), wants...)
}

// configFile writes a configuration of everything in a folder of its own.
func configFile(t *testing.T, lines string) string {
	t.Helper()
	socket := shortSocket(t)
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(socket)) })
	return write(t, "essad.hcl", []byte(config(t.TempDir(), socket)+lines))
}

func TestStartTwice(t *testing.T) {
	t.Parallel()
	d, file := startConfig(t, allRoles)
	d.must("kvs", "PUT", "a", "b")
	refused(t, 73, []string{filepath.Join(d.dir, "data"), "another essad"}, "--config", file)
	other := t.TempDir()
	same := write(t, "same.hcl", []byte(config(other, d.socket)+allRoles))
	refused(t, 73, []string{d.socket}, "--config", same)
	if pids := len(d.children()); pids != 2 {
		t.Errorf("%d plugins are left of the first daemon", pids)
	}
	d.prints("b\n", "kvs", "GET", "a")
	d.killPlugin("wazero") // its folder of sockets was not swept
	d.killPlugin("pebble")
	d.prints("b\n", "kvs", "GET", "a")
}

// What a daemon that was killed leaves behind (socket, lock, folder of sockets) is no obstacle.
func TestStartAfterKill(t *testing.T) {
	t.Parallel()
	d, _ := startConfig(t, allRoles)
	d.must("kvs", "PUT", "a", "b")
	for range 2 {
		d.kill()
		if _, err := os.Stat(d.socket); err != nil {
			t.Errorf("the socket of a daemon that was killed: %v", err)
		}
		d.start()
		d.prints("b\n", "kvs", "GET", "a")
	}
	left, err := filepath.Glob(filepath.Join(d.dir, "run", "plugins", "*"))
	if err != nil || len(left) > 2 {
		t.Errorf("the folder of plugins' sockets holds %q", left)
	}
}

func TestStartBadFolders(t *testing.T) {
	t.Parallel()
	file := write(t, "file", []byte("I am no folder"))
	refused(t, 65, []string{file, "node.data_dir"}, "--config", configFile(t, allRoles), "--set", "node.data_dir="+file)
	refused(t, 65, []string{file}, "--config", configFile(t, allRoles), "--set", "node.runtime_dir="+file)
	refused(t, 65, []string{"nowhere.hcl"}, "--config", "nowhere.hcl")

	ro := filepath.Join(t.TempDir(), "ro")
	if mount(t, ro, "size=1m,ro") {
		refused(t, 65, []string{ro, "read-only"}, "--config", configFile(t, allRoles), "--set", "node.data_dir="+ro)
	}
	newer := t.TempDir()
	for text, want := range map[string]struct {
		code int
		text string
	}{"999\n": {65, "newer essad"}, "hello": {71, "hello"}} {
		if err := os.WriteFile(filepath.Join(newer, "format"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, want.code, []string{newer, want.text}, "--config", configFile(t, allRoles), "--set", "node.data_dir="+newer)
	}
}

// mount mounts a file system in memory, where that is allowed.
func mount(t *testing.T, dir, options string) bool {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var flags uintptr
	if rest, ok := strings.CutSuffix(options, ",ro"); ok {
		options, flags = rest, syscall.MS_RDONLY
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Logf("no file system of its own to try: %v", err)
		return false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return true
}

// A full disk is an error for who writes, whether the store keeps a reserve or uses the last byte; what was acknowledged
// before stays, reading goes on, and so does writing once there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	t.Run("reserve", func(t *testing.T) { testDiskFull(t, "size=176m", "free") })
	t.Run("last byte", func(t *testing.T) { testDiskFull(t, "size=48m", "space", "--set", "store.pebble.settings.min_free=0") })
}

func testDiskFull(t *testing.T, size, says string, flags ...string) {
	dir := filepath.Join(t.TempDir(), "small")
	if !mount(t, dir, size) {
		t.Skip("cannot mount a small file system")
	}
	d := newDaemon(t, dir, flags...)
	d.start()
	d.cleanUp()
	_, k := d.client()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	value := func(i int) []byte { return fmt.Appendf(bytes.Repeat([]byte{byte(i)}, 256<<10), "%d", i) }
	put := func(i int) error {
		call, stop := context.WithTimeout(ctx, patience/4)
		defer stop()
		_, err := k.Set(call, client.UserSpace, "", fmt.Appendf(nil, "k/%04d", i), value(i), client.PutOptions{})
		return err
	}
	acked := 0
	var err error
	for err = put(0); err == nil && acked < 1000; err = put(acked) {
		acked++
	}
	if err == nil {
		t.Fatalf("a file system of %s took 250 MiB", size)
	}
	if c := status.Of(err); c != status.Overloaded && c != status.Unavailable {
		t.Errorf("after %d writes the disk is full, with class %v: %v", acked, c, err)
	}
	if acked == 0 {
		t.Fatalf("nothing could be written: %v", err)
	}
	wantAll(t, "the error of a full disk", err.Error(), says)
	present := func() {
		t.Helper()
		for i := range acked {
			data, _, err := k.Data(ctx, client.UserSpace, "", fmt.Appendf(nil, "k/%04d", i))
			if err != nil || !bytes.Equal(data, value(i)) {
				t.Fatalf("acknowledged write %d of %d: %d bytes, %v", i, acked, len(data), err)
			}
		}
	}
	present()
	if d.run("status").code != 0 {
		t.Error("status does not work with a full disk")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=512m"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writing goes on", func() bool { return put(acked) == nil })
	acked++
	present()
	d.kill()
	d.start()
	_, k = d.client()
	present()
}

// script is a program that a configuration can name as a plugin.
func script(t *testing.T, text string) string {
	t.Helper()
	path := write(t, "plugin", []byte("#!/bin/sh\n"+text+"\n"))
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// withEngine is a configuration whose engine's block says this.
func withEngine(t *testing.T, engine string) string {
	t.Helper()
	return configFile(t, strings.Replace(allRoles, `engine "wazero" {}`, "engine \"wazero\" {\n"+engine+"\n}", 1))
}

func TestStartBadPlugins(t *testing.T) {
	t.Parallel()
	sum := fmt.Sprintf("%x", sha256.Sum256(readFile(t, filepath.Join(bin, "essad-plugin-wazero"))))
	for name, c := range map[string]struct {
		engine string
		code   int
		wants  []string
	}{
		"missing":       {`path = "/nowhere/plugin"`, 66, []string{"/nowhere/plugin", "does not exist"}},
		"not there":     {"}\nengine \"nosuch\" {", 66, []string{"essad-plugin-nosuch", bin}},
		"no program":    {fmt.Sprintf("path = %q", write(t, "data", []byte("hello"))), 65, []string{"data", "not executable"}},
		"crashes":       {fmt.Sprintf("path = %q", script(t, "echo I cannot go on >&2; exit 3")), 69, []string{"wazero", "I cannot go on", "exit status 3"}},
		"says nonsense": {fmt.Sprintf("path = %q", script(t, "echo hello; sleep 1000")), 69, []string{"wazero", "hello"}},
		"other version": {fmt.Sprintf("path = %q", script(t, `echo "1|99|unix|/tmp/x|grpc"; sleep 1000`)), 69, []string{"wazero", "version"}},
		"other program": {"sha256 = \"" + strings.Repeat("0", 64) + `"`, 77, []string{sum, "not started"}},
		"bad setting":   {"settings = { frobs = 3 }", 65, []string{"wazero", "frobs"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, c.code, c.wants, "--config", withEngine(t, c.engine))
		})
	}
	t.Run("right sum", func(t *testing.T) {
		d, _ := startConfig(t, strings.Replace(allRoles, `engine "wazero" {}`, "engine \"wazero\" {\n  sha256 = \""+sum+"\"\n}", 1))
		d.must("kvs", "PUT", "a", "b")
	})
	t.Run("by a person", func(t *testing.T) {
		d := &daemon{t: t, log: &lockedBuffer{}}
		cmd := d.command(context.Background())
		cmd.Path = filepath.Join(bin, "essad-plugin-wazero")
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Error("a plugin that a person starts ends well")
		}
		wantAll(t, "a plugin that a person starts", string(out), "plugin", "daemon")
	})
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	bad := write(t, "bad.hcl", []byte("kvs {\n  durabilty = \"sync\"\n}\nscheduler {\n  call {\n    attempts = 99\n  }\n}\n"))
	wants := []string{"bad.hcl:2:3", "durabilty", `"durability"`, "bad.hcl:6:", "attempts"}
	refused(t, 65, wants, "--config", bad)
	d := &daemon{t: t}
	d.fails(65, wants, "validate", bad)
	refused(t, 65, []string{"executor.memory"}, "dev", "--data", t.TempDir(), "--set", "executor.memory=lots")
	broken := write(t, "broken.hcl", []byte("kvs {\n"))
	d.fails(65, []string{"broken.hcl:"}, "validate", broken)
	r := d.run("-o", "json", "validate", bad)
	if r.code != 65 || !strings.Contains(r.err, `"line"`) {
		t.Errorf("validate as JSON: code %d, %s", r.code, r.err)
	}

	good := configFile(t, allRoles)
	wantAll(t, "validate", d.must("validate", good), "valid", "kvs")
	if m := d.doc("validate", good); m["valid"] != true {
		t.Errorf("validate: %v", m)
	}
	printed := d.must("config", "print", "--config", good, "--set", "kvs.durability=batched")
	wantAll(t, "config print", printed, "essad.hcl:2:", "default", "--set", `"batched"`)
	d.must("validate", write(t, "printed.hcl", []byte(printed))) // what is printed can be read
	d.must("validate", write(t, "default.hcl", []byte(d.must("config", "default"))))
	d.docs("config", "print", "--config", good)
}

// The operator says how much anybody may ask for. That changes while the daemon runs, and then holds for what is deployed already.
func TestMaxLimits(t *testing.T) {
	t.Parallel()
	d, file := startConfig(t, strings.Replace(allRoles, "executor {}", `executor {
  max_limits {
    memory    = "512MiB"
    wall_time = "300ms"
    args      = "16MiB"
    log_line  = "8KiB"
    handles   = 65536
    stack     = 20000000
  }
}`, 1))
	d.fails(codeDenied, []string{"limit of memory", "1073741824", "536870912", "executor.max_limits.memory"}, "deploy", "big", rude, "--memory", "1GiB")
	d.fails(codeDenied, []string{"wall_time", "1m0s", "300ms"}, "deploy", "long", rude, "--wall-time", "1m")
	for flag, name := range map[string]string{
		"--max-args=17MiB": "args", "--max-line=9KiB": "log_line", "--handles=65537": "handles", "--handles=-1": "handles", "--stack=20000001": "stack",
	} {
		d.fails(codeDenied, []string{"limit of " + name, "executor.max_limits." + name}, "deploy", "much", rude, flag)
	}
	d.fails(125, []string{"limit of memory", "executor.max_limits.memory"}, "run", rude, "--memory", "1GiB", "--", "args")
	if out := d.must("deployments"); strings.Contains(out, "big") || strings.Contains(out, "long") || strings.Contains(out, "much") {
		t.Errorf("what was refused is deployed:\n%s", out)
	}
	d.must("deploy", "fits", rude, "--memory", "512MiB", "--wall-time", "300ms", "--max-args", "16MiB", "--max-line", "8KiB", "--handles", "65536", "--stack", "20000000")
	d.must("deploy", "silent", rude)
	d.must("call", "fits", "say", "--arg", "x")
	// Who asks for no limit of time gets the most there may be, whatever the caller allows.
	d.fails(76, []string{"longer than 300ms"}, "call", "silent", "sleep", "--arg", "u64:3600000", "--timeout", "1h")
	d.configure(file, strings.Replace(allRoles, "executor {}", `executor {
  max_limits {
    memory = "256MiB"
  }
}`, 1))
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the configuration is reloaded", func() bool { return strings.Contains(d.log.String(), "configuration reloaded") })
	d.fails(codeDenied, []string{"limit of memory", "268435456"}, "call", "fits", "say", "--arg", "x")
	d.must("call", "silent", "say", "--arg", "x")
}

// SIGHUP: limits change at once, and keys that cannot are named.
func TestReload(t *testing.T) {
	t.Parallel()
	d, file := startConfig(t, allRoles)
	d.must("deploy", "rude", rude)
	d.must("call", "rude", "big_result", "--arg", "u64:100000")
	reload := func(lines, want string) {
		t.Helper()
		from := len(d.log.String())
		d.configure(file, lines)
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log says "+want, func() bool { return strings.Contains(d.log.String()[from:], want) })
	}
	less := regexp.MustCompile(`executor \{\}`).ReplaceAllString(allRoles, "executor {\n  limits {\n    result = \"4KiB\"\n  }\n}")
	less = strings.Replace(less, "kvs {}", "kvs {\n  max_key = \"1KiB\"\n}", 1)
	less = strings.Replace(less, "scheduler {}", "scheduler {\n  call {\n    timeout = \"200ms\"\n  }\n}", 1)
	reload(less, "configuration reloaded")
	d.fails(76, []string{"result", "4096"}, "call", "rude", "big_result", "--arg", "u64:100000")
	d.fails(codeDeadline, nil, "call", "rude", "sleep", "--arg", "u64:3600000")
	wantAll(t, "the log", d.log.String(), "needs a restart", "kvs.max_key")
	d.must("kvs", "PUT", strings.Repeat("k", 2000), "v")
	reload("kvs {\n  nonsense = 1\n}\n", "not reloaded")
	d.fails(76, []string{"result", "4096"}, "call", "rude", "big_result", "--arg", "u64:100000")
	reload(allRoles, "configuration reloaded")
	d.must("call", "rude", "big_result", "--arg", "u64:100000")
}
