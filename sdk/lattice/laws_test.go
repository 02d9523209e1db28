package lattice_test

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/sdk/lattice"
)

// Few different ids, times and bytes, so that ties and overlaps are common.
var (
	genID    = rapid.SampledFrom([]string{"", "a", "b", "c"})
	genData  = rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 255}), 0, 2)
	genTime  = rapid.Custom(func(t *rapid.T) lattice.Timestamp { return lattice.TimeUnixNano(rapid.Int64Range(-2, 2).Draw(t, "ns")) })
	genCount = rapid.Uint64Range(0, 2)
	genClock = rapid.Custom(func(t *rapid.T) lattice.VectorClock {
		return lattice.NewVectorClock(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) lattice.ClockEntry {
			return lattice.ClockEntry{ID: genID.Draw(t, "id"), N: genCount.Draw(t, "n")}
		}), 0, 3).Draw(t, "clock")...)
	})
	genDeps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) lattice.Dependency {
		return lattice.Dependency{Key: genID.Draw(t, "key"), Clock: genClock.Draw(t, "dep")}
	}), 0, 2)
	genElems = rapid.SliceOfN(genData, 0, 3)
)

func generators(depth int) map[string]*rapid.Generator[lattice.Value] {
	value := func(f func(t *rapid.T) lattice.Value) *rapid.Generator[lattice.Value] { return rapid.Custom(f) }
	joined := func(g *rapid.Generator[lattice.Value]) *rapid.Generator[lattice.Value] {
		return rapid.Custom(func(t *rapid.T) lattice.Value {
			vs := rapid.SliceOfN(g, 1, 3).Draw(t, "joined")
			v := vs[0]
			for _, o := range vs[1:] {
				v = lattice.Join(v, o)
			}
			return v
		})
	}
	out := map[string]*rapid.Generator[lattice.Value]{
		"lww": value(func(t *rapid.T) lattice.Value {
			return lattice.LWW{Time: genTime.Draw(t, "time"), Data: genData.Draw(t, "data")}
		}),
		"set":         value(func(t *rapid.T) lattice.Value { return lattice.NewSet(genElems.Draw(t, "elems")...) }),
		"ordered set": value(func(t *rapid.T) lattice.Value { return lattice.NewOrderedSet(genElems.Draw(t, "elems")...) }),
		"single": joined(value(func(t *rapid.T) lattice.Value {
			return lattice.NewSingleCausal(genClock.Draw(t, "clock"), genElems.Draw(t, "elems")...)
		})),
		"multi": joined(value(func(t *rapid.T) lattice.Value {
			return lattice.NewMultiCausal(genClock.Draw(t, "clock"), genDeps.Draw(t, "deps"), genElems.Draw(t, "elems")...)
		})),
		"priority": value(func(t *rapid.T) lattice.Value {
			p := rapid.SampledFrom([]float64{math.Inf(-1), -1, math.Copysign(0, -1), 0, 1, math.Inf(1), math.NaN(), math.Float64frombits(0xfff8000000000001)})
			return lattice.Priority{Priority: p.Draw(t, "priority"), Data: genData.Draw(t, "data")}
		}),
		"counter": value(func(t *rapid.T) lattice.Value {
			return lattice.NewCounter(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) lattice.CounterEntry {
				return lattice.CounterEntry{ID: genID.Draw(t, "id"), Up: genCount.Draw(t, "up"), Down: genCount.Draw(t, "down")}
			}), 0, 3).Draw(t, "entries")...)
		}),
	}
	if depth > 0 {
		inner := anyOf(generators(depth - 1))
		out["map"] = value(func(t *rapid.T) lattice.Value {
			return lattice.NewMap(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) lattice.MapEntry {
				return lattice.MapEntry{Key: genData.Draw(t, "key"), Value: inner.Draw(t, "value")}
			}), 0, 3).Draw(t, "entries")...)
		})
	}
	return out
}

