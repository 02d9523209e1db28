// Package admit is the admission pass: it checks a WebAssembly core module and rewrites it so that it cannot hold, bloat
// or overflow the engine that runs it.
//
// Module promises, for every module it lets through:
//
//   - Safepoints. Compiled code leaves for the engine (memory.grow 0) after a bounded amount of work, so that the
//     engine's scheduler and garbage collector run; there it reads the exported global GlobalStop and traps if the host
//     has set it. Bulk memory operations count by length and run in chunks. With Options.InPlace it does not leave, and
//     only reads (count.go).
//   - A stack limit of its own. The exported global GlobalStack counts down by the weight of the frames; the guest traps
//     before it falls below zero. What can be on the stack without bound is counted where a call closes a cycle (frames.go),
//     which can cost a function that calls itself in a long circle up to 4,096 units more for each level.
//   - Clamped tables, and static limits on everything that costs time or memory before the first instruction runs.
//   - Nothing runs at instantiation: a start function is taken out and exported as StartExport, for the host to call
//     when it holds the instance and can stop it.
//   - Apart from that, the module behaves as before. Functions, globals, types, tables and segments keep their indices:
//     what is injected is appended. Imports are not touched.
//
// How does the host tell why a guest trapped? Both of the pass's own traps are an unreachable instruction, and before it
// GlobalReason is set to ReasonStop or ReasonStack. A trap with GlobalReason at ReasonNone is the guest's own. The guest
// cannot touch any of the injected globals: every index in its code is checked against its own index spaces, and export
// names that begin with Prefix are refused.
//
// Why a global and not a byte of memory as the stop device? A global belongs to us in every module, whatever its memory
// layout is. The test is in a function of its own, after memory.grow; there every engine has to load the global afresh
// (tested with wazero's compiler, which otherwise keeps globals in registers along straight lines).
//
// Why memory.grow 0 and not an imported function? An import would move the index of every function. A module without a
// memory gets one of no pages, which is not exported (Memory.Injected); an engine must be able to provide it.
//
// How often is a safepoint? Every SliceUnits of work as it is estimated along the longest path through the code. On a
// machine of today that is less than a tenth of a millisecond of ordinary code, and a few milliseconds where every
// access to memory misses all caches. A safepoint costs some 50 ns with wazero. What the counting costs there: nothing to 20 %
// on loops in C (35 % where each round does nothing but one small copy), 19 % for a recursive Fibonacci function, nothing to
// 18 % for Go. With Options.InPlace it costs less. For what functions cost that do something, see the bench's engines section: 4
// to 14 % with wasmtime, 7 to 20 % with wazero.
//
// The same counting meters fuel: a unit of work is a unit of fuel. What a slice has left and what GlobalFuel has left are
// together what the guest has left; a safepoint moves fuel from one to the other, and traps where there is none. The
// count depends on nothing but the rewritten code and the way a call takes through it. So the same call uses the same
// fuel on every engine and every machine, and a limit ends it at the same place, as long as what comes from outside (state,
// clock, random, results of calls) is the same. Metering takes no instruction that safepoints do not take anyway, but for the
// checks in place, which look at both.
//
// The package is pure: it imports the standard library and sdk/status, and everybody may import it. It runs on hostile
// input; no input makes it panic or allocate more than a small multiple of its size.
package admit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/essa-project/essad/sdk/status"
)

// Version changes whenever the same module and options would be rewritten in another way. Whoever keeps what was made
// from a rewritten module under the name of the original keeps this beside it.
const Version = 8

// Prefix begins every name that this pass exports; modules that use it themselves are refused.
const Prefix = "essa$"

// Exports that the pass adds. All globals are mutable, and i32 but for GlobalFuel, which is i64.
const (
	GlobalStop   = Prefix + "stop"   // the host sets it to anything but 0 to end the guest at its next safepoint
	GlobalReason = Prefix + "reason" // why the pass's own code trapped: one of the Reason constants
	GlobalStack  = Prefix + "stack"  // stack units left; the host sets the limit before it enters the guest
	GlobalSlice  = Prefix + "slice"  // units until the next safepoint
	GlobalFuel   = Prefix + "fuel"   // units that the slices to come are taken from; see Fuel and Used
	StartExport  = Prefix + "start"  // the module's start function, if Admitted.Start: call it once, first
	GrowExport   = Prefix + "grow"   // (i32) -> (i32): memory.grow, if Facts.GrowsMemory and the memory is not imported

	// TableGrow is a table of one function, (i32) -> (i32), which the host puts there: where Options.RouteGrow, it is
	// called in the place of every memory.grow of the module's own.
	TableGrow = Prefix + "grower"
)

