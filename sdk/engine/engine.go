// Package engine is the contract of an executor engine: what an executor asks of it, and what it asks back.
//
// An Engine prepares modules (admits and compiles them) and invokes their functions, each invocation in a clean instance
// and within limits. Everything an invocation needs that the module does not determine enters through Border: state,
// calls that leave the engine, output and input. The packages below it hold what every engine shares: admit (the
// rewriting pass), abi and wasi (the guest's imports) and runtime, which makes an Engine out of a Backend. The package
// enginetest is the contract in executable form; every engine passes it, directly and through the plugin border.
//
// It may import the standard library and sdk/{status,hlc}.
package engine

import (
	"context"
	"io"
	"time"

	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// Engine is what an executor sees. All methods may be called concurrently.
type Engine interface {
	// Info says who the engine is and what it can do.
	Info(ctx context.Context) (Info, error)

	// Prepare makes a module ready to be invoked: it is admitted, rewritten and compiled, or found in the engine's cache.
	// open is called only where the engine does not have the module. Preparing a module again is cheap.
	Prepare(ctx context.Context, m Module, open func() (io.ReadCloser, error)) (ModuleInfo, error)

	// Invoke runs one call to its end. A module that was never prepared here, or that this engine process has forgotten,
	// is a NotFound error with the detail "module": prepare it and invoke again. When ctx ends the call is cancelled.
	Invoke(ctx context.Context, c *Call) (*Result, error)

	// Update tells the near cache what changed; it returns when the cache no longer serves what is older.
	Update(ctx context.Context, u []CacheUpdate) error

	// Close ends every call as Unavailable and frees everything.
	Close() error
}

// Info says who an engine is.
type Info struct {
	Name         string   // "wazero"
	Version      string   // of the engine, for cache keys and for people
	Capabilities []string // what it can do beside the contract, and how; see the Cap constants
}

// What an engine may say it can do. People choose engines by it; nothing else depends on it, and an engine may have words
// of its own.
const (
	CapWASI       = "wasi-preview1"
	CapWasm2      = "wasm-2.0"     // all of WebAssembly 2.0, vector instructions included
	CapTailCalls  = "tail-calls"   // and what came after it
	CapThreads    = "threads"      // shared memories and atomic instructions
	CapExceptions = "exceptions"   // throw and catch
	CapSnapshot   = "snapshot"     // instances are set back between calls instead of made anew
	CapFuel       = "fuel"         // calls are metered
	CapCodeCache  = "code-cache"   // compiled code outlives the process
	CapInterpret  = "interpreter"  // code is interpreted, not compiled
	CapEpochs     = "interruption" // the engine itself interrupts guests at their deadline
)

// Module names a module by the SHA-256 of its original bytes, in hexadecimal.
type Module struct {
	SHA256 string
	Size   int64
	// WarmUp is the Call.WarmUp that calls will have, so that preparing tells when the module cannot be warmed up so.
	WarmUp string
}

// ModuleInfo is what preparing found out about a module.
type ModuleInfo struct {
	Kind      Kind
	Functions []string // exports of type (i32) -> (), callable as functions, sorted
	Memory    uint64   // bytes its memory has at least
	CacheHit  bool     // native code was found, nothing was compiled
	// Fresh says why every call needs an instance made from scratch; empty where instances are set back between calls.
	Fresh string
}

// Kind says how a module starts.
type Kind uint8

// The kinds of a module.
const (
	Library Kind = iota // neither _start nor _initialize
	Command             // exports _start
	Reactor             // exports _initialize
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Command:
		return "command"
	case Reactor:
		return "reactor"
	}
	return "library"
}

// Call is one invocation. It and everything it refers to is immutable once handed over.
type Call struct {
	ID       hlc.ID    // of this invocation; its nested calls have their own
	Root     hlc.ID    // of the call a client made
	Module   string    // Module.SHA256
	Scope    string    // whose state it sees: a deployment or a run
	Run      bool      // run main instead of a function
	Function string    // export name; empty for a run
	Args     []byte    // valid until Invoke returns; the result's value may be a part of them
	Argv     []string  // a run's arguments, argv[0] included
	Env      []string  // granted environment, "K=V"
	Stdin    bool      // a run's standard input is passed on through Border.Input
	Deadline time.Time // zero means none
	Depth    int       // nested calls above this one
	Limits   Limits

	Isolation Isolation // how its instance comes about, and those of its nested calls
	// WarmUp is an export to call once, without arguments, before the snapshot that clean instances are made of is taken.
	WarmUp string

	// Fresh lists what the call must at least see: versions written by those whose results the caller has. An entry with an
	// empty key is a Result's Frontier: it stands for every key.
	Fresh []KeyVersion
}