func anyOf(gens map[string]*rapid.Generator[lattice.Value]) *rapid.Generator[lattice.Value] {
	var all []*rapid.Generator[lattice.Value]
	for _, name := range []string{"lww", "set", "ordered set", "single", "multi", "priority", "counter", "map"} {
		if g := gens[name]; g != nil {
			all = append(all, g)
		}
	}
	return rapid.OneOf(all...)
}

func TestLaws(t *testing.T) {
	gens := generators(2)
	gens["any"] = anyOf(gens)
	for name, g := range gens {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				a, b, c := g.Draw(t, "a"), g.Draw(t, "b"), g.Draw(t, "c")
				same(t, "commutative", lattice.Join(a, b), lattice.Join(b, a))
				same(t, "associative", lattice.Join(a, lattice.Join(b, c)), lattice.Join(lattice.Join(a, b), c))
				same(t, "idempotent", lattice.Join(a, a), a)
				same(t, "absorbing", lattice.Join(a, lattice.Join(a, b)), lattice.Join(a, b))
				if m, err := lattice.Merge(a, b); err == nil {
					same(t, "merge is join", m, lattice.Join(a, b))
				}
				ea, eb := lattice.Encode(a), lattice.Encode(b)
				enc, err := lattice.JoinEncoded(ea, eb)
				if err != nil || !bytes.Equal(enc, lattice.Encode(lattice.Join(a, b))) {
					t.Fatalf("encoded: %x (%v)", enc, err)
				}
			})
		})
	}
}

func same(t *rapid.T, law string, a, b lattice.Value) {
	t.Helper()
	if !lattice.Equal(a, b) {
		t.Fatalf("%s: %+v is not %+v", law, a, b)
	}
}

func TestEncodingRoundTrip(t *testing.T) {
	g := anyOf(generators(2))
	rapid.Check(t, func(t *rapid.T) {
		v := g.Draw(t, "v")
		enc := lattice.Encode(v)
		tail := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "tail")
		back, err := lattice.Decode(append(enc[:len(enc):len(enc)], tail...))
		if err != nil || !bytes.Equal(lattice.Encode(back), enc) {
			t.Fatalf("%+v became %+v (%v)", v, back, err)
		}
	})
}

var genRecord = rapid.Custom(func(t *rapid.T) lattice.Record {
	r := lattice.Record{Generation: genCount.Draw(t, "generation"), Version: genCount.Draw(t, "version"), Expires: genCount.Draw(t, "expires")}
	if rapid.Bool().Draw(t, "present") {
		r.Value = lattice.Encode(anyOf(generators(1)).Draw(t, "value"))
	}
	return r
})

func TestRecordLaws(t *testing.T) {
	join := func(t *rapid.T, a, b lattice.Record) lattice.Record {
		r, err := lattice.JoinRecords(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genRecord.Draw(t, "a"), genRecord.Draw(t, "b"), genRecord.Draw(t, "c")
		for law, pair := range map[string][2]lattice.Record{
			"commutative": {join(t, a, b), join(t, b, a)},
			"associative": {join(t, a, join(t, b, c)), join(t, join(t, a, b), c)},
			"idempotent":  {join(t, a, a), a},
			"bottom":      {join(t, a, lattice.Record{Generation: a.Generation}), join(t, lattice.Record{Generation: a.Generation}, a)},
		} {
			if !pair[0].Equal(pair[1]) {
				t.Fatalf("%s: %+v is not %+v", law, pair[0], pair[1])
			}
		}
		back, err := lattice.DecodeRecord(a.Append(nil))
		if err != nil || !back.Equal(a) || len(a.Append(nil)) != a.Size() {
			t.Fatalf("%+v became %+v (%v)", a, back, err)
		}
	})
}

