package lattice_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/lattice"
)

func ts(t testing.TB, s string) lattice.Timestamp {
	t.Helper()
	v, err := lattice.ParseTimestamp([]byte(s))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return v
}

func goldenLines(t *testing.T) []string {
	t.Helper()
	f, err := os.Open("testdata/goldens.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		out = append(out, sc.Text())
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(s), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Values as the upstream crates wrote them.
func TestGoldenValues(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	n1 := lattice.NewVectorClock(lattice.ClockEntry{ID: "n1", N: 3})
	n2 := lattice.NewVectorClock(lattice.ClockEntry{ID: "n2", N: 1})
	values := map[string]lattice.Value{
		"LWW hi sec":                        lattice.LWW{Time: ts(t, "2024-03-05T12:34:56Z"), Data: b("hi")},
		"LWW empty us":                      lattice.LWW{Time: ts(t, "2024-03-05T12:34:56.789123Z")},
		"Set empty":                         lattice.NewSet(),
		"Set {a}":                           lattice.NewSet(b("a")),
		"Set {a,bc}":                        lattice.NewSet(b("bc"), b("a"), b("bc")),
		"OSet {bc,a,ab}":                    lattice.NewOrderedSet(b("bc"), b("a"), b("ab")),
		"Single {n1:3} {v}":                 lattice.NewSingleCausal(n1, b("v")),
		"Single empty":                      lattice.NewSingleCausal(lattice.VectorClock{}),
		"Multi {n1:3} deps{dep:{n2:1}} {v}": lattice.NewMultiCausal(n1, []lattice.Dependency{{Key: "dep", Clock: n2}}, b("v")),
	}
	header := regexp.MustCompile(`^(.*) len=(\d+)$`)
	lines, seen := goldenLines(t), 0
	for i, line := range lines {
		m := header.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		want := unhex(t, lines[i+1])
		if n, _ := strconv.Atoi(m[2]); n != len(want) {
			t.Fatalf("%s: the golden has %d bytes, not %d", m[1], len(want), n)
		}
		v, ok := values[m[1]]
		if !ok {
			t.Fatalf("no value for golden %q", m[1])
		}
		seen++
		got := lattice.Encode(v)
		// A hash set's order is random: the golden {a,bc} is not in ours.
		if m[1] != "Set {a,bc}" && !bytes.Equal(got, want) {
			t.Errorf("%s: encoded as %x, want %x", m[1], got, want)
		}
		for _, in := range [][]byte{want, append(want[:len(want):len(want)], 1, 2, 3)} {
			back, err := lattice.Decode(in)
			if err != nil || !lattice.Equal(back, v) {
				t.Errorf("%s: decoded as %+v (%v)", m[1], back, err)
			}
			canonical, _, _, err := lattice.Normalize(in)
			if err != nil || !bytes.Equal(canonical, got) {
				t.Errorf("%s: normalized to %x (%v)", m[1], canonical, err)
			}
		}
		for cut := range len(want) {
			if _, err := lattice.Decode(want[:cut]); err == nil {
				t.Errorf("%s: its first %d bytes decode", m[1], cut)
			}
		}
	}
	if seen != len(values) {
		t.Fatalf("%d goldens for %d values", seen, len(values))
	}
}

// Timestamps as chrono wrote and read them.
func TestGoldenTimestamps(t *testing.T) {
	format := regexp.MustCompile(`^(\w+): (\S+Z) ([0-9a-f ]+)$`)
	parse := regexp.MustCompile(`^parse "(.*)" -> (Ok|Err)\((.*)\)$`)
	formats, parses := 0, 0
	for _, line := range goldenLines(t) {
		if m := format.FindStringSubmatch(line); m != nil {
			formats++
			got := lattice.Encode(lattice.LWW{Time: ts(t, m[2])})
			if want := unhex(t, m[3]); !bytes.Equal(got[4:4+len(want)], want) {
				t.Errorf("%s: got %x, want %x", m[2], got[4:4+len(want)], want)
			}
		}
		if m := parse.FindStringSubmatch(line); m != nil {
			parses++
			got, err := lattice.ParseTimestamp([]byte(m[1]))
			switch {
			case m[2] == "Err" && err == nil:
				t.Errorf("parse %q: accepted as %s", m[1], got)
			case m[2] == "Ok" && (err != nil || got.String() != m[3]):
				t.Errorf("parse %q: got %s (%v), want %s", m[1], got, err, m[3])
			}
		}
	}
	if formats < 11 || parses < 17 {
		t.Fatalf("only %d formats and %d parses in the goldens", formats, parses)
	}
}

func TestTimestampEdges(t *testing.T) {
	for in, want := range map[string]string{
		"2024-02-29T00:00:00Z":            "2024-02-29T00:00:00Z",
		"+262143-12-31T23:59:60.999Z":     "+262143-12-31T23:59:60.999Z",
		"-262144-01-01T00:00:00Z":         "-262144-01-01T00:00:00Z",
		"1970-01-01T00:00:00-23:59":       "1970-01-01T23:59:00Z",
		"1969-12-31T23:59:59.000000001Z":  "1969-12-31T23:59:59.000000001Z",
		"2016-12-31T23:59:60.5+01:00":     "2016-12-31T22:59:60.500Z",
		"2024-03-05T12:34:56.100Z":        "2024-03-05T12:34:56.100Z",
		"2024-03-05T12:34:56.000Z":        "2024-03-05T12:34:56Z",
		"2024-03-05T12:34:56.100000Z":     "2024-03-05T12:34:56.100Z",
		"2024-03-05T12:34:56+02: :30":     "2024-03-05T10:04:56Z",
		"2024-03-05T12:34:56.1234567890Z": "2024-03-05T12:34:56.123456789Z",
	} {
		if got, err := lattice.ParseTimestamp([]byte(in)); err != nil || got.String() != want {
			t.Errorf("%q: got %v (%v), want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z",
		"2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:61Z", "2024-01-01T00:00:00.Z",
		"+262144-01-01T00:00:00Z", "-262145-12-31T00:00:00Z", "+262143-12-31T23:59:59-01:00", "20240-01-01T00:00:00Z",
		"2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+00:60", "2024-01-01T00:00:00Zx", "2024-01-01T00:00:00 UT",
		"+99999999999999999999-01-01T00:00:00Z", "2024-01-01T00:00:00+1", "2024-01-01T00:00:00 a", "\xff2024-01-01T00:00:00Z",
	} {
		if got, err := lattice.ParseTimestamp([]byte(in)); err == nil {
			t.Errorf("%q: accepted as %s", in, got)
		}
	}
}

func TestTimestampTimes(t *testing.T) {
	at := time.Date(2024, 3, 5, 12, 34, 56, 789123456, time.UTC)
	v := lattice.TimeOf(at)
	if v.String() != "2024-03-05T12:34:56.789123456Z" || !v.Time().Equal(at) || v.UnixNano() != at.UnixNano() ||
		lattice.TimeUnixNano(at.UnixNano()) != v {
		t.Errorf("got %s, %v, %d", v, v.Time(), v.UnixNano())
	}
	if got := lattice.TimeUnixNano(-1).String(); got != "1969-12-31T23:59:59.999999999Z" {
		t.Error(got)
	}
	if got := lattice.TimeOf(time.Unix(1<<60, 0)).String(); got != "+262143-12-31T23:59:60.999999999Z" {
		t.Error(got)
	}
	for in, want := range map[string]string{
		"2016-12-31T23:59:59.999999999Z": "2017-01-01T00:00:00Z",
		"2016-12-31T23:59:60.999999999Z": "2017-01-01T00:00:00Z",
		"2016-12-31T23:59:59Z":           "2016-12-31T23:59:59.000000001Z",
	} {
		if got := ts(t, in).Next().String(); got != want {
			t.Errorf("after %s: got %s, want %s", in, got, want)
		}
	}
	leap, after := ts(t, "2016-12-31T23:59:60.5Z"), ts(t, "2017-01-01T00:00:00Z")
	if leap.Compare(after) >= 0 || leap.Compare(ts(t, "2016-12-31T23:59:59.999Z")) <= 0 {
		t.Error("the leap second is not between its neighbours")
	}
}

func TestDecodeLikeUpstream(t *testing.T) {
	set := bincode.AppendUint64(bincode.AppendUint32(nil, 1), 2)
	set = bincode.AppendBytes(bincode.AppendBytes(set, []byte("a")), []byte("a"))
	if v, err := lattice.Decode(set); err != nil || len(v.(lattice.Set).Elements()) != 1 {
		t.Errorf("equal elements do not collapse: %v, %v", v, err)
	}
	clock := bincode.AppendUint64(bincode.AppendUint32(nil, 3), 2)
	clock = bincode.AppendUint64(bincode.AppendString(clock, "a"), 5)
	clock = bincode.AppendUint64(bincode.AppendString(clock, "a"), 3)
	clock = bincode.AppendUint64(clock, 0)
	if v, err := lattice.Decode(clock); err != nil || v.(lattice.SingleCausal).Clock().Get("a") != 3 {
		t.Errorf("the last of equal keys does not win: %v, %v", v, err)
	}
	for name, in := range map[string][]byte{
		"tag 9":         bincode.AppendUint32(nil, 9),
		"huge count":    bincode.AppendUint64(bincode.AppendUint32(nil, 1), 1<<63),
		"bad timestamp": bincode.AppendBytes(bincode.AppendString(bincode.AppendUint32(nil, 0), "yesterday"), nil),
		"bad utf-8":     bincode.AppendBytes(bincode.AppendBytes(bincode.AppendUint32(nil, 0), []byte{0xff}), nil),
	} {
		if v, err := lattice.Decode(in); err == nil {
			t.Errorf("%s: decoded as %v", name, v)
		}
	}
}

func TestMapDepth(t *testing.T) {
	var v lattice.Value = lattice.NewCounter()
	for depth := 1; depth <= lattice.MaxDepth+1; depth++ {
		v = lattice.NewMap(lattice.MapEntry{Key: []byte("k"), Value: v})
		if _, err := lattice.Decode(lattice.Encode(v)); (err != nil) != (depth > lattice.MaxDepth) {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

func TestTypeMismatch(t *testing.T) {
	a, b := lattice.NewSet([]byte("x")), lattice.NewCounter()
	if _, err := lattice.Merge(a, b); err != lattice.ErrType {
		t.Errorf("merge: %v", err)
	}
	if !lattice.Equal(lattice.Join(a, b), b) || !lattice.Equal(lattice.Join(b, a), b) {
		t.Error("the higher tag does not win")
	}
	m := func(v lattice.Value) lattice.Value {
		return lattice.NewMap(lattice.MapEntry{Key: []byte("k"), Value: v})
	}
	if _, err := lattice.Merge(m(a), m(b)); err != lattice.ErrType {
		t.Errorf("merge inside a map: %v", err)
	}
	if _, err := lattice.MergeEncoded(lattice.Encode(a), lattice.Encode(b)); err != lattice.ErrType {
		t.Errorf("merge of encoded values: %v", err)
	}
}

func TestCounter(t *testing.T) {
	c := lattice.NewCounter().Add("a", 5).Add("b", -7).Add("a", 1)
	if c.Value() != -1 || len(c.Entries()) != 2 {
		t.Errorf("%d %v", c.Value(), c.Entries())
	}
	const most, least = 1<<63 - 1, -1 << 63
	for _, x := range []struct {
		c    lattice.Counter
		want int64
	}{
		{lattice.NewCounter().Add("a", most).Add("b", most), most},
		{lattice.NewCounter().Add("a", least).Add("b", least), least},
		{lattice.NewCounter().Add("a", least).Add("b", most), -1},
		{lattice.NewCounter(lattice.CounterEntry{ID: "a", Up: 1<<64 - 1, Down: 1<<64 - 1}, lattice.CounterEntry{ID: "b", Up: 1<<64 - 1}), most},
		{lattice.NewCounter(lattice.CounterEntry{ID: "a", Up: 1<<64 - 1}).Add("a", 1), most},
	} {
		if got := x.c.Value(); got != x.want {
			t.Errorf("%v: got %d, want %d", x.c, got, x.want)
		}
	}
}

// A value goes when a version that covers its clock arrives, in whatever order: upstream's merge lets it come back.
func TestCausalSiblings(t *testing.T) {
	clock := func(ids ...string) lattice.VectorClock {
		var c lattice.VectorClock
		for _, id := range ids {
			c = c.Next(id)
		}
		return c
	}
	x := lattice.NewSingleCausal(clock("n1"), []byte("x"))
	y := lattice.NewSingleCausal(clock("n2"), []byte("y"))
	z := lattice.NewSingleCausal(clock("n1", "n3"), []byte("z")) // replaces x
	join := func(vs ...lattice.Value) lattice.SingleCausal {
		v := vs[0]
		for _, o := range vs[1:] {
			v = lattice.Join(v, o)
		}
		back, err := lattice.Decode(lattice.Encode(v))
		if err != nil || !lattice.Equal(back, v) {
			t.Fatalf("%v does not survive its encoding: %v (%v)", v, back, err)
		}
		return back.(lattice.SingleCausal)
	}
	for _, v := range []lattice.SingleCausal{join(x, y, z), join(x, z, y), join(y, z, x), join(z, join(y, x))} {
		if got := string(bytes.Join(v.Values(), nil)); got != "yz" {
			t.Errorf("got %q", got)
		}
		if !v.Clock().Covers(clock("n1", "n2", "n3")) {
			t.Errorf("clock %v", v.Clock())
		}
	}
	both := join(x, y)
	if len(both.Versions()) != 2 {
		t.Fatalf("%d versions", len(both.Versions()))
	}
	last := join(both, lattice.NewSingleCausal(both.Clock().Next("n1"), []byte("w")))
	if got := string(bytes.Join(last.Values(), nil)); got != "w" {
		t.Errorf("a write that covers both leaves %q", got)
	}
	// What upstream reads of a value with siblings: the joined clock and all values.
	enc := lattice.Encode(both)
	plain := lattice.Encode(lattice.NewSingleCausal(clock("n1", "n2"), []byte("x"), []byte("y")))
	if !bytes.HasPrefix(enc, plain) || len(enc) == len(plain) {
		t.Errorf("%x does not begin with %x", enc, plain)
	}
	// A tail that does not belong to its head is trailing bytes.
	other := lattice.Encode(lattice.NewSingleCausal(clock("n1", "n2"), []byte("x"), []byte("q")))
	v, err := lattice.Decode(append(other, enc[len(plain):]...))
	if err != nil || !bytes.Equal(lattice.Encode(v), other) {
		t.Errorf("%v, %v", v, err)
	}
}

func TestTooManySiblings(t *testing.T) {
	var v lattice.Value = lattice.NewSingleCausal(lattice.VectorClock{})
	for i := range lattice.MaxSiblings + 1 {
		c := lattice.NewVectorClock(lattice.ClockEntry{ID: strconv.Itoa(i), N: 1})
		got, err := lattice.Merge(v, lattice.NewSingleCausal(c, []byte("x")))
		if (err == lattice.ErrSiblings) != (i == lattice.MaxSiblings) {
			t.Fatalf("sibling %d: %v", i, err)
		}
		if err == nil {
			v = got
		}
	}
}

func BenchmarkMergeEncodedLWW(b *testing.B) {
	x := lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(1), Data: make([]byte, 64)})
	y := lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(2), Data: make([]byte, 64)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lattice.MergeEncoded(x, y); err != nil {
			b.Fatal(err)
		}
	}
}