// InjectedGlobals names the globals of the pass, all of them: they are part of an instance's state like the module's own.
func InjectedGlobals() []string {
	return []string{GlobalStop, GlobalReason, GlobalStack, GlobalSlice, GlobalFuel}
}

// Values of GlobalReason.
const (
	ReasonNone  = 0 // the pass did not trap
	ReasonStop  = 1 // GlobalStop was set
	ReasonStack = 2 // GlobalStack would have fallen below zero
	ReasonFuel  = 3 // the fuel was used up
)

// Options bound what is let through. The zero value of a field means its default, which is the constant of that name.
type Options struct {
	MaxModuleBytes   int
	MaxTypes         int
	MaxFunctions     int // imported ones included, as everywhere below
	MaxImports       int
	MaxExports       int
	MaxGlobals       int
	MaxTables        int
	MaxTableElems    int // of one table; larger maxima are clamped, larger minima refused
	MaxElemSegments  int
	MaxElems         int // in all element segments together
	MaxDataSegments  int
	MaxMemoryPages   int // of the minimum; growth is bounded by the engine's allocator
	MaxBodyBytes     int
	MaxParams        int // of one function type, and the same for its results
	MaxLocals        int // of one function, parameters included
	MaxNesting       int // blocks within blocks
	MaxBranchTargets int // of one br_table

	SliceUnits int // work between two safepoints; a unit is about one instruction
	StackUnits int // initial value of GlobalStack; a unit is about one byte of an engine's frame

	ExportGlobals bool // export every mutable global as well, for snapshots: Admitted.MutableGlobals
	RouteGrow     bool // memory.grow goes by TableGrow, for engines that do not ask the host before a memory grows
	InPlace       bool // safepoints do not leave for the engine, for those of whose guests nobody has to wait; no slices then
}

// The defaults.
const (
	MaxModuleBytes   = 64 << 20
	MaxTypes         = 20_000
	MaxFunctions     = 200_000
	MaxImports       = 2_000
	MaxExports       = 20_000
	MaxGlobals       = 20_000
	MaxTables        = 16
	MaxTableElems    = 1 << 18
	MaxElemSegments  = 20_000
	MaxElems         = 1 << 20
	MaxDataSegments  = 200_000 // Go's linker emits more than 20,000 for a small program
	MaxMemoryPages   = 1 << 14 // 1 GiB
	MaxBodyBytes     = 2 << 20
	MaxParams        = 1_000
	MaxLocals        = 20_000
	MaxNesting       = 50_000
	MaxBranchTargets = 65_536

	SliceUnits = 1 << 17 // less than a tenth of a millisecond of ordinary code, a few milliseconds of the worst
	StackUnits = 16 << 20
)

// MaxStackUnits is the largest stack limit that is sure to be met before the stack limit of an engine (wazero's is 50 MB,
// and no shape of frame that we could think of takes more than 0.65 bytes for a unit). Larger ones are lowered to it.
const MaxStackUnits = 64 << 20

// withDefaults fills in what was left zero.
func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.MaxModuleBytes, MaxModuleBytes)
	def(&o.MaxTypes, MaxTypes)
	def(&o.MaxFunctions, MaxFunctions)
	def(&o.MaxImports, MaxImports)
	def(&o.MaxExports, MaxExports)
	def(&o.MaxGlobals, MaxGlobals)
	def(&o.MaxTables, MaxTables)
	def(&o.MaxTableElems, MaxTableElems)
	def(&o.MaxElemSegments, MaxElemSegments)
	def(&o.MaxElems, MaxElems)
	def(&o.MaxDataSegments, MaxDataSegments)
	def(&o.MaxMemoryPages, MaxMemoryPages)
	def(&o.MaxBodyBytes, MaxBodyBytes)
	def(&o.MaxParams, MaxParams)
	def(&o.MaxLocals, MaxLocals)
	def(&o.MaxNesting, MaxNesting)
	def(&o.MaxBranchTargets, MaxBranchTargets)
	def(&o.SliceUnits, SliceUnits)
	def(&o.StackUnits, StackUnits)
	o.MaxModuleBytes = min(o.MaxModuleBytes, 1<<30) // offsets are 32 bits wide
	o.SliceUnits = min(o.SliceUnits, 1<<30)
	o.StackUnits = min(o.StackUnits, MaxStackUnits)
	return o
}

