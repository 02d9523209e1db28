package wire

import (
	"bytes"
	"math"
	"reflect"
	"testing"
)

// plain brings into one form what may differ after a message was written and read: whether one more unknown extension
// follows is in the header of each.
func plain(m Message) Message {
	var chain []byte
	r := reader{b: m.Body.Unknown}
	for r.i < len(r.b) {
		start := r.i
		h := r.u8()
		r.skipExt(h)
		chain = append(append(chain, h&^flagZ), r.b[start+1:r.i]...)
	}
	m.Body.Unknown = chain
	m.Body.Raw = nil
	return m
}

// roundTripMessage checks that what was accepted can be written, and reads the same: as it came and from its fields.
func roundTripMessage(t *testing.T, b []byte) {
	t.Helper()
	var m Message
	n, err := DecodeMessage(b, &m)
	if err != nil {
		return
	}
	if n == 0 || n > len(b) {
		t.Fatalf("% x: %d bytes were read", b, n)
	}
	raw := m.Body.Raw
	for _, m.Body.Raw = range [][]byte{raw, nil} {
		written := AppendMessage(nil, &m)
		var again Message
		n, err := DecodeMessage(written, &again)
		if err != nil || n != len(written) {
			t.Fatalf("% x is written as % x, of which %d bytes are read: %v", b, written, n, err)
		}
		if !reflect.DeepEqual(plain(again), plain(m)) {
			t.Fatalf("% x is read as\n%+v\nand that, as % x,\n%+v", b, m, written, again)
		}
		if m.Body.Raw != nil && !bytes.Equal(again.Body.Raw, raw) {
			t.Fatalf("% x: the raw body became % x", b, again.Body.Raw)
		}
		if twice := AppendMessage(nil, &again); !bytes.Equal(twice, written) {
			t.Fatalf("% x is written as % x and then as % x", b, written, twice)
		}
	}
}

// roundTrip is the same for what has no raw part. fix takes out of a value what is not written.
func roundTrip[T any](t *testing.T, b []byte, decode func([]byte, *T) (int, error), encode func([]byte, *T) []byte, fix func(*T)) {
	t.Helper()
	var m, again T
	n, err := decode(b, &m)
	if err != nil {
		return
	}
	if n == 0 || n > len(b) {
		t.Fatalf("% x: %d bytes were read", b, n)
	}
	if fix != nil {
		fix(&m)
	}
	written := encode(nil, &m)
	n, err = decode(written, &again)
	if err != nil || n != len(written) || !reflect.DeepEqual(m, again) {
		t.Fatalf("% x is read as\n%+v\nand that, as % x,\n%+v (%d bytes, %v)", b, m, written, again, n, err)
	}
}

func fixVersion(v *uint8) {
	if *v == 0 {
		*v = ProtocolVersion
	}
}

func byPointer[T any](f func([]byte, T) []byte) func([]byte, *T) []byte {
	return func(b []byte, m *T) []byte { return f(b, *m) }
}

func roundTripTransport(t *testing.T, b []byte) {
	t.Helper()
	roundTrip(t, b, DecodeInit, AppendInit, func(m *Init) { fixVersion(&m.Version) })
	roundTrip(t, b, DecodeOpen, AppendOpen, nil)
	roundTrip(t, b, DecodeClose, byPointer(AppendClose), nil)
	roundTrip(t, b, DecodeFrameHeader, byPointer(AppendFrameHeader), nil)
	roundTrip(t, b, DecodeFragmentHeader, byPointer(AppendFragmentHeader), nil)
	if n, err := DecodeKeepAlive(b); err == nil && (n == 0 || n > len(b)) {
		t.Fatalf("% x: %d bytes were read", b, n)
	}
	if n, err := SkipTransportOAM(b); err == nil && (n < 2 || n > len(b)) {
		t.Fatalf("% x: %d bytes were read", b, n)
	}
	roundTrip(t, b, func(b []byte, u *UsrPwd) (n int, err error) {
		*u, err = DecodeUsrPwd(b)
		if err == nil && u.Step == UsrPwdNone { // something else is in it
			return 0, ErrUnknown
		}
		return len(b), err
	}, AppendUsrPwd, func(u *UsrPwd) {
		// What an earlier element of the chain has left is not written.
		if u.Step != UsrPwdNonce {
			u.Nonce = 0
		}
		if u.Step != UsrPwdProof {
			u.User, u.HMAC = "", nil
		}
	})
}

func roundTripScouting(t *testing.T, b []byte) {
	t.Helper()
	roundTrip(t, b, DecodeScout, AppendScout, func(m *Scout) { fixVersion(&m.Version) })
	roundTrip(t, b, DecodeHello, AppendHello, func(m *Hello) { fixVersion(&m.Version) })
}

func roundTripLinkStates(t *testing.T, b []byte) {
	t.Helper()
	roundTrip(t, append([]byte{0}, b...), func(b []byte, list *[]LinkState) (n int, err error) {
		*list, err = DecodeLinkStates(b[1:])
		return len(b), err
	}, func(b []byte, list *[]LinkState) []byte { return AppendLinkStates(append(b, 0), *list) }, nil)
}

