package link

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	idA = wire.ID{0x11, 0x22, 0x33, 0x44}
	idB = wire.ID{0xaa, 0xbb}
)

func testOptions(id wire.ID, w wire.WhatAmI, change func(*Options)) *Options {
	o := Options{ID: id, WhatAmI: w}
	if change != nil {
		change(&o)
	}
	o.setDefaults()
	return &o
}

// The session of section 10.5 of the protocol's sheet.
func TestHandshakeGolden(t *testing.T) {
	o := &opener{o: testOptions(idA, wire.Client, nil), expect: idB}
	a := &acceptor{o: testOptions(idB, wire.Router, nil)}
	syn := o.start()
	if want := unhex(t, "81 09 32 11 22 33 44 81 27 01"); !bytes.Equal(syn, want) {
		t.Errorf("InitSyn %x, want %x", syn, want)
	}
	ack, rest, err := a.step(syn)
	if err != nil || rest != nil {
		t.Fatal(rest, err)
	}
	head, tail := unhex(t, "a1 09 10 aa bb 10"), unhex(t, "81 27 01")
	if !bytes.HasPrefix(ack, head) || !bytes.HasSuffix(ack, tail) || len(ack) != len(head)+16+len(tail) {
		t.Errorf("InitAck %x", ack)
	}
	open, rest, err := o.step(ack)
	if err != nil || rest != nil {
		t.Fatal(rest, err)
	}
	if want := append(unhex(t, "42 0a 84 91 e4 5f 10"), a.cookie[:]...); !bytes.Equal(open, want) {
		t.Errorf("OpenSyn %x, want %x", open, want)
	}
	if _, rest, err = a.step(append(open, 4)); err != nil || !bytes.Equal(rest, []byte{4}) {
		t.Fatalf("rest %x: %v", rest, err)
	}
	last := a.ack()
	if want := unhex(t, "62 0a e3 ab a2 5a"); !bytes.Equal(last, want) {
		t.Errorf("OpenAck %x, want %x", last, want)
	}
	if _, rest, err = o.step(append(last, 4)); err != nil || !bytes.Equal(rest, []byte{4}) {
		t.Fatalf("rest %x: %v", rest, err)
	}
	want := agreed{
		id: idB, theirs: wire.Router, ours: wire.Client, batch: 65535, mask: 1<<28 - 1, qos: true, patch: true,
		lease: 10 * time.Second, ownSN: 0x0bf90884, theirSN: 0x0b4895e3,
	}
	if o.agreed != want {
		t.Errorf("opener: %+v", o.agreed)
	}
	want.id, want.theirs, want.ours, want.ownSN, want.theirSN = idA, want.ours, want.theirs, want.theirSN, want.ownSN
	if a.agreed != want {
		t.Errorf("acceptor: %+v", a.agreed)
	}
}

// shake lets both sides talk until one is done or fails; damage may change what the opener gets (InitAck, OpenAck) and
// what the acceptor gets (InitSyn, OpenSyn).
func shake(o, a *Options, damage func(toAcceptor bool, m []byte) []byte) (op *opener, ac *acceptor, opErr, acErr error) {
	op, ac = &opener{o: o}, &acceptor{o: a}
	m := op.start()
	for {
		out, rest, err := ac.step(damage(true, m))
		if err != nil {
			return op, ac, nil, err
		}
		if rest != nil {
			out = ac.ack()
		}
		if m, rest, err = op.step(damage(false, out)); err != nil || rest != nil {
			return op, ac, err, nil
		}
	}
}

func unharmed(_ bool, m []byte) []byte { return m }

