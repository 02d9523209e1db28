package runtime

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/wasi"
	"github.com/essa-project/essad/sdk/status"
)

// Backend is what the author of an engine writes.
type Backend interface {
	// Info says who the engine is. Name and Version are part of the key of the cache on disk, so Version must change
	// with everything that changes what Compile makes or reads.
	Info() engine.Info
	// Compile makes an admitted module executable. cached tells that native code was found. The imports are checked.
	Compile(ctx context.Context, m *admit.Admitted) (code Code, cached bool, err error)
	// Close frees what is shared. Every Code is closed by then.
	Close() error
}

// Loader is a Backend that executes a module from the files of native code that its Compile has left, without the module's
// bytes. Then those are not kept on disk, and a cold start neither reads nor checks them.
type Loader interface {
	// Load makes a module executable. files are the full names of what Compile left, in the order of their names. An error
	// means that they are damaged: they are made again.
	Load(files []string, f *admit.Facts) (Code, error)
}

// Code is a compiled module.
type Code interface {
	// Instantiate makes a clean instance, whose imports are those of Imports, called with g. No code of the guest runs.
	// The instance's memory may grow as far as g.GrowMemory allows. At its minimum it is accounted for. Admission has taken
	// the data out of most modules; the runtime fills the memory. Where g.Keeps the instance should be a Keeper.
	Instantiate(g *Guest) (Instance, error)
	Close() error
}

// Weigher is a Code whose instances take more memory beside the guest's than a few dozen kilobytes each: copies of the code,
// for example. It counts toward the engine's memory.
type Weigher interface{ InstanceBytes() int64 }

// Stacked is a Code whose guests keep a stack while they wait that nothing else counts. While they execute it is bounded by how many
// do.
type Stacked interface {
	// StackBytes returns what a stack takes of which a guest has used so many of admission's units.
	StackBytes(units int64) int64
}

// Rester is a Code that keeps memory which only making instances needs, or which instances have left.
type Rester interface {
	// Rest gives that back to the operating system. It is called when for a while no instance was made or closed; one may be
	// made meanwhile, and then whenever it is wanted again.
	Rest()
}

// Instance is an instance of a module. Its methods are called by one goroutine at a time, except SetGlobal.
type Instance interface {
	// Call calls an export. Where an import returns an error the guest must trap with it, and Call must return an error.
	// Other errors are the guest's, with a text that people can read, stack included.
	Call(export string, params []uint64) error
	// Memory returns the current contents of the module's memory, which stay in place while an import runs.
	Memory() []byte
	// Global and SetGlobal read and write an exported mutable global of type i32. SetGlobal is called while the guest
	// runs, by another goroutine; the guest sees it at its next safepoint.
	Global(name string) int32
	SetGlobal(name string, v int32)
	// Global64 and SetGlobal64 are the same for an exported mutable global of type i64. They are called between calls of the
	// guest and by imports, never beside a running guest.
	Global64(name string) int64
	SetGlobal64(name string, v int64)
	// Close frees the instance. Nothing is called after it.
	Close()
}

// Keeper is an Instance that can serve one invocation after another. An engine whose instances implement it has calls that
// start in a microsecond: in between the runtime sets memory and globals back to what they were after initialisation.
//
// Its memory is a mapping of its own, of whole pages of the operating system, that stays where it is while the instance
// lives, growth included. The runtime maps the snapshot over it (MAP_FIXED); Close frees it all the same, with munmap.
type Keeper interface {
	Instance
	// Bind hands the instance to another invocation: from now on g is who its imports are called with and who lets its
	// memory grow. No call is under way. It is nil where none has it; then it is only looked at, written and closed.
	Bind(g *Guest)
	// Globals finds exported mutable globals, of types i32, i64, f32 and f64, for the methods below, which read and write
	// the bits of all of them in that order; types of 32 bits use the lower half. It is called once, and they are called
	// only while no call is under way.
	Globals(names []string) error
	ReadGlobals(bits []uint64)
	WriteGlobals(bits []uint64)
}

