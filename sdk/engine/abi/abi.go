// Package abi is the guest's side of essad: the imports of module "host", which are frozen, and those of module "essa".
//
// It is written once for all engines, over the guest's memory as a byte slice and a State per invocation; what the
// functions need of the world they ask of a Host, which package runtime implements. An engine binds Funcs and knows
// nothing else of them.
//
// The promises, for modules built with the upstream crates: signatures, result codes and edge behaviour of the eight
// functions of module "host" never change, and none of them ever returns a code that the upstream library does not know.
// Ranges of guest memory are checked before anything has an effect: a range outside of it, a name or key that is not
// UTF-8 and a module that exports no memory end the invocation with a trap.
//
// What module "essa" adds, in the same terms (all i32, results are the same codes):
//
//	essa_wait_lattice_len(key, key_len, len_out)        as essa_get_lattice_len, but waits until there is a value
//	essa_get_value_len(key, key_len, len_out)           as the lattice functions, for values of every kind: through the
//	essa_get_value_data(key, key_len, buf, cap, len_out)    old ones, kinds that upstream does not know do not exist
//	essa_get_error(handle, buf, cap, len_out)           why a call failed, once a wait has told that it did
//
// What a guest may export beside its functions: _initialize, which is called first, and __essa_restored, of type () -> ().
// Initialisation runs once and its outcome is the beginning of every call: instances are made of a snapshot of memory and
// globals and set back to it. So what initialisation computes is there for all calls, and what it writes to standard output
// is written once. __essa_restored is called before the function in each such call, for a guest to renew what must not
// be the same in all of them: seeds, ids, times. Go's own random numbers (math/rand, maps) need none: they are seeded anew by the
// host; crypto/rand and clocks ask the host anyway. A module whose initialisation looks at state, calls functions or reads
// arguments gets a new instance for every call, as do modules that write tables, drop segments or do not export their
// memory; preparing a module tells.
//
// It may import the standard library and sdk/status; package runtime and engines import it.
package abi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Code is what an import returns to the guest.
type Code int32

// The codes upstream guests know. -7 was never assigned; -8 is made by the guest's own library.
const (
	OK                       Code = 0
	UnknownError             Code = -1
	NoSuchFunction           Code = -2
	BufferTooSmall           Code = -3
	NotFound                 Code = -4
	InvalidFunctionSignature Code = -5
	NoResult                 Code = -6
	InvalidResult            Code = -8
)

// Modules of the imports.
const (
	HostModule = "host" // frozen
	EssaModule = "essa" // what came later
)

// Func is one import. Its parameters are i32, and so is its one result. Call finds the parameters in stack and leaves the
// result in stack[0]; an error ends the invocation: the engine traps.
type Func struct {
	Module, Name string
	Params       int
	Call         func(s *State, mem []byte, stack []uint64) error
}

// Trap is an error that the guest made: it did what the contract forbids.
type Trap struct{ Text string }

func (t *Trap) Error() string { return t.Text }

// End wraps an error of a Host that ends the invocation; the guest is not told of it.
type End struct{ Err error }

func (e *End) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *End) Unwrap() error { return e.Err }

// endOf returns err where it ends the invocation, else nil.
func endOf(err error) error {
	var end *End
	if err != nil && errors.As(err, &end) {
		return end
	}
	return nil
}

// Funcs lists every import of modules "host" and "essa".
func Funcs() []Func {
	return []Func{
		{HostModule, "essa_get_args", 2, getArgs},
		{HostModule, "essa_set_result", 2, setResult},
		{HostModule, "essa_call", 5, call},
		{HostModule, "essa_get_result_len", 2, getResultLen},
		{HostModule, "essa_get_result", 4, getResult},
		{HostModule, "essa_put_lattice", 4, putLattice},
		{HostModule, "essa_get_lattice_len", 3, getLatticeLen},
		{HostModule, "essa_get_lattice_data", 5, getLatticeData},

		{EssaModule, "essa_wait_lattice_len", 3, waitLatticeLen},
		{EssaModule, "essa_get_value_len", 3, getValueLen},
		{EssaModule, "essa_get_value_data", 5, getValueData},
		{EssaModule, "essa_get_error", 4, getError},
	}
}

var errNoMemory = &Trap{`the module exports no memory named "memory"`}

// view returns the guest's bytes [ptr, ptr+n).
func view(mem []byte, ptr, n uint32) ([]byte, error) {
	if mem == nil {
		return nil, errNoMemory
	}
	if end := uint64(ptr) + uint64(n); end > uint64(len(mem)) {
		return nil, &Trap{fmt.Sprintf("a host call was given bytes %#x to %#x, and memory ends at %#x", ptr, end, len(mem))}
	}
	return mem[ptr : uint64(ptr)+uint64(n)], nil
}

// text returns a view that must be UTF-8.
func text(mem []byte, ptr, n uint32, what string) ([]byte, error) {
	b, err := view(mem, ptr, n)
	if err == nil && !utf8.Valid(b) {
		err = &Trap{"a host call was given a " + what + " that is not UTF-8"}
	}
	return b, err
}

func put32(b []byte, v int) { binary.LittleEndian.PutUint32(b, uint32(v)) }

// ret leaves c as the import's result.
func ret(stack []uint64, c Code) error {
	stack[0] = uint64(uint32(c))
	return nil
}
