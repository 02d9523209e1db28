package admit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

const missing = "no such export"

// outcome calls an export and describes how it ended: its results, or the kind of its trap.
func outcome(m api.Module, name string, args ...uint64) string {
	f := m.ExportedFunction(name)
	if f == nil {
		return missing
	}
	got, err := f.Call(ctx, args...)
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return "trap: " + text
	}
	return fmt.Sprint(got)
}

// memoryOf returns a module's memory; nil if it has none.
func memoryOf(m api.Module) []byte {
	mem := m.ExportedMemory("memory")
	if mem == nil {
		return nil
	}
	b, _ := mem.Read(0, mem.Size())
	return b
}

// sameCall checks that a call ends the same way in both modules, and leaves the same memory. It returns how it ended.
func sameCall(t testing.TB, plain, admitted api.Module, name string, args ...uint64) string {
	t.Helper()
	want, got := outcome(plain, name, args...), outcome(admitted, name, args...)
	if want == missing {
		t.Fatalf("%s is not exported", name)
	}
	if got != want {
		t.Errorf("%s(%v): %s after the rewriting, %s before", name, args, got, want)
	}
	if !bytes.Equal(memoryOf(plain), memoryOf(admitted)) {
		t.Errorf("%s(%v): the memories differ", name, args)
	}
	return want
}

// both instantiates a module as it is and rewritten, the latter with many more safepoints than usual.
func both(t testing.TB, wasm []byte) (plain, admitted api.Module) {
	t.Helper()
	rt := newRuntime(t)
	return instantiate(t, rt, wasm), instantiate(t, rt, mustAdmit(t, wasm, admit.Options{SliceUnits: 64}).Wasm)
}

func TestGuestsGiveTheSame(t *testing.T) {
	plain, admitted := both(t, readGuest(t, "bench.wasm"))
	for _, j := range cJobs {
		for _, n := range []uint64{0, 1, 2, 17, j.n / 20} {
			if j.name != "interp" || n > 0 { // interp(0) has no end
				sameCall(t, plain, admitted, j.name, n)
			}
		}
	}
	plain, admitted = goGuests(t)
	for _, j := range goJobs {
		for _, n := range []uint64{0, 1, 2, j.n / 10} {
			if want, got := outcome(plain, j.name, n), outcome(admitted, j.name, n); want != got {
				t.Errorf("%s(%d): %s after the rewriting, %s before", j.name, n, got, want)
			}
		}
	}
}

// interesting are operands that lead to every corner of the numeric instructions.
var interesting = []uint64{
	0, 1, 5, 31, 0x7fffffff, 0x80000000, 0xffffffff, 0x3ff0000000000000, 0x7ff8000000000000,
	0x8000000000000000, 0xffffffffffffffff, 0x3f800000, 0x40490fdb,
}

// numeric lists runs of opcodes with the types of their operands and results.
var numeric = []struct {
	from, to        int
	params, results string
}{
	{0x45, 0x45, i32t, i32t},
	{0x46, 0x4f, i32t + i32t, i32t},
	{0x50, 0x50, i64t, i32t},
	{0x51, 0x5a, i64t + i64t, i32t},
	{0x5b, 0x60, f32t + f32t, i32t},
	{0x61, 0x66, f64t + f64t, i32t},
	{0x67, 0x69, i32t, i32t},
	{0x6a, 0x78, i32t + i32t, i32t},
	{0x79, 0x7b, i64t, i64t},
	{0x7c, 0x8a, i64t + i64t, i64t},
	{0x8b, 0x91, f32t, f32t},
	{0x92, 0x98, f32t + f32t, f32t},
	{0x99, 0x9f, f64t, f64t},
	{0xa0, 0xa6, f64t + f64t, f64t},
	{0xa7, 0xa7, i64t, i32t},
	{0xa8, 0xa9, f32t, i32t},
	{0xaa, 0xab, f64t, i32t},
	{0xac, 0xad, i32t, i64t},
	{0xae, 0xaf, f32t, i64t},
	{0xb0, 0xb1, f64t, i64t},
	{0xb2, 0xb3, i32t, f32t},
	{0xb4, 0xb5, i64t, f32t},
	{0xb6, 0xb6, f64t, f32t},
	{0xb7, 0xb8, i32t, f64t},
	{0xb9, 0xba, i64t, f64t},
	{0xbb, 0xbb, f32t, f64t},
	{0xbc, 0xbc, f32t, i32t},
	{0xbd, 0xbd, f64t, i64t},
	{0xbe, 0xbe, i32t, f32t},
	{0xbf, 0xbf, i64t, f64t},
	{0xc0, 0xc1, i32t, i32t},
	{0xc2, 0xc4, i64t, i64t},
}

