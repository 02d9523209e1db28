// Package wasi is WASI preview 1 for functions: standard output and error, arguments, granted environment, clocks,
// randomness, sleeping, and standard input where a run has it. There are no files and no network.
//
// It is written once for all engines, over the guest's memory as a byte slice and a State per invocation, so that nothing
// of one invocation is left for the next. Everything that the module does not determine comes from the State's Env.
//
// It promises that every function of preview 1 is there, under both names that modules import it by, so that any module
// links; what is not granted answers with the errno that says so, and never with a trap.
//
// It may import the standard library and sdk/engine/abi; package runtime and engines import it.
package wasi

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Names that modules import WASI under. The older one has other layouts in a few places.
const (
	Preview1 = "wasi_snapshot_preview1"
	Unstable = "wasi_unstable"
)

// Errno is what the functions return.
type Errno uint16

// The errnos that are used.
const (
	Success Errno = 0
	BadF    Errno = 8  // no such file descriptor
	Fault   Errno = 21 // a pointer outside of memory
	Inval   Errno = 28
	IO      Errno = 29
	NoSys   Errno = 52
	NotDir  Errno = 54
	NotSock Errno = 57
	NotSup  Errno = 58
	SPipe   Errno = 70 // seeking in a stream
)

// Env is what WASI asks of the runtime. Every error ends the invocation, except io.EOF from Input.
type Env interface {
	// Output passes on what was written to stream 1 or 2: whole lines, except where a line is longer than the limit, the
	// guest waits for input, or it has ended. It does not keep p.
	Output(stream int, p []byte) error
	// Input returns at most max bytes of standard input, or io.EOF.
	Input(max int) ([]byte, error)
	// Realtime returns nanoseconds since 1970, Monotonic those since some moment.
	Realtime() int64
	Monotonic() int64
	// Random fills p.
	Random(p []byte) error
	// Sleep waits; Yield lets others run. Both are where a guest is ended as well.
	Sleep(d time.Duration) error
	Yield() error
}

// Exit is the error of proc_exit.
type Exit struct{ Code uint32 }

func (e *Exit) Error() string { return fmt.Sprintf("the guest exited with status %d", e.Code) }

// State is what WASI remembers of one invocation. It belongs to the goroutine that runs the guest.
type State struct {
	Env     Env
	Args    []string
	Environ []string // "K=V"
	Line    int      // bytes of a line at which it is passed on without its end; at least 1

	closed  [3]bool
	pending [3][]byte // begun lines
}

// Pristine tells whether the streams are as an invocation finds them.
func (s *State) Pristine() bool { return s.closed == [3]bool{} }

// Func is one function. Params has a letter per parameter: i for i32, I for i64. Its result, if it has one, is the errno
// as i32 in stack[0]; an error ends the invocation.
type Func struct {
	Name   string
	Params string
	Result bool
	Call   func(s *State, mem []byte, stack []uint64) error
}

// body is a function that returns an errno.
type body func(s *State, mem []byte, a []uint64) (Errno, error)

