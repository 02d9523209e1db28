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
	"github.com/second-state/WasmEdge-go/wasmedge"

	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
)

func main() { wasmedgeEngine.Main() }

var wasmedgeEngine = &engineplugin.Engine{
	Name: "wasmedge", Version: wasmedge.GetVersion(), Cache: "admitted modules",
	Backend:  func(*runtime.Settings) (runtime.Backend, error) { return newBackend() },
	Compiler: func(string) (runtime.Backend, error) { return newBackend() }, // it decodes and validates one module
	Settings: defaults,
}

// What differs from the defaults of other engines.
const (
	defaultModules = 32      // kept decoded: a Go guest takes 45 MB
	sliceUnits     = 1 << 14 // between safepoints: some 0.2 ms, at the pace of an interpreter
)

func defaults(s *runtime.Settings) {
	s.Admit.RouteGrow = true
	def(&s.Modules, defaultModules)
	def(&s.Admit.SliceUnits, sliceUnits)
}

func def(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}
