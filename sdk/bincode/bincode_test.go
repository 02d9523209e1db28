package bincode_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/sdk/bincode"
)

// The bytes on the right were produced by the bincode crate itself.
func TestGoldens(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ClientKey", bincode.AppendString(nil, "ab"), "0200000000000000 6162"},
		{"args", bincode.AppendUint64(bincode.AppendString(nil, "foo"), 15000), "0300000000000000 666f6f 983a000000000000"},
		{"Ok(1u8)", bincode.AppendUint8(bincode.AppendUint32(nil, 0), 1), "00000000 01"},
		{"Err", bincode.AppendString(bincode.AppendUint32(nil, 1), "e"), "01000000 0100000000000000 65"},
		{"Some", bincode.AppendUint16(bincode.AppendOption(nil, true), 1), "01 0100"},
		{"None", bincode.AppendOption(nil, false), "00"},
		{"char", bincode.AppendChar(nil, 'é'), "c3a9"},
		{"bool", bincode.AppendBool(nil, true), "01"},
		{"tuple", bincode.AppendInt64(bincode.AppendUint16(nil, 1), -1), "0100 ffffffffffffffff"},
		{"f64", bincode.AppendFloat64(nil, 1.5), "000000000000f83f"},
		{"u128", bincode.AppendUint128(nil, 0, 1), "01000000000000000000000000000000"},
		{"i128", bincode.AppendUint128(nil, math.MaxUint64, math.MaxUint64), strings.Repeat("ff", 16)},
		{"bytes", bincode.AppendBytes(nil, []byte{1, 2}), "0200000000000000 0102"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.got, want) {
			t.Errorf("%s: got %x, want %x", c.name, c.got, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8, u16, u32, u64 := rapid.Uint8().Draw(t, "u8"), rapid.Uint16().Draw(t, "u16"), rapid.Uint32().Draw(t, "u32"), rapid.Uint64().Draw(t, "u64")
		f32, f64 := rapid.Float32().Draw(t, "f32"), rapid.Float64().Draw(t, "f64")
		ok, s, r := rapid.Bool().Draw(t, "bool"), rapid.String().Draw(t, "s"), rapid.Rune().Draw(t, "r")
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		b := bincode.AppendUint8(nil, u8)
		b = bincode.AppendInt8(b, int8(u8))
		b = bincode.AppendUint16(b, u16)
		b = bincode.AppendInt16(b, int16(u16))
		b = bincode.AppendUint32(b, u32)
		b = bincode.AppendInt32(b, int32(u32))
		b = bincode.AppendUint64(b, u64)
		b = bincode.AppendInt64(b, int64(u64))
		b = bincode.AppendUint128(b, u64, ^u64)
		b = bincode.AppendFloat32(b, f32)
		b = bincode.AppendFloat64(b, f64)
		b = bincode.AppendBool(b, ok)
		b = bincode.AppendOption(b, ok)
		b = bincode.AppendChar(b, r)
		b = bincode.AppendString(b, s)
		b = bincode.AppendBytes(b, raw)
		b = append(b, "trailing"...)
		d := bincode.NewDecoder(b)
		eq(t, d.Uint8(), u8)
		eq(t, d.Int8(), int8(u8))
		eq(t, d.Uint16(), u16)
		eq(t, d.Int16(), int16(u16))
		eq(t, d.Uint32(), u32)
		eq(t, d.Int32(), int32(u32))
		eq(t, d.Uint64(), u64)
		eq(t, d.Int64(), int64(u64))
		hi, lo := d.Uint128()
		eq(t, hi, u64)
		eq(t, lo, ^u64)
		eq(t, math.Float32bits(d.Float32()), math.Float32bits(f32))
		eq(t, math.Float64bits(d.Float64()), math.Float64bits(f64))
		eq(t, d.Bool(), ok)
		eq(t, d.Option(), ok)
		if utf8.ValidRune(r) {
			eq(t, d.Char(), r)
		} else {
			eq(t, d.Char(), utf8.RuneError)
		}
		eq(t, d.String(), s)
		eq(t, string(d.Bytes()), string(raw))
		eq(t, string(d.Rest()), "trailing")
		eq(t, d.Err(), nil)
	})
}

