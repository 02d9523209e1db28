//go:build wasmedge

// Command wasmedge is the executor engine over WasmEdge's interpreter. essad's supervisor starts it as essad-plugin-wasmedge.
//
// It needs libwasmedge 0.14 where it is built and where it runs (Debian trixie: libwasmedge-dev and libwasmedge0), and all its
// files have the build tag wasmedge, so that machines without the library build everything else. It may import sdk/... and
// the Go binding. Results, limits and errors are those of every engine (sdk/engine/enginetest); what differs is this:
//
//   - It is slow where guests compute: 20 to 70 times slower than wazero's compiled code (BenchmarkCode). Its use is a second
//     opinion, and what runs on WasmEdge elsewhere.
//   - An instance has a copy of the module's decoded code: 43 MB for a Go guest with JSON, which counts toward the engine's
//     memory (weigh). What it is made of, the decoded module, takes 59 MB more. So both go when nobody has called a function for a
//     while (the setting parked_time, 10 s): a parked function is a snapshot in a file and takes less than 200 KiB (TestParked). The
//     next call decodes the module and makes an instance again, some 140 ms for Go and 2 to 12 ms for other guests. While calls
//     come an instance stays, and one more for each that ran at the same time.
//   - Traps have WasmEdge's words and no stack, which its C interface does not give.
//   - NaN: neither this engine nor another makes them canonical. Their sign and payload are what the processor and the order
//     of operands leave, as WebAssembly allows; a module that looks at them can tell engines apart.
//   - A unit of the stack limit takes up to 2.7 bytes, which are given back when the call ends (TestDeepRecursion). Those of a
//     guest that waits count toward the engine's memory (TestWaitingStacks); those of guests that execute are bounded by how many
//     do. The interpreter has no limit of its own.
//   - A guest that waits in an import holds a thread, so there are at most maxInstances instances.
//
// Why not WasmEdge's ahead-of-time compiler? Its code takes SIGSEGV, SIGBUS and SIGFPE for itself during a call and leaves them
// at their default afterwards, so that the next nil dereference in Go, or a trap in two threads, or a guest's endless
// recursion, ends the process. And it compiles a small Go guest in 50 seconds.
//
// Why not one instance for all calls of a module, or one that has the code and others that import it? An instance's memory and
// globals are its functions': a function that is imported still works on its own instance's, and the library offers no other
// way to have code without a copy. With one instance a second call would wait for the first, and nested calls for themselves.
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
	Backend:  func(*runtime.Settings) (runtime.Backend, error) { return newBackend("") },
	Compiler: func(dir string) (runtime.Backend, error) { return newBackend(dir) }, // it decodes and validates one module
	Settings: defaults,
}

// sliceUnits are between safepoints: some 0.2 ms, at the pace of an interpreter.
const sliceUnits = 1 << 14

func defaults(s *runtime.Settings) {
	s.Admit.RouteGrow = true
	if s.Admit.SliceUnits == 0 {
		s.Admit.SliceUnits = sliceUnits
	}
}
