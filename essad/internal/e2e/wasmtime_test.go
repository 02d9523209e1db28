package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/essa-project/essad/sdk/client"
)

// buildWasmtime builds the engine plugin that needs a C compiler; without one the test is left out.
func buildWasmtime(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "CGO_ENABLED", "CC").Output()
	cgo, cc, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if _, found := exec.LookPath(cc); err != nil || cgo != "1" || found != nil {
		t.Skipf("the plugin wasmtime needs a C compiler: CGO_ENABLED=%s, CC=%s, %v", cgo, cc, found)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "essad-plugin-wasmtime"), "./plugins/wasmtime")
	cmd.Dir = filepath.Join("..", "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin wasmtime: %v\n%s", err, out)
	}
}

// engine "wasmtime" {} is all that it takes: the guests in Go and in C do there what they do on the other engine, and an
// engine that dies costs the calls in it, which are tried again, and nobody else's.
func TestWasmtime(t *testing.T) {
	t.Parallel()
	buildWasmtime(t)
	d, _ := startConfig(t, diskless+"executor {\n  engines = [\"wasmtime\", \"wazero\"]\n}\nengine \"wasmtime\" {}\n"+
		engineBlock("wazero", ""))
	checkDemo(t, d.must("run", guest("test-function")))
	checkDemo(t, d.must("run", "--engine", "wazero", guest("test-function")))
	wantAll(t, "plugins", d.must("plugins"), "wasmtime", "v44.", "wasm-2.0", "snapshot", "fuel")

	d.must("deploy", "split", splitter)
	d.must("deploy", "split-go", guest("bench-go"))
	for _, name := range []string{"split", "split-go"} {
		out := d.must("call", name, "split", "--arg", "u64:0", "--arg", "u64:512", "--as", "hex", "--timeout", patience.String())
		if want := fmt.Sprintf("00000000%s\n", littleHex(512)); out != want {
			t.Errorf("%s(0, 512) is %s", name, out)
		}
	}
	d.must("deploy", "rude", rude)
	d.fails(74, []string{"deadline"}, "call", "rude", "spin", "--timeout", "500ms")
	d.fails(76, []string{"stack"}, "call", "rude", "overflow")
	d.fails(1, []string{"unreachable", "essa_function_trap"}, "call", "rude", "trap")

	d.must("deploy", "beside", splitter, "--engine", "wazero")
	c, _ := d.client()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	args := binary.LittleEndian.AppendUint64(make([]byte, 8), 32)
	var ended [2]atomic.Int64
	errs := make(chan error, 2)
	for i, name := range []string{"split", "beside"} {
		go func() {
			for ctx.Err() == nil {
				if _, err := c.Call(ctx, name, "split", args, client.CallOptions{}); err != nil && ctx.Err() == nil {
					errs <- fmt.Errorf("%s: %w", name, err)
					return
				}
				ended[i].Add(1)
			}
			errs <- nil
		}()
	}
	for _, signal := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGKILL} {
		for i := range ended {
			from := ended[i].Load()
			eventually(t, "calls end", func() bool { return ended[i].Load() > from+50 || len(errs) > 0 })
		}
		old := d.plugin("wasmtime")
		if err := syscall.Kill(old, signal); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the engine is there again", func() bool { now := d.plugin("wasmtime"); return now != 0 && now != old })
	}
	d.must("call", "split", "noop")
	cancel()
	for range ended {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
