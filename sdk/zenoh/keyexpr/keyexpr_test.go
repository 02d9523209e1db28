package keyexpr

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"
)

// The vectors were computed by Zenoh's own crate.
func TestVectors(t *testing.T) {
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
		check(t, c[0], c[1], c[2] == "1", c[3] == "1", c[4] == "1")
	}
	if n != 3308 {
		t.Fatalf("%d vectors, want 3308", n)
	}
}

func check(t *testing.T, a, b string, intersects, aIncludes, bIncludes bool) {
	t.Helper()
	for _, k := range []string{a, b} {
		if err := Valid(k); err != nil {
			t.Error(err)
		}
		if c, err := Canon(k); c != k || err != nil {
			t.Errorf("%q is made %q: %v", k, c, err)
		}
	}
	var x Index[int]
	x.Add(b, 1)
	found := func(look func(string, func(string, int) bool)) (found bool) {
		look(a, func(string, int) bool { found = true; return true })
		return found
	}
	for _, c := range []struct {
		what      string
		got, want bool
	}{
		{"intersects", Intersects(a, b), intersects},
		{"intersects, swapped", Intersects(b, a), intersects},
		{"first includes second", Includes(a, b), aIncludes},
		{"second includes first", Includes(b, a), bIncludes},
		{"index intersects", found(x.Intersecting), intersects},
		{"index includes", found(x.Including), bIncludes},
	} {
		if c.got != c.want {
			t.Errorf("%q %q: %s: %v", a, b, c.what, c.got)
		}
	}
}

func TestPairs(t *testing.T) {
	for _, c := range []struct {
		a, b                             string
		intersects, aIncludes, bIncludes bool
	}{
		{"a/*", "a/b", true, true, false},
		{"a/**", "a", true, true, false},
		{"a/**", "a/b/c", true, true, false},
		{"**", "@a", false, false, false},
		{"a/**", "a/@b", false, false, false},
		{"a/**/@b", "a/@b", true, true, false},
		{"@a/**", "@a/b", true, true, false},
		{"a$*", "ab", true, true, false},
		{"a$*b", "ab", true, true, false},
		{"*/b", "a/*", true, false, false},
		{"**/x", "x", true, true, false},
		{"a/*", "a/*/b", false, false, false},
		{"a/**/b", "a/b", true, true, false},
		{"$*a", "@a", false, false, false},
		{"@a$*", "@ab", false, false, false},
		{"@a$*", "@a$*", true, true, true},
		{"**", "**", true, true, true},
		{"*/**", "**", true, false, true},
		{"a$*a", "a", false, false, false},
		{"$*ab$*", "$*ab", true, true, false},
		{"$*b$*b", "ab$*b", true, true, false},
		{"a$*b$*c", "ac", false, false, false},
		{"a/**/b/**/c", "a/x/b/y/b/z/c", true, true, false},
		{"**/@x/**", "a/@x/b/@y", false, false, false},
		{"**/é/*", "ü/é/ö", true, true, false},
	} {
		check(t, c.a, c.b, c.intersects, c.aIncludes, c.bIncludes)
	}
}

func TestValid(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+"/", MaxBytes/64)
	chunks := strings.Repeat("a/", MaxChunks)
	for _, k := range []string{
		"a", "a/b", "*", "**", "a/*", "a/**", "a/*/**", "*/*", "a/$*b", "a/b$*", "a$*", "a$*b$*c", "@a/b", "@", "a/@b", "a b",
		"ä/ö", "é/ü", "%", "@a$*", "@/x/**", "a/**/b/**", long[:MaxBytes-1], chunks[:len(chunks)-1],
		"**/" + strings.Repeat("a", MaxWildBytes-3),
	} {
		if err := Valid(k); err != nil {
			t.Error(err)
		}
	}
	for _, k := range []string{
		"", "/", "/a", "a/", "a//b", "ä//b", "a/**/**", "a/**/*", "$*", "a/$*", "a/$*/b", "a$*$*b", "a/$*$*b", "a$b", "a$", "a*", "*a",
		"a/b*", "a/*b", "***", "a/***", "a#", "a?", "a#b", "a?b", "a\xffb", "a/**a", "/", "//", long + "a", chunks + "a",
		"*/" + chunks[:len(chunks)-2] + "/a", "ä/" + chunks[:len(chunks)-2] + "/a", "**/" + strings.Repeat("a", MaxWildBytes-2),
	} {
		var invalid *Error
		if err := Valid(k); !errors.As(err, &invalid) || len(err.Error()) > 400 {
			t.Errorf("%.40q: %v", k, err)
		}
	}
}

