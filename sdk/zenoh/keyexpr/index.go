package keyexpr

import "slices"

// Index maps key expressions to values, any number of them to each, and finds those whose expression intersects or includes
// another one. It is a trie of chunks: what a look-up costs depends on the expression asked for and on the wildcards that
// stand in its way, hardly on how many other expressions there are.
//
// The zero value is an empty index. It keeps the expressions that it is given, which must be valid and must not change. It
// takes care of no concurrency: look-ups may run together, but not beside Add or Remove.
type Index[V comparable] struct {
	root node[V]
	n    int
}

// manyChildren is how many children are looked through before a map has them.
const manyChildren = 8

// node stands for the chunks on the way to it from the root.
type node[V comparable] struct {
	chunk  string
	parent *node[V]

	literal []*node[V]          // children whose chunk has no wildcard, unless they are many
	byChunk map[string]*node[V] // those, where they are many
	wild    []*node[V]          // children with "*" or "$*" in their chunk
	deep    *node[V]            // the child "**"

	key    string // the whole expression, where there are values
	values []V
}

// Len returns how many values are in the index.
func (x *Index[V]) Len() int { return x.n }

// Add puts v to key. What is added twice is there twice.
func (x *Index[V]) Add(key string, v V) {
	n := &x.root
	for i := 0; i <= len(key); {
		var chunk string
		chunk, i = cut(key, i)
		c := n.child(chunk)
		if c == nil {
			c = n.newChild(chunk)
		}
		n = c
	}
	n.key = key
	n.values = append(n.values, v)
	x.n++
}

// Remove takes v from key, once, and reports whether it was there.
func (x *Index[V]) Remove(key string, v V) bool {
	n := x.find(key)
	if n == nil {
		return false
	}
	i := slices.Index(n.values, v)
	if i < 0 {
		return false
	}
	if n.values = slices.Delete(n.values, i, i+1); len(n.values) == 0 {
		n.key, n.values = "", nil
	}
	x.n--
	for n.parent != nil && n.values == nil && n.leaf() {
		n.parent.removeChild(n)
		n = n.parent
	}
	return true
}

// Get calls yield with the values of key itself, until that returns false.
func (x *Index[V]) Get(key string, yield func(v V) bool) {
	n := x.find(key)
	if n == nil {
		return
	}
	for _, v := range n.values {
		if !yield(v) {
			return
		}
	}
}

// find returns the node of key, or nil.
func (x *Index[V]) find(key string) *node[V] {
	n := &x.root
	for i := 0; n != nil && i <= len(key); {
		var chunk string
		chunk, i = cut(key, i)
		n = n.child(chunk)
	}
	return n
}

// leaf reports whether n has no children.
func (n *node[V]) leaf() bool {
	return len(n.literal) == 0 && len(n.byChunk) == 0 && len(n.wild) == 0 && n.deep == nil
}

// child returns the child with exactly that chunk, or nil.
func (n *node[V]) child(chunk string) *node[V] {
	switch {
	case !Wild(chunk):
		return n.literalChild(chunk)
	case chunk == "**":
		return n.deep
	}
	return withChunk(n.wild, chunk)
}

func (n *node[V]) literalChild(chunk string) *node[V] {
	if n.byChunk != nil {
		return n.byChunk[chunk]
	}
	return withChunk(n.literal, chunk)
}

func withChunk[V comparable](list []*node[V], chunk string) *node[V] {
	for _, c := range list {
		if c.chunk == chunk {
			return c
		}
	}
	return nil
}

func (n *node[V]) newChild(chunk string) *node[V] {
	c := &node[V]{chunk: chunk, parent: n}
	switch {
	case chunk == "**":
		n.deep = c
	case Wild(chunk):
		n.wild = append(n.wild, c)
	case n.byChunk != nil:
		n.byChunk[chunk] = c
	case len(n.literal) < manyChildren:
		n.literal = append(n.literal, c)
	default:
		n.byChunk = make(map[string]*node[V], 2*manyChildren)
		for _, c := range n.literal {
			n.byChunk[c.chunk] = c
		}
		n.byChunk[chunk] = c
		n.literal = nil
	}
	return c
}

func (n *node[V]) removeChild(c *node[V]) {
	switch {
	case c == n.deep:
		n.deep = nil
	case Wild(c.chunk):
		n.wild = without(n.wild, c)
	case n.byChunk == nil:
		n.literal = without(n.literal, c)
	default:
		if delete(n.byChunk, c.chunk); len(n.byChunk) == 0 {
			n.byChunk = nil
		}
	}
}

func without[V comparable](list []*node[V], c *node[V]) []*node[V] {
	i := slices.Index(list, c)
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		return nil
	}
	return list
}