func eq[T comparable](t *rapid.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestErrors(t *testing.T) {
	huge := bincode.AppendUint64(nil, math.MaxUint64)
	for _, c := range []struct {
		name string
		in   []byte
		read func(*bincode.Decoder)
		want error
	}{
		{"short", []byte{1, 2}, func(d *bincode.Decoder) { d.Uint32() }, bincode.ErrShort},
		{"huge bytes", huge, func(d *bincode.Decoder) { d.Bytes() }, bincode.ErrShort},
		{"huge string", huge, func(d *bincode.Decoder) { _ = d.String() }, bincode.ErrShort},
		{"huge count", huge, func(d *bincode.Decoder) { d.Count(8) }, bincode.ErrShort},
		{"huge empty", huge, func(d *bincode.Decoder) { d.Count(0) }, bincode.ErrCount},
		{"bool", []byte{2}, func(d *bincode.Decoder) { d.Bool() }, bincode.ErrBool},
		{"option", []byte{2}, func(d *bincode.Decoder) { d.Option() }, bincode.ErrOption},
		{"char", []byte{0xff}, func(d *bincode.Decoder) { d.Char() }, bincode.ErrChar},
		{"short char", []byte{0xc3}, func(d *bincode.Decoder) { d.Char() }, bincode.ErrShort},
		{"surrogate", []byte{0xed, 0xa0, 0x80}, func(d *bincode.Decoder) { d.Char() }, bincode.ErrChar},
		{"no char", nil, func(d *bincode.Decoder) { d.Char() }, bincode.ErrShort},
		{"utf8", bincode.AppendBytes(nil, []byte{0xff}), func(d *bincode.Decoder) { d.StringView() }, bincode.ErrUTF8},
		{"variant", bincode.AppendUint32(nil, 9), func(d *bincode.Decoder) { d.Variant(5) }, bincode.ErrTag},
	} {
		d := bincode.NewDecoder(c.in)
		c.read(d)
		if !errors.Is(d.Err(), c.want) {
			t.Errorf("%s: got %v, want %v", c.name, d.Err(), c.want)
		}
		if n := d.Uint64(); n != 0 || !errors.Is(d.Err(), c.want) {
			t.Errorf("%s: the error does not stick", c.name)
		}
	}
}

// FuzzDecoder reads anything as anything: no panic, and no allocation beyond the input's size.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{9, 8, 7, 6, 5, 4, 3, 2, 1, 0})
	f.Fuzz(func(t *testing.T, in, script []byte) {
		d := bincode.NewDecoder(in)
		for _, op := range script {
			switch op % 12 {
			case 0:
				d.Uint8()
			case 1:
				d.Uint16()
			case 2:
				d.Uint32()
			case 3:
				d.Uint64()
			case 4:
				d.Uint128()
			case 5:
				d.Bool()
			case 6:
				d.Char()
			case 7:
				if s := d.String(); len(s) > len(in) || !utf8.ValidString(s) {
					t.Fatalf("string %q from %x", s, in)
				}
			case 8:
				if b := d.Bytes(); len(b) > len(in) {
					t.Fatalf("%d bytes from %d", len(b), len(in))
				}
			case 9:
				if n := d.Count(3); n*3 > len(d.Rest()) {
					t.Fatalf("count %d with %d bytes left", n, len(d.Rest()))
				}
			case 10:
				d.Variant(5)
			case 11:
				d.Option()
			}
			if d.Err() != nil && len(d.Rest()) != 0 {
				t.Fatal("a failed decoder has a rest")
			}
		}
	})
}