// Admitted is a module that was let through.
type Admitted struct {
	Wasm []byte // the rewritten module
	Facts
}

// Module checks a module and rewrites it. Its errors are status.Invalid (the bytes are not a module this platform runs;
// the text says where and what to do) or status.Limit (the detail names the limit). wasm is not changed and not kept.
func Module(wasm []byte, opts Options) (*Admitted, error) { return pass(wasm, opts, true) }

// Uncounted is Module, but it leaves the code as it was written: nothing ends a guest of it, bounds its stack or counts what
// it does. It is there to measure what all that costs, with modules that one trusts. It is a function and not one of the
// Options, for those come from an engine's settings and reach the process that compiles.
func Uncounted(wasm []byte, opts Options) (*Admitted, error) { return pass(wasm, opts, false) }

func pass(wasm []byte, opts Options, counted bool) (*Admitted, error) {
	o := opts.withDefaults()
	if len(wasm) > o.MaxModuleBytes {
		return nil, limitError("module_bytes", "the module has %d bytes, and the limit is %d", len(wasm), o.MaxModuleBytes)
	}
	if err := checkHeader(wasm); err != nil {
		return nil, err
	}
	m, err := decode(wasm, &o)
	if err != nil {
		return nil, classify(err)
	}
	out, err := rewrite(m, &o, counted)
	if err != nil {
		return nil, classify(err)
	}
	return &Admitted{Wasm: out, Facts: m.facts(&o)}, nil
}

// classify gives decoding errors their class and keeps that of limits.
func classify(err error) error {
	if status.Of(err) == status.Limit {
		return err
	}
	return status.Errorf(status.Invalid, "invalid WebAssembly module: %w", err)
}

func limitError(name, format string, args ...any) error {
	return status.LimitError(name, format, args...)
}

const advice = "build a core module for WASI preview 1 (Rust: --target wasm32-wasip1; Go: GOOS=wasip1 GOARCH=wasm " +
	"-buildmode=c-shared; C: clang --target=wasm32-wasi)"

// checkHeader tells core modules from everything that people mistake for one.
func checkHeader(b []byte) error {
	invalid := func(format string, args ...any) error { return status.Errorf(status.Invalid, format, args...) }
	switch text := strings.TrimLeft(string(b[:min(len(b), 64)]), " \t\r\n"); {
	case len(b) == 0:
		return invalid("the module is empty: %s", advice)
	case strings.HasPrefix(text, "(module") || strings.HasPrefix(text, "(component") || strings.HasPrefix(text, ";;"):
		return invalid("this is WebAssembly text, not a binary: translate it first, for example with wat2wasm")
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		return invalid("this is a native program (ELF), not WebAssembly: %s", advice)
	case !strings.HasPrefix("\x00asm", string(b[:min(len(b), 4)])):
		return invalid("this is not WebAssembly (it does not begin with \\0asm): %s", advice)
	case len(b) < 8:
		return invalid("the module ends within its first 8 bytes: the file is truncated")
	}
	switch version, layer := uint16(b[4])|uint16(b[5])<<8, uint16(b[6])|uint16(b[7])<<8; {
	case layer == 1:
		return invalid("this is a WebAssembly component, and functions are core modules: %s, "+
			"or take the core module out with `wasm-tools component unbundle`", advice)
	case layer != 0 || version != 1:
		return invalid("WebAssembly version %d (layer %d) is not supported, only version 1: %s", version, layer, advice)
	}
	return nil
}

// at says in which part of the module err was found.
func at(part string, err error) error {
	if f := (*fault)(nil); errors.As(err, &f) {
		return fmt.Errorf("%s, %w", part, err)
	}
	return err
}
