package fakehost

import (
	"context"
	"os/exec"
	"testing"
)

// Prepare decides whether a test that compiles a Go module is to go on. Under the race detector, which makes the engine's
// compiler several times slower and sees nothing of what the module does, the test runs in a process without it instead.
func Prepare(t *testing.T) (goOn bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and compiles a Go module")
	}
	if !underRace {
		return true
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run=^"+t.Name()+"$", ".").CombinedOutput()
	if err != nil {
		t.Errorf("without the race detector: %v\n%s", err, out)
	}
	return false
}

// StartGo builds the Go guest in the current folder and starts a host for it, which ends with the test.
func StartGo(t *testing.T) *Host {
	t.Helper()
	ctx := context.Background()
	wasm, err := BuildGo(ctx, ".", t.TempDir(), "essa_upstream")
	if err != nil {
		t.Fatal(err)
	}
	return Start(t, wasm)
}

// Start starts a host for a module, which ends with the test.
func Start(t *testing.T, wasm []byte) *Host {
	t.Helper()
	ctx := context.Background()
	h, err := New(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Logf("module of %d bytes", len(wasm))
	return h
}
