package cli

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestEncodeArgs(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"foo", "u64:15000"}, "0300000000000000666f6f983a000000000000"}, // golden: args (String "foo", usize 15000)
		{[]string{"a:b"}, "0300000000000000613a62"},                              // not a type: text as it stands
		{[]string{"str:u8:1"}, "040000000000000075383a31"},
		{[]string{"u8:255", "i8:-1", "u16:0x102", "bool:true", "char:é", "hex:00ff"}, "ffff020101c3a900ff"},
		{[]string{"f64:1.5"}, "000000000000f83f"},
	} {
		b, err := encodeTyped(tc.args)
		if err != nil || hex.EncodeToString(b) != tc.want {
			t.Errorf("%q: %x, %v; want %s", tc.args, b, err, tc.want)
		}
	}
	for _, bad := range []string{"u8:256", "u8:-1", "i8:128", "bool:yes", "char:ab", "char:", "hex:0", "f64:x", "u64:"} {
		if b, err := encodeTyped([]string{bad}); err == nil {
			t.Errorf("%q was encoded as %x", bad, b)
		}
	}
}

func TestEncodeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`[]`:                           "",
		`["foo", 15000]`:               "0300000000000000666f6f983a000000000000",
		`[-1, 18446744073709551615]`:   "ffffffffffffffffffffffffffffffff",
		`[null, {"some": {"u16": 1}}]`: "00010100",
		`[["a"], true, 1.5]`:           "0100000000000000010000000000000061" + "01" + "000000000000f83f",
	} {
		b, err := encodeJSON(in)
		if err != nil || hex.EncodeToString(b) != want {
			t.Errorf("%s: %x, %v; want %s", in, b, err, want)
		}
	}
	for _, bad := range []string{``, `{}`, `"a"`, `[1] [2]`, `[{"a":1}]`, `[{"u8":256}]`, `[1e999]`, `[`} {
		if b, err := encodeJSON(bad); err == nil {
			t.Errorf("%s was encoded as %x", bad, b)
		}
	}
}

func TestDecodeResult(t *testing.T) {
	d, err := decoder("str")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := d([]byte{2, 0, 0, 0, 0, 0, 0, 0, 'h', 'i'}); err != nil || v != "hi" {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := d([]byte{9, 0, 0, 0, 0, 0, 0, 0, 'h'}); err == nil {
		t.Errorf("a short result was shown as %v", v)
	}
	if v, err := d([]byte{1, 0, 0, 0, 0, 0, 0, 0, 'h', 'i'}); err == nil {
		t.Errorf("a result with more in it was shown as %v", v)
	}
	if _, err := decoder("u128"); err == nil {
		t.Error("an unknown type was taken")
	}
}

func TestShapes(t *testing.T) {
	for _, tc := range []struct{ as, in, want string }{
		{"result<vec<str>>", "00000000" + "0100000000000000" + "0300000000000000416461", "[Ada]"},
		{"result<u8>", "0100000002000000000000006e6f", "error: the function returned an error: no"},
		{"option<u16>", "00", "<nil>"},
		{"option<u16>", "010100", "1"},
		{"tuple<bool, f64>", "01000000000000f83f", "[true 1.5]"},
		{"map<str,u8>", "0100000000000000" + "010000000000000061" + "07", "map[a:7]"},
		{"vec<tuple<u8,u8>>", "01000000000000000102", "[[1 2]]"},
		{"unit", "", "<nil>"},
		{"vec<u8>", "ffffffffffffffff", "error: bincode"},
	} {
		d, err := decoder(tc.as)
		if err != nil {
			t.Errorf("%s: %v", tc.as, err)
			continue
		}
		raw, err := hex.DecodeString(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		v, err := d(raw)
		got := fmt.Sprint(v)
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s of %s is %s, want %s", tc.as, tc.in, got, tc.want)
		}
	}
	for _, bad := range []string{"", "vec", "vec<", "vec<u8", "vec<u8>>", "vec<u8,u8>", "u8<u8>", "map<u8>", "result", "x", "hex<u8>", strings.Repeat("vec<", 40) + "u8" + strings.Repeat(">", 40)} {
		if _, err := decoder(bad); err == nil {
			t.Errorf("type %q was taken", bad)
		}
	}
}
