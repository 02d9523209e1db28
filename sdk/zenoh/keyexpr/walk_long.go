package keyexpr

import "math/bits"

// longWalk is one look-up of an expression of more than shortChunks chunks. With each node that it visits, once, comes the set of all i so that the first i chunks of what is
// asked for match the chunks on the way to the node: what the rows are in the table that compares two expressions, shared by
// all expressions that begin with the same chunks. A node without such an i is not visited.
type longWalk[V comparable] struct {
	chunks   []string // of what is asked for
	includes bool     // rather than intersects
	yield    func(key string, v V) bool
	words    int // of a set
}

// set is a set of numbers, a bit for each.
type set []uint64

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

func (s set) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// next returns the smallest element that is at least i, or -1.
func (s set) next(i int) int {
	for w := i / 64; w < len(s); w++ {
		if rest := s[w] >> (i % 64); rest != 0 {
			return i + bits.TrailingZeros64(rest)
		}
		i = (w + 1) * 64
	}
	return -1
}

func (n *node[V]) longWalk(chunks []string, includes bool, yield func(key string, v V) bool) bool {
	w := longWalk[V]{chunks: chunks, includes: includes, yield: yield, words: len(chunks)/64 + 1}
	s, free := w.newSet(nil)
	w.reach(s, 0)
	return w.visit(n, s, free)
}

// newSet makes an empty set out of free memory, and returns what is left of that.
func (w *longWalk[V]) newSet(free []uint64) (s set, left []uint64) {
	if len(free) < w.words {
		free = make([]uint64, 2*stackChunks*w.words)
	}
	s = free[:w.words]
	clear(s)
	return s, free[w.words:]
}

// reach adds i to s, and what comes for free with it: a "**" of what is asked for needs no chunk.
func (w *longWalk[V]) reach(s set, i int) {
	s.add(i)
	if !w.includes && i < len(w.chunks) && w.chunks[i] == "**" {
		s.add(i + 1)
	}
}

// visit goes on at n with the set s; it returns false if yield did.
func (w *longWalk[V]) visit(n *node[V], s set, free []uint64) bool {
	if s.has(len(w.chunks)) && !n.yield(w.yield) {
		return false
	}
	if n.deep != nil && !w.visitDeep(n.deep, s, free) {
		return false
	}
	for _, c := range n.wild {
		if !w.step(c, s, free) {
			return false
		}
	}
	if len(n.literal) == 0 && n.byChunk == nil {
		return true
	}
	if w.needsAll(s) {
		return n.literals(func(c *node[V]) bool { return w.step(c, s, free) })
	}
	for i := s.next(0); i >= 0 && i < len(w.chunks); i = s.next(i + 1) {
		if c := n.literalChild(w.chunks[i]); c != nil && !w.repeated(s, i) && !w.step(c, s, free) {
			return false
		}
	}
	return true
}

// needsAll reports whether one of the chunks that come next has a wildcard that literal chunks match.
func (w *longWalk[V]) needsAll(s set) bool {
	if w.includes {
		return false
	}
	for i := s.next(0); i >= 0 && i < len(w.chunks); i = s.next(i + 1) {
		if Wild(w.chunks[i]) && !verbatim(w.chunks[i]) {
			return true
		}
	}
	return false
}

// repeated reports whether the chunk i is the same as one of those before it in s.
func (w *longWalk[V]) repeated(s set, i int) bool {
	for j := s.next(0); j < i; j = s.next(j + 1) {
		if w.chunks[j] == w.chunks[i] {
			return true
		}
	}
	return false
}

// step visits c, which is no "**", if the set that it takes s to is not empty.
func (w *longWalk[V]) step(c *node[V], s set, free []uint64) bool {
	t, free := w.newSet(free)
	for i := s.next(0); i >= 0 && i < len(w.chunks); i = s.next(i + 1) {
		switch k := w.chunks[i]; {
		case k != "**":
			if chunksMatch(c.chunk, k, w.includes) {
				w.reach(t, i+1)
			}
		case !w.includes && !verbatim(c.chunk):
			w.reach(t, i)
		}
	}
	return t.empty() || w.visit(c, t, free)
}

// visitDeep visits the child "**", which matches any chunks but those that are verbatim.
func (w *longWalk[V]) visitDeep(c *node[V], s set, free []uint64) bool {
	t, free := w.newSet(free)
	copy(t, s)
	for i := t.next(0); i >= 0 && i < len(w.chunks); i = t.next(i + 1) {
		if !verbatim(w.chunks[i]) {
			t.add(i + 1)
		}
	}
	return w.visit(c, t, free)
}
