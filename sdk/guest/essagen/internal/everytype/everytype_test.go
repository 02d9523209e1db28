package everytype

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

func TestNumbersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Numbers{
			A: rapid.Bool().Draw(t, "A"), B: rapid.Int8().Draw(t, "B"), C: rapid.Int16().Draw(t, "C"),
			D: rapid.Int32().Draw(t, "D"), E: rapid.Int64().Draw(t, "E"), F: rapid.Int().Draw(t, "F"),
			G: rapid.Uint8().Draw(t, "G"), H: rapid.Uint16().Draw(t, "H"), I: rapid.Uint32().Draw(t, "I"),
			J: rapid.Uint64().Draw(t, "J"), K: rapid.Uint().Draw(t, "K"), L: rapid.Float32().Draw(t, "L"),
			M: rapid.Float64().Draw(t, "M"), N: rapid.String().Draw(t, "N"), O: rapid.Int32().Draw(t, "O"),
			P: rapid.Byte().Draw(t, "P"), Q: Kind(rapid.Uint16().Draw(t, "Q")), R: time.Duration(rapid.Int64().Draw(t, "R")),
		}
		out, err := EchoNumbersRemote(in).Get()
		if err != nil || out != in {
			t.Fatalf("sent %+v, got %+v, %v", in, out, err)
		}
	})
}

func outer(t *rapid.T) Outer {
	word := rapid.String()
	data := rapid.SliceOf(rapid.Byte())
	o := Outer{
		Inner: Inner{hidden: rapid.Int16().Draw(t, "hidden")},
		Bytes: data.Draw(t, "bytes"), Blob: data.Draw(t, "blob"), Words: rapid.SliceOf(word).Draw(t, "words"),
		Grid:   [2][3]int16{{rapid.Int16().Draw(t, "grid")}, {2: 5}},
		Ages:   rapid.MapOf(word, rapid.Uint8()).Draw(t, "ages"),
		ByKind: map[Kind][]string{Kind(rapid.Uint16().Draw(t, "kind")): {"x"}, 7: {}},
		Seen:   map[int64]struct{}{rapid.Int64().Draw(t, "seen"): {}},
		List:   []Pair[Kind, []byte]{{First: 1, Second: data.Draw(t, "second")}},
		Temp:   Celsius{float64(rapid.Int16().Draw(t, "temp")) / 10},
		Temps:  []Celsius{{-1}, {1.5}},
	}
	if rapid.Bool().Draw(t, "some") {
		n, text := rapid.Uint8().Draw(t, "n"), word.Draw(t, "note")
		p := &n
		o.Note, o.Twice, o.Maybe = &text, &p, &Pair[string, uint16]{"a", 2}
	}
	return o
}

func TestOuterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := outer(t)
		out, err := EchoOuterRemote(in).Get()
		if err != nil || !reflect.DeepEqual(out, in) {
			t.Fatalf("sent %+v, got %+v, %v", in, out, err)
		}
		in.Skipped = func() {}
		if out, err = EchoOuterRemote(in).Get(); err != nil || out.Skipped != nil {
			t.Fatalf("a field that is not sent arrived: %v", err)
		}
	})
}

// TestManyElements sends more elements than a decoder would take of a kind that has no bytes.
func TestManyElements(t *testing.T) {
	in := Outer{Temps: make([]Celsius, 100_000), Words: make([]string, 100_000)}
	out, err := EchoOuterRemote(in).Get()
	if err != nil || len(out.Temps) != len(in.Temps) || len(out.Words) != len(in.Words) {
		t.Errorf("sent %d and %d, got %d and %d, %v", len(in.Temps), len(in.Words), len(out.Temps), len(out.Words), err)
	}
}

func TestEqualMapsHaveEqualBytes(t *testing.T) {
	m := map[string]uint8{}
	for _, k := range strings.Fields("e d c b a f g h i j k l m n o p") {
		m[k] = k[0]
	}
	first := essaPutOuter(nil, Outer{Ages: m})
	for range 20 {
		if !bytes.Equal(first, essaPutOuter(nil, Outer{Ages: m})) {
			t.Fatal("one map, two encodings")
		}
	}
}

func TestLattices(t *testing.T) {
	in := Lattices{
		At:       lattice.TimeOf(time.Date(2024, 3, 5, 12, 34, 56, 789_000_000, time.UTC)),
		Set:      lattice.NewSet([]byte("b"), []byte("a")),
		Ordered:  lattice.NewOrderedSet([]byte("z"), []byte("y")),
		LWW:      lattice.LWW{Time: lattice.TimeUnixNano(5), Data: []byte("hi")},
		Priority: lattice.Priority{Priority: 1.5, Data: []byte{}},
		Clock:    lattice.NewVectorClock(lattice.ClockEntry{ID: "n1", N: 3}),
		Key:      "k",
	}
	out, err := SendLattices(in).Get()
	if err != nil || !reflect.DeepEqual(out, in) {
		t.Fatalf("sent %+v, got %+v, %v", in, out, err)
	}
	// A LWW argument is upstream's transparent {timestamp, value}; the golden value without its variant.
	golden := lattice.Encode(in.LWW)[4:]
	if !bytes.Contains(essaPutLattices(nil, in), golden) {
		t.Errorf("the encoding does not hold %x", golden)
	}
}