func TestHandshakeTerms(t *testing.T) {
	for _, c := range []struct {
		name string
		o, a func(*Options)
		want agreed
	}{
		{"defaults", nil, nil, agreed{batch: 65535, mask: 1<<28 - 1, qos: true, patch: true}},
		{"opener's small", func(o *Options) { o.BatchSize, o.Resolution = 2048, 8 }, nil, agreed{batch: 2048, mask: 0x7f, qos: true, patch: true}},
		{"acceptor's small", nil, func(o *Options) { o.BatchSize, o.Resolution = 2048, 16 }, agreed{batch: 2048, mask: 0x3fff, qos: true, patch: true}},
		{"opener without", func(o *Options) { o.NoQoS, o.NoPatch = true, true }, nil, agreed{batch: 65535, mask: 1<<28 - 1}},
		{"acceptor without", nil, func(o *Options) { o.NoQoS, o.NoPatch = true, true }, agreed{batch: 65535, mask: 1<<28 - 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			op, ac, err1, err2 := shake(testOptions(idA, wire.Peer, c.o), testOptions(idB, wire.Peer, c.a), unharmed)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if op.ownSN > op.mask || op.ownSN != ac.theirSN || ac.ownSN != op.theirSN {
				t.Errorf("sequence numbers %+v, %+v", op.agreed, ac.agreed)
			}
			for _, got := range []agreed{op.agreed, ac.agreed} {
				got = agreed{batch: got.batch, mask: got.mask, qos: got.qos, patch: got.patch}
				if got != c.want {
					t.Errorf("%+v, want %+v", got, c.want)
				}
			}
		})
	}
}

func TestHandshakeRefusals(t *testing.T) {
	replace := func(toAcceptor bool, first byte, b string) func(bool, []byte) []byte {
		return func(to bool, m []byte) []byte {
			if to == toAcceptor && m[0]&0x1f == first {
				return unhex(t, b)
			}
			return m
		}
	}
	edit := func(toAcceptor bool, first byte, at int, v byte) func(bool, []byte) []byte {
		return func(to bool, m []byte) []byte {
			if to == toAcceptor && m[0]&0x1f == first {
				m = bytes.Clone(m)
				m[at] = v
			}
			return m
		}
	}
	small := func(o *Options) { o.Resolution = 8 }
	noPatch := func(o *Options) { o.NoPatch = true }
	for _, c := range []struct {
		name   string
		o, a   func(*Options)
		damage func(bool, []byte) []byte
		reason wire.Reason
		text   string
	}{
		{"version", nil, nil, edit(true, 1, 1, 8), wire.ReasonInvalid, "version 8"},
		{"mode", nil, nil, edit(true, 1, 2, 0x33), wire.ReasonInvalid, "mode"},
		{"nothing", nil, nil, func(bool, []byte) []byte { return []byte{} }, wire.ReasonInvalid, "empty"},
		{"short", nil, nil, func(_ bool, m []byte) []byte { return m[:len(m)-1] }, wire.ReasonInvalid, "short"},
		{"frame first", nil, nil, replace(true, 1, "25 05"), wire.ReasonInvalid, "unexpected"},
		{"OPEN first", nil, nil, replace(true, 1, "42 0a 00 00"), wire.ReasonInvalid, "unexpected"},
		{"Ack to acceptor", nil, nil, replace(true, 1, "21 09 10 aa bc 00"), wire.ReasonInvalid, "Ack"},
		{"Syn to opener", nil, nil, replace(false, 1, "01 09 10 aa bc"), wire.ReasonInvalid, "without Ack"},
		{"self", func(o *Options) { o.ID = idB }, nil, unharmed, wire.ReasonConnectionToSelf, "itself"},
		{"self at opener", nil, nil, replace(false, 1, "21 09 30 11 22 33 44 00"), wire.ReasonConnectionToSelf, "itself"},
		{"resolution grows", small, nil, replace(false, 1, "61 09 10 aa bb 0a ff ff 00"), wire.ReasonInvalid, "more was granted"},
		{"patch grows", noPatch, nil, replace(false, 1, "a1 09 10 aa bb 00 27 01"), wire.ReasonInvalid, "more was granted"},
		{"tiny batches", nil, nil, replace(false, 1, "61 09 10 aa bb 0a 08 00 00"), wire.ReasonInvalid, "too small"},
		{"cookie", nil, nil, edit(true, 2, 7, 0), wire.ReasonInvalid, "cookie"},
		{"large sequence number", small, nil, replace(false, 2, "62 0a ff 01"), wire.ReasonInvalid, "sequence number 255"},
		{"presented", nil, func(o *Options) {
			o.Present = func(wire.WhatAmI) (wire.WhatAmI, error) { return 0, errors.New("set mode: client") }
		}, unharmed, wire.ReasonUnsupported, "mode: client"},
		{"no password", nil, func(o *Options) { o.Users = map[string]string{"u": "p"} }, unharmed, wire.ReasonGeneric, "no user"},
		{
			"wrong password", func(o *Options) { o.User, o.Password = "u", "q" }, func(o *Options) { o.Users = map[string]string{"u": "p"} },
			unharmed, wire.ReasonGeneric, "wrong user",
		},
		{
			"unknown user", func(o *Options) { o.User, o.Password = "v", "" }, func(o *Options) { o.Users = map[string]string{"u": "p"} },
			unharmed, wire.ReasonGeneric, "wrong user",
		},
		{
			"no proof", func(o *Options) { o.User, o.Password = "u", "p" }, func(o *Options) { o.Users = map[string]string{"u": "p"} },
			func(to bool, m []byte) []byte {
				var open wire.Open
				if _, err := wire.DecodeOpen(m, &open); to && err == nil {
					open.Auth = nil
					return wire.AppendOpen(nil, &open)
				}
				return m
			}, wire.ReasonGeneric, "no proof",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err1, err2 := shake(testOptions(idA, wire.Peer, c.o), testOptions(idB, wire.Peer, c.a), c.damage)
			err := errors.Join(err1, err2)
			var r *refusal
			if !errors.As(err, &r) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%v, want one with %q", err, c.text)
			}
			if r.reason != c.reason {
				t.Errorf("reason %v, want %v", r.reason, c.reason)
			}
		})
	}
	_, _, err, _ := shake(testOptions(idA, wire.Peer, nil), testOptions(idB, wire.Peer, nil), replace(false, 1, "03 03"))
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonMaxSessions {
		t.Errorf("CLOSE for an InitAck: %v", err)
	}
	op := &opener{o: testOptions(idA, wire.Peer, nil), expect: wire.ID{1}}
	if _, _, err := op.step(unhex(t, "21 09 10 aa bb 00")); err == nil || !strings.Contains(err.Error(), "want 1") {
		t.Errorf("another node than expected: %v", err)
	}
}

