// Package runtimetest is what engines over sdk/engine/runtime have in common beyond the contract of engines, in executable
// form: the cache on disk and the process that compiles, modules that are evicted, our own bugs under a guest, what a trap
// tells, Go guests that are set back; and their benchmarks. Such an engine passes Run beside enginetest.Run.
//
// It may import sdk/engine and what that may, and enginetest. Tests of engines import it.
package runtimetest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

// Engine is what the tests have to know of an engine.
type Engine struct {
	New      func(runtime.Settings, engine.Border) (engine.Engine, error)
	Backend  func(dir string) (runtime.Backend, error) // of a process that compiles
	Compiler []string                                  // the program that compiles a module, with its arguments
	Native   []string                                  // how the names of the files of native code end that it keeps on disk
	Trap     string                                    // what the trap "unreachable" in a function trap(i32) says
}

// Run runs all tests.
func Run(t *testing.T, e *Engine) {
	t.Run("Panic", e.testPanic)
	t.Run("Eviction", e.testEviction)
	t.Run("TrapText", e.testTrapText)
	t.Run("DiskCache", e.testDiskCache)
	t.Run("DiskBound", e.testDiskBound)
	t.Run("CompilerRefuses", e.testCompilerRefuses)
	t.Run("CompileBomb", e.testCompileBomb)
	t.Run("Measurement", e.testMeasurement)
	t.Run("Go", e.testGo)
}

// Open opens the engine for enginetest. It compares every instance with its snapshot, and must have nothing to tell.
func (x *Engine) Open(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
	return x.OpenWith(t, b, o, func(*runtime.Settings) {})
}

// OpenWith is Open with settings changed.
func (x *Engine) OpenWith(t testing.TB, b engine.Border, o enginetest.Options, change func(*runtime.Settings)) engine.Engine {
	t.Helper()
	s := runtime.Settings{Workers: o.Workers, Queue: o.Queue, Memory: o.Memory, VerifyRestores: 1}
	s.Log = func(msg string, pairs ...any) { t.Errorf("the engine logged: %s %v", msg, pairs) }
	change(&s)
	return x.make(t, s, b)
}

func (x *Engine) make(t testing.TB, s runtime.Settings, b engine.Border) engine.Engine {
	t.Helper()
	made, err := x.New(s, b)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Cached opens the engine with a cache on disk, until the test ends.
func (x *Engine) Cached(t testing.TB, dir string, change func(*runtime.Settings)) engine.Engine {
	t.Helper()
	s := runtime.Settings{CacheDir: dir, Compiler: x.Compiler}
	if change != nil {
		change(&s)
	}
	made := x.make(t, s, &enginetest.Border{})
	t.Cleanup(func() { made.Close() })
	return made
}

// prepare prepares a module that may be refused.
func prepare(e engine.Engine, wasm []byte) error {
	_, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(wasm)), nil
	})
	return err
}

// Echo has the suite's guest answer, and checks where its instance came from.
func Echo(t testing.TB, e engine.Engine, wasm []byte, want engine.Start) {
	t.Helper()
	r, err := e.Invoke(context.Background(), &engine.Call{
		Module: enginetest.ModuleOf(wasm).SHA256, Function: "echo",
		Args: []byte("x"),
	})
	if err != nil || string(r.Value) != "x" {
		t.Fatalf("%v %v", r, err)
	}
	if r.Stats.Instance != want {
		t.Errorf("its instance came about in way %d, and not %d", r.Stats.Instance, want)
	}
}

var built struct {
	sync.Mutex
	wasm map[string][]byte
}

// GoGuest builds a guest with the Go that runs the tests, once: a package of this module, as "examples/hello".
func GoGuest(t testing.TB, pkg string) []byte {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if wasm := built.wasm[pkg]; wasm != nil {
		return wasm
	}
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "github.com/essa-project/essad/"+pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the Go guest %s: %v\n%s", pkg, err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if built.wasm == nil {
		built.wasm = map[string][]byte{}
	}
	built.wasm[pkg] = wasm
	return wasm
}

// Section is a section of a WebAssembly module.
func Section(id byte, content []byte) []byte { return Cat([]byte{id}, Leb(len(content)), content) }

// Leb is a number as modules have it.
func Leb(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// Cat joins what it is given.
func Cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Module has one function f, (i32) -> (), of this body, and one page of memory.
func Module(body []byte) []byte {
	return Cat([]byte("\x00asm\x01\x00\x00\x00"),
		Section(1, []byte{1, 0x60, 1, 0x7f, 0}), Section(3, []byte{1, 0}), Section(5, []byte{1, 0, 1}),
		Section(7, []byte{1, 1, 'f', 0, 0}), Section(10, Cat([]byte{1}, Leb(len(body)), body)))
}

// Resident returns the bytes of this process's memory that are there now, without the garbage collector's spare.
func Resident(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	return procStatus(t, "VmRSS:")
}

// Peak begins to watch the memory of this process. What it returns tells the most bytes that were there since.
func Peak(t testing.TB) func() int {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skip(err)
	}
	return func() int { return procStatus(t, "VmHWM:") }
}

func procStatus(t testing.TB, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), name)
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
