package transport

import (
	"strings"
	"unicode/utf8"

	"github.com/essa-project/essad/sdk/status"
)

// Bounds of key expressions. Matching two expressions that both hold wildcards takes time and memory proportional to the
// product of their lengths, hence the shorter bound for those.
const (
	MaxKeyBytes  = 16 << 10
	MaxWildBytes = 2 << 10
)

// ValidKeyExpr returns an Invalid error unless s is a key expression in Zenoh's canonical form: chunks separated by "/",
// none empty, where "*" stands for one chunk, "**" for any number, "$*" inside a chunk for any characters, and a chunk
// that starts with "@" is matched only by itself.
func ValidKeyExpr(s string) error {
	if why := invalidKeyExpr(s); why != "" {
		if len(s) > 200 {
			s = s[:200] + "..."
		}
		return status.Errorf(status.Invalid, "key expression %q: %s", s, why)
	}
	return nil
}

// Wild reports whether the valid key expression s holds a wildcard.
func Wild(s string) bool { return strings.IndexByte(s, '*') >= 0 }

// plainKey reports whether s is a valid key expression of the usual kind: concrete and ASCII. It is what each message pays
// for having its key checked.
func plainKey(s string) bool {
	if len(s) == 0 || len(s) > MaxKeyBytes || s[len(s)-1] == '/' {
		return false
	}
	last := byte('/')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf, c == '*', c == '$', c == '#', c == '?', c == '/' && last == '/':
			return false
		default:
			last = c
		}
	}
	return true
}

// invalidKeyExpr says what is wrong with s, or returns "".
func invalidKeyExpr(s string) string {
	switch {
	case plainKey(s):
		return ""
	case s == "":
		return "it is empty"
	case len(s) > MaxKeyBytes:
		return "it is longer than 16 KiB"
	case len(s) > MaxWildBytes && Wild(s):
		return "it has wildcards and is longer than 2 KiB"
	case !utf8.ValidString(s):
		return "it is not UTF-8"
	}
	afterStars := false
	for rest, more := s, true; more; {
		var chunk string
		chunk, rest, more = strings.Cut(rest, "/")
		switch chunk {
		case "":
			return "it has an empty chunk (a leading, trailing or double slash)"
		case "*", "**":
			if afterStars {
				return `"*" or "**" after "**" (write "*/**", or "**" once)`
			}
			afterStars = chunk == "**"
			continue
		}
		afterStars = false
		if why := invalidChunk(chunk); why != "" {
			return why
		}
	}
	return ""
}

// invalidChunk checks a chunk that is neither "*" nor "**".
func invalidChunk(chunk string) string {
	if chunk == "$*" {
		return `a chunk "$*" (write "*")`
	}
	for i := 0; i < len(chunk); i++ {
		switch chunk[i] {
		case '#', '?':
			return `"#" and "?" cannot be part of it`
		case '*':
			return `"*" inside a chunk (write "$*")`
		case '$':
			if i+1 >= len(chunk) || chunk[i+1] != '*' {
				return `"$" without "*" after it`
			}
			if strings.HasPrefix(chunk[i+2:], "$*") {
				return `"$*$*" (write "$*")`
			}
			i++
		}
	}
	return ""
}

// Intersects reports whether some key matches both of the valid key expressions a and b.
func Intersects(a, b string) bool {
	if a == b {
		return true
	}
	switch wa, wb := Wild(a), Wild(b); {
	case !wa && !wb:
		return false
	case !wb:
		return matches(a, b)
	case !wa:
		return matches(b, a)
	}
	return intersectsWild(a, b)
}

// Includes reports whether every key that matches the valid key expression b matches the valid key expression a too.
func Includes(a, b string) bool {
	switch {
	case a == b:
		return true
	case !Wild(a):
		return false
	case !Wild(b):
		return matches(a, b)
	}
	return includesWild(a, b)
}

// cutChunk returns the chunk of s that starts at i and the index after its slash; next is len(s)+1 after the last one.
func cutChunk(s string, i int) (chunk string, next int) {
	if n := strings.IndexByte(s[i:], '/'); n >= 0 {
		return s[i : i+n], i + n + 1
	}
	return s[i:], len(s) + 1
}

// matches reports whether the concrete key matches the pattern, without allocating. When a chunk does not match, only the
// last "**" before it is made longer: where that fails, making an earlier one longer fails too, also where a verbatim
// chunk stands in the way (the earlier "**" would have to swallow one).
func matches(pattern, key string) bool {
	p, k := 0, 0          // where the next chunks start
	starP, starK := -1, 0 // after the last "**", and where what follows it was tried last
	for k <= len(key) {
		if p <= len(pattern) {
			pc, pn := cutChunk(pattern, p)
			if pc == "**" {
				p, starP, starK = pn, pn, k
				continue
			}
			if kc, kn := cutChunk(key, k); chunkMatches(pc, kc) {
				p, k = pn, kn
				continue
			}
		}
		if starP < 0 {
			return false
		}
		kc, kn := cutChunk(key, starK)
		if kc[0] == '@' {
			return false
		}
		p, k, starK = starP, kn, kn
	}
	if p <= len(pattern) {
		pc, pn := cutChunk(pattern, p)
		return pc == "**" && pn > len(pattern)
	}
	return true
}