func gets(n int) (code []byte) {
	for i := range n {
		code = cat(code, 0x20, i)
	}
	return code
}

func TestNumericInstructions(t *testing.T) {
	m := &builder{}
	add := func(name, params, results string, code ...any) {
		m.funcs = append(m.funcs, fn{name: name, params: params, results: results, code: cat(gets(len(params)), cat(code...))})
	}
	seen := 0
	for _, r := range numeric {
		for op := r.from; op <= r.to; op++ {
			add(fmt.Sprintf("%02x", op), r.params, r.results, op)
			seen++
		}
	}
	if seen != 0xc4-0x45+1 {
		t.Fatalf("%d opcodes are listed, not all", seen)
	}
	for op, types := range []string{f32t + i32t, f32t + i32t, f64t + i32t, f64t + i32t, f32t + i64t, f32t + i64t, f64t + i64t, f64t + i64t} {
		add(fmt.Sprintf("fc %02x", op), types[:1], types[1:], 0xfc, op)
	}
	plain, admitted := both(t, m.bytes())
	for _, f := range m.funcs {
		for _, a := range interesting {
			for _, b := range interesting {
				sameCall(t, plain, admitted, f.name, []uint64{a, b}[:len(f.params)]...)
			}
		}
	}
}

// vectorOp is a run of vector opcodes with the types of operands and result and what follows the opcode.
type vectorOp struct {
	from, to int
	types    string // operands and, last, the result
	imm      string
}