// TestDeleteAndRecreate sends a key's history, put and deleted and put again, in every order: what was put after the last
// delete is there, and nothing from before.
func TestDeleteAndRecreate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			history []lattice.Record
			now     lattice.Record
			want    = map[string]bool{}
			clock   = uint64(0)
		)
		for range rapid.IntRange(1, 7).Draw(t, "steps") {
			clock++
			if rapid.IntRange(0, 3).Draw(t, "step") == 0 {
				now, want = lattice.Record{Generation: clock, Version: clock}, map[string]bool{}
			} else {
				e := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "element")
				put := lattice.Record{Generation: now.Generation, Version: clock, Value: lattice.Encode(lattice.NewSet([]byte(e)))}
				now, _ = lattice.JoinRecords(now, put)
				want[e] = true
			}
			history = append(history, now)
		}
		var got lattice.Record
		for _, r := range rapid.Permutation(history).Draw(t, "order") {
			var err error
			if got, err = lattice.JoinRecords(got, r); err != nil {
				t.Fatal(err)
			}
		}
		if !got.Equal(now) {
			t.Fatalf("got %+v, want %+v", got, now)
		}
		if got.Present(clock) != (len(want) > 0) {
			t.Fatalf("present: %v, want %v", got.Present(clock), want)
		}
	})
}

func TestBuried(t *testing.T) {
	r := lattice.Record{Generation: 5, Version: 7, Expires: 9, Value: lattice.Encode(lattice.NewSet())}
	if !r.Present(8) || r.Present(9) {
		t.Error("a value is absent from its expiry on, and not before")
	}
	b := r.Buried()
	if b.Present(0) || b.Generation != 9 {
		t.Errorf("%+v", b)
	}
	if j, _ := lattice.JoinRecords(r, b); !j.Equal(b) {
		t.Errorf("the expired value comes back: %+v", j)
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range []lattice.Value{
		lattice.LWW{Data: []byte("x")},
		lattice.NewSet([]byte("x"), nil), lattice.NewOrderedSet([]byte("y")),
		lattice.NewCounter().Add("a", 1),
		lattice.Priority{Priority: 1, Data: []byte("p")},
		lattice.NewMap(lattice.MapEntry{Key: []byte("k"), Value: lattice.NewSet()}),
		lattice.Join(lattice.NewMultiCausal(lattice.VectorClock{}.Next("a"), nil, []byte("1")), lattice.NewMultiCausal(lattice.VectorClock{}.Next("b"), nil, []byte("2"))),
	} {
		f.Add(lattice.Encode(v), lattice.Encode(v))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ca, newest, timed, err := lattice.Normalize(a)
		if err != nil {
			return
		}
		v, err := lattice.Decode(a)
		if err != nil || !bytes.Equal(lattice.Encode(v), ca) {
			t.Fatalf("%x: Decode and Normalize differ: %x, %x (%v)", a, lattice.Encode(v), ca, err)
		}
		if again, n2, t2, err := lattice.Normalize(ca); err != nil || !bytes.Equal(again, ca) || n2 != newest || t2 != timed {
			t.Fatalf("%x is not its own normal form: %x (%v)", ca, again, err)
		}
		cb, _, _, err := lattice.Normalize(b)
		if err != nil {
			return
		}
		x, err := lattice.JoinEncoded(ca, cb)
		if err != nil {
			t.Fatal(err)
		}
		y, err := lattice.JoinEncoded(cb, ca)
		if err != nil || !bytes.Equal(x, y) {
			t.Fatalf("join depends on order: %x, %x (%v)", x, y, err)
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	f.Add([]byte("2024-03-05T12:34:56.5+02:00"))
	f.Add([]byte(" +12345-1-2 3:4:60 UTC "))
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := lattice.ParseTimestamp(in)
		if err != nil {
			return
		}
		back, err := lattice.ParseTimestamp(v.Append(nil))
		if err != nil || back != v {
			t.Fatalf("%q: %s is read back as %s (%v)", in, v, back, err)
		}
	})
}
