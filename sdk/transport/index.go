package transport

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	indexShards = 64
	// maxIndexDepth is how many literal chunks at the start of an expression with wildcards are looked up by; what stands
	// after them is compared.
	maxIndexDepth = 12
)

// index finds the declarations whose key expression intersects a key. Looking up a concrete key takes no lock and one
// map access, and one more for each depth at which some expression has its first wildcard, however many declarations
// there are. Every shard is an immutable map that a change replaces.
type index[T comparable] struct {
	seed   maphash.Seed
	exact  [indexShards]shard[T] // by the expression, where it is concrete
	prefix [indexShards]shard[T] // by the chunks before the first wildcard, where there is one
	// depths has bit d set while some expression has d chunks before its first wildcard.
	depths atomic.Uint32

	mu     sync.Mutex // serialises changes
	counts [maxIndexDepth + 1]int
}

type shard[T any] struct {
	m atomic.Pointer[map[string][]entry[T]]
}

type entry[T any] struct {
	expr string
	tail bool // expr is literal chunks and then "/**"
	v    T
}

// matches reports whether the concrete key, which starts with the literal chunks by which e was found, matches e.
func (e *entry[T]) matches(key string) bool {
	if e.tail && strings.IndexByte(key, '@') < 0 {
		return true
	}
	return matches(e.expr, key)
}

func newIndex[T comparable]() *index[T] { return &index[T]{seed: maphash.MakeSeed()} }

func (x *index[T]) shardOf(key string) uint64 { return maphash.String(x.seed, key) % indexShards }

func (s *shard[T]) get(key string) []entry[T] {
	if m := s.m.Load(); m != nil {
		return (*m)[key]
	}
	return nil
}

// place returns the shard and the key under which expr is found.
func (x *index[T]) place(expr string) (s *shard[T], key string, depth int) {
	if !Wild(expr) {
		return &x.exact[x.shardOf(expr)], expr, -1
	}
	end := 0
	for i := 0; i <= len(expr) && depth < maxIndexDepth; depth++ {
		chunk, next := cutChunk(expr, i)
		if Wild(chunk) {
			break
		}
		end, i = next-1, next
	}
	key = expr[:end]
	return &x.prefix[x.shardOf(key)], key, depth
}

func (x *index[T]) add(expr string, v T) {
	s, key, depth := x.place(expr)
	x.mu.Lock()
	defer x.mu.Unlock()
	s.replace(key, append(slices.Clone(s.get(key)), entry[T]{expr: expr, tail: expr == key+"/**", v: v}))
	x.count(depth, 1)
}

func (x *index[T]) remove(expr string, v T) {
	s, key, depth := x.place(expr)
	x.mu.Lock()
	defer x.mu.Unlock()
	old := s.get(key)
	left := slices.DeleteFunc(slices.Clone(old), func(e entry[T]) bool { return e.v == v })
	if len(left) == len(old) {
		return
	}
	s.replace(key, left)
	x.count(depth, -1)
}

func (s *shard[T]) replace(key string, list []entry[T]) {
	m := map[string][]entry[T]{}
	if old := s.m.Load(); old != nil {
		m = maps.Clone(*old)
	}
	if len(list) == 0 {
		delete(m, key)
	} else {
		m[key] = list
	}
	s.m.Store(&m)
}

func (x *index[T]) count(depth, by int) {
	if depth < 0 {
		return
	}
	x.counts[depth] += by
	bit := uint32(1) << depth
	if x.counts[depth] > 0 {
		x.depths.Store(x.depths.Load() | bit)
	} else {
		x.depths.Store(x.depths.Load() &^ bit)
	}
}

// match appends to out what intersects key. known tells that key was declared by somebody and so is valid.
func (x *index[T]) match(key string, out []T) (found []T, known bool) {
	if Wild(key) {
		return x.scan(key, out), false
	}
	for _, e := range x.exact[x.shardOf(key)].get(key) {
		out, known = append(out, e.v), true
	}
	mask := x.depths.Load()
	if mask&1 != 0 {
		out = matchEntries(x.prefix[x.shardOf("")].get(""), key, out)
	}
	for depth, end := 1, 0; mask>>depth != 0 && end < len(key); depth++ {
		if n := strings.IndexByte(key[end:], '/'); n >= 0 {
			end += n
		} else {
			end = len(key)
		}
		if mask>>depth&1 != 0 {
			out = matchEntries(x.prefix[x.shardOf(key[:end])].get(key[:end]), key, out)
		}
		end++
	}
	return out, known
}

func matchEntries[T any](list []entry[T], key string, out []T) []T {
	for i := range list {
		if list[i].matches(key) {
			out = append(out, list[i].v)
		}
	}
	return out
}

// scan is match for a key with wildcards, which has to look at everything.
func (x *index[T]) scan(key string, out []T) []T {
	for _, shards := range []*[indexShards]shard[T]{&x.exact, &x.prefix} {
		for i := range shards {
			m := shards[i].m.Load()
			if m == nil {
				continue
			}
			for _, list := range *m {
				for _, e := range list {
					if Intersects(key, e.expr) {
						out = append(out, e.v)
					}
				}
			}
		}
	}
	return out
}