// addCaptures seeds a fuzz target with recorded traffic of a kind.
func addCaptures(f *testing.F, wanted func(side, first byte) bool, limit int) {
	f.Helper()
	for _, x := range readCaptures(f) {
		if wanted(x.side, x.b[0]) && len(x.b) < 300 && limit > 0 {
			f.Add(x.b)
			limit--
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, c := range goldenMessages {
		f.Add(unhex(f, c.hex))
	}
	for _, x := range readCaptures(f) {
		var h FrameHeader
		if n, err := DecodeFrameHeader(x.b, &h); err == nil && len(x.b) < 100 {
			f.Add(x.b[n:])
		}
	}
	f.Fuzz(roundTripMessage)
}

func FuzzTransport(f *testing.F) {
	addCaptures(f, func(side, first byte) bool { return side != 'u' && !IsNetwork(first) }, 200)
	f.Add([]byte{0xe6, 0x08, 0x03})
	f.Fuzz(roundTripTransport)
}

func FuzzScouting(f *testing.F) {
	addCaptures(f, func(side, _ byte) bool { return side == 'u' }, 20)
	f.Fuzz(roundTripScouting)
}

func FuzzLinkState(f *testing.F) {
	for _, x := range readCaptures(f) {
		var h FrameHeader
		var m Message
		n, err := DecodeFrameHeader(x.b, &h)
		if err != nil {
			continue
		}
		if _, err := DecodeMessage(x.b[n:], &m); err == nil && m.Kind == OAM {
			f.Add(m.OAMBody)
		}
	}
	f.Fuzz(roundTripLinkStates)
}

// Every beginning of every golden, and of a part of what was recorded, is refused or, where a whole message remains,
// harmless; so is each with a bit turned over. No golden is accepted without its last byte.
func TestDamagedMessages(t *testing.T) {
	damage := func(b []byte) {
		for i := range b {
			roundTripMessage(t, b[:i:i])
		}
		if len(b) > 200 {
			return
		}
		flipped := bytes.Clone(b)
		for i := range len(b) * 8 {
			flipped[i/8] ^= 1 << (i % 8)
			roundTripMessage(t, flipped)
			flipped[i/8] ^= 1 << (i % 8)
		}
	}
	for _, c := range goldenMessages {
		b := unhex(t, c.hex)
		damage(b)
		for i := range b {
			var m Message
			if _, err := DecodeMessage(b[:i:i], &m); err == nil {
				t.Errorf("%s: the first %d bytes were accepted", c.name, i)
			}
		}
	}
	for i, x := range readCaptures(t) {
		var h FrameHeader
		if n, err := DecodeFrameHeader(x.b, &h); err == nil && len(x.b) < 60 && i%4 == 0 {
			damage(x.b[n:])
		}
	}
}

func TestDamagedTransport(t *testing.T) {
	try := func(b []byte) {
		roundTripTransport(t, b)
		roundTripScouting(t, b)
		roundTripLinkStates(t, b)
	}
	for _, x := range readCaptures(t) {
		if IsNetwork(x.b[0]) || TransportID(x.b[0]) == Frame || len(x.b) > 110 {
			continue
		}
		for i := range x.b {
			try(x.b[:i])
		}
		flipped := bytes.Clone(x.b)
		for i := 0; i < len(x.b)*8; i += 3 { // over three bytes, each bit
			flipped[i/8] ^= 1 << (i % 8)
			try(flipped)
			flipped[i/8] ^= 1 << (i % 8)
		}
	}
}

// A length or a number of elements that somebody announces allocates nothing, and is refused.
func TestAnnouncedLengths(t *testing.T) {
	for _, n := range []uint64{1 << 20, math.MaxUint32, math.MaxUint32 + 1, 1 << 62, math.MaxUint64} {
		long := AppendZint(nil, n)
		for _, c := range []struct{ name, before, after string }{
			{"key", "7d 00", "61 01 00"},
			{"payload", "7d 00 01 61 01", "68 69"},
			{"extension", "fd 00 01 61 42", "01 00"},
			{"unknown extension", "fd 00 01 61 4c", "01 00"},
			{"attachment", "7d 00 01 61 81 43", "01 00"},
			{"schema", "7d 00 01 61 41 01", "61 00"},
			{"parameters", "7c 01 00 01 61 43", "61"},
			{"id", "7d 00 01 61 21 01", "61 00"},
			{"OAM", "5f 01", "61"},
		} {
			b := append(append(unhex(t, c.before), long...), unhex(t, c.after)...)
			var m Message
			var err error
			if a := testing.AllocsPerRun(1, func() { _, err = DecodeMessage(b, &m) }); err == nil || a != 0 {
				t.Errorf("%s of %d bytes: %v, %v allocations", c.name, n, err, a)
			}
		}
		for _, before := range []string{"", "01 1f 00 01 01 11 01", "01 00 00 01", "01 04 00 01"} {
			b := append(unhex(t, before), long...)
			if list, err := DecodeLinkStates(append(b, make([]byte, 100)...)); err == nil {
				t.Errorf("% x: %d link states", b, len(list))
			}
		}
		hello := append(unhex(t, "22 09 11 aa bb"), long...)
		if n, err := DecodeHello(append(hello, 1, 'a', 1, 'b'), new(Hello)); err == nil {
			t.Errorf("a hello of %d bytes", n)
		}
	}
	if _, err := DecodeLinkStates(make([]byte, MaxLinkStateBytes+1)); err != ErrTooMany {
		t.Errorf("a list longer than allowed: %v", err)
	}
}
