package enginetest

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/essa-project/essad/sdk/engine"
)

// ops are the operations of a script, by the import's name; see testdata/guest.c.
var ops = map[string]uint32{
	"essa_get_args": 0, "essa_set_result": 1, "essa_call": 2, "essa_get_result_len": 3, "essa_get_result": 4,
	"essa_put_lattice": 5, "essa_get_lattice_len": 6, "essa_get_lattice_data": 7, "essa_wait_lattice_len": 8,
	"essa_get_value_len": 9, "essa_get_value_data": 10, "essa_get_error": 11, "memory.grow": 12,
	"args_get": 20, "args_sizes_get": 21, "environ_get": 22, "environ_sizes_get": 23, "clock_res_get": 24,
	"clock_time_get": 25, "random_get": 26, "sched_yield": 27, "poll_oneoff": 28, "proc_raise": 29, "fd_advise": 30,
	"fd_allocate": 31, "fd_close": 32, "fd_datasync": 33, "fd_sync": 34, "fd_fdstat_get": 35, "fd_fdstat_set_flags": 36,
	"fd_fdstat_set_rights": 37, "fd_filestat_get": 38, "fd_filestat_set_size": 39, "fd_filestat_set_times": 40,
	"fd_pread": 41, "fd_pwrite": 42, "fd_prestat_get": 43, "fd_prestat_dir_name": 44, "fd_read": 45, "fd_write": 46,
	"fd_readdir": 47, "fd_renumber": 48, "fd_seek": 49, "fd_tell": 50, "path_create_directory": 51, "path_filestat_get": 52,
	"path_filestat_set_times": 53, "path_link": 54, "path_open": 55, "path_readlink": 56, "path_remove_directory": 57,
	"path_rename": 58, "path_symlink": 59, "path_unlink_file": 60, "sock_recv": 61, "sock_send": 62, "sock_shutdown": 63,
	"proc_exit": 64, "dump": 100, "move": 101, "end": 102, "vector": 103,
}

// Bounds of the guest's script.
const (
	maxOps     = 128
	bufferSize = 1 << 15
)

// ptr is a parameter that points into the script's buffer.
type ptr uint32

// script is a list of host calls for the guest to make.
type script struct {
	code   []byte
	n      uint32
	buffer []byte
	dumped []int // lengths
}

// data puts bytes into the buffer, with their length at hand.
func (s *script) data(b string) (ptr, uint32) {
	p := ptr(len(s.buffer))
	s.buffer = append(s.buffer, b...)
	return p, uint32(len(b))
}

// space reserves n bytes of the buffer, filled with 0xaa so that what was written shows.
func (s *script) space(n int) ptr {
	for len(s.buffer)%8 != 0 {
		s.buffer = append(s.buffer, 0)
	}
	p := ptr(len(s.buffer))
	for range n {
		s.buffer = append(s.buffer, 0xaa)
	}
	return p
}

// call appends a host call and returns its index among the results.
func (s *script) call(name string, params ...any) int {
	op, ok := ops[name]
	if !ok {
		panic("script: no operation " + name)
	}
	var relative uint32
	values := make([]uint64, 6)
	for i, p := range params {
		switch p := p.(type) {
		case ptr:
			relative |= 1 << i
			values[i] = uint64(p)
		case uint32:
			values[i] = uint64(p)
		case int:
			values[i] = uint64(p)
		case uint64:
			values[i] = p
		default:
			panic("script: parameter of an unknown type")
		}
	}
	s.code = binary.LittleEndian.AppendUint32(s.code, op)
	s.code = binary.LittleEndian.AppendUint32(s.code, relative)
	for _, v := range values {
		s.code = binary.LittleEndian.AppendUint64(s.code, v)
	}
	s.n++
	return int(s.n - 1)
}

// dump has n bytes of the buffer copied to the result as they are then; it returns their index among the dumps.
func (s *script) dump(p ptr, n int) int {
	s.call("dump", p, n)
	s.dumped = append(s.dumped, n)
	return len(s.dumped) - 1
}

// move makes the u32 at p the i-th parameter of the next call.
func (s *script) move(i int, p ptr) { s.call("move", i, p) }

// key appends a call of a function that begins with a key.
func (s *script) key(name, key string, params ...any) int {
	p, n := s.data(key)
	return s.call(name, append([]any{p, n}, params...)...)
}

// start appends essa_call, and returns where the handle is.
func (s *script) start(function, args string) (handle ptr, index int) {
	fp, fn := s.data(function)
	ap, an := s.data(args)
	handle = s.space(4)
	return handle, s.call("essa_call", fp, fn, ap, an, handle)
}

// args returns the script as arguments.
func (s *script) args() []byte {
	if s.n > maxOps || len(s.buffer) > bufferSize {
		panic("script: too long")
	}
	b := binary.LittleEndian.AppendUint32(nil, s.n)
	b = append(b, s.code...)
	return append(b, s.buffer...)
}

// outcome is what a script returned.
type outcome struct {
	codes []int32
	dumps [][]byte
	raw   *engine.Result
}

func (o *outcome) u32(dump int) uint32 { return binary.LittleEndian.Uint32(o.dumps[dump]) }

func (s *script) outcome(r *engine.Result) (*outcome, error) {
	o := &outcome{raw: r}
	b := r.Value
	want := 4 * int(s.n)
	for _, n := range s.dumped {
		want += n
	}
	if len(b) != want {
		return nil, errors.New("the script's result has another length than expected")
	}
	for range s.n {
		o.codes = append(o.codes, int32(binary.LittleEndian.Uint32(b)))
		b = b[4:]
	}
	for _, n := range s.dumped {
		o.dumps = append(o.dumps, b[:n])
		b = b[n:]
	}
	return o, nil
}

// run invokes a script; change, where set, changes the call before it is made.
func (x *fixture) run(t testing.TB, s *script, change func(*engine.Call)) *outcome {
	t.Helper()
	o, err := x.try(s, change)
	if err != nil {
		t.Fatalf("script: %v", err)
	}
	return o
}

func (x *fixture) try(s *script, change func(*engine.Call)) (*outcome, error) {
	c := x.function("script", s.args())
	if change != nil {
		change(c)
	}
	r, err := x.engine.Invoke(context.Background(), c)
	if err != nil {
		return nil, err
	}
	return s.outcome(r)
}
