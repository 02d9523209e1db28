package cli

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/essa-project/essad/sdk/bincode"
)

// argType is a type of an argument or a result: how to read it from text, and how to show it.
type argType struct {
	name   string
	encode func(b []byte, text string) ([]byte, error)
	decode func(d *bincode.Decoder) any
}

var argTypes = []argType{
	{"str", func(b []byte, s string) ([]byte, error) { return bincode.AppendString(b, s), nil }, func(d *bincode.Decoder) any { return d.String() }},
	{"u8", unsigned(8), func(d *bincode.Decoder) any { return d.Uint8() }},
	{"u16", unsigned(16), func(d *bincode.Decoder) any { return d.Uint16() }},
	{"u32", unsigned(32), func(d *bincode.Decoder) any { return d.Uint32() }},
	{"u64", unsigned(64), func(d *bincode.Decoder) any { return d.Uint64() }},
	{"i8", signed(8), func(d *bincode.Decoder) any { return d.Int8() }},
	{"i16", signed(16), func(d *bincode.Decoder) any { return d.Int16() }},
	{"i32", signed(32), func(d *bincode.Decoder) any { return d.Int32() }},
	{"i64", signed(64), func(d *bincode.Decoder) any { return d.Int64() }},
	{"f32", encodeF32, func(d *bincode.Decoder) any { return d.Float32() }},
	{"f64", encodeF64, func(d *bincode.Decoder) any { return d.Float64() }},
	{"bool", encodeBool, func(d *bincode.Decoder) any { return d.Bool() }},
	{"char", encodeChar, func(d *bincode.Decoder) any { return string(d.Char()) }},
	{"hex", encodeHex, nil},
}

func typeNamed(name string) (argType, bool) {
	i := slices.IndexFunc(argTypes, func(t argType) bool { return t.name == name })
	if i < 0 {
		return argType{}, false
	}
	return argTypes[i], true
}

// little appends the low bits of v, least significant byte first.
func little(b []byte, v uint64, bits int) []byte {
	for ; bits > 0; bits -= 8 {
		b, v = append(b, byte(v)), v>>8
	}
	return b
}

func unsigned(bits int) func([]byte, string) ([]byte, error) {
	return func(b []byte, s string) ([]byte, error) {
		v, err := strconv.ParseUint(s, 0, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is not a u%d", s, bits)
		}
		return little(b, v, bits), nil
	}
}

func signed(bits int) func([]byte, string) ([]byte, error) {
	return func(b []byte, s string) ([]byte, error) {
		v, err := strconv.ParseInt(s, 0, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is not an i%d", s, bits)
		}
		return little(b, uint64(v), bits), nil
	}
}

func encodeF32(b []byte, s string) ([]byte, error) {
	v, err := strconv.ParseFloat(s, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not an f32", s)
	}
	return bincode.AppendFloat32(b, float32(v)), nil
}

func encodeF64(b []byte, s string) ([]byte, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not an f64", s)
	}
	return bincode.AppendFloat64(b, v), nil
}

func encodeBool(b []byte, s string) ([]byte, error) {
	if s != "true" && s != "false" {
		return nil, fmt.Errorf("%q is not true or false", s)
	}
	return bincode.AppendBool(b, s == "true"), nil
}

func encodeChar(b []byte, s string) ([]byte, error) {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || n != len(s) || (r == utf8.RuneError && n == 1) {
		return nil, fmt.Errorf("%q is not one character", s)
	}
	return bincode.AppendChar(b, r), nil
}

func encodeHex(b []byte, s string) ([]byte, error) {
	raw, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal", s)
	}
	return append(b, raw...), nil
}

// encodeTyped encodes --arg values. Text whose part before the first colon is not a type is a string as it stands.
func encodeTyped(args []string) ([]byte, error) {
	var b []byte
	for i, arg := range args {
		t, text := argTypes[0], arg
		if name, rest, ok := strings.Cut(arg, ":"); ok {
			if named, known := typeNamed(name); known {
				t, text = named, rest
			}
		}
		var err error
		if b, err = t.encode(b, text); err != nil {
			return nil, fmt.Errorf("--arg %d: %w", i+1, err)
		}
	}
	return b, nil
}

// encodeJSON encodes --arg-json: an array, one element an argument.
func encodeJSON(text string) ([]byte, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var args []any
	if err := dec.Decode(&args); err != nil {
		return nil, fmt.Errorf("--arg-json: want a JSON array: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("--arg-json: there is more after the array")
	}
	var b []byte
	for i, v := range args {
		var err error
		if b, err = encodeValue(b, v); err != nil {
			return nil, fmt.Errorf("--arg-json: argument %d: %w", i+1, err)
		}
	}
	return b, nil
}

func encodeValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return bincode.AppendOption(b, false), nil
	case bool:
		return bincode.AppendBool(b, v), nil
	case string:
		return bincode.AppendString(b, v), nil
	case json.Number:
		return encodeNumber(b, v)
	case []any:
		b = bincode.AppendUint64(b, uint64(len(v)))
		for _, e := range v {
			var err error
			if b, err = encodeValue(b, e); err != nil {
				return nil, err
			}
		}
		return b, nil
	case map[string]any:
		return encodeObject(b, v)
	}
	return nil, fmt.Errorf("%v cannot be an argument", v)
}

func encodeNumber(b []byte, n json.Number) ([]byte, error) {
	if v, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return bincode.AppendInt64(b, v), nil
	}
	if v, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return bincode.AppendUint64(b, v), nil
	}
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%s is out of range", n)
	}
	return bincode.AppendFloat64(b, f), nil
}

// encodeObject encodes {"TYPE": VALUE}, and {"some": VALUE} for an option that is there.
func encodeObject(b []byte, o map[string]any) ([]byte, error) {
	if len(o) == 1 {
		for name, v := range o {
			if name == "some" {
				return encodeValue(bincode.AppendOption(b, true), v)
			}
			if t, ok := typeNamed(name); ok {
				return t.encode(b, fmt.Sprint(v))
			}
		}
	}
	return nil, fmt.Errorf(`an object must be {"TYPE": VALUE} with one of the types %s or some`, typeNames())
}

func typeNames() string {
	var names []string
	for _, t := range argTypes {
		names = append(names, t.name)
	}
	return strings.Join(names, " ")
}

// decoder returns how to show a result: raw gives the bytes themselves, hex their digits, a type what they mean.
func decoder(as string) (func([]byte) (any, error), error) {
	switch as {
	case "raw":
		return func(b []byte) (any, error) { return b, nil }, nil
	case "hex":
		return func(b []byte) (any, error) { return hex.EncodeToString(b), nil }, nil
	}
	s, err := parseShape(as)
	if err != nil {
		return nil, fmt.Errorf("--as: %w", err)
	}
	return func(b []byte) (any, error) {
		d := bincode.NewDecoder(b)
		v, err := s.take(d)
		if err == nil {
			err = d.Err()
		}
		if n := len(d.Rest()); err == nil && n > 0 {
			err = fmt.Errorf("%d bytes are left after the %s", n, as)
		}
		return v, err
	}, nil
}