var vectorOps = []vectorOp{
	{0x00, 0x0a, i32t + vect, "\x00\x03"},
	{0x5c, 0x5d, i32t + vect, "\x00\x03"},
	{0x0c, 0x0c, vect, "0123456789abcdef"},
	{0x0d, 0x0d, vect + vect + vect, "\x00\x11\x02\x13\x04\x15\x06\x17\x08\x19\x0a\x1b\x0c\x1d\x0e\x1f"},
	{0x0e, 0x0e, vect + vect + vect, ""},
	{0x0f, 0x11, i32t + vect, ""},
	{0x12, 0x12, i64t + vect, ""},
	{0x13, 0x13, f32t + vect, ""},
	{0x14, 0x14, f64t + vect, ""},
	{0x15, 0x16, vect + i32t, "\x01"},
	{0x17, 0x17, vect + i32t + vect, "\x01"},
	{0x18, 0x19, vect + i32t, "\x01"},
	{0x1a, 0x1a, vect + i32t + vect, "\x01"},
	{0x1b, 0x1b, vect + i32t, "\x01"},
	{0x1c, 0x1c, vect + i32t + vect, "\x01"},
	{0x1d, 0x1d, vect + i64t, "\x01"},
	{0x1e, 0x1e, vect + i64t + vect, "\x01"},
	{0x1f, 0x1f, vect + f32t, "\x01"},
	{0x20, 0x20, vect + f32t + vect, "\x01"},
	{0x21, 0x21, vect + f64t, "\x01"},
	{0x22, 0x22, vect + f64t + vect, "\x01"},
	{0x23, 0x4c, vect + vect + vect, ""},
	{0x4d, 0x4d, vect + vect, ""},
	{0x4e, 0x51, vect + vect + vect, ""},
	{0x52, 0x52, vect + vect + vect + vect, ""},
	{0x53, 0x53, vect + i32t, ""},
	{0x54, 0x57, i32t + vect + vect, "\x00\x03\x01"},
	{0x5e, 0x62, vect + vect, ""},
	{0x63, 0x64, vect + i32t, ""},
	{0x65, 0x66, vect + vect + vect, ""},
	{0x67, 0x6a, vect + vect, ""},
	{0x6b, 0x6d, vect + i32t + vect, ""},
	{0x6e, 0x73, vect + vect + vect, ""},
	{0x74, 0x75, vect + vect, ""},
	{0x76, 0x79, vect + vect + vect, ""},
	{0x7a, 0x7a, vect + vect, ""},
	{0x7b, 0x7b, vect + vect + vect, ""},
	{0x7c, 0x81, vect + vect, ""},
	{0x82, 0x82, vect + vect + vect, ""},
	{0x83, 0x84, vect + i32t, ""},
	{0x85, 0x86, vect + vect + vect, ""},
	{0x87, 0x8a, vect + vect, ""},
	{0x8b, 0x8d, vect + i32t + vect, ""},
	{0x8e, 0x93, vect + vect + vect, ""},
	{0x94, 0x94, vect + vect, ""},
	{0x95, 0x99, vect + vect + vect, ""},
	{0x9b, 0x9f, vect + vect + vect, ""},
	{0xa0, 0xa1, vect + vect, ""},
	{0xa3, 0xa4, vect + i32t, ""},
	{0xa7, 0xaa, vect + vect, ""},
	{0xab, 0xad, vect + i32t + vect, ""},
	{0xae, 0xae, vect + vect + vect, ""},
	{0xb1, 0xb1, vect + vect + vect, ""},
	{0xb5, 0xba, vect + vect + vect, ""},
	{0xbc, 0xbf, vect + vect + vect, ""},
	{0xc0, 0xc1, vect + vect, ""},
	{0xc3, 0xc4, vect + i32t, ""},
	{0xc7, 0xca, vect + vect, ""},
	{0xcb, 0xcd, vect + i32t + vect, ""},
	{0xce, 0xce, vect + vect + vect, ""},
	{0xd1, 0xd1, vect + vect + vect, ""},
	{0xd5, 0xdf, vect + vect + vect, ""},
	{0xe0, 0xe1, vect + vect, ""},
	{0xe3, 0xe3, vect + vect, ""},
	{0xe4, 0xeb, vect + vect + vect, ""},
	{0xec, 0xed, vect + vect, ""},
	{0xef, 0xef, vect + vect, ""},
	{0xf0, 0xf7, vect + vect + vect, ""},
	{0xf8, 0xff, vect + vect, ""},
}

// vectorOperand pushes a value of a type: vectors come from memory, others are constants.
func vectorOperand(typ byte, n int) []byte {
	switch string(typ) {
	case i32t:
		return i32c(int64(3 + n))
	case i64t:
		return i64c(int64(-7 - n))
	case f32t:
		return cat(0x43, 0, 0, 0x20, 0x40+n)
	case f64t:
		return cat(0x44, 0, 0, 0, 0, 0, 0, 0x04, 0x40)
	}
	return cat(i32c(int64(16+16*n)), 0xfd, 0, 0, 0)
}

func TestVectorInstructions(t *testing.T) {
	m := &builder{memory: cat(0, 1), exports: [][]byte{cat(str("memory"), 2, 0)}}
	store := map[string][]byte{i32t: cat(0x36, 0, 0), i64t: cat(0x37, 0, 0), f32t: cat(0x38, 0, 0), f64t: cat(0x39, 0, 0), vect: cat(0xfd, 0x0b, 0, 0)}
	count := 0
	for _, r := range vectorOps {
		for op := r.from; op <= r.to; op++ {
			params, result := r.types[:len(r.types)-1], r.types[len(r.types)-1:]
			code := i32c(int64(1024 + 16*op))
			for i := range params {
				code = cat(code, vectorOperand(params[i], i))
			}
			code = cat(code, 0xfd, uleb(uint64(op)), r.imm, store[result])
			m.funcs = append(m.funcs, fn{name: fmt.Sprintf("%02x", op), code: code})
			count++
		}
	}
	for op := 0x58; op <= 0x5b; op++ { // stores of one lane
		m.funcs = append(m.funcs, fn{name: fmt.Sprintf("%02x", op), code: cat(i32c(int64(1024+16*op)), vectorOperand(vect[0], 0), 0xfd, op, 0, 0, 1)})
		count++
	}
	m.funcs = append(m.funcs, fn{name: "0b", code: cat(i32c(1024+16*0x0b), vectorOperand(vect[0], 1), 0xfd, 0x0b, 0, 0)})
	if count++; count != 236 {
		t.Errorf("%d vector instructions are listed; WebAssembly 2.0 has 236", count)
	}
	var data []byte
	for i := range 256 {
		data = append(data, byte(i*37+11))
	}
	m.data = [][]byte{cat(0, i32c(0), 0x0b, str(string(data)))}
	plain, admitted := both(t, m.bytes())
	for _, f := range m.funcs {
		sameCall(t, plain, admitted, f.name)
	}
	zero := make([]byte, 16*256)
	if b, _ := plain.Memory().Read(1024, 16*256); bytes.Equal(b, zero) {
		t.Error("nothing was stored")
	}
}