// Funcs lists the functions of a module, which is Preview1 or Unstable.
func Funcs(module string) []Func {
	old := module == Unstable
	fs := []Func{
		fn("args_get", "ii", argsGet), fn("args_sizes_get", "ii", argsSizesGet),
		fn("environ_get", "ii", environGet), fn("environ_sizes_get", "ii", environSizesGet),
		fn("clock_res_get", "ii", clockResGet), fn("clock_time_get", "iIi", clockTimeGet),
		fn("random_get", "ii", randomGet), fn("sched_yield", "", schedYield),
		fn("poll_oneoff", "iiii", pollOneoff(old)),
		fn("proc_raise", "i", answer(NoSys)),
		{"proc_exit", "i", false, procExit},

		fn("fd_advise", "iIIi", stream(SPipe)), fn("fd_allocate", "iII", stream(NotSup)),
		fn("fd_close", "i", fdClose),
		fn("fd_datasync", "i", stream(Success)), fn("fd_sync", "i", stream(Success)),
		fn("fd_fdstat_get", "ii", fdstatGet), fn("fd_fdstat_set_flags", "ii", fdstatSetFlags),
		fn("fd_fdstat_set_rights", "iII", stream(NotSup)),
		fn("fd_filestat_get", "ii", filestatGet(old)), fn("fd_filestat_set_size", "iI", stream(Inval)),
		fn("fd_filestat_set_times", "iIIi", stream(NotSup)),
		fn("fd_pread", "iiiIi", stream(SPipe)), fn("fd_pwrite", "iiiIi", stream(SPipe)),
		fn("fd_prestat_get", "ii", stream(BadF)), fn("fd_prestat_dir_name", "iii", stream(BadF)),
		fn("fd_read", "iiii", fdRead), fn("fd_write", "iiii", fdWrite),
		fn("fd_readdir", "iiiIi", stream(NotDir)), fn("fd_renumber", "ii", fdRenumber),
		fn("fd_seek", "iIii", stream(SPipe)), fn("fd_tell", "ii", stream(SPipe)),

		fn("path_create_directory", "iii", stream(NotDir)), fn("path_filestat_get", "iiiii", stream(NotDir)),
		fn("path_filestat_set_times", "iiiiIIi", stream(NotDir)), fn("path_link", "iiiiiii", stream(NotDir)),
		fn("path_open", "iiiiiIIii", stream(NotDir)), fn("path_readlink", "iiiiii", stream(NotDir)),
		fn("path_remove_directory", "iii", stream(NotDir)), fn("path_rename", "iiiiii", stream(NotDir)),
		fn("path_symlink", "iiiii", symlink), fn("path_unlink_file", "iii", stream(NotDir)),

		fn("sock_recv", "iiiiii", stream(NotSock)), fn("sock_send", "iiiii", stream(NotSock)),
		fn("sock_shutdown", "ii", stream(NotSock)),
	}
	if !old {
		fs = append(fs, fn("sock_accept", "iii", stream(NotSock)))
	}
	return fs
}

func fn(name, params string, f body) Func {
	return Func{name, params, true, func(s *State, mem []byte, stack []uint64) error {
		errno, err := f(s, mem, stack)
		stack[0] = uint64(errno)
		return err
	}}
}

// answer is a function that always says the same.
func answer(e Errno) body {
	return func(*State, []byte, []uint64) (Errno, error) { return e, nil }
}

// stream is a function of a file descriptor that says e of the standard streams; there are no others.
func stream(e Errno) body {
	return func(s *State, _ []byte, a []uint64) (Errno, error) {
		if !s.open(a[0]) {
			return BadF, nil
		}
		return e, nil
	}
}

// symlink has its descriptor in the third place.
func symlink(s *State, _ []byte, a []uint64) (Errno, error) {
	if !s.open(a[2]) {
		return BadF, nil
	}
	return NotDir, nil
}

func (s *State) open(fd uint64) bool { return uint32(fd) < 3 && !s.closed[uint32(fd)] }

// view returns the guest's bytes [ptr, ptr+n).
func view(mem []byte, ptr, n uint64) ([]byte, bool) {
	ptr, n = ptr&0xffffffff, n&0xffffffff
	if ptr+n > uint64(len(mem)) {
		return nil, false
	}
	return mem[ptr : ptr+n], true
}

func put32(b []byte, v int)   { binary.LittleEndian.PutUint32(b, uint32(v)) }
func put64(b []byte, v int64) { binary.LittleEndian.PutUint64(b, uint64(v)) }

// write64 writes a result.
func write64(mem []byte, ptr uint64, v int64) Errno {
	b, ok := view(mem, ptr, 8)
	if !ok {
		return Fault
	}
	put64(b, v)
	return Success
}
