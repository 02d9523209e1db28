package enginetest

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// Codes, as guests see them.
const (
	ok        = int32(0)
	unknown   = int32(-1)
	noSuch    = int32(-2)
	tooSmall  = int32(-3)
	notFound  = int32(-4)
	signature = int32(-5)
	noResult  = int32(-6)
)

// far is a pointer that no guest of the suite has memory at.
const far = 0xfffffff0

func testABI(t *testing.T, open Open) {
	x := start(t, open, Options{})
	t.Run("args", func(t *testing.T) { testArgs(t, x) })
	t.Run("calls", func(t *testing.T) { testCalls(t, x) })
	t.Run("failures", func(t *testing.T) { testFailures(t, x) })
	t.Run("state", func(t *testing.T) { testState(t, x) })
	t.Run("traps", func(t *testing.T) { testTraps(t, x) })
	t.Run("storetrouble", func(t *testing.T) { testStoreTrouble(t, open) })
	t.Run("kinds", func(t *testing.T) { testKinds(t, x) })
	t.Run("wait", func(t *testing.T) { testWait(t, x) })
}

// lww returns a bincode last-writer-wins value.
func lww(second int64, value string) string {
	return string(lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(second * 1e9), Data: []byte(value)}))
}

func set(elements ...string) string {
	list := make([][]byte, len(elements))
	for i, e := range elements {
		list[i] = []byte(e)
	}
	return string(lattice.Encode(lattice.NewSet(list...)))
}

func (o *outcome) want(t testing.TB, index int, code int32) {
	t.Helper()
	if o.codes[index] != code {
		t.Errorf("call %d returned %d, want %d", index, o.codes[index], code)
	}
}

func (o *outcome) wantDump(t testing.TB, dump int, want string) {
	t.Helper()
	if got := string(o.dumps[dump]); got != want {
		t.Errorf("dump %d is %q, want %q", dump, got, want)
	}
}

func testArgs(t *testing.T, x *fixture) {
	s := &script{}
	buf := s.space(8)
	small := s.call("essa_get_args", far, 3) // the length is looked at first
	d := s.dump(buf, 8)
	o := x.run(t, s, nil)
	o.want(t, small, tooSmall)
	o.wantDump(t, d, strings.Repeat("\xaa", 8))

	r := x.mustInvoke(t, x.function("echo", nil))
	if !r.HasValue || len(r.Value) != 0 {
		t.Errorf("an empty result: %v", r)
	}
	if r = x.mustInvoke(t, x.function("none", nil)); r.HasValue {
		t.Errorf("no result: %v", r)
	}
	if r = x.mustInvoke(t, x.function("echo", []byte("some bytes"))); string(r.Value) != "some bytes" {
		t.Errorf("echo: %q", r.Value)
	}
	big := strings.Repeat("x", 30_000)
	if r = x.mustInvoke(t, x.function("echo", []byte(big))); string(r.Value) != big {
		t.Errorf("echo of %d bytes returned %d", len(big), len(r.Value))
	}
	// Each invocation is isolated, and a reactor is initialised.
	for range 3 {
		r = x.mustInvoke(t, x.function("initialized", nil))
		if string(r.Value) != "*\x00\x00\x00" {
			t.Errorf("initialised and fresh: %v", r.Value)
		}
	}
}