// loads and stores, with the type of the value.
func TestMemoryInstructions(t *testing.T) {
	m := &builder{memory: cat(1, 1, 3), exports: [][]byte{cat(str("memory"), 2, 0)}}
	for op := 0x28; op <= 0x35; op++ {
		typ := [...]string{i32t, i64t, f32t, f64t, i32t, i32t, i32t, i32t, i64t, i64t, i64t, i64t, i64t, i64t}[op-0x28]
		m.funcs = append(m.funcs, fn{name: fmt.Sprintf("%02x", op), params: i32t, results: typ, code: cat(0x20, 0, op, 0, 3)})
	}
	for op := 0x36; op <= 0x3e; op++ {
		typ := [...]string{i32t, i64t, f32t, f64t, i32t, i32t, i64t, i64t, i64t}[op-0x36]
		m.funcs = append(m.funcs, fn{name: fmt.Sprintf("%02x", op), params: i32t + typ, code: cat(0x20, 0, 0x20, 1, op, 0, 200, 1)})
	}
	m.funcs = append(m.funcs,
		fn{name: "size", results: i32t, code: cat(0x3f, 0)},
		fn{name: "grow", params: i32t, results: i32t, code: cat(0x20, 0, 0x40, 0)})
	m.data = [][]byte{cat(0, i32c(0), 0x0b, str("\xff\x80 some data that is loaded again \xfe\x90"))}
	plain, admitted := both(t, m.bytes())
	for _, f := range m.funcs {
		for _, at := range []uint64{0, 1, 2, 30, 65535, 65536, 1 << 31, 1<<32 - 1} {
			sameCall(t, plain, admitted, f.name, []uint64{at, 0x1122334455667788}[:len(f.params)]...)
		}
	}
}

// TestControl covers blocks, loops, branches and calls in the forms that the rewriting has to take apart.
func TestControl(t *testing.T) {
	m := controlModule()
	plain, admitted := both(t, m.bytes())
	for _, f := range m.funcs {
		for arg := range uint64(12) {
			if f.name != "" {
				sameCall(t, plain, admitted, f.name, []uint64{arg, 3}[:len(f.params)]...)
			}
		}
	}
}