func TestHandshakePassword(t *testing.T) {
	users := func(o *Options) { o.Users = map[string]string{"u": "p", "v": ""} }
	for user, password := range map[string]string{"u": "p", "v": ""} {
		_, ac, err1, err2 := shake(testOptions(idA, wire.Client, func(o *Options) { o.User, o.Password = user, password }),
			testOptions(idB, wire.Router, users), unharmed)
		if err1 != nil || err2 != nil || ac.user != user {
			t.Errorf("user %q: %v, %v", ac.user, err1, err2)
		}
	}
	// Who is not asked does not tell.
	op, ac, err1, err2 := shake(testOptions(idA, wire.Client, func(o *Options) { o.User, o.Password = "u", "p" }),
		testOptions(idB, wire.Router, nil), unharmed)
	if err1 != nil || err2 != nil || ac.user != "" || !op.opened {
		t.Error(err1, err2, ac.user)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte("\x81\x09\x32\x11\x22\x33\x44\x81\x27\x01"), []byte("\x42\x0a\x01\x00"))
	f.Add([]byte("\xa1\x09\x10\xaa\xbb\x03\xc0\x0c\x1e\x81\x27\x01"), []byte("\x62\x0a\x01"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		users := func(o *Options) { o.Users, o.User = map[string]string{"u": "p"}, "u" }
		ac := &acceptor{o: testOptions(idB, wire.Peer, users)}
		op := &opener{o: testOptions(idA, wire.Peer, users)}
		for _, step := range []func([]byte) ([]byte, []byte, error){ac.step, op.step} {
			if _, rest, err := step(first); err == nil && rest == nil {
				_, _, _ = step(second)
			}
		}
	})
}
