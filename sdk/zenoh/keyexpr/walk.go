package keyexpr

import (
	"math/bits"
	"strings"
)

// Intersecting calls yield with every value whose expression intersects the valid key expression key, in no order, until
// that returns false. yield must not change the index.
func (x *Index[V]) Intersecting(key string, yield func(key string, v V) bool) {
	x.walk(key, false, yield)
}

// Including calls yield with every value whose expression includes the valid key expression key, in no order, until that
// returns false. yield must not change the index.
func (x *Index[V]) Including(key string, yield func(key string, v V) bool) {
	x.walk(key, true, yield)
}

// All calls yield with every value, in no order, until that returns false. yield must not change the index.
func (x *Index[V]) All(yield func(key string, v V) bool) { x.root.all(yield) }

func (n *node[V]) all(yield func(key string, v V) bool) bool {
	if !n.yield(yield) || n.deep != nil && !n.deep.all(yield) {
		return false
	}
	for _, c := range n.wild {
		if !c.all(yield) {
			return false
		}
	}
	return n.literals(func(c *node[V]) bool { return c.all(yield) })
}

func (n *node[V]) yield(yield func(key string, v V) bool) bool {
	for _, v := range n.values {
		if !yield(n.key, v) {
			return false
		}
	}
	return true
}

// literals calls f with the children whose chunk has no wildcard, until that returns false.
func (n *node[V]) literals(f func(c *node[V]) bool) bool {
	for _, c := range n.literal {
		if !f(c) {
			return false
		}
	}
	for _, c := range n.byChunk {
		if !f(c) {
			return false
		}
	}
	return true
}

// shortChunks is how many chunks an expression may have so that a set of positions in it is one word.
const shortChunks = 63

// walk is one look-up. With each node that it visits, once, comes the set of all i so that the first i chunks of what is
// asked for match the chunks on the way to the node: what the rows are in the table that compares two expressions, shared by
// all expressions that begin with the same chunks. A node without such an i is not visited.
type walk[V comparable] struct {
	chunks   []string // of what is asked for, at most shortChunks
	includes bool     // rather than intersects
	yield    func(key string, v V) bool

	end      uint64 // all chunks were matched
	deep     uint64 // where "**" comes next
	optional uint64 // where what comes next needs no chunk
	passable uint64 // where a chunk that is not verbatim comes next
	several  uint64 // where a chunk comes next that several literal chunks match
}

func (x *Index[V]) walk(key string, includes bool, yield func(key string, v V) bool) {
	if Wild(key) {
		x.root.walk(key, includes, yield)
		return
	}
	x.root.concrete(key, 0, yield)
}

// concrete looks up what follows in key from i on, which has no wildcard, below n. Of such a key there is but one position as
// long as no "**" comes in the way, and intersecting is including.
func (n *node[V]) concrete(key string, i int, yield func(key string, v V) bool) bool {
	for i <= len(key) {
		if n.deep != nil && !n.deep.below(key[i:], yield) {
			return false
		}
		var chunk string
		chunk, i = cut(key, i)
		for _, c := range n.wild {
			if chunkIncludes(c.chunk, chunk) && !c.concrete(key, i, yield) {
				return false
			}
		}
		if n = n.literalChild(chunk); n == nil {
			return true
		}
	}
	return n.yield(yield) && (n.deep == nil || n.deep.yield(yield))
}

// below looks up rest, which has no wildcard, where n is a "**" that stands before it.
func (n *node[V]) below(rest string, yield func(key string, v V) bool) bool {
	if !n.leaf() {
		return n.parent.walkDeep(rest, yield)
	}
	return strings.IndexByte(rest, '@') >= 0 && hasVerbatim(rest) || n.yield(yield)
}

// hasVerbatim reports whether one of the chunks of s is verbatim.
func hasVerbatim(s string) bool { return verbatim(s) || strings.Contains(s, "/@") }

// walkDeep looks up rest in the child "**" of n alone.
func (n *node[V]) walkDeep(rest string, yield func(key string, v V) bool) bool {
	only := node[V]{deep: n.deep}
	return only.walk(rest, false, yield)
}

// walk looks up key below n; it returns false if yield did.
func (n *node[V]) walk(key string, includes bool, yield func(key string, v V) bool) bool {
	var buf [stackChunks]string
	chunks := split(key, buf[:0])
	if len(chunks) > shortChunks {
		return n.longWalk(chunks, includes, yield)
	}
	w := walk[V]{chunks: chunks, includes: includes, yield: yield, end: 1 << len(chunks)}
	for i, c := range chunks {
		if verbatim(c) {
			continue
		}
		bit := uint64(1) << i
		w.passable |= bit
		if c == "**" {
			w.deep |= bit
		}
		if !includes && Wild(c) {
			w.several |= bit
		}
	}
	if !includes {
		w.optional = w.deep
	}
	return w.visit(n, w.reach(1))
}

// reach adds to s what comes for free with it.
func (w *walk[V]) reach(s uint64) uint64 { return s | (s&w.optional)<<1 }

// visit goes on at n with the set s; it returns false if yield did.
func (w *walk[V]) visit(n *node[V], s uint64) bool {
	if s&w.end != 0 && !n.yield(w.yield) {
		return false
	}
	if n.deep != nil && !w.visit(n.deep, w.pass(s)) {
		return false
	}
	for _, c := range n.wild {
		if !w.step(c, s) {
			return false
		}
	}
	switch {
	case len(n.literal) == 0 && n.byChunk == nil:
		return true
	case s&w.several != 0:
		return n.literals(func(c *node[V]) bool { return w.step(c, s) })
	}
	for rest := s &^ w.end; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		c := n.literalChild(w.chunks[i])
		if c == nil || w.repeated(s, i) {
			continue
		}
		if !w.step(c, s) {
			return false
		}
	}
	return true
}

// repeated reports whether the chunk i is the same as one of those before it in s.
func (w *walk[V]) repeated(s uint64, i int) bool {
	for rest := s & (1<<i - 1); rest != 0; rest &= rest - 1 {
		if w.chunks[bits.TrailingZeros64(rest)] == w.chunks[i] {
			return true
		}
	}
	return false
}

// step visits c, which is no "**", if the set that it takes s to is not empty.
func (w *walk[V]) step(c *node[V], s uint64) bool {
	var t uint64
	for rest := s &^ (w.end | w.deep); rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); chunksMatch(c.chunk, w.chunks[i], w.includes) {
			t |= 2 << i
		}
	}
	if s&w.optional != 0 && !verbatim(c.chunk) {
		t |= s & w.optional
	}
	return t == 0 || w.visit(c, w.reach(t))
}

// pass returns what a "**" takes s to: past any chunks but those that are verbatim.
func (w *walk[V]) pass(s uint64) uint64 {
	for {
		t := s | (s&w.passable)<<1
		if t == s {
			return s
		}
		s = t
	}
}