func TestCanon(t *testing.T) {
	for in, want := range map[string]string{
		"a/b": "a/b", "a/**/*": "a/*/**", "**/**": "**", "a/$*": "a/*", "a/$*$*b": "a/$*b", "**/**/*/*": "*/*/**",
		"a/**/b/**/*": "a/**/b/*/**", "$*$*$*/a": "*/a", "a/$*$*$*": "a/*", "**/$*/**/x": "*/**/x", "a$*$*$*$*b": "a$*b",
		"@a/**/*": "@a/*/**",
		strings.Repeat("**/", MaxWildBytes) + "*": "*/**",
	} {
		if got, err := Canon(in); got != want || err != nil {
			t.Errorf("%.40q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "/", "a/", "/a", "//", "**//*", "**/", "/**", "/**/*", "a*", "a#", "a\xff/**/*", "$**", "$*$", "***/**/**",
		strings.Repeat("a/", MaxBytes), strings.Repeat("**/**/a/", MaxWildBytes/4),
	} {
		if got, err := Canon(in); err == nil || got != "" {
			t.Errorf("%.40q is made %.40q", in, got)
		}
	}
}

func TestMatchingDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if !Intersects("essa/call/**", "essa/call/shop/total/-") || !Includes("essa/*/sh$*p/**", "essa/call/shop/total/-") {
			t.Fatal("no match")
		}
		if !Intersects("essa/**/total/*", "essa/call/*/to$*/-") || Valid("essa/call/*/to$*/-") != nil {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// hostile pairs take exponential time where every way to match is tried.
func TestHostileExpressions(t *testing.T) {
	deep := strings.Repeat("**/a/", 250)
	glob := strings.Repeat("$*a", 600)
	wide := strings.Repeat("a/", 500)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{deep + "b", wide + "c", false},
		{deep + "b", wide + "b", true},
		{deep + "b", deep + "c", false},
		{deep + "b", strings.Repeat("*/**/", 300) + "c", false},
		{glob + "b", strings.Repeat("a", 10000) + "c", false},
		{glob + "b", strings.Repeat("a", 10000) + "b", true},
		{glob + "b", glob + "c", false},
		{deep + glob[:30] + "b", strings.Repeat("a$*a/", 250) + "c", false},
	} {
		a, errA := Canon(c.a)
		b, errB := Canon(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := Intersects(a, b); got != c.want {
			t.Errorf("%.20q... %.20q... intersect: %v", a, b, got)
		}
		if got := Includes(a, b); got && !c.want {
			t.Errorf("%.20q... includes %.20q...", a, b)
		}
		var x Index[int]
		x.Add(a, 1)
		n := 0
		x.Intersecting(b, func(string, int) bool { n++; return true })
		if (n == 1) != c.want {
			t.Errorf("%.20q... has %.20q... %d times", a, b, n)
		}
	}
}

// The definitions, written for reading and not for speed.
func naiveIntersects(a, b []string) bool {
	switch {
	case len(a) == 0 && len(b) == 0:
		return true
	case len(a) > 0 && a[0] == "**":
		return naiveIntersects(a[1:], b) || len(b) > 0 && b[0][0] != '@' && naiveIntersects(a, b[1:])
	case len(b) > 0 && b[0] == "**":
		return naiveIntersects(b, a)
	case len(a) == 0 || len(b) == 0:
		return false
	}
	return naiveChunk(a[0], b[0]) && naiveIntersects(a[1:], b[1:])
}

func naiveChunk(a, b string) bool {
	switch {
	case a == b:
		return true
	case a[0] == '@' || b[0] == '@':
		return false
	case a == "*" || b == "*":
		return true
	}
	return naiveGlob(a, b)
}

func naiveGlob(a, b string) bool {
	switch {
	case a == "" && b == "":
		return true
	case strings.HasPrefix(a, "$*"):
		return naiveGlob(a[2:], b) || b != "" && (strings.HasPrefix(b, "$*") && naiveGlob(a, b[2:]) || b[0] != '$' && naiveGlob(a, b[1:]))
	case strings.HasPrefix(b, "$*"):
		return naiveGlob(b, a)
	}
	return a != "" && b != "" && a[0] == b[0] && naiveGlob(a[1:], b[1:])
}

func naiveIncludes(a, b []string) bool {
	switch {
	case len(a) == 0:
		return len(b) == 0
	case a[0] == "**":
		return naiveIncludes(a[1:], b) || len(b) > 0 && b[0][0] != '@' && naiveIncludes(a, b[1:])
	case len(b) == 0 || b[0] == "**":
		return false
	}
	return naiveChunkIncludes(a[0], b[0]) && naiveIncludes(a[1:], b[1:])
}

func naiveChunkIncludes(a, b string) bool {
	switch {
	case a == b:
		return true
	case a[0] == '@' || b[0] == '@':
		return false
	case a == "*":
		return true
	case b == "*":
		return false
	}
	return naiveGlobIncludes(a, b)
}

func naiveGlobIncludes(a, b string) bool {
	switch {
	case a == "" || b == "":
		return b == "" && (a == "" || a == "$*")
	case strings.HasPrefix(a, "$*"):
		rest := b[1:]
		if b[0] == '$' {
			rest = b[2:]
		}
		return naiveGlobIncludes(a[2:], b) || naiveGlobIncludes(a, rest)
	}
	return a[0] == b[0] && a[0] != '$' && naiveGlobIncludes(a[1:], b[1:])
}

func naiveValid(s string) bool {
	if len(s) > 200 {
		return Valid(s) == nil
	}
	last := ""
	for _, c := range strings.Split(s, "/") {
		if c == "" || strings.ToValidUTF8(c, "") != c || strings.ContainsAny(c, "#?") || last == "**" && (c == "*" || c == "**") {
			return false
		}
		last = c
		if c == "*" || c == "**" {
			continue
		}
		if c == "$*" || strings.Contains(c, "$*$*") || strings.ContainsAny(strings.ReplaceAll(c, "$*", ""), "$*") {
			return false
		}
	}
	return true
}

func FuzzKeyExpr(f *testing.F) {
	for _, s := range [][2]string{{"a/**/b$*c", "*/b/x"}, {"@a/**", "**/@a"}, {"$*a$*/b", "a$*b/**"}, {"**/$*/**/*", "a/$*$*b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if got := Valid(s) == nil; got != naiveValid(s) {
				t.Fatalf("%q is valid: %v", s, got)
			}
		}
		a, errA := Canon(a)
		b, errB := Canon(b)
		if errA != nil || errB != nil {
			return
		}
		if Valid(a) != nil || !Intersects(a, a) || !Includes(a, a) {
			t.Fatalf("%q does not match itself", a)
		}
		if len(a)+len(b) > 40 { // the definitions take exponential time
			if Intersects(a, b) != Intersects(b, a) || Includes(a, b) && !Intersects(a, b) {
				t.Fatalf("%q %q: intersects, both ways: %v, %v; includes: %v", a, b, Intersects(a, b), Intersects(b, a), Includes(a, b))
			}
			return
		}
		as, bs := strings.Split(a, "/"), strings.Split(b, "/")
		check(t, a, b, naiveIntersects(as, bs), naiveIncludes(as, bs), naiveIncludes(bs, as))
	})
}