func testCalls(t *testing.T, x *fixture) {
	s := &script{}
	h1, c1 := s.start("echo", "first")
	h2, c2 := s.start("echo", "second")
	d1, d2 := s.dump(h1, 4), s.dump(h2, 4)
	length, buf := s.space(4), s.space(8)

	s.move(0, h1)
	len1 := s.call("essa_get_result_len", 0, length)
	dl := s.dump(length, 4)
	s.move(0, h1)
	again := s.call("essa_get_result_len", 0, length)
	s.move(0, h1)
	small := s.call("essa_get_result", 0, buf, 4, length)
	untouched := s.dump(buf, 8)
	s.move(0, h1)
	get := s.call("essa_get_result", 0, buf, 8, length)
	got := s.dump(buf, 8)
	s.move(0, h1)
	consumed := s.call("essa_get_result", 0, buf, 8, length)
	s.move(0, h1)
	consumedLen := s.call("essa_get_result_len", 0, length)
	never := s.call("essa_get_result_len", 77, length)
	zero := s.call("essa_get_result_len", 0, length)
	s.move(0, h2)
	get2 := s.call("essa_get_result", 0, buf, 8, length)
	got2 := s.dump(buf, 6)

	h3, _ := s.start("empty", "")
	s.move(0, h3)
	empty := s.call("essa_get_result", 0, 0, 0, length)
	emptyLen := s.dump(length, 4)

	o := x.run(t, s, nil)
	for _, i := range []int{c1, c2, len1, again, get, get2, empty} {
		o.want(t, i, ok)
	}
	if o.u32(d1) != 1 || o.u32(d2) != 2 {
		t.Errorf("handles %d and %d, want 1 and 2", o.u32(d1), o.u32(d2))
	}
	if o.u32(dl) != 5 || o.u32(emptyLen) != 0 {
		t.Errorf("lengths %d, %d", o.u32(dl), o.u32(emptyLen))
	}
	o.want(t, small, tooSmall)
	o.wantDump(t, untouched, strings.Repeat("\xaa", 8))
	o.wantDump(t, got, "first\xaa\xaa\xaa")
	o.want(t, consumed, notFound)
	o.want(t, consumedLen, notFound)
	o.want(t, never, notFound)
	o.want(t, zero, notFound)
	o.wantDump(t, got2, "second")
	if n := o.raw.Stats.Nested; n != 3 {
		t.Errorf("%d nested calls were counted, want 3", n)
	}
}

func testFailures(t *testing.T, x *fixture) {
	s := &script{}
	length, buf := s.space(4), s.space(64)
	_, missing := s.start("no such function", "")
	_, memory := s.start("memory", "")
	_, wrong := s.start("notfunction", "")
	_, initialize := s.start("_initialize", "")
	_, injected := s.start("essa$stop", "")

	failed, _ := s.start("trap", "")
	s.move(0, failed)
	wait := s.call("essa_get_result_len", 0, length)
	s.move(0, failed)
	sticky := s.call("essa_get_result", 0, buf, 64, length)
	s.move(0, failed)
	short := s.call("essa_get_error", 0, buf, 3, length)
	needed := s.dump(length, 4)
	s.move(0, failed)
	why := s.call("essa_get_error", 0, buf, 64, length)
	_ = why
	whyLen := s.dump(length, 4)

	nothing, _ := s.start("none", "")
	s.move(0, nothing)
	none := s.call("essa_get_result", 0, buf, 64, length)
	s.move(0, nothing)
	noneAgain := s.call("essa_get_result_len", 0, length)
	noError := s.call("essa_get_error", 55, buf, 64, length)

	o := x.run(t, s, nil)
	o.want(t, missing, noSuch)
	o.want(t, memory, noSuch)
	o.want(t, wrong, signature)
	o.want(t, initialize, signature)
	o.want(t, injected, noSuch)
	o.want(t, wait, unknown)
	o.want(t, sticky, unknown)
	o.want(t, short, tooSmall)
	if o.u32(needed) < 11 || o.u32(whyLen) != o.u32(needed) {
		t.Errorf("the error's text has %d bytes, and then %d", o.u32(needed), o.u32(whyLen))
	}
	o.want(t, none, noResult)
	o.want(t, noneAgain, noResult)
	o.want(t, noError, notFound)
}

