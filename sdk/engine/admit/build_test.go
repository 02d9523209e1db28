package admit_test

import "encoding/binary"

// builder assembles a module by hand. Every function is exported under its name.
type builder struct {
	types    [][2]string // parameters and results, as value type bytes
	imports  [][]byte
	funcs    []fn
	tables   [][]byte
	memory   []byte
	globals  [][]byte
	exports  [][]byte
	start    []byte
	elems    [][]byte
	data     [][]byte
	counted  bool // write a data count section
	imported int  // functions among imports
}

type fn struct {
	name            string
	params, results string
	locals          string // one byte each
	code            []byte // without the final end
}

const (
	i32t = "\x7f"
	i64t = "\x7e"
	f32t = "\x7d"
	f64t = "\x7c"
	vect = "\x7b"
)

func uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// cat joins code given as bytes, slices and strings.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case rune:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		default:
			panic(p)
		}
	}
	return b
}

func i32c(v int64) []byte { return cat(0x41, sleb(v)) }
func i64c(v int64) []byte { return cat(0x42, sleb(v)) }

func str(s string) []byte { return cat(uleb(uint64(len(s))), s) }

func vec(items [][]byte) []byte {
	b := uleb(uint64(len(items)))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func sec(id byte, body []byte) []byte { return cat([]byte{id}, uleb(uint64(len(body))), body) }

const wasmHeader = "\x00asm\x01\x00\x00\x00"

// typ returns the index of a function type.
func (m *builder) typ(params, results string) uint64 {
	for i, t := range m.types {
		if t == [2]string{params, results} {
			return uint64(i)
		}
	}
	m.types = append(m.types, [2]string{params, results})
	return uint64(len(m.types) - 1)
}

func (m *builder) bytes() []byte {
	var decl, code [][]byte
	exports := m.exports
	for i, f := range m.funcs {
		decl = append(decl, uleb(m.typ(f.params, f.results)))
		var locals [][]byte
		for _, l := range []byte(f.locals) {
			locals = append(locals, []byte{1, l})
		}
		body := cat(vec(locals), f.code, 0x0b)
		code = append(code, cat(uleb(uint64(len(body))), body))
		if f.name != "" {
			exports = append(exports, cat(str(f.name), 0, uleb(uint64(m.imported+i))))
		}
	}
	var types [][]byte
	for _, t := range m.types {
		types = append(types, cat(0x60, str(t[0]), str(t[1])))
	}
	out := []byte(wasmHeader)
	add := func(id byte, items [][]byte) {
		if len(items) > 0 {
			out = append(out, sec(id, vec(items))...)
		}
	}
	add(1, types)
	add(2, m.imports)
	add(3, decl)
	add(4, m.tables)
	if m.memory != nil {
		add(5, [][]byte{m.memory})
	}
	add(6, m.globals)
	add(7, exports)
	if m.start != nil {
		out = append(out, sec(8, m.start)...)
	}
	add(9, m.elems)
	if m.counted {
		out = append(out, sec(12, uleb(uint64(len(m.data))))...)
	}
	add(10, code)
	add(11, m.data)
	return out
}

// one makes a module of one function with a memory of two pages.
func one(f fn) []byte {
	m := &builder{funcs: []fn{f}, memory: cat(0, 2)}
	return m.bytes()
}
