//go:build wasmedge

// Command wasmedge is the executor engine over WasmEdge's interpreter. essad's supervisor starts it as essad-plugin-wasmedge.
//
// It needs libwasmedge 0.14 where it is built and where it runs (Debian trixie: libwasmedge-dev and libwasmedge0), and all its
// files have the build tag wasmedge, so that machines without the library build everything else. It may import sdk/... and
// the Go binding. Results, limits and errors are those of every engine (sdk/engine/enginetest); what differs is this:
//
//   - It is slow where guests compute: 20 to 70 times slower than wazero's compiled code (BenchmarkCode). Its use is a second
//     opinion, and what runs on WasmEdge elsewhere.
//   - An instance has a copy of the module's decoded code: 32 MB for a small Go guest, which counts toward the engine's memory
//     (weigh). Instances are kept between calls, so few are made.
//   - Traps have WasmEdge's words and no stack, which its C interface does not give.
//   - NaN: neither this engine nor another makes them canonical. Their sign and payload are what the processor and the order
//     of operands leave, as WebAssembly allows; a module that looks at them can tell engines apart.
//   - A unit of the stack limit takes up to 2.7 bytes, which do not count toward the engine's memory and are given back when
//     the call ends (TestDeepRecursion). The interpreter has no limit of its own.
//   - A guest that waits in an import holds a thread, so there are at most maxInstances instances.
//
// Why not WasmEdge's ahead-of-time compiler? Its code takes SIGSEGV, SIGBUS and SIGFPE for itself during a call and leaves them
// at their default afterwards, so that the next nil dereference in Go, or a trap in two threads, or a guest's endless
// recursion, ends the process. And it compiles a small Go guest in 50 seconds.
//
// Why not the binding's own calls and host functions? They carry every value in an interface, look up host functions in a
// map under a lock, and give them no way to know which invocation they serve. shim.c does it with one call in and one out.
//
// Why does memory.grow go by the host (admit.Options.RouteGrow)? WasmEdge knows a limit per configuration and one per memory
// type, and asks nobody: what all instances take together could not be bounded.
package main

import (
	"os"
	goruntime "runtime"
	"strconv"

	"github.com/second-state/WasmEdge-go/wasmedge"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin"
)

// compileCommand is the argument with which the plugin starts itself to look at one module.
const compileCommand = "compile-module"

// What differs from the defaults of other engines.
const (
	defaultModules = 32      // kept decoded: a Go guest takes 45 MB
	sliceUnits     = 1 << 14 // between safepoints: some 0.2 ms, at the pace of an interpreter
)

func def(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// ballast is never touched, and so takes addresses and no memory. It makes the garbage collector wait for as many bytes of
// garbage: with the small heap of an idle engine it would run every hundred calls.
var ballast = make([]byte, 32<<20)

func main() {
	defer goruntime.KeepAlive(ballast)
	if len(os.Args) == 2 && os.Args[1] == compileCommand {
		os.Exit(runtime.CompileModule(newCompiler))
	}
	if len(os.Args) > 1 && os.Args[1] == runtime.MeasureCommand {
		os.Exit(runtime.MeasureModule(os.Args[2:], newEngine, []string{"/proc/self/exe", compileCommand}))
	}
	about := plugin.About{Name: "wasmedge", Version: wasmedge.GetVersion(), Settings: []plugin.Setting{
		{Name: "cache_dir", Type: "string", Doc: "Folder for admitted modules; the daemon names one."},
	}}
	for _, s := range runtime.SettingsTable() {
		if s.Name == "modules" {
			s.Default = strconv.Itoa(defaultModules)
		}
		about.Settings = append(about.Settings, plugin.Setting{Name: s.Name, Type: s.Type, Default: s.Default, Doc: s.Doc})
	}
	plugin.ServeEngine(open, about)
}

// newCompiler makes the backend of a process that decodes and validates one module.
func newCompiler(string) (runtime.Backend, error) { return newBackend() }

// open makes the engine of a configuration.
func open(c plugin.EngineConfig) (engine.Engine, error) {
	s, err := runtime.ParseSettings(c.Settings, "cache_dir")
	if err != nil {
		return nil, err
	}
	if s.CacheDir = c.CacheDir; s.CacheDir != "" {
		// Not by name: the file may have been replaced by a newer one meanwhile.
		s.Compiler = []string{"/proc/self/exe", compileCommand}
	}
	s.Log, s.Share = c.Logger.Warn, runtime.ShareProcessors()
	return newEngine(s, c.Border)
}

func newEngine(s runtime.Settings, border engine.Border) (engine.Engine, error) {
	b, err := newBackend()
	if err != nil {
		return nil, err
	}
	s.Admit.RouteGrow = true
	def(&s.Modules, defaultModules)
	def(&s.Admit.SliceUnits, sliceUnits)
	e, err := runtime.New(b, border, s)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return e, nil
}
