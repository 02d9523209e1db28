package admit_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	wasi "github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/essa-project/essad/sdk/engine/admit"
)

var ctx = context.Background()

// newRuntime makes a runtime like the engine plugin's: compiler, WebAssembly 2.0.
func newRuntime(t testing.TB) wazero.Runtime {
	t.Helper()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { rt.Close(ctx) })
	wasi.MustInstantiate(ctx, rt)
	return rt
}

func instantiate(t testing.TB, rt wazero.Runtime, wasm []byte) api.Module {
	t.Helper()
	cm, err := rt.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	m, err := rt.InstantiateModule(ctx, cm, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatalf("instantiate: %v", err)
	}
	if f := m.ExportedFunction("_initialize"); f != nil {
		if _, err := f.Call(ctx); err != nil {
			t.Fatalf("initialize: %v", err)
		}
	}
	return m
}

func mustAdmit(t testing.TB, wasm []byte, o admit.Options) *admit.Admitted {
	t.Helper()
	a, err := admit.Module(wasm, o)
	if err != nil {
		t.Fatalf("admit: %v", err)
	}
	return a
}

func readGuest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goGuest builds the Go guest once per test run.
func goGuest(t testing.TB) []byte {
	t.Helper()
	b, err := buildGoGuest()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var buildGoGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "admit")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "./testdata/goguest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the Go guest: %w\n%s", err, msg)
	}
	return os.ReadFile(out)
})

// goPair is the Go guest as it is and rewritten, with many more safepoints than usual. Compiling it takes a second or
// two, so tests share it; what one of them does with it must not matter to another.
type goPair struct{ plain, admitted api.Module }

var sharedGoPair = sync.OnceValues(func() (goPair, error) {
	wasm, err := buildGoGuest()
	if err != nil {
		return goPair{}, err
	}
	a, err := admit.Module(wasm, admit.Options{SliceUnits: 64})
	if err != nil {
		return goPair{}, err
	}
	config := wazero.NewRuntimeConfigCompiler()
	if raceEnabled {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	wasi.MustInstantiate(ctx, rt)
	var p goPair
	for wasm, to := range map[*[]byte]*api.Module{&wasm: &p.plain, &a.Wasm: &p.admitted} {
		config := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize")
		if *to, err = rt.InstantiateWithConfig(ctx, *wasm, config); err != nil {
			return goPair{}, err
		}
	}
	return p, nil
})

func goGuests(t testing.TB) (plain, admitted api.Module) {
	t.Helper()
	p, err := sharedGoPair()
	if err != nil {
		t.Fatal(err)
	}
	return p.plain, p.admitted
}