// Isolation is what a call's instance has seen before.
type Isolation uint8

// The isolations. Under the first two nothing of one call is ever seen by another.
const (
	// Restored: initialised once; what a call leaves in it is undone before the next. The default.
	Restored Isolation = iota
	// Fresh: made and initialised for this call alone.
	Fresh
	// Reused: as calls of the same scope left it.
	Reused
)

// String names the isolation as it is written in configuration.
func (i Isolation) String() string {
	switch i {
	case Fresh:
		return "fresh"
	case Reused:
		return "instance"
	}
	return "snapshot"
}

// ParseIsolation is String backwards; "" is the default.
func ParseIsolation(s string) (Isolation, error) {
	switch s {
	case "", "snapshot":
		return Restored, nil
	case "fresh":
		return Fresh, nil
	case "instance":
		return Reused, nil
	}
	return 0, status.Errorf(status.Invalid, "isolation %.40q: want snapshot, fresh or instance", s)
}

// Limits bound one invocation. Zero means the engine's default; a negative number means no limit where that is safe.
type Limits struct {
	Memory    int64 // bytes, all memories and tables together
	WallTime  time.Duration
	CallDepth int   // nested calls
	HostCalls int64 // imports called
	Args      int64 // bytes of one call's arguments
	Result    int64 // bytes
	Log       int64 // bytes of output
	LogLine   int64 // bytes of one line, beyond which it is cut
	Handles   int   // open result handles
	Stack     int64 // frames, weighted by their locals; 0 is DefaultStack
	// Fuel is the work that the guest may do, in units of about an instruction; initialisation does not count, nor what
	// imports do. A nested call may use what its caller has left, and what it used is the caller's as well from when the
	// caller waits for it. The default is no limit.
	Fuel int64
}

// DefaultStack is the limit of the stack where none is named.
const DefaultStack = 16 << 20

// Result is how an invocation ended without an error.
type Result struct {
	Value    []byte // what essa_set_result was given
	HasValue bool
	ExitCode uint32 // a run's proc_exit code
	Writes   []KeyVersion
	// Frontier is the newest version this call and its nested calls wrote, where Writes had no room for all; 0 otherwise.
	Frontier uint64
	Stats    Stats
}

// Stats tell what an invocation used.
type Stats struct {
	Queued    time.Duration // waiting for a worker
	Guest     time.Duration // from instantiation to the end, waiting included
	HostCalls int64
	Memory    uint64 // bytes at the end
	Nested    int    // calls it made that ran in this engine
	Fuel      int64  // used, that of nested calls included: the same for the same call on every engine
	Instance  Start
}

// Start is where a call's instance came from.
type Start uint8

// The starts, dearest first.
const (
	Initialised Start = iota // made for the call, and initialised in it
	Mapped                   // made of a snapshot
	Kept                     // left by an earlier call, and set back unless it is to be reused
)

// KeyVersion is a key of the call's scope and a version of it.
type KeyVersion struct {
	Key     string
	Version uint64
}

// Origin says on whose behalf an engine asks something of its Border.
type Origin struct {
	Call     hlc.ID
	Root     hlc.ID
	Module   string
	Scope    string
	Deadline time.Time
	Depth    int
}

// Value is a stored lattice value: its bincode form, its version, and how long the owner promises to tell of changes.
type Value struct {
	Data    []byte
	Version uint64
	Lease   time.Duration // 0 means: do not cache
}

// Border is what an engine asks of the executor that started it. All methods may be called concurrently.
type Border interface {
	// Load returns the value of key, or a NotFound error. With wait it waits for the key to appear.
	Load(ctx context.Context, o *Origin, key []byte, wait bool) (Value, error)
	// Merge merges a bincode lattice value into key and returns the version that holds it.
	Merge(ctx context.Context, o *Origin, key, value []byte) (uint64, error)
	// Call runs a nested call that this engine has no room for.
	Call(ctx context.Context, o *Origin, c *Call) (*Result, error)
	// Output passes on what a guest wrote: whole lines, except where one is too long or was only begun. It returns when the bytes are
	// taken, so that a flood slows the guest down. One invocation's pieces come one after the other.
	Output(ctx context.Context, o *Origin, s Stream, p []byte) error
	// Input returns the next bytes of a run's standard input, at most max; io.EOF at its end.
	Input(ctx context.Context, o *Origin, max int) ([]byte, error)
}

// Stream is a guest's output stream.
type Stream uint8

// The streams, numbered as WASI's file descriptors.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// CacheUpdate tells the near cache of a change: a newer value, or that the key must be dropped.
type CacheUpdate struct {
	Scope string
	Key   []byte // nil with Drop: every key of the scope; with Scope empty as well: everything
	Value Value
	Drop  bool
}
