//go:build wasmedge

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of TestDaemon: an interpreter takes seconds for what compiled code does at once.
const patience = 60 * time.Second

// TestDaemon runs the guests of the examples on a real daemon whose engine is this plugin.
func TestDaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the daemon and its guests")
	}
	dir := t.TempDir()
	build := func(env []string, args ...string) {
		t.Helper()
		cmd := exec.Command("go", append([]string{"build"}, args...)...)
		cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %v: %v\n%s", args, err, out)
		}
	}
	build(nil, "-o", filepath.Join(dir, "essad"), "./essad")
	build(nil, "-tags", "wasmedge", "-o", filepath.Join(dir, "essad-plugin-wasmedge"), "./plugins/wasmedge")
	build([]string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared", "-ldflags=-s -w", "-o", filepath.Join(dir, "test-function.wasm"),
		"./examples/test-function")
	essad := startDaemon(t, dir)

	lines := strings.Split(strings.TrimSpace(essad("run", filepath.Join(dir, "test-function.wasm"))), "\n")
	if lines[0] != "Hello world from test function!" || lines[len(lines)-1] != "DONE" {
		t.Errorf("the demo function printed %q", lines)
	}
	essad("deploy", "splitter", filepath.Join("..", "..", "examples", "splitter", "splitter.wasm"))
	want := "00000000" + hex.EncodeToString([]byte{0, 1, 0, 0, 0, 0, 0, 0}) + "\n"
	if got := essad("call", "splitter", "split", "--arg", "u64:0", "--arg", "u64:256", "--as", "hex"); got != want {
		t.Errorf("split(0, 256) is %q, want %q", got, want)
	}
	if got := essad("plugins"); !strings.Contains(got, "wasmedge") {
		t.Errorf("essad plugins does not know it:\n%s", got)
	}
}

// startDaemon starts a daemon with all roles, and returns what runs its command line.
func startDaemon(t *testing.T, dir string) func(args ...string) string {
	t.Helper()
	config := fmt.Sprintf(`
node {
  data_dir    = %[1]q
  runtime_dir = %[2]q
  plugin_dir  = %[3]q
}
routing {}
kvs {
  store = ""
}
scheduler {}
executor {
  engines = ["wasmedge"]
}
engine "wasmedge" {}
`, filepath.Join(dir, "data"), filepath.Join(dir, "run"), dir)
	file := filepath.Join(dir, "essad.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	daemon := exec.Command(filepath.Join(dir, "essad"), "--config", file)
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the daemon did not stop")
			_ = daemon.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", log.String())
		}
	})
	run := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(dir, "essad"), args...)
		cmd.Env = append(os.Environ(), "ESSA_ADDRESS="+filepath.Join(dir, "run", "essad.sock"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("essad %v: %w\n%s", args, err, stderr.String())
		}
		return string(out), err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := run("status")
		if err == nil && strings.Contains(out, "wasmedge (engine) ready") {
			break
		}
		select {
		case <-ended:
			t.Fatalf("the daemon ended:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the engine is not ready: %v\n%s", err, out)
		}
	}
	return func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