func testState(t *testing.T, x *fixture) {
	s := &script{}
	length, buf := s.space(4), s.space(128)
	missing := s.key("essa_get_lattice_len", "s/missing", length)
	missingData := s.key("essa_get_lattice_data", "s/missing", buf, 128, length)
	a, ab := set("a"), set("a", "b")
	ap, an := s.data(a)
	put := s.key("essa_put_lattice", "s/k", ap, an)
	get := s.key("essa_get_lattice_len", "s/k", length)
	lenA := s.dump(length, 4)
	small := s.key("essa_get_lattice_data", "s/k", buf, 3, length)
	untouched := s.dump(buf, 4)
	// What is put between length and data does not change what the length was told of.
	bp, bn := s.data(set("b"))
	put2 := s.key("essa_put_lattice", "s/k", bp, bn)
	data := s.key("essa_get_lattice_data", "s/k", buf, 128, length)
	gotA := s.dump(buf, len(a))
	lenA2 := s.dump(length, 4)
	// The next one sees it, with and without asking for the length.
	data2 := s.key("essa_get_lattice_data", "s/k", buf, 128, length)
	gotAB := s.dump(buf, len(ab))
	get2 := s.key("essa_get_lattice_len", "s/k", length)
	lenAB := s.dump(length, 4)

	jp, jn := s.data("\x09\x00\x00\x00 no lattice")
	junk := s.key("essa_put_lattice", "s/k", jp, jn)
	lp, ln := s.data(lww(5, "x"))
	other := s.key("essa_put_lattice", "s/k", lp, ln)
	empty := s.key("essa_put_lattice", "s/e", 0, 0)

	o := x.run(t, s, nil)
	o.want(t, missing, notFound)
	o.want(t, missingData, notFound)
	for _, i := range []int{put, get, put2, data, data2, get2} {
		o.want(t, i, ok)
	}
	o.want(t, small, tooSmall)
	o.wantDump(t, untouched, "\xaa\xaa\xaa\xaa")
	o.wantDump(t, gotA, a)
	o.wantDump(t, gotAB, ab)
	if int(o.u32(lenA)) != len(a) || int(o.u32(lenA2)) != len(a) || int(o.u32(lenAB)) != len(ab) {
		t.Errorf("lengths %d, %d, %d", o.u32(lenA), o.u32(lenA2), o.u32(lenAB))
	}
	o.want(t, junk, unknown)
	o.want(t, other, unknown)
	o.want(t, empty, unknown)
	var wrote bool
	for _, w := range o.raw.Writes {
		v, _ := x.border.Value(testScope, "s/k")
		wrote = wrote || w.Key == "s/k" && w.Version == v.Version
	}
	if !wrote {
		t.Errorf("the result tells of writes %v", o.raw.Writes)
	}
	// Another scope has other values.
	s = &script{}
	length = s.space(4)
	get = s.key("essa_get_lattice_len", "s/k", length)
	x.run(t, s, func(c *engine.Call) { c.Scope = "another" }).want(t, get, notFound)
}

// testTraps checks everything that must end the invocation, and that nothing happened before it did.
func testTraps(t *testing.T, x *fixture) {
	value := set("v")
	for name, build := range map[string]func(*script){
		"result":     func(s *script) { s.call("essa_set_result", far, 32) },
		"wraps":      func(s *script) { s.call("essa_set_result", 16, 0xffffffff) },
		"name":       func(s *script) { h := s.space(4); s.call("essa_call", far, 32, 0, 0, h) },
		"badname":    func(s *script) { h := s.space(4); p, n := s.data("\xff\xfe"); s.call("essa_call", p, n, 0, 0, h) },
		"args":       func(s *script) { h := s.space(4); p, n := s.data("put"); s.call("essa_call", p, n, far, 32, h) },
		"handle":     func(s *script) { p, n := s.data("echo"); s.call("essa_call", p, n, 0, 0, far+14) },
		"len":        func(s *script) { s.call("essa_get_result_len", 1, far+14) },
		"getlen":     func(s *script) { s.call("essa_get_result", 1, 0, 0, far+14) },
		"key":        func(s *script) { p, n := s.data(value); s.call("essa_put_lattice", far, 32, p, n) },
		"badkey":     func(s *script) { p, n := s.data(value); s.key("essa_put_lattice", "\xc3", p, n) },
		"value":      func(s *script) { s.key("essa_put_lattice", "t/x", far, 32) },
		"latticelen": func(s *script) { s.key("essa_get_lattice_len", "t/have", far) },
		"latticeptr": func(s *script) { l := s.space(4); s.key("essa_get_lattice_data", "t/have", far, 128, l) },
		"latticeout": func(s *script) { b := s.space(128); s.key("essa_get_lattice_data", "t/have", b, 128, far+14) },
		"buf": func(s *script) {
			h, _ := s.start("echo", "some result that is longer than what is left of memory")
			l := s.space(4)
			s.move(0, h)
			s.call("essa_get_result", 0, far-1, 128, l)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := x.border.Put(testScope, "t/have", []byte(set("some value that is longer than 16 bytes"))); err != nil {
				t.Fatal(err)
			}
			s := &script{}
			build(s)
			_, err := x.try(s, nil)
			wantError(t, err, status.GuestFault, "")
			if _, ok := x.border.Value(testScope, "t/x"); ok {
				t.Error("a value was stored all the same")
			}
		})
	}
	x.working(t)
	_, err := x.invoke(x.function("trap", nil))
	wantError(t, err, status.GuestFault, "")
	if err != nil {
		wantText(t, err.Error(), "unreachable", "trap")
	}
}

