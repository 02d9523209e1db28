package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestID(t *testing.T) {
	for text, want := range map[string]ID{
		"44332211":        idA,
		"bbaa":            idB,
		"c01020304050607": {0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x0c},
		"1":               {1},
		"f":               {15},
		"100":             {0, 1},
		"a1a2a3a4a5a6a7a8a9aaabacadaeaf01": {
			0x01, 0xaf, 0xae, 0xad, 0xac, 0xab, 0xaa, 0xa9, 0xa8, 0xa7, 0xa6, 0xa5, 0xa4, 0xa3, 0xa2, 0xa1,
		},
	} {
		id, err := ParseID(text)
		if err != nil || id != want || id.String() != text || id.IsZero() {
			t.Errorf("%s: %x, %v, printed as %s", text, id, err, id)
		}
	}
	for _, text := range []string{"", "0", "01", "g", "AA", "0x1", strings.Repeat("1", 33), "1 ", "é"} {
		if id, err := ParseID(text); err == nil || !id.IsZero() {
			t.Errorf("%q is parsed as %x", text, id)
		}
	}
	if (ID{}).String() != "0" || !(ID{}).IsZero() {
		t.Error("no id is not none")
	}
	if got := idA.Bytes(); !bytes.Equal(got, []byte{0x11, 0x22, 0x33, 0x44}) {
		t.Errorf("bytes % x", got)
	}
	// By the first byte, though the number is the other way around.
	if !idA.Less(idB) || idB.Less(idA) || idA.Less(idA) || !(ID{1, 2}).Less(ID{2, 1}) {
		t.Error("the order is not that of the bytes")
	}
	a, b := NewID(), NewID()
	if a == b || len(a.Bytes()) != 16 {
		t.Errorf("new ids %s, %s", a, b)
	}
}

func TestEncoding(t *testing.T) {
	for text, want := range map[string]Encoding{
		"zenoh/bytes":                  {},
		"zenoh/string":                 {ID: 1},
		"text/plain":                   {ID: 4},
		"application/json;v1":          {5, "v1"},
		"application/json;a;b":         {5, "a;b"},
		"image/png":                    {ID: 16},
		"text/csv":                     {ID: 28},
		"application/mp4":              {ID: 35},
		"application/yang":             {ID: 37},
		"video/h266":                   {ID: 47},
		"video/vp9":                    {ID: 52},
		"my/own":                       {EncodingCustom, "my/own"},
		"my/own;v":                     {EncodingCustom, "my/own;v"},
		strings.Repeat("a", MaxSchema): {EncodingCustom, strings.Repeat("a", MaxSchema)},
	} {
		e, err := ParseEncoding(text)
		if err != nil || e != want || e.String() != text {
			t.Errorf("%.40s: %v (%d), %v", text, e, e.ID, err)
		}
	}
	if e, err := ParseEncoding(""); e != (Encoding{}) || err != nil {
		t.Errorf("nothing is %v, %v", e, err)
	}
	if _, err := ParseEncoding("text/plain;" + strings.Repeat("a", MaxSchema+1)); err == nil {
		t.Error("a schema of 256 bytes was accepted")
	}
	if got := (Encoding{99, "x"}).String(); got != "unknown(99);x" {
		t.Errorf("a later encoding is %q", got)
	}
}

func TestTimestamp(t *testing.T) {
	for ns := range 10_000 {
		want := time.Unix(1_700_000_000, int64(ns)*99_999).UTC()
		if got := NTP64Time(NTP64(want)); !got.Equal(want) {
			t.Fatalf("%v becomes %v", want, got)
		}
	}
	if got := NTP64(time.Unix(1_700_000_000, 500_000_000)); got != 1_700_000_000<<32|1<<31 {
		t.Errorf("half a second is %#x", got)
	}
	x := Timestamp{Time: 1_700_000_000<<32 | 1<<31, ID: idA}
	if got := x.String(); got != "2023-11-14T22:13:20.500000000Z/44332211" || x.IsZero() || !(Timestamp{}).IsZero() {
		t.Errorf("printed as %s", got)
	}
	later, other := Timestamp{x.Time + 1, ID{1}}, Timestamp{x.Time, ID{0x10, 0x22, 0x33, 0x45}}
	if x.Compare(later) >= 0 || later.Compare(x) <= 0 || x.Compare(other) >= 0 || x.Compare(x) != 0 {
		t.Error("timestamps are out of order")
	}
}

func TestWhatAmI(t *testing.T) {
	for w, want := range map[WhatAmI]string{Router: "router 1", Peer: "peer 2", Client: "client 4", 3: "invalid 8"} {
		if got := w.String() + " " + string('0'+w.Mask()); got != want {
			t.Errorf("%d is %s, want %s", w, got, want)
		}
	}
}

