package transport

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

// The vectors were computed by Zenoh's own crate.
func TestKeyExprVectors(t *testing.T) {
	f, err := os.Open("testdata/keyexpr-vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	n := 0
	for lines.Scan() {
		c := strings.Split(lines.Text(), "\t")
		if len(c) != 5 {
			t.Fatalf("line %q", lines.Text())
		}
		n++
		a, b := c[0], c[1]
		for _, k := range c[:2] {
			if err := ValidKeyExpr(k); err != nil {
				t.Errorf("valid: %v", err)
			}
		}
		for _, x := range []struct {
			what      string
			got, want bool
		}{
			{"intersects", Intersects(a, b), c[2] == "1"},
			{"intersects, swapped", Intersects(b, a), c[2] == "1"},
			{"a includes b", Includes(a, b), c[3] == "1"},
			{"b includes a", Includes(b, a), c[4] == "1"},
		} {
			if x.got != x.want {
				t.Errorf("%q %q: %s is %v", a, b, x.what, x.got)
			}
		}
	}
	if n < 3000 {
		t.Fatalf("only %d vectors", n)
	}
}

func TestValidKeyExpr(t *testing.T) {
	long := strings.Repeat("a/", MaxKeyBytes)
	for _, k := range []string{
		"a", "a/b", "*", "**", "a/*/**", "*/*", "a/$*b", "a/b$*", "a$*b$*c", "@a/b", "@", "a b", "ä/ö", "%", "@a$*",
		"a/**/b/**", long[:MaxKeyBytes-1],
	} {
		if err := ValidKeyExpr(k); err != nil {
			t.Error(err)
		}
	}
	for _, k := range []string{
		"", "/", "/a", "a/", "a//b", "a/**/**", "a/**/*", "$*", "a/$*/b", "a$*$*b", "a$b", "a$", "a*", "*a", "***", "a#b",
		"a?b", "a\xffb", "a/**a", long[:MaxKeyBytes+1], "**/" + long[:MaxWildBytes-1],
	} {
		if err := ValidKeyExpr(k); status.Of(err) != status.Invalid {
			t.Errorf("%.40q: %v", k, err)
		}
	}
}

func TestMatchingConcreteKeysDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if !Intersects("essa/call/**", "essa/call/shop/total/-") || !Includes("essa/*/sh$*p/**", "essa/call/shop/total/-") {
			t.Fatal("no match")
		}
		if !Intersects("essa/**/total/*", "essa/call/*/to$*/-") {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// refIntersects and refIncludes are the definitions, written for reading and not for speed.
func refIntersects(a, b []string) bool {
	switch {
	case len(a) == 0 && len(b) == 0:
		return true
	case len(a) > 0 && a[0] == "**":
		return refIntersects(a[1:], b) || (len(b) > 0 && b[0][0] != '@' && refIntersects(a, b[1:]))
	case len(b) > 0 && b[0] == "**":
		return refIntersects(b, a)
	case len(a) == 0 || len(b) == 0:
		return false
	}
	return refChunk(a[0], b[0]) && refIntersects(a[1:], b[1:])
}

func refChunk(a, b string) bool {
	switch {
	case a == b:
		return true
	case a[0] == '@' || b[0] == '@':
		return false
	case a == "*" || b == "*":
		return true
	}
	return refGlob(a, b)
}

func refGlob(a, b string) bool {
	switch {
	case a == "" && b == "":
		return true
	case strings.HasPrefix(a, "$*"):
		return refGlob(a[2:], b) || (b != "" && (strings.HasPrefix(b, "$*") && refGlob(a, b[2:]) || b[0] != '$' && refGlob(a, b[1:])))
	case strings.HasPrefix(b, "$*"):
		return refGlob(b, a)
	}
	return a != "" && b != "" && a[0] == b[0] && refGlob(a[1:], b[1:])
}

func FuzzKeyExpr(f *testing.F) {
	f.Add("a/**/b$*c", "*/b/x")
	f.Add("@a/**", "**/@a")
	f.Add("$*a$*/b", "a$*b/**")
	f.Fuzz(func(t *testing.T, a, b string) {
		if ValidKeyExpr(a) != nil || ValidKeyExpr(b) != nil {
			return
		}
		if !Intersects(a, a) || !Includes(a, a) {
			t.Fatalf("%q does not match itself", a)
		}
		got := Intersects(a, b)
		if got != Intersects(b, a) {
			t.Fatalf("intersection of %q and %q is not symmetric", a, b)
		}
		if (Includes(a, b) || Includes(b, a)) && !got {
			t.Fatalf("%q and %q: inclusion without intersection", a, b)
		}
		if len(a)+len(b) < 24 { // the reference takes exponential time
			if want := refIntersects(strings.Split(a, "/"), strings.Split(b, "/")); got != want {
				t.Fatalf("%q %q: intersects is %v", a, b, got)
			}
		}
	})
}

func BenchmarkMatchPrefix(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !Intersects("essa/call/**", "essa/call/shop/total/-") {
			b.Fatal("no match")
		}
	}
}
