// Package bincode reads and writes bincode 1.3 with its default options: little endian, fixed width, no
// self-description, trailing bytes allowed. It is the encoding of arguments, results and lattice values, so guests
// written in Rust and in Go understand each other byte for byte.
//
// The Append functions add one value to a buffer. A Decoder takes values off one; its first error sticks, and it never
// allocates more than a constant beyond its input, whatever the input claims.
//
// Everybody may import this package, guests included: it imports errors, math and unicode/utf8 only.
package bincode

import (
	"errors"
	"math"
	"unicode/utf8"
)

// The errors of a Decoder.
var (
	ErrShort  = errors.New("bincode: unexpected end of input")
	ErrBool   = errors.New("bincode: a bool is neither 0 nor 1")
	ErrOption = errors.New("bincode: the tag of an option is neither 0 nor 1")
	ErrChar   = errors.New("bincode: invalid char")
	ErrUTF8   = errors.New("bincode: a string is not valid UTF-8")
	ErrCount  = errors.New("bincode: too many elements of no size")
	ErrTag    = errors.New("bincode: unknown enum variant")
)

// AppendUint8 appends a u8.
func AppendUint8(b []byte, v uint8) []byte { return append(b, v) }

// AppendUint16 appends a u16.
func AppendUint16(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) }

// AppendUint32 appends a u32, which is also how an enum's variant is written.
func AppendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

// AppendUint64 appends a u64 or usize, which is also how a count is written.
func AppendUint64(b []byte, v uint64) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
}

// AppendUint128 appends a u128 or i128 given as its two halves.
func AppendUint128(b []byte, hi, lo uint64) []byte { return AppendUint64(AppendUint64(b, lo), hi) }

// AppendInt8 appends an i8.
func AppendInt8(b []byte, v int8) []byte { return append(b, byte(v)) }

// AppendInt16 appends an i16.
func AppendInt16(b []byte, v int16) []byte { return AppendUint16(b, uint16(v)) }

// AppendInt32 appends an i32.
func AppendInt32(b []byte, v int32) []byte { return AppendUint32(b, uint32(v)) }

// AppendInt64 appends an i64 or isize.
func AppendInt64(b []byte, v int64) []byte { return AppendUint64(b, uint64(v)) }

// AppendFloat32 appends an f32.
func AppendFloat32(b []byte, v float32) []byte { return AppendUint32(b, math.Float32bits(v)) }

// AppendFloat64 appends an f64.
func AppendFloat64(b []byte, v float64) []byte { return AppendUint64(b, math.Float64bits(v)) }

// AppendBool appends a bool.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendOption appends the tag of an Option; the value follows where some is true.
func AppendOption(b []byte, some bool) []byte { return AppendBool(b, some) }

// AppendChar appends a char: its UTF-8 form without a length. What is no char becomes U+FFFD.
func AppendChar(b []byte, r rune) []byte { return utf8.AppendRune(b, r) }

// AppendString appends a String. The caller sees to it that s is valid UTF-8.
func AppendString(b []byte, s string) []byte { return append(AppendUint64(b, uint64(len(s))), s...) }

// AppendBytes appends a Vec<u8>.
func AppendBytes(b, v []byte) []byte { return append(AppendUint64(b, uint64(len(v))), v...) }

// maxEmpty bounds the elements of a sequence whose elements have no bytes of their own, such as Vec<()>: nothing in the
// input bounds them.
const maxEmpty = 1 << 16

// Decoder takes values off a buffer. After an error every method returns zero values; Err tells the first error. What
// the methods return never aliases the input, except where they say so.
type Decoder struct {
	buf []byte
	err error
}

// NewDecoder returns a decoder of b, which must not change while it is used.
func NewDecoder(b []byte) *Decoder { return &Decoder{buf: b} }

// Reset makes d decode b from its start.
func (d *Decoder) Reset(b []byte) { d.buf, d.err = b, nil }

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Fail makes err the decoder's error, unless it has one.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.buf = nil
}