// The proof in the recorded traffic, for the password that was used there.
func TestUsrPwd(t *testing.T) {
	var inits, opens int
	for _, x := range readCaptures(t) {
		if !strings.HasPrefix(x.where, "open-usrpwd") {
			continue
		}
		var init Init
		if _, err := DecodeInit(x.b, &init); err == nil && init.Auth != nil {
			inits++
		}
		var open Open
		if _, err := DecodeOpen(x.b, &open); err != nil || open.Auth == nil {
			continue
		}
		u, err := DecodeUsrPwd(open.Auth)
		if err != nil || open.Ack && u.Step != UsrPwdPlain {
			t.Fatalf("%+v, %v", u, err)
		}
		if !open.Ack && opens == 0 && (u.User != "alice" || !bytes.Equal(u.HMAC, UsrPwdHMAC(0xd527c9cffbad7dbb, "secret"))) {
			t.Errorf("the proof is %x", u.HMAC)
		}
		opens++
	}
	if inits < 3 || opens < 3 {
		t.Errorf("%d inits, %d opens", inits, opens)
	}
	for _, c := range []struct {
		hex string
		u   UsrPwd
	}{
		{"02", UsrPwd{Step: UsrPwdPlain}},
		{"22 ac 02", UsrPwd{Step: UsrPwdNonce, Nonce: 300}},
		{"42 07 03 62 6f 62 02 01 02", UsrPwd{Step: UsrPwdProof, User: "bob", HMAC: []byte{1, 2}}},
	} {
		b := unhex(t, c.hex)
		if got := AppendUsrPwd(nil, &c.u); !bytes.Equal(got, b) {
			t.Errorf("%+v is written as % x", c.u, got)
		}
		if got, err := DecodeUsrPwd(append([]byte{0xc1, 1, 0}, b...)); err != nil || !reflect.DeepEqual(got, c.u) {
			t.Errorf("%s behind a public key is %+v, %v", c.hex, got, err)
		}
	}
	if u, err := DecodeUsrPwd(unhex(t, "41 01 00")); u.Step != UsrPwdNone || err != nil {
		t.Errorf("a public key alone is %+v, %v", u, err)
	}
}

// Unknown extensions of a body stay, wherever they stand, and are written behind those that are known.
func TestUnknownExtensions(t *testing.T) {
	for _, c := range []struct{ body, unknown, written string }{
		{"81 8c 2d 05 00", "8c 2d 05", "81 8c 2d 05 00"},
		{"81 c3 01 61 8c 4e 02 68 69 00", "8c 4e 02 68 69", "81 c3 01 61 8c 4e 02 68 69 00"},
		{"81 8c c3 01 61 8d 4e 01 68 00", "8c 8d 4e 01 68", "81 c3 01 61 8c 8d 4e 01 68 00"},
		{"81 8c 43 01 61 00", "8c", "81 c3 01 61 0c 00"},
	} {
		var m Message
		if _, err := DecodeMessage(unhex(t, "5d 01"+c.body), &m); err != nil {
			t.Fatal(c.body, err)
		}
		body := c.body
		for _, want := range []string{body, c.written} {
			if got := AppendMessage(nil, &m); !bytes.Equal(got, unhex(t, "5d 01"+want)) {
				t.Errorf("%s is written as % x, want %s", body, got, want)
			}
			m.Body.Raw = nil
		}
		if !bytes.Equal(m.Body.Unknown, unhex(t, strings.ReplaceAll(c.unknown, " ", ""))) {
			t.Errorf("%s: unknown are %s", body, hex.EncodeToString(m.Body.Unknown))
		}
	}
	m := Message{Kind: Push, QoS: DefaultQoS, Key: WireExpr{Scope: 1}, Body: Body{Kind: Del, Unknown: []byte{0x0c, 0x4c, 9}}}
	if got := AppendMessage(nil, &m); !bytes.Equal(got, []byte{0x1d, 1, 0x82, 0x0c}) {
		t.Errorf("broken extensions are written as % x", got)
	}
}

// What cannot be written is not begun.
func TestImpossibleMessages(t *testing.T) {
	put := Body{Kind: Put}
	for i, m := range []Message{
		{},
		{Kind: 7},
		{Kind: Push},
		{Kind: Push, Body: Body{Kind: Query}},
		{Kind: Push, Body: Body{Kind: 9}},
		{Kind: Push, Key: WireExpr{Suffix: strings.Repeat("a", MaxSuffix+1)}, Body: put},
		{Kind: Push, Body: Body{Kind: Put, Encoding: Encoding{1, strings.Repeat("a", MaxSchema+1)}}},
		{Kind: Push, Body: Body{Kind: Put, Encoding: Encoding{ID: 1 << 31}}},
		{Kind: Request, Body: put},
		{Kind: Request, Target: 3, Body: Body{Kind: Query}},
		{Kind: Request, Body: Body{Kind: Query, Consolidation: 4}},
		{Kind: Request, Body: Body{Kind: Query, Parameters: "\xff"}},
		{Kind: Response, Body: Body{Kind: Query}},
		{Kind: Declare, Decl: Declaration{Kind: 8}},
		{Kind: Declare, Decl: Declaration{Kind: DeclKeyExpr, ID: 1 << 16}},
		{Kind: Interest, Mode: 4},
	} {
		if got := AppendMessage([]byte("x"), &m); string(got) != "x" {
			t.Errorf("message %d is written as % x", i, got)
		}
	}
}

func TestErrors(t *testing.T) {
	seen := map[string]bool{}
	for e := range Error(20) {
		seen[e.Error()] = true
	}
	if len(seen) != len(errorTexts)+1 || ErrShort.Error() != "zenoh: message is cut short" {
		t.Errorf("%d texts: %v", len(seen), seen)
	}
	for r := range Reason(9) {
		if known := r <= ReasonConnectionToSelf; (r.String() != "UNKNOWN") != known {
			t.Errorf("reason %d is %s", r, r)
		}
	}
}
