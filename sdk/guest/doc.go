// Package guest is what a function for essad is written with in Go.
//
// A function is an ordinary Go function marked //essa:function. The command essagen, beside this package, writes the
// export that the host calls and a stub that starts the function elsewhere and returns its future result:
//
//	//go:generate go run github.com/essa-project/essad/sdk/guest/essagen
//
//	//essa:function
//	func Square(n uint64) uint64 { return n * n }
//
//	func Main() error {
//		a, b := SquareRemote(3), SquareRemote(4) // both run now, each in an instance of its own
//		x, err := a.Get()
//		...
//	}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o square.wasm .
//
// State is shared through the key-value store: Put merges a value of sdk/lattice into a key, TryGet and Get read it.
// Memory is not shared: each call gets a clean instance, and what it leaves in variables is gone. Package variables and
// init functions are initialised once, and each call begins with what they left: compile regular expressions and templates
// there. They cannot read state or call functions, or else they run for every call, which takes milliseconds. What
// must differ between calls must not be made there: a generator seeded with the time draws the same numbers in all of
// them. The top-level functions of math/rand, crypto/rand and the clock do not; for the rest there is an export that is called
// before each call:
//
//	//go:wasmexport __essa_restored
//	func restored() { rng = rand.New(rand.NewSource(time.Now().UnixNano())) }
//
// Compiled for the host, the same code runs in one process, so that functions have ordinary unit tests: a stub runs its
// function in a goroutine and the store is in memory, with the same merges; ResetHost empties it. Two things are
// different there: functions share the process's variables, and nothing bounds their time and memory.
//
// The bindings are the eight imports of upstream essa-rs, module "host", and those that essad has besides, module "essa".
// With the build tag essa_upstream a module needs the eight alone and runs on upstream's executors too; Get polls then.
//
// This package imports sdk/lattice, sdk/bincode and small standard packages only, for it becomes part of every module.
// Guests import it, nothing else does.
package guest