func controlModule() *builder {
	m := &builder{
		memory: cat(0, 1), exports: [][]byte{cat(str("memory"), 2, 0)},
		tables:  [][]byte{cat(0x70, 1, 4, 6), cat(0x6f, 0, 3)},
		globals: [][]byte{cat(i32t, 1, i32c(5), 0x0b), cat(i64t, 0, i64c(-5), 0x0b), cat("\x70", 1, 0xd2, 1, 0x0b)},
		elems:   [][]byte{cat(0, i32c(0), 0x0b, 2, 0, 1), cat(1, 0, 2, 1, 0), cat(5, 0x70, 2, 0xd2, 0, 0x0b, 0xd0, 0x70, 0x0b)},
		data:    [][]byte{cat(1, str("a passive segment"))}, counted: true,
	}
	binary, void := m.typ(i32t+i32t, i32t), m.typ(i32t, i32t)
	pair := m.typ(i32t, i32t+i32t)
	pairs := m.typ("", i32t+i32t)
	m.funcs = []fn{
		{name: "leaf", params: i32t, results: i32t, code: cat(0x20, 0, i32c(3), 0x6c)},
		{name: "other", params: i32t, results: i32t, code: cat(0x20, 0, i32c(100), 0x6a)},
		{name: "two", params: i32t, results: i32t + i32t, code: cat(0x20, 0, 0x10, 0, 0x20, 0, 0x0f)},
		{name: "two out of blocks", params: i32t, results: i32t + i32t, code: cat(
			0x02, uleb(pairs), 0x20, 0, 0x10, 0, 0x20, 0, 0x20, 0, 0x0d, 1, 0x0b)},
		{name: "sum", params: i32t, results: i32t, locals: i32t, code: cat(
			0x03, 0x40, 0x20, 1, 0x20, 0, 0x6a, 0x21, 1, 0x20, 0, i32c(1), 0x6b, 0x22, 0, i32c(0), 0x4a, 0x0d, 0, 0x0b, 0x20, 1)},
		{name: "loop with operands", params: i32t, results: i32t, code: cat(
			i32c(0), 0x20, 0, 0x03, uleb(binary), 0x22, 0, 0x6a, 0x20, 0, i32c(1), 0x6b, 0x22, 0, i32c(0), 0x4a, 0x04, uleb(void),
			0x20, 0, 0x0c, 1, 0x0b, 0x0b)},
		{name: "block with operands", params: i32t, results: i32t, code: cat(
			0x20, 0, 0x02, uleb(pair), 0x10, 0, 0x20, 0, 0x20, 0, 0x0d, 0, 0x1a, i32c(9), 0x0b, 0x6b)},
		{name: "table of branches", params: i32t, results: i32t, code: cat(
			0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 4, 0, 1, 2, 1, 3, 0x0b,
			i32c(10), 0x0f, 0x0b, i32c(20), 0x0f, 0x0b, 0x20, 0, 0x10, 0, 0x0f, 0x0b, i32c(40))},
		{name: "nested loops", params: i32t, results: i32t, locals: i32t + i32t + i32t, code: cat(
			0x03, 0x40, i32c(0), 0x21, 2, 0x03, 0x40, 0x20, 3, 0x20, 2, 0x6a, 0x10, 0, 0x21, 3, 0x20, 2, i32c(1), 0x6a, 0x22, 2,
			i32c(4), 0x48, 0x0d, 0, 0x0b, 0x20, 1, i32c(1), 0x6a, 0x22, 1, 0x20, 0, 0x48, 0x0d, 0, 0x0b, 0x20, 3)},
		{name: "fib", params: i32t, results: i32t, code: cat(
			0x20, 0, i32c(2), 0x48, 0x04, 0x40, 0x20, 0, 0x0f, 0x0b, 0x20, 0, i32c(1), 0x6b, 0x10, 9, 0x20, 0, i32c(2), 0x6b, 0x10, 9, 0x6a)},
		{name: "if else", params: i32t, results: i32t, code: cat(
			0x20, 0, i32c(1), 0x71, 0x04, 0x7f, 0x20, 0, 0x10, 0, 0x05, 0x20, 0, 0x10, 1, 0x0b)},
		{name: "indirect", params: i32t, results: i32t, code: cat(i32c(7), 0x20, 0, 0x11, uleb(void), 0)},
		{name: "unreachable", params: i32t, results: i32t, code: cat(
			0x20, 0, 0x04, 0x40, 0x00, 0x6a, 0x1a, 0x0b, 0x02, 0x40, 0x0c, 0, 0x0f, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b, i32c(4), 0x10, 0)},
		{name: "globals", params: i32t, results: i64t, code: cat(0x23, 0, 0x20, 0, 0x6a, 0x24, 0, 0x23, 0, 0xac, 0x23, 1, 0x7c)},
		{name: "select", params: i32t, results: i32t, code: cat(i32c(1), i32c(2), 0x20, 0, 0x1b, i32c(3), i32c(4), 0x20, 0, 0x1c, 1, 0x7f, 0x6a)},
		{name: "references", params: i32t, results: i32t, code: cat(
			0xd0, 0x70, 0xd1, 0x23, 2, 0xd1, 0x6a, 0xd2, 0, 0xd1, 0x6a, 0xd0, 0x6f, 0xd1, 0x6a, i32c(1), 0x25, 1, 0xd1, 0x6a)},
		{name: "tables", params: i32t, results: i32t, code: cat(
			i32c(2), 0xd2, 0, 0x26, 0, 0xd0, 0x70, 0x20, 0, 0xfc, 15, 0, i32c(0), i32c(1), 0x20, 0, 0xfc, 14, 0, 0, // set, grow, copy
			i32c(0), i32c(0), i32c(2), 0xfc, 12, 1, 0, i32c(2), 0xd2, 1, i32c(2), 0xfc, 17, 0, 0xfc, 16, 0, 0x6a)}, // init, fill, size
		{name: "drops", params: i32t, results: i32t, code: cat(0xfc, 13, 1, 0xfc, 9, 0, 0x20, 0)},
		{name: "init", params: i32t, code: cat(i32c(10), i32c(0), 0x20, 0, 0xfc, 8, 0, 0)},
		{name: "constants", params: i32t, results: f64t, code: cat(
			0x43, 1, 2, 3, 0x40, 0xbb, 0x44, 1, 2, 3, 4, 5, 6, 7, 0x40, 0xa0, i64c(-1<<63), 0xb9, 0xa0, 0x01)},
	}
	return m
}