// Trimmer is a Keeper whose calls may leave memory behind that is neither the guest's nor counted, such as a deep stack.
type Trimmer interface {
	// Trim gives that back. It is called after each call that may have touched new pages of memory.
	Trim()
}

// Shrinker is a Keeper whose memory can be made smaller again. Where an engine's are none, a call that lets its memory grow is
// its instance's last.
type Shrinker interface {
	Keeper
	// Shrink cuts the memory down to so many bytes, as if it had never grown. What is cut off stays mapped as it is, and is the
	// guest's again when the memory grows. No call is under way. It returns false where that is not possible.
	Shrink(size int) bool
}

// Import is one function to bind. Its parameters and results are i32 for each letter i, and i64 for each letter I.
type Import struct {
	Module, Name string
	Params       string
	Result       bool // an i32
	// Call finds the parameters in stack and leaves the result in stack[0]. It is called by the goroutine that called
	// Instance.Call. It does not panic.
	Call func(g *Guest, stack []uint64) error
}

// Imports lists all that guests can import.
func Imports() []Import {
	var list []Import
	for _, f := range abi.Funcs() {
		list = append(list, Import{f.Module, f.Name, "iiiii"[:f.Params], true, bindABI(f)})
	}
	for _, module := range []string{wasi.Preview1, wasi.Unstable} {
		for _, f := range wasi.Funcs(module) {
			list = append(list, Import{module, f.Name, f.Params, f.Result, bindWASI(module, f)})
		}
	}
	return list
}

func bindABI(f abi.Func) func(*Guest, []uint64) error {
	name, call := f.Module+"."+f.Name, f.Call
	own := f.Module == abi.HostModule && (f.Name == "essa_get_args" || f.Name == "essa_set_result")
	return func(g *Guest, stack []uint64) (err error) {
		defer g.recoverImport(name, &err)
		if err := g.countImport(); err != nil {
			return err
		}
		if g.initial != nil && (!own || !g.initial.warmUp) {
			g.touched = "calls " + name
		}
		return g.note(call(&g.abi, g.memory(), stack))
	}
}

func bindWASI(module string, f wasi.Func) func(*Guest, []uint64) error {
	name, call := module+"."+f.Name, f.Call
	return func(g *Guest, stack []uint64) (err error) {
		defer g.recoverImport(name, &err)
		if err := g.countImport(); err != nil {
			return err
		}
		return g.note(call(&g.wasi, g.memory(), stack))
	}
}

// memory returns the memory that imports see: only an exported one is theirs.
func (g *Guest) memory() []byte {
	if !g.mod.facts.MemoryExported {
		return nil
	}
	return g.inst.Memory()
}

// spareEvery is how often a guest that makes one host call after the other looks whether anybody else has a processor.
const spareEvery = 512

// countImport counts an import call and ends the invocation where there were too many, or it is to end anyway.
func (g *Guest) countImport() error {
	if g.hostCalls++; g.hostCalls%spareEvery == 0 {
		g.rt.slots.spare()
	}
	if g.lim.HostCalls > 0 && g.hostCalls > g.lim.HostCalls {
		return g.note(&abi.End{Err: status.LimitError("host_calls",
			"the invocation made more than %d host calls", g.lim.HostCalls)})
	}
	if g.ended.Load() {
		return &abi.End{Err: g.why()}
	}
	return nil
}

// note remembers the error with which an import ends the invocation: engines differ in what they make of it.
func (g *Guest) note(err error) error {
	if err != nil && g.importErr == nil {
		g.importErr = err
	}
	return err
}

// recoverImport makes a panic of our own code the end of one invocation.
func (g *Guest) recoverImport(name string, err *error) {
	if p := recover(); p != nil {
		*err = g.note(&abi.End{Err: g.rt.bug("import "+name, p)})
	}
}

// bug reports a panic and returns the error for it.
func (rt *Runtime) bug(where string, p any) error {
	rt.log("panic in the engine", "where", where, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return status.Errorf(status.Internal, "the engine failed in %s: %v", where, p)
}
