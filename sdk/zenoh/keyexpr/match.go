package keyexpr

import "strings"

// Intersects reports whether some key matches both of the valid key expressions a and b.
func Intersects(a, b string) bool {
	if a == b {
		return true
	}
	switch wildA, wildB := Wild(a), Wild(b); {
	case !wildA && !wildB:
		return false
	case !wildB:
		return matches(a, b)
	case !wildA:
		return matches(b, a)
	}
	return tabulate(a, b, false)
}

// Includes reports whether every key that matches the valid key expression b matches the valid key expression a, too.
func Includes(a, b string) bool {
	switch {
	case a == b:
		return true
	case !Wild(a):
		return false
	case !Wild(b):
		return matches(a, b)
	}
	return tabulate(a, b, true)
}

// matches reports whether the concrete key matches the pattern. When a chunk does not match, only the last "**" before it is
// made longer: where that fails, making an earlier one longer fails too, also where a verbatim chunk stands in the way (the
// earlier "**" would have to swallow it).
func matches(pattern, key string) bool {
	p, k := 0, 0          // where the next chunks start
	deepP, deepK := -1, 0 // after the last "**", and where what follows it was tried last
	for k <= len(key) {
		if p <= len(pattern) {
			pc, pn := cut(pattern, p)
			if pc == "**" {
				p, deepP, deepK = pn, pn, k
				continue
			}
			if kc, kn := cut(key, k); chunkIncludes(pc, kc) {
				p, k = pn, kn
				continue
			}
		}
		if deepP < 0 {
			return false
		}
		kc, kn := cut(key, deepK)
		if verbatim(kc) {
			return false
		}
		p, k, deepK = deepP, kn, kn
	}
	return p > len(pattern) || pattern[p:] == "**"
}

// verbatim reports whether a chunk is matched by itself alone.
func verbatim(chunk string) bool { return chunk != "" && chunk[0] == '@' }

// stackChunks is how many chunks two expressions with wildcards may have so that comparing them allocates nothing.
const stackChunks = 16

// tabulate compares two expressions with wildcards. It fills a table of "does the rest of a from i include (or intersect) the
// rest of b from j", from the end, of which it keeps a row: an expression with many wildcards costs no more than another.
func tabulate(a, b string, includes bool) bool {
	var bufA, bufB [stackChunks]string
	as, bs := split(a, bufA[:0]), split(b, bufB[:0])
	var bufRow [2][stackChunks + 1]bool
	next, row := bufRow[0][:], bufRow[1][:]
	if len(bs) > stackChunks {
		next, row = make([]bool, len(bs)+1), make([]bool, len(bs)+1)
	}
	for i := len(as); i >= 0; i-- {
		for j := len(bs); j >= 0; j-- {
			endA, endB := i == len(as), j == len(bs)
			switch {
			case endA && endB:
				row[j] = true
			case !endA && as[i] == "**":
				row[j] = next[j] || !endB && !verbatim(bs[j]) && row[j+1]
			case !endB && bs[j] == "**":
				row[j] = !includes && (row[j+1] || !endA && !verbatim(as[i]) && next[j])
			case endA || endB:
				row[j] = false
			default:
				row[j] = next[j+1] && chunksMatch(as[i], bs[j], includes)
			}
		}
		row, next = next, row
	}
	return next[0]
}

// split cuts s into its chunks, in buf as far as that reaches.
func split(s string, buf []string) []string {
	for i := 0; i <= len(s); {
		var c string
		c, i = cut(s, i)
		buf = append(buf, c)
	}
	return buf
}

// chunksMatch is chunkIncludes or chunksIntersect.
func chunksMatch(a, b string, includes bool) bool {
	if includes {
		return chunkIncludes(a, b)
	}
	return chunksIntersect(a, b)
}

// chunkIncludes reports whether the chunk a includes the chunk b. Neither is "**".
func chunkIncludes(a, b string) bool {
	switch {
	case a == b:
		return true
	case verbatim(a) || verbatim(b):
		return false
	case a == "*":
		return true
	case b == "*":
		return false
	}
	return globIncludes(a, b)
}

// globIncludes reports whether b matches the chunk a, in which "$*" stands for any characters. b may have "$*" itself, which
// only a "$*" of a matches: the texts between those of a have no such characters. Of these texts each is taken where it is
// found first.
func globIncludes(a, b string) bool {
	i := strings.IndexByte(a, '$')
	if i < 0 || !strings.HasPrefix(b, a[:i]) {
		return false
	}
	for b = b[i:]; ; {
		a = a[i+2:]
		if i = strings.IndexByte(a, '$'); i < 0 {
			return strings.HasSuffix(b, a)
		}
		at := strings.Index(b, a[:i])
		if at < 0 {
			return false
		}
		b = b[at+i:]
	}
}

// chunksIntersect reports whether some text matches both chunks, neither of which is "**".
func chunksIntersect(a, b string) bool {
	switch {
	case a == b:
		return true
	case verbatim(a) || verbatim(b):
		return false
	case a == "*" || b == "*":
		return true
	}
	globA, globB := strings.IndexByte(a, '$'), strings.IndexByte(b, '$')
	switch {
	case globA < 0 && globB < 0:
		return false
	case globB < 0:
		return globIncludes(a, b)
	case globA < 0:
		return globIncludes(b, a)
	}
	// Only what stands before the first and after the last "$*" of each has to fit: between them, the wildcard of one takes
	// whatever the other asks for.
	preA, preB := a[:globA], b[:globB]
	sufA, sufB := a[strings.LastIndexByte(a, '$')+2:], b[strings.LastIndexByte(b, '$')+2:]
	return (strings.HasPrefix(preA, preB) || strings.HasPrefix(preB, preA)) &&
		(strings.HasSuffix(sufA, sufB) || strings.HasSuffix(sufB, sufA))
}
