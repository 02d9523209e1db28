package admit

import (
	"fmt"
	"unicode/utf8"
)

// reader is a cursor over part of a module. Its first mistake sticks: afterwards every read returns zero and moves
// nowhere, so that decoders stay readable and check err where a loop could otherwise run on.
type reader struct {
	b   []byte // the whole module, so that positions are file offsets
	pos int
	end int
	err error
}

// fail records the first mistake, with the offset it was found at.
func (r *reader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &fault{offset: at, text: fmt.Sprintf(format, args...)}
	}
	r.pos = r.end
}

// fault is a mistake in the module's bytes; Module adds the section and the function.
type fault struct {
	offset int
	text   string
}

func (f *fault) Error() string { return fmt.Sprintf("offset 0x%x: %s", f.offset, f.text) }

func (r *reader) left() int { return r.end - r.pos }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.fail(r.pos, "unexpected end")
		return 0
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

func (r *reader) skip(n int) {
	if n > r.left() {
		r.fail(r.pos, "unexpected end: %d bytes wanted, %d left", n, r.left())
		return
	}
	r.pos += n
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	// One byte is by far the most common form.
	if r.pos < r.end && r.b[r.pos] < 0x80 {
		c := r.b[r.pos]
		r.pos++
		return uint32(c)
	}
	at := r.pos
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			r.fail(at, "number is longer than 32 bits")
			return 0
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.fail(at, "number is longer than 32 bits")
	return 0
}

// signed reads a signed LEB128 of at most the given bits.
func (r *reader) signed(bits int) int64 {
	at := r.pos
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if left := bits - shift; left < 7 {
			// The unused bits of the last byte must repeat the sign.
			top := int8(c<<1) >> left
			if c >= 0x80 || top != 0 && top != -1 {
				r.fail(at, "number is longer than %d bits", bits)
				return 0
			}
		}
		if c < 0x80 {
			if s := shift + 7; s < 64 {
				v = v << (64 - s) >> (64 - s)
			}
			return v
		}
	}
	r.fail(at, "number is longer than %d bits", bits)
	return 0
}

// count reads the length of a vector whose elements take at least min bytes each. A count that the input cannot hold is
// refused here, so that nothing is ever allocated for it.
func (r *reader) count(what string, min int) int {
	at := r.pos
	n := r.u32()
	if int64(n)*int64(min) > int64(r.left()) {
		r.fail(at, "%d %s announced, but only %d bytes are left", n, what, r.left())
		return 0
	}
	return int(n)
}

// name reads a UTF-8 name. The string does not share memory with the module.
func (r *reader) name() string {
	n := r.count("bytes of a name", 1)
	at := r.pos
	r.skip(n)
	if r.err != nil {
		return ""
	}
	if s := r.b[at:r.pos]; utf8.Valid(s) {
		return string(s)
	}
	r.fail(at, "name is not UTF-8")
	return ""
}

// index reads an index that must be below n.
func (r *reader) index(what string, n int) int {
	at := r.pos
	v := r.u32()
	if r.err == nil && int64(v) >= int64(n) {
		r.fail(at, "%s %d does not exist (there are %d)", what, v, n)
		return 0
	}
	return int(v)
}

// sub returns a reader of the next n bytes and moves past them.
func (r *reader) sub(n int) reader {
	at := r.pos
	r.skip(n)
	if r.err != nil {
		return reader{b: r.b, pos: at, end: at, err: r.err}
	}
	return reader{b: r.b, pos: at, end: r.pos}
}
