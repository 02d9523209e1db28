// Package enginetest is the contract of executor engines in executable form. Every engine passes Run, used directly and
// through the plugin border.
//
// It holds guests (testdata, C with the compiled modules beside it), a Border in memory, and the tests: every row of the
// guest ABI, WASI, limits, hostile guests, nested calls and the near cache. It may import sdk/engine and what that may, and
// sdk/lattice. Tests of engines import it.
package enginetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

//go:embed testdata/*.wasm testdata/differential.txt
var files embed.FS

// Open makes an engine for a test; the suite closes it. memory is what all instances may take together, 0 the engine's
// default; workers likewise how many guests execute at a time.
type Open func(t testing.TB, b engine.Border, o Options) engine.Engine

// Options are settings that tests need to differ.
type Options struct {
	Workers int
	Queue   int
	Memory  int64
}

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	t.Run("ABI", func(t *testing.T) { testABI(t, open) })
	t.Run("WASI", func(t *testing.T) { testWASI(t, open) })
	t.Run("Modules", func(t *testing.T) { testModules(t, open) })
	t.Run("Runs", func(t *testing.T) { testRuns(t, open) })
	t.Run("Limits", func(t *testing.T) { testLimits(t, open) })
	t.Run("Faults", func(t *testing.T) { testFaults(t, open) })
	t.Run("Nested", func(t *testing.T) { testNested(t, open) })
	t.Run("Cache", func(t *testing.T) { testCache(t, open) })
	t.Run("Differential", func(t *testing.T) { testDifferential(t, open) })
	t.Run("Hostile", func(t *testing.T) { testHostile(t, open) })
	t.Run("Isolation", func(t *testing.T) { testIsolation(t, open) })
	t.Run("Neighbours", func(t *testing.T) { testNeighbours(t, open) })
}

// fixture is an engine with the suite's guest.
type fixture struct {
	engine engine.Engine
	border *Border
	module string
}

// Wasm returns one of the suite's modules: "guest.wasm", "unstable.wasm" or "command.wasm".
func Wasm(name string) []byte {
	b, err := files.ReadFile("testdata/" + name)
	if err != nil {
		panic(err)
	}
	return b
}

func start(t testing.TB, open Open, o Options) *fixture {
	t.Helper()
	return startWith(t, open, o, &Border{}, "guest.wasm")
}

func startWith(t testing.TB, open Open, o Options, b *Border, module string) *fixture {
	t.Helper()
	x := &fixture{border: b, engine: open(t, b, o)}
	t.Cleanup(func() {
		if err := x.engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	x.module, _ = Prepare(t, x.engine, Wasm(module))
	return x
}

// ModuleOf returns the name of a module's bytes.
func ModuleOf(wasm []byte) engine.Module {
	sum := sha256.Sum256(wasm)
	return engine.Module{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(wasm))}
}

// Prepare prepares a module and returns its name.
func Prepare(t testing.TB, e engine.Engine, wasm []byte) (string, engine.ModuleInfo) {
	t.Helper()
	info, err := prepare(e, wasm)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return ModuleOf(wasm).SHA256, info
}

func prepare(e engine.Engine, wasm []byte) (engine.ModuleInfo, error) {
	return e.Prepare(context.Background(), ModuleOf(wasm), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(wasm)), nil
	})
}

// testScope is the scope of the suite's calls.
const testScope = "test"

// function makes a call of one of the guest's functions.
func (x *fixture) function(name string, args []byte) *engine.Call {
	id := hlc.NewID()
	return &engine.Call{ID: id, Root: id, Module: x.module, Scope: testScope, Function: name, Args: args}
}

func (x *fixture) main() *engine.Call {
	c := x.function("", nil)
	c.Run, c.Argv = true, []string{"program"}
	return c
}

// invoke makes a call that must not take longer than a test has time.
func (x *fixture) invoke(c *engine.Call) (*engine.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return x.engine.Invoke(ctx, c)
}

func (x *fixture) mustInvoke(t testing.TB, c *engine.Call) *engine.Result {
	t.Helper()
	r, err := x.invoke(c)
	if err != nil {
		t.Fatalf("%s: %v", c.Function, err)
	}
	return r
}

// wantError checks an error's class, and its detail where one is given.
func wantError(t testing.TB, err error, class status.Class, detail string) {
	t.Helper()
	if status.Of(err) != class || detail != "" && status.DetailOf(err) != detail {
		t.Errorf("got %s (%v), want %s/%s", status.Code(err), err, class, detail)
	}
}

// working checks that the engine still serves.
func (x *fixture) working(t testing.TB) {
	t.Helper()
	if r, err := x.invoke(x.function("echo", []byte("still here"))); err != nil || string(r.Value) != "still here" {
		t.Errorf("afterwards: %v %v", r, err)
	}
}

func wantText(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not contain %q", text, p)
		}
	}
}
