//go:build cgo && linux && (amd64 || arm64)

// Command wasmtime is the executor engine over wasmtime: WebAssembly compiled to native code by Cranelift. essad's supervisor
// starts it as essad-plugin-wasmtime. It is built where there is a C compiler; the library comes with wasmtime's Go binding.
//
// It calls the library's C API through a shim of its own (shim.c) and not through the binding, which takes 3 to 5 us for a
// call, has no memories of one's own and calls back into Go on the guest's stack.
//
// Why does every guest run on a fiber? There are three ways to run a guest from Go. Processor time of a call of nothing, and
// of an import that does nothing:
//
//	the binding's Func.Call and FuncNew            3 to 5 us   0.4 to 0.8 us
//	an unchecked call, and a callback of C into Go 0.06 us     0.08 us
//	a call on a fiber, left and resumed            0.4 us      0.4 us
//
// On the first two the guest stands on the stack of an operating system's thread, and a guest that waits, for state or for a
// call it has made, keeps that thread: a few thousand waiting guests would be as many threads. The stack is also too small:
// admission lets a guest have 16 MiB of it, and nested calls run within each other. On a fiber the guest has a stack of its
// own; an import leaves it, C returns to Go, and the guest goes on later, on whatever thread. So there are as many threads as
// workers (TestThreads), and a microsecond for a call with two imports is the price.
//
// Why no epochs? Admission's safepoints end every guest already, within a few milliseconds, at a cost that is paid anyway.
// wasmtime's epochs would add 5 % to a function that parses JSON, and end no guest sooner than the same watchdog tells.
//
// How is a memory kept within its bounds? wasmtime asks before it grows one, on the guest's stack, where Go cannot be called;
// so the question is put on the stack that the guest was entered from (memory_grow in shim.c).
//
// What is known of wasmtime beside its C API is where globals are in its record of an instance: they are set while the guest
// runs, and set back by the dozen between calls. Each module's are found by trial (essad_locate), never assumed.
//
// Nothing but the daemon may start it, and nobody imports it.
package main

import (
	"os"
	goruntime "runtime"
	"strconv"

	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
)

func main() { wasmtimeEngine.Main() }

// bindingPath is the module that brings the library; its version is the library's.
const bindingPath = "github.com/bytecodealliance/wasmtime-go/v44"

var version = engineplugin.VersionOf(bindingPath)

var wasmtimeEngine = &engineplugin.Engine{
	Name: "wasmtime", Version: version, Cache: "modules and native code", Backend: open, Compiler: newCompiler, Settings: defaults,
}

// Guests run within calls of C, beside which Go's scheduler and its collections go on: nobody waits for a guest's safepoint.
func defaults(s *runtime.Settings) { s.Admit.InPlace = true }

// open makes the backend. What it compiles itself is not kept; what the compiler's process keeps it loads.
func open(*runtime.Settings) (runtime.Backend, error) { return newBackend("") }

// newCompiler makes the backend of a process that compiles and does nothing else.
func newCompiler(dir string) (runtime.Backend, error) {
	if err := os.Setenv("RAYON_NUM_THREADS", strconv.Itoa(goruntime.GOMAXPROCS(0))); err != nil { // Cranelift's threads
		return nil, err
	}
	return newBackend(dir)
}