// testStoreTrouble: a store that fails is not a store without the key.
func testStoreTrouble(t *testing.T, open Open) {
	b := &Border{Before: func(_ context.Context, op string, _ *engine.Origin, key []byte) error {
		if string(key) == "slow" {
			return status.Errorf(status.Deadline, "the store did not answer in time")
		}
		return nil
	}}
	x := startWith(t, open, Options{}, b, "guest.wasm")
	s := &script{}
	length, buf := s.space(4), s.space(16)
	v, n := s.data(set("a"))
	l := s.key("essa_get_lattice_len", "slow", length)
	d := s.key("essa_get_lattice_data", "slow", buf, 16, length)
	p := s.key("essa_put_lattice", "slow", v, n)
	o := x.run(t, s, nil)
	o.want(t, l, unknown)
	o.want(t, d, unknown)
	o.want(t, p, unknown)
}

// testKinds: values of kinds that upstream guests do not know exist for the new imports only.
func testKinds(t *testing.T, x *fixture) {
	counter := string(lattice.Encode(lattice.NewCounter(lattice.CounterEntry{ID: "node", Up: 7})))
	if tag := binary.LittleEndian.Uint32([]byte(counter)); tag < 5 {
		t.Fatalf("a counter has tag %d", tag)
	}
	if _, err := x.border.Put(testScope, "kind", []byte(counter)); err != nil {
		t.Fatal(err)
	}
	s := &script{}
	length, buf := s.space(4), s.space(256)
	l := s.key("essa_get_lattice_len", "kind", length)
	d := s.key("essa_get_lattice_data", "kind", buf, 256, length)
	nl := s.key("essa_get_value_len", "kind", length)
	still := s.key("essa_get_lattice_data", "kind", buf, 256, length)
	nd := s.key("essa_get_value_data", "kind", buf, 256, length)
	got := s.dump(buf, len(counter))
	o := x.run(t, s, nil)
	o.want(t, l, notFound)
	o.want(t, d, notFound)
	o.want(t, nl, ok)
	o.want(t, still, notFound)
	o.want(t, nd, ok)
	o.wantDump(t, got, counter)
}

func testWait(t *testing.T, x *fixture) {
	value := set("late")
	timer := time.AfterFunc(50*time.Millisecond, func() { _, _ = x.border.Put(testScope, "w/k", []byte(value)) })
	defer timer.Stop()
	s := &script{}
	length, buf := s.space(4), s.space(64)
	wait := s.key("essa_wait_lattice_len", "w/k", length)
	data := s.key("essa_get_lattice_data", "w/k", buf, 64, length)
	got := s.dump(buf, len(value))
	o := x.run(t, s, nil)
	o.want(t, wait, ok)
	o.want(t, data, ok)
	o.wantDump(t, got, value)
}
