package keyexpr

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomExpr returns a valid key expression of 1 to n chunks.
func randomExpr(rnd *rand.Rand, n int) string {
	chunks := []string{"a", "b", "c", "ab", "@a", "*", "**", "$*b", "a$*", "@a$*"}
	for {
		var c []string
		for range 1 + rnd.IntN(n) {
			c = append(c, chunks[rnd.IntN(len(chunks))])
		}
		if e := strings.Join(c, "/"); Valid(e) == nil {
			return e
		}
	}
}

// The index finds what comparing with everything finds, each once, while expressions come and go.
func TestIndexMatchesScan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var x Index[int]
	all := map[int]string{}
	for i := range 400 {
		if len(all) > 0 && rnd.IntN(3) == 0 {
			for v, e := range all {
				if !x.Remove(e, v) || x.Remove(e, v) {
					t.Fatalf("%d is not at %q, or twice", v, e)
				}
				delete(all, v)
				break
			}
		} else {
			n := 5
			if rnd.IntN(10) == 0 {
				n = 80 // more than a word has bits
			}
			e := randomExpr(rnd, n)
			if rnd.IntN(3) == 0 {
				e = fmt.Sprintf("c/%d/%s", rnd.IntN(30), e) // many children
			}
			x.Add(e, i)
			all[i] = e
		}
		key := randomExpr(rnd, 5+75*rnd.IntN(2))
		for _, c := range []struct {
			name string
			look func(string, func(string, int) bool)
			want func(e string) bool
		}{
			{"intersecting", x.Intersecting, func(e string) bool { return Intersects(e, key) }},
			{"including", x.Including, func(e string) bool { return Includes(e, key) }},
			{"all", func(_ string, yield func(string, int) bool) { x.All(yield) }, func(string) bool { return true }},
		} {
			var got, want []int
			c.look(key, func(e string, v int) bool {
				if all[v] != e {
					t.Fatalf("%d is said to be at %q", v, e)
				}
				got = append(got, v)
				return true
			})
			for v, e := range all {
				if c.want(e) {
					want = append(want, v)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s %q: %v, want %v", c.name, key, got, want)
			}
		}
	}
	for v, e := range all {
		x.Remove(e, v)
	}
	if x.Len() != 0 || !x.root.leaf() {
		t.Errorf("%d values and %+v are left", x.Len(), x.root)
	}
}

func TestIndexValues(t *testing.T) {
	var x Index[string]
	get := func(key string) (got []string) {
		x.Get(key, func(v string) bool { got = append(got, v); return true })
		return got
	}
	if x.Remove("a", "1") || get("a") != nil {
		t.Error("an empty index has something")
	}
	x.Intersecting("a", func(string, string) bool { t.Error("an empty index finds something"); return true })
	for _, v := range []string{"1", "2", "1"} {
		x.Add("a/*", v)
	}
	x.Add("a/*/b", "3")
	if x.Remove("a/*", "3") || x.Remove("a", "1") || x.Remove("a/*/c", "1") || x.Len() != 4 {
		t.Error("something was removed that is not there")
	}
	if got := get("a/*"); !slices.Equal(got, []string{"1", "2", "1"}) || get("a") != nil || get("a/b") != nil {
		t.Errorf("a/* has %v", got)
	}
	n := 0
	for _, look := range []func(yield func(string, string) bool){
		func(yield func(string, string) bool) { x.Intersecting("**", yield) },
		func(yield func(string, string) bool) { x.Including("a/x", yield) },
		x.All,
	} {
		look(func(string, string) bool { n++; return n%2 == 0 })
		if n%2 == 0 {
			t.Fatal("it does not stop when told to")
		}
		n = 0
	}
	if !x.Remove("a/*", "1") || !slices.Equal(get("a/*"), []string{"2", "1"}) {
		t.Errorf("a/* has %v", get("a/*"))
	}
}

func TestLookUpDoesNotAllocate(t *testing.T) {
	x := filled(1000)
	for _, key := range []string{"essa/kvs/17/get", "essa/*/17/get", "essa/**"} {
		n := 0
		if a := testing.AllocsPerRun(100, func() {
			x.Intersecting(key, func(string, int) bool { n++; return true })
			x.Including(key, func(string, int) bool { n++; return true })
		}); a != 0 {
			t.Errorf("%q: %v allocations", key, a)
		}
		if n == 0 {
			t.Errorf("%q finds nothing", key)
		}
	}
}

// filled returns an index of n expressions, most of them without wildcards.
func filled(n int) *Index[int] {
	var x Index[int]
	for i := range n {
		switch i % 10 {
		case 0:
			x.Add(fmt.Sprintf("essa/kvs/%d/**", i), i)
		case 1:
			x.Add(fmt.Sprintf("essa/kvs/*/get/%d", i), i)
		default:
			x.Add(fmt.Sprintf("essa/kvs/%d/get", i), i)
		}
	}
	x.Add("essa/**", n)
	x.Add("**/get", n+1)
	return &x
}

func BenchmarkIntersecting(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		x := filled(n)
		for _, key := range []string{"essa/kvs/17/get", "essa/kvs/*/get/1", "other/kvs/17/get"} {
			b.Run(fmt.Sprintf("n=%d/%s", n, key), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					x.Intersecting(key, func(string, int) bool { return true })
				}
			})
		}
	}
}

func BenchmarkAddRemove(b *testing.B) {
	x := filled(10_000)
	b.ReportAllocs()
	for b.Loop() {
		x.Add("essa/kvs/new/get/**", 1)
		x.Remove("essa/kvs/new/get/**", 1)
	}
}

func BenchmarkPairs(b *testing.B) {
	for _, c := range [][2]string{
		{"essa/call/shop/total/-", "essa/call/shop/total/-x"},
		{"essa/call/**", "essa/call/shop/total/-"},
		{"essa/**/total/*", "essa/call/*/to$*/-"},
	} {
		b.Run(c[0]+"_"+c[1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Intersects(c[0], c[1])
			}
		})
	}
}

func BenchmarkValid(b *testing.B) {
	for _, key := range []string{"essa/call/shop/total/-", "essa/call/*/to$*/**"} {
		b.Run(key, func(b *testing.B) {
			for b.Loop() {
				if Valid(key) != nil {
					b.Fatal()
				}
			}
		})
	}
}