func TestResults(t *testing.T) {
	if err := NothingRemote().Wait(); err != nil {
		t.Error(err)
	}
	if err := CheckRemote(false).Wait(); err != nil {
		t.Error(err)
	}
	var callee guest.CalleeError
	if err := CheckRemote(true).Wait(); !errors.As(err, &callee) || string(callee) != "it failed: \uFFFD" {
		t.Errorf("error %v", err)
	}
	if n, err := HalfRemote(8).Get(); n != 4 || err != nil {
		t.Errorf("half of 8: %d, %v", n, err)
	}
	if _, err := HalfRemote(3).Get(); !errors.As(err, &callee) {
		t.Errorf("half of 3: %v", err)
	}
	if r, err := DivideRemote(17, 5).Get(); r != (DivideRemoteResult{Quotient: 3, Remainder: 2}) || err != nil {
		t.Errorf("17/5: %+v, %v", r, err)
	}
	if r, err := CutRemote("hello", 2).Get(); r != (CutRemoteResult{R0: "he", R1: "llo"}) || err != nil {
		t.Errorf("cut: %+v, %v", r, err)
	}
	if _, err := CutRemote("hello", 9).Get(); !errors.As(err, &callee) {
		t.Errorf("cut beyond the end: %v", err)
	}
	if n, err := ShadowsRemote("1", []byte{2}, 3, 4, 5, 0, 6, true).Get(); n != 20 || err != nil {
		t.Errorf("shadows: %d, %v", n, err)
	}
	if _, err := FillRemote(struct{}{}).Get(); err != nil {
		t.Error(err)
	}
	if n, err := divideLower(9).Get(); n != 4 || err != nil {
		t.Errorf("9/2: %d, %v", n, err)
	}
	// A division by zero panics in the callee: that call fails, the caller goes on.
	if _, err := DivideRemote(1, 0).Get(); !errors.Is(err, guest.UnknownError) || errors.As(err, &callee) {
		t.Errorf("1/0: %v", err)
	}
}

// TestUpstreamBytes holds the wrappers to bytes of the real Rust crates (bincode 1.3.3).
func TestUpstreamBytes(t *testing.T) {
	for _, c := range []struct {
		name    string
		serve   func([]byte) []byte
		in, out string
	}{
		{"()", essaServeNothing, "", ""},
		{"Ok::<(), String>", essaServeCheck, "00", "00000000"},
		{"Err", essaServeHalf, "01000000", "01000000" + "1900000000000000" + hex.EncodeToString([]byte("an odd number has no half"))},
		{"Ok(u32)", essaServeHalf, "08000000", "00000000" + "04000000"},
		{"(isize, isize)", essaServeDivide, "1100000000000000fbffffffffffffff", "fdffffffffffffff" + "0200000000000000"},
		{"trailing bytes", essaServeHalf, "08000000ff", "00000000" + "04000000"},
		{
			"Ok((String, String))", essaServeCut, "0200000000000000" + "6162" + "0100000000000000",
			"00000000" + "010000000000000061" + "010000000000000062",
		},
		{
			"HashMap", essaServeHTTPGet2,
			"0200000000000000" + "010000000000000062" + "0000000000000000" + "010000000000000061" + "010000000000000063",
			"0200000000000000" + "010000000000000061" + "010000000000000063" + "010000000000000062" + "0000000000000000",
		},
	} {
		in, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := hex.EncodeToString(c.serve(in)); got != c.out {
			t.Errorf("%s: got %s, want %s", c.name, got, c.out)
		}
	}
	some, none := uint8(1), Outer{}
	p := &some
	if b := essaPutOptionOfOptionOfUint8(nil, &p); hex.EncodeToString(b) != "010101" {
		t.Errorf("Some(Some(1)) is %x", b)
	}
	if b := essaPutOptionOfOptionOfUint8(nil, none.Twice); hex.EncodeToString(b) != "00" {
		t.Errorf("None is %x", b)
	}
}

// TestExports holds the names by which others call us.
func TestExports(t *testing.T) {
	for _, name := range []string{"echo_numbers", "lattices_there_and_back", "nothing", "http_get2", "divide", "divide_lower"} {
		if _, err := guest.Call(guest.WrapperPrefix+name, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := guest.Call(guest.WrapperPrefix+"EchoNumbers", nil); !errors.Is(err, guest.NoSuchFunction) {
		t.Errorf("an export that is not there: %v", err)
	}
	guest.ResetHost()
}

// FuzzServe feeds arguments that nobody encoded: a wrapper panics, which ends its call, or it answers what decodes again.
func FuzzServe(f *testing.F) {
	f.Add(essaPutOuter(nil, Outer{Words: []string{"a"}, Temps: []Celsius{{1}}}))
	f.Add(bincode.AppendUint64(nil, math.MaxUint64))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out []byte
		func() {
			defer func() { recover() }()
			out = essaServeEchoOuter(in)
		}()
		if out == nil {
			return
		}
		d := bincode.NewDecoder(out)
		again := essaPutOuter(nil, essaTakeOuter(d))
		if d.Err() != nil || len(d.Rest()) != 0 || !bytes.Equal(out, again) {
			t.Errorf("%x was answered with %x, which reads as %x, %v", in, out, again, d.Err())
		}
	})
}
