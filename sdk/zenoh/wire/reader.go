package wire

import (
	"math"
	"unicode/utf8"
	"unsafe"
)

// reader takes a message apart. The first error sticks, and leaves nothing to be read: what is read then is zero, and every
// loop over what is left ends.
type reader struct {
	b   []byte
	i   int
	err Error
}

func (r *reader) fail(e Error) {
	if r.err == 0 {
		r.err = e
	}
	r.i = len(r.b)
}

// done returns how much was read, or the error.
func (r *reader) done() (int, error) {
	if r.err != 0 {
		return 0, r.err
	}
	return r.i, nil
}

func (r *reader) u8() byte {
	if r.i >= len(r.b) {
		r.fail(ErrShort)
		return 0
	}
	c := r.b[r.i]
	r.i++
	return c
}

// zint reads a number. The usual one is a single byte.
func (r *reader) zint() uint64 {
	if i := r.i; i < len(r.b) && r.b[i] < 0x80 {
		r.i = i + 1
		return uint64(r.b[i])
	}
	return r.longZint()
}

func (r *reader) longZint() uint64 {
	v, n := zint(r.b[r.i:])
	if n == 0 {
		r.fail(ErrShort)
	}
	r.i += n
	return v
}

func (r *reader) z32() uint32 {
	v := r.zint()
	if v > math.MaxUint32 {
		r.fail(ErrRange)
		return 0
	}
	return uint32(v)
}

func (r *reader) z16() uint16 {
	v := r.zint()
	if v > math.MaxUint16 {
		r.fail(ErrRange)
		return 0
	}
	return uint16(v)
}

// bytes returns the next n bytes, with no room behind them: what is appended to them is copied.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)-r.i) {
		r.fail(ErrShort)
		return nil
	}
	end := r.i + int(n)
	p := r.b[r.i:end:end]
	r.i = end
	return p
}

// zbuf reads a length and so many bytes. The result is nil only after an error.
func (r *reader) zbuf() []byte { return r.bytes(uint64(r.z32())) }

// rest takes all that is left.
func (r *reader) rest() []byte { return r.bytes(uint64(len(r.b) - r.i)) }

// text reads a string of at most limit bytes.
func (r *reader) text(limit uint64) string {
	n := r.zint()
	if n > limit {
		r.fail(ErrRange)
		return ""
	}
	return r.checked(r.bytes(n))
}

// checked returns the bytes p as a string, unless they are not UTF-8: the Rust implementation closes the link it gets such
// a string from, so none may be forwarded to it.
func (r *reader) checked(p []byte) string {
	if !utf8.Valid(p) {
		r.fail(ErrText)
		return ""
	}
	return alias(p)
}

// alias returns a string that shares the memory of p.
func alias(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// fixedID reads an id of n bytes.
func (r *reader) fixedID(n uint64) (id ID) {
	if n > uint64(len(id)) {
		r.fail(ErrID)
		return ID{}
	}
	copy(id[:], r.bytes(n))
	if id.none() {
		r.fail(ErrID)
	}
	return id
}

// countedID reads an id with its length before it.
func (r *reader) countedID() ID { return r.fixedID(r.zint()) }

func (r *reader) timestamp() (t Timestamp) {
	t.Time = r.zint()
	t.ID = r.countedID()
	return t
}

func (r *reader) entity() (e EntityID) {
	e.ZID = r.fixedID(uint64(r.u8()>>4) + 1)
	e.EID = r.z32()
	return e
}

func (r *reader) encoding() (e Encoding) {
	v := r.z32()
	e.ID = v >> 1
	if v&1 != 0 {
		n := r.zint()
		if n > MaxSchema {
			r.fail(ErrRange)
			return Encoding{}
		}
		e.Schema = alias(r.bytes(n))
	}
	return e
}

// sub returns a reader of an extension's body, which merge ends.
func (r *reader) sub() reader { return reader{b: r.zbuf()} }

// merge takes over the error of what was read of an extension. All of it must have been read: the Rust implementation does
// not look at the length of an extension whose fields it knows, and would take what is left for something else.
func (r *reader) merge(s *reader) {
	if s.err == 0 && s.i < len(s.b) {
		s.err = ErrExtension
	}
	if s.err != 0 {
		r.fail(s.err)
	}
}

func (r *reader) timestampExt() Timestamp {
	s := r.sub()
	t := s.timestamp()
	r.merge(&s)
	return t
}

// skipExt steps over the body of an unknown extension with header h.
func (r *reader) skipExt(h byte) {
	if h&extMandatory != 0 {
		r.fail(ErrMandatory)
		return
	}
	switch h & encMask {
	case encUnit:
	case encZ64:
		r.zint()
	case encZBuf:
		r.zbuf()
	default:
		r.fail(ErrExtension)
	}
}

// skipExts steps over a whole chain of extensions, none of which is known, if h says that there is one.
func (r *reader) skipExts(h byte) {
	for h&flagZ != 0 {
		h = r.u8()
		r.skipExt(h)
	}
}