// TestDispatchLoops: state machines as Go compiles them, and what looks like one but is not.
func TestDispatchLoops(t *testing.T) {
	// The states: 0 goes to 2, 2 counts and goes back to 1 or on to 3, 1 goes on to 2, 3 ends. Local 0 counts down.
	set := func(state int64, depth int) []byte { return cat(i32c(state), 0x21, 1, 0x0c, depth) }
	machine := func(back []byte) []byte {
		return cat(
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 3, 0, 1, 2, 3, 0x0b,
			set(2, 3), 0x0b, // state 0: forward
			0x20, 2, i32c(3), 0x6a, 0x21, 2, set(2, 2), 0x0b, // state 1: forward
			0x20, 0, 0x45, 0x04, 0x40, set(3, 2), 0x0b, 0x20, 0, i32c(1), 0x6b, 0x21, 0, back, 0x0b, // state 2
			0x20, 2, 0x0f, 0x0b, i32c(-1))
	}
	m := &builder{memory: cat(0, 1), funcs: []fn{
		{name: "jump", code: machine(set(1, 1))},
		{name: "computed", code: machine(cat(i32c(0), i32c(1), 0x6a, 0x21, 1, 0x0c, 1))},
		{name: "conditional", code: machine(cat(i32c(1), 0x21, 1, i32c(1), 0x0d, 1, 0x00))},
		{name: "table", code: machine(cat(i32c(1), 0x21, 1, i32c(0), 0x0e, 0, 1))},
		{name: "same state", code: machine(cat(0x20, 0, 0x04, 0x40, set(2, 2), 0x0b, set(3, 1)))},
	}}
	for i := range m.funcs {
		m.funcs[i].params, m.funcs[i].results, m.funcs[i].locals = i32t, i32t, i32t+i32t
	}
	wasm := m.bytes()
	plain, admitted := both(t, wasm)
	for _, f := range m.funcs {
		for _, n := range []uint64{0, 1, 2, 10, 1000} {
			sameCall(t, plain, admitted, f.name, n)
		}
	}
	// All of them can be stopped, and none goes without safepoints.
	for _, f := range m.funcs {
		a := instantiate(t, newRuntime(t), mustAdmit(t, wasm, admit.Options{}).Wasm)
		setGlobal(t, a, admit.GlobalStop, 1)
		if got := outcome(a, f.name, 1<<31); got != "trap: wasm error: unreachable" {
			t.Errorf("%s was not stopped: %s", f.name, got)
		}
	}
}