// Rest returns the bytes not yet decoded. They alias the input.
func (d *Decoder) Rest() []byte { return d.buf }

func (d *Decoder) take(n int) []byte {
	if len(d.buf) < n {
		d.Fail(ErrShort)
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}

// Uint8 decodes a u8.
func (d *Decoder) Uint8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 decodes a u16.
func (d *Decoder) Uint16() uint16 {
	if b := d.take(2); b != nil {
		return uint16(b[0]) | uint16(b[1])<<8
	}
	return 0
}

// Uint32 decodes a u32.
func (d *Decoder) Uint32() uint32 {
	if b := d.take(4); b != nil {
		return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	return 0
}

// Uint64 decodes a u64 or usize.
func (d *Decoder) Uint64() uint64 {
	if b := d.take(8); b != nil {
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
	}
	return 0
}

// Uint128 decodes a u128 or i128 into its two halves.
func (d *Decoder) Uint128() (hi, lo uint64) {
	lo = d.Uint64()
	hi = d.Uint64()
	if d.err != nil {
		return 0, 0
	}
	return hi, lo
}

// Int8 decodes an i8.
func (d *Decoder) Int8() int8 { return int8(d.Uint8()) }

// Int16 decodes an i16.
func (d *Decoder) Int16() int16 { return int16(d.Uint16()) }

// Int32 decodes an i32.
func (d *Decoder) Int32() int32 { return int32(d.Uint32()) }

// Int64 decodes an i64 or isize.
func (d *Decoder) Int64() int64 { return int64(d.Uint64()) }

// Float32 decodes an f32.
func (d *Decoder) Float32() float32 { return math.Float32frombits(d.Uint32()) }

// Float64 decodes an f64.
func (d *Decoder) Float64() float64 { return math.Float64frombits(d.Uint64()) }

// Bool decodes a bool.
func (d *Decoder) Bool() bool { return d.flag(ErrBool) }

// Option decodes the tag of an Option; true means that the value follows.
func (d *Decoder) Option() bool { return d.flag(ErrOption) }

func (d *Decoder) flag(bad error) bool {
	v := d.Uint8()
	if v > 1 {
		d.Fail(bad)
	}
	return v == 1
}

// Variant decodes the variant of an enum that has n of them.
func (d *Decoder) Variant(n uint32) uint32 {
	v := d.Uint32()
	if d.err == nil && v >= n {
		d.Fail(ErrTag)
		return 0
	}
	return v
}

// Char decodes a char.
func (d *Decoder) Char() rune {
	if len(d.buf) == 0 {
		d.Fail(ErrShort)
		return 0
	}
	r, n := utf8.DecodeRune(d.buf)
	if r == utf8.RuneError && n <= 1 {
		if !utf8.FullRune(d.buf) {
			d.Fail(ErrShort)
		} else {
			d.Fail(ErrChar)
		}
		return 0
	}
	d.buf = d.buf[n:]
	return r
}

// Count decodes the count of a sequence, set or map whose elements take at least size bytes each (0 for elements that
// may take none). A count that the rest of the input cannot hold is an error, so a caller may allocate by it.
func (d *Decoder) Count(size int) int {
	n := d.Uint64()
	switch {
	case size > 0 && n > uint64(len(d.buf)/size):
		d.Fail(ErrShort)
		return 0
	case size <= 0 && n > maxEmpty:
		d.Fail(ErrCount)
		return 0
	}
	return int(n)
}

// View decodes a Vec<u8> that aliases the input.
func (d *Decoder) View() []byte { return d.take(d.Count(1)) }

// Bytes decodes a Vec<u8> into memory of its own. It is nil only after an error.
func (d *Decoder) Bytes() []byte {
	v := d.View()
	if d.err != nil {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

// StringView decodes a String that aliases the input.
func (d *Decoder) StringView() []byte {
	v := d.View()
	if !utf8.Valid(v) {
		d.Fail(ErrUTF8)
		return nil
	}
	return v
}

// String decodes a String.
func (d *Decoder) String() string { return string(d.StringView()) }