// chunkMatches reports whether the literal chunk c matches the chunk p, which is not "**".
func chunkMatches(p, c string) bool {
	if p == c {
		return true
	}
	if p[0] == '@' || c[0] == '@' {
		return false
	}
	return p == "*" || globMatches(p, c)
}

// globMatches reports whether c matches the chunk p, in which "$*" stands for any characters. c may hold "$*" itself:
// only a "$*" of p matches that.
func globMatches(p, c string) bool {
	i, j := 0, 0
	starI, starJ := -1, 0
	for j < len(c) {
		switch {
		case i < len(p) && p[i] == '$':
			i += 2
			starI, starJ = i, j
		case i < len(p) && c[j] != '$' && p[i] == c[j]:
			i++
			j++
		case starI >= 0:
			if starJ++; c[starJ-1] == '$' {
				starJ++
			}
			i, j = starI, starJ
		default:
			return false
		}
	}
	return i == len(p) || p[i:] == "$*"
}

// splitChunks cuts s into its chunks, in buf as far as that reaches.
func splitChunks(s string, buf []string) []string {
	for i := 0; i <= len(s); {
		var c string
		c, i = cutChunk(s, i)
		buf = append(buf, c)
	}
	return buf
}

// maxStackChunks is how many chunks two expressions with wildcards may have so that matching them allocates nothing.
const maxStackChunks = 16

// intersectsWild fills a table of "do the rest of a from i and the rest of b from j intersect", from the end, keeping one
// row: hostile expressions with many wildcards cost the product of their lengths and no more.
func intersectsWild(a, b string) bool {
	var bufA, bufB [maxStackChunks]string
	as, bs := splitChunks(a, bufA[:0]), splitChunks(b, bufB[:0])
	var bufRow [2][maxStackChunks + 1]bool
	next, row := rows(&bufRow, len(bs)+1)
	for i := len(as); i >= 0; i-- {
		for j := len(bs); j >= 0; j-- {
			endA, endB := i == len(as), j == len(bs)
			switch {
			case endA && endB:
				row[j] = true
			case !endA && as[i] == "**":
				row[j] = next[j] || (!endB && bs[j][0] != '@' && row[j+1])
			case !endB && bs[j] == "**":
				row[j] = row[j+1] || (!endA && as[i][0] != '@' && next[j])
			case endA || endB:
				row[j] = false
			default:
				row[j] = next[j+1] && chunksIntersect(as[i], bs[j])
			}
		}
		row, next = next, row
	}
	return next[0]
}

// includesWild fills the same kind of table for "does the rest of a include the rest of b".
func includesWild(a, b string) bool {
	var bufA, bufB [maxStackChunks]string
	as, bs := splitChunks(a, bufA[:0]), splitChunks(b, bufB[:0])
	var bufRow [2][maxStackChunks + 1]bool
	next, row := rows(&bufRow, len(bs)+1)
	for i := len(as); i >= 0; i-- {
		for j := len(bs); j >= 0; j-- {
			endB := j == len(bs)
			switch {
			case i == len(as):
				row[j] = endB
			case as[i] == "**":
				row[j] = next[j] || (!endB && bs[j][0] != '@' && row[j+1])
			case endB || bs[j] == "**":
				row[j] = false
			default:
				row[j] = next[j+1] && chunkIncludes(as[i], bs[j])
			}
		}
		row, next = next, row
	}
	return next[0]
}

func rows(buf *[2][maxStackChunks + 1]bool, n int) (x, y []bool) {
	if n <= len(buf[0]) {
		return buf[0][:n], buf[1][:n]
	}
	return make([]bool, n), make([]bool, n)
}

func chunkIncludes(a, b string) bool {
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
	return globMatches(a, b)
}

// chunksIntersect reports whether some text matches both chunks, neither of which is "**".
func chunksIntersect(a, b string) bool {
	switch {
	case a == b:
		return true
	case a[0] == '@' || b[0] == '@':
		return false
	case a == "*" || b == "*":
		return true
	}
	globA, globB := strings.IndexByte(a, '$') >= 0, strings.IndexByte(b, '$') >= 0
	switch {
	case !globA && !globB:
		return false
	case !globB:
		return globMatches(a, b)
	case !globA:
		return globMatches(b, a)
	}
	return globsIntersect(a, b)
}

// globsIntersect is chunksIntersect for two chunks with "$*". Only what stands before the first and after the last "$*"
// of each has to fit: between them, the wildcard of one takes whatever the other asks for.
func globsIntersect(a, b string) bool {
	preA, preB := a[:strings.IndexByte(a, '$')], b[:strings.IndexByte(b, '$')]
	sufA, sufB := a[strings.LastIndexByte(a, '$')+2:], b[strings.LastIndexByte(b, '$')+2:]
	return (strings.HasPrefix(preA, preB) || strings.HasPrefix(preB, preA)) &&
		(strings.HasSuffix(sufA, sufB) || strings.HasSuffix(sufB, sufA))
}
