package abi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

// mapHost is a Host over a map, whose calls end at once.
type mapHost map[string][]byte

func (mapHost) Callee(name []byte) Code {
	switch string(name) {
	case "f", "fails", "none":
		return OK
	case "g":
		return InvalidFunctionSignature
	}
	return NoSuchFunction
}

func (mapHost) Start(name string, args []byte) (Future, error) { return &done{name, args}, nil }

func (m mapHost) Load(key []byte, _ bool) (Value, error) {
	if v, ok := m[string(key)]; ok {
		return Value{string(key), v}, nil
	}
	return Value{}, status.Errorf(status.NotFound, "there is no such key")
}

func (m mapHost) Merge(key, value []byte) error {
	m[string(key)] = bytes.Clone(value)
	return nil
}

func (mapHost) CheckResult(int) error { return nil }

type done struct {
	name string
	args []byte
}

func (d *done) Wait() ([]byte, bool, error) {
	if d.name == "fails" {
		return nil, false, errors.New("it failed")
	}
	return d.args, d.name == "f", nil
}
func (d *done) Forget() {}

// FuzzImports: whatever a guest passes, imports do not panic, answer with a code that upstream knows, and trap or return.
func FuzzImports(f *testing.F) {
	f.Add([]byte{2, 0, 1, 9, 4, 8, 3, 0, 8, 8, 8}, uint16(64))
	f.Add([]byte{6, 0, 1, 8, 7, 0, 1, 16, 32, 8}, uint16(1024))
	f.Add([]byte{0, 255, 255, 1, 255, 255}, uint16(0))
	f.Fuzz(func(t *testing.T, program []byte, size uint16) {
		mem := make([]byte, size)
		copy(mem, "fgfails\xff\x00none")
		if size == 1 {
			mem = nil
		}
		s := &State{Host: mapHost{}, Args: []byte("some arguments")}
		funcs := Funcs()
		for steps := 0; len(program) > 0 && steps < 1000; steps++ {
			fn := funcs[int(program[0])%len(funcs)]
			program = program[1:]
			stack := make([]uint64, max(fn.Params, 1))
			for i := range stack {
				if len(program) == 0 {
					break
				}
				stack[i] = value(program[0], size)
				program = program[1:]
			}
			err := fn.Call(s, mem, stack)
			if trap := (*Trap)(nil); err != nil && !errors.As(err, &trap) {
				t.Fatalf("%s: %v", fn.Name, err)
			}
			if c := Code(uint32(stack[0])); err == nil && (c > OK || c < InvalidResult || c == -7) {
				t.Fatalf("%s returned %d", fn.Name, c)
			}
		}
	})
}

// value turns a byte into a parameter: small numbers, the end of memory, the end of addresses, and rubbish above 32 bits.
func value(b byte, size uint16) uint64 {
	switch {
	case b < 128:
		return uint64(b)
	case b < 160:
		return uint64(uint32(size) - uint32(b-128))
	case b < 200:
		return uint64(uint32(0xffffffff) - uint32(b-160))
	}
	return 0xdeadbeef<<32 | uint64(b-200)
}

// TestSnapshots: the value whose length was told last is kept, for few keys, and given once.
func TestSnapshots(t *testing.T) {
	host := mapHost{}
	s := &State{Host: host}
	mem := make([]byte, 256)
	lattice := func(n byte) []byte { return []byte{0, 0, 0, 0, n} }
	length := func(key byte) {
		mem[0] = key
		stack := []uint64{0, 1, 8}
		if err := getLatticeLen(s, mem, stack); err != nil || stack[0] != 0 || binary.LittleEndian.Uint32(mem[8:]) != 5 {
			t.Fatal(err, stack)
		}
	}
	read := func(key byte) byte {
		mem[0] = key
		stack := []uint64{0, 1, 32, 64, 8}
		if err := getLatticeData(s, mem, stack); err != nil || stack[0] != 0 {
			t.Fatal(err, stack)
		}
		return mem[36]
	}
	keys := []byte("abcdefghijklmnopqrst")
	for _, k := range keys {
		host[string(k)] = lattice(1)
		length(k)
	}
	for _, k := range keys {
		host[string(k)] = lattice(2)
	}
	for i, k := range keys {
		want := byte(1)
		if i < len(keys)-maxSnaps {
			want = 2 // too many lengths ago
		}
		if got := read(k); got != want {
			t.Errorf("key %c: version %d, want %d", k, got, want)
		}
		if got := read(k); got != 2 {
			t.Errorf("key %c again: version %d", k, got)
		}
	}
}