func TestBulkMemory(t *testing.T) {
	const pages, size = 64, 64 << 16
	m := &builder{
		memory: cat(0, pages), exports: [][]byte{cat(str("memory"), 2, 0)}, counted: true,
		data: [][]byte{cat(1, str(strings.Repeat("0123456789", 250_000)))},
		funcs: []fn{
			{name: "fill", code: cat(0xfc, 11, 0)},
			{name: "copy", code: cat(0xfc, 10, 0, 0)},
			{name: "init", code: cat(0xfc, 8, 0, 0)},
			{name: "drop", code: cat(0x1a, 0x1a, 0x1a, 0xfc, 9, 0)},
		},
	}
	for i := range m.funcs {
		m.funcs[i].params, m.funcs[i].code = i32t+i32t+i32t, cat(gets(3), m.funcs[i].code)
	}
	plain, admitted := both(t, m.bytes())
	const chunk = 1 << 20
	lengths := []uint64{0, 1, 1023, 1024, 1025, chunk - 1, chunk, chunk + 1, 2*chunk + 5, 3 * chunk, size, size + 1, 1 << 31, 1<<32 - 1}
	places := []uint64{0, 1, 4097, chunk, chunk + 3, size - chunk, size - 1, size, 1<<32 - 1}
	for i, dst := range places {
		for j, src := range places {
			for k, n := range lengths {
				sameCall(t, plain, admitted, []string{"init", "copy", "fill", "copy"}[(i+j+k)&3], dst, src, n)
			}
		}
	}
	sameCall(t, plain, admitted, "drop", 0, 0, 0)
	for _, n := range lengths {
		sameCall(t, plain, admitted, "init", 1, 1, n)
	}
}

// TestImportsAndStart: imports pass through untouched, and a start function waits for the host.
func TestImportsAndStart(t *testing.T) {
	m := &builder{
		memory: cat(0, 1), exports: [][]byte{cat(str("memory"), 2, 0)}, imported: 1,
		imports: [][]byte{cat(str("host"), str("double"), 0, 0)},
		funcs: []fn{
			{name: "run", params: i32t, results: i32t, code: cat(0x20, 0, 0x10, 0, i32c(0), 0x28, 2, 0, 0x6a)},
			{name: "", code: cat(i32c(0), i32c(41), 0x36, 2, 0)},
		},
		start: uleb(2),
	}
	m.typ(i32t, i32t)
	wasm := m.bytes()
	a := mustAdmit(t, wasm, admit.Options{})
	if !a.Start || len(a.Imports) != 1 || a.Imports[0].Func.String() != "(i32) -> (i32)" {
		t.Errorf("start %v, imports %v", a.Start, a.Imports)
	}
	rt := newRuntime(t)
	double := func(v uint32) uint32 { return 2 * v }
	if _, err := rt.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(double).Export("double").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	plain, admitted := instantiate(t, rt, wasm), instantiate(t, rt, a.Wasm)
	if got := outcome(admitted, "run", 4); got != "[8]" {
		t.Errorf("before the start function run(4) is %s", got)
	}
	if _, err := admitted.ExportedFunction(admit.StartExport).Call(ctx); err != nil {
		t.Fatal(err)
	}
	sameCall(t, plain, admitted, "run", 4)
}

func TestWithoutMemory(t *testing.T) {
	m := &builder{funcs: []fn{{name: "spin", code: cat(0x03, 0x40, 0x0c, 0, 0x0b)}}}
	a := mustAdmit(t, m.bytes(), admit.Options{})
	if !a.Memory.Injected || a.MemoryExported {
		t.Errorf("memory %+v, exported %v", a.Memory, a.MemoryExported)
	}
	stopAfter(t, instantiate(t, newRuntime(t), a.Wasm), 1e6, "spin")
}

func TestExportGlobals(t *testing.T) {
	a := mustAdmit(t, controlModule().bytes(), admit.Options{ExportGlobals: true})
	m := instantiate(t, newRuntime(t), a.Wasm)
	var got []string
	for _, g := range a.MutableGlobal {
		if _, ok := m.ExportedGlobal(g.Name).(api.MutableGlobal); !ok {
			t.Errorf("%s is not an exported mutable global", g.Name)
		}
		got = append(got, fmt.Sprint(g.Index, g.Type))
	}
	if want := []string{"0 i32", "2 funcref"}; !slices.Equal(got, want) {
		t.Errorf("mutable globals %v, want %v", got, want)
	}
}
