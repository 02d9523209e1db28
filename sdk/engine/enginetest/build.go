package enginetest

import (
	"encoding/binary"
	"slices"
)

// shape is a small module written in code: one function "f" of type (i32) -> () with a memory, and what else a test needs.
type shape struct {
	pages   uint64   // of memory at least; its most is open
	types   [][]byte // beside type 0, (i32) -> ()
	funcs   []body   // the first is "f"
	tables  [][]byte
	exports [][]byte
	elems   [][]byte
	data    [][]byte
	start   []byte // contents of the start section
	customs [][]byte
	memory  []byte // instead of pages
}

// body is a function: its type, its locals as pairs of count and type, its code without the final end.
type body struct {
	typ    uint64
	locals [][]byte
	code   []byte
}

func uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func i32c(v int64) []byte { return append([]byte{0x41}, sleb(v)...) }

func named(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func vector(items ...[]byte) []byte {
	return append(uleb(uint64(len(items))), slices.Concat(items...)...)
}

func section(id byte, contents []byte) []byte {
	return join([]byte{id}, uleb(uint64(len(contents))), contents)
}

// wasm returns the module.
func (s *shape) wasm() []byte {
	const i32 = 0x7f
	types := append([][]byte{{0x60, 1, i32, 0}}, s.types...)
	var funcs, code [][]byte
	for _, f := range s.funcs {
		funcs = append(funcs, uleb(f.typ))
		b := join(vector(f.locals...), f.code, []byte{0x0b})
		code = append(code, join(uleb(uint64(len(b))), b))
	}
	memory := s.memory
	if memory == nil {
		memory = join([]byte{0}, uleb(max(s.pages, 1)))
	}
	exports := append([][]byte{join(named("memory"), []byte{2, 0}), join(named("f"), []byte{0, 0})}, s.exports...)
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, sec := range []struct {
		id    byte
		items [][]byte
	}{{1, types}, {3, funcs}, {4, s.tables}, {5, [][]byte{memory}}, {7, exports}} {
		if len(sec.items) > 0 {
			out = append(out, section(sec.id, vector(sec.items...))...)
		}
	}
	if s.start != nil {
		out = append(out, section(8, s.start)...)
	}
	if len(s.elems) > 0 {
		out = append(out, section(9, vector(s.elems...))...)
	}
	out = append(out, section(10, vector(code...))...)
	if len(s.data) > 0 {
		out = append(out, section(11, vector(s.data...))...)
	}
	for _, c := range s.customs {
		out = append(out, section(0, c)...)
	}
	return out
}
