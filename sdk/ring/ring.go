// Package ring places keys on nodes by consistent hashing with virtual nodes: when a node joins or leaves, only keys that
// it gains or loses move.
//
// A Ring is a value that never changes: With and Without make new ones, so a view can be used without a lock and compared
// with the next. The same members give the same placement in every process, on every machine, in whatever order they
// joined: the functions Position and point are part of the protocol and must not change. Clients and nodes share this
// package, so that both find the same owners.
//
// It imports the standard library only; everybody but sdk/guest may import it.
package ring

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"
)

// DefaultVirtual is how many points on the ring a node has by default: the shares of 10 nodes then differ from the mean
// by about 4 %, and a ring of 100 nodes takes 0.6 MiB.
const DefaultVirtual = 512

// MaxVirtual bounds the points of a node.
const MaxVirtual = 1 << 16

// Ring is an immutable set of nodes on a circle of 2^64 positions. A key belongs to the nodes whose points come next,
// clockwise. The nil *Ring is empty.
type Ring struct {
	virtual int
	nodes   []string // ascending
	points  []uint64 // ascending
	owners  []int32  // of points, indexes of nodes
	shift   uint     // positions shifted by this are buckets
	buckets []int32  // the first point of each bucket or behind it, and one more entry for the end
}

// New returns a ring of nodes with virtual points each; 0 means DefaultVirtual, and nobody gets more than MaxVirtual.
// Every member of a cluster must use the same number. Nodes named twice count once.
func New(virtual int, nodes ...string) *Ring {
	if virtual <= 0 {
		virtual = DefaultVirtual
	}
	r := &Ring{virtual: min(virtual, MaxVirtual), nodes: slices.Clone(nodes)}
	slices.Sort(r.nodes)
	r.nodes = slices.Compact(r.nodes)
	all := make([]point, 0, len(r.nodes)*r.virtual)
	for i, n := range r.nodes {
		all = appendPoints(all, n, int32(i), r.virtual)
	}
	slices.SortFunc(all, comparePoints)
	r.fill(all)
	return r
}

// point is one virtual node.
type point struct {
	at    uint64
	owner int32
}

// Points of two nodes at the same position are ordered by their nodes' names, which is the order of the owners.
func comparePoints(a, b point) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.owner, b.owner))
}

func appendPoints(to []point, node string, owner int32, virtual int) []point {
	h := Position([]byte(node))
	for i := range virtual {
		to = append(to, point{mix(h + uint64(i+1)*0x9e3779b97f4a7c15), owner})
	}
	return to
}

// fill builds the ring's tables of sorted points.
func (r *Ring) fill(all []point) {
	r.points, r.owners = make([]uint64, len(all)), make([]int32, len(all))
	for i, p := range all {
		r.points[i], r.owners[i] = p.at, p.owner
	}
	width := uint(bits.Len(uint(len(all)))) // about one point per bucket
	r.shift = 64 - width
	r.buckets = make([]int32, 1<<width+1)
	next := 0
	for b := range r.buckets {
		for next < len(r.points) && r.points[next]>>r.shift < uint64(b) {
			next++
		}
		r.buckets[b] = int32(next)
	}
}

// With returns the ring with node added: r itself if it has it already.
func (r *Ring) With(node string) *Ring {
	if r == nil {
		return New(0, node)
	}
	at, found := slices.BinarySearch(r.nodes, node)
	if found {
		return r
	}
	added := appendPoints(nil, node, int32(at), r.virtual)
	slices.SortFunc(added, comparePoints)
	out := &Ring{virtual: r.virtual, nodes: slices.Insert(slices.Clone(r.nodes), at, node)}
	all := make([]point, 0, len(r.points)+len(added))
	for i := range r.points {
		p := point{r.points[i], r.owners[i]}
		if p.owner >= int32(at) {
			p.owner++
		}
		for len(added) > 0 && comparePoints(added[0], p) < 0 {
			all, added = append(all, added[0]), added[1:]
		}
		all = append(all, p)
	}
	out.fill(append(all, added...))
	return out
}

// Without returns the ring with node removed: r itself if it has no such node.
func (r *Ring) Without(node string) *Ring {
	if !r.Has(node) {
		return r
	}
	at, _ := slices.BinarySearch(r.nodes, node)
	out := &Ring{virtual: r.virtual, nodes: slices.Delete(slices.Clone(r.nodes), at, at+1)}
	all := make([]point, 0, len(r.points))
	for i := range r.points {
		p := point{r.points[i], r.owners[i]}
		if p.owner == int32(at) {
			continue
		}
		if p.owner > int32(at) {
			p.owner--
		}
		all = append(all, p)
	}
	out.fill(all)
	return out
}

// Len is the number of nodes.
func (r *Ring) Len() int {
	if r == nil {
		return 0
	}
	return len(r.nodes)
}

// Nodes returns the nodes in ascending order.
func (r *Ring) Nodes() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.nodes)
}

// Has tells whether node is in the ring.
func (r *Ring) Has(node string) bool {
	if r == nil {
		return false
	}
	_, found := slices.BinarySearch(r.nodes, node)
	return found
}

// Fingerprint identifies the placement: rings with the same one place every key alike. Nodes compare it to see whether
// they have the same view.
func (r *Ring) Fingerprint() uint64 {
	if r.Len() == 0 {
		return 0
	}
	h := mix(uint64(r.virtual))
	for _, n := range r.nodes {
		h = mix(h ^ Position([]byte(n)))
	}
	return h
}

// Owner returns the first owner of key, or "" if the ring is empty.
func (r *Ring) Owner(key []byte) string {
	if r.Len() == 0 {
		return ""
	}
	return r.nodes[r.owners[r.next(Position(key))]]
}

// Owners returns the n owners of key, first owner first: all nodes if there are not more than n, none if n is not
// positive.
func (r *Ring) Owners(key []byte, n int) []string {
	return r.OwnersAt(Position(key), n)
}

// OwnersAt returns the n owners of a position.
func (r *Ring) OwnersAt(position uint64, n int) []string {
	n = min(n, r.Len())
	if n <= 0 {
		return nil
	}
	return r.AppendOwners(make([]string, 0, n), position, n)
}

// AppendOwners appends the n owners of a position to dst: OwnersAt for callers with a buffer.
func (r *Ring) AppendOwners(dst []string, position uint64, n int) []string {
	n = min(n, r.Len())
	start := len(dst)
	if n <= 0 {
		return dst
	}
	for i := r.next(position); len(dst)-start < n; i++ { // ends: every node has a point
		node := r.nodes[r.owners[i%len(r.points)]]
		if !slices.Contains(dst[start:], node) {
			dst = append(dst, node)
		}
	}
	return dst
}

// Owns tells whether node is one of the n owners of key.
func (r *Ring) Owns(node string, key []byte, n int) bool {
	var buf [8]string
	return slices.Contains(r.AppendOwners(buf[:0], Position(key), n), node)
}

// next returns the index of the first point at or behind position, around the circle.
func (r *Ring) next(position uint64) int {
	b := position >> r.shift
	from, to := int(r.buckets[b]), int(r.buckets[b+1])
	i := from + sort.Search(to-from, func(i int) bool { return r.points[from+i] >= position })
	if i == len(r.points) {
		return 0
	}
	return i
}

// Shares returns which part of all positions each node is the first owner of; the parts add up to 1.
func (r *Ring) Shares() map[string]float64 {
	out := make(map[string]float64, r.Len())
	for _, a := range r.arcs() {
		width := float64(a.To - a.From)
		if a.From == a.To {
			width = 1 << 64
		}
		out[r.nodes[r.owners[r.next(a.To)]]] += width / (1 << 64)
	}
	return out
}

// Position is the place of a key, and of a node's name, on the circle: FNV-1a of 64 bits, mixed, since FNV leaves
// similar keys close together.
func Position(key []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, c := range key {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return mix(h)
}

// mix spreads every bit over all others (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Shard returns which of a node's shards key belongs to. It does not depend on the placement on nodes, so that a node's
// keys spread evenly over its shards. With one shard more or less only the keys of that one move (jump consistent hash).
func Shard(key []byte, shards int) int {
	h := mix(Position(key) ^ 0x5ea1ed)
	at, next := int64(0), int64(0)
	for next < int64(shards) {
		at = next
		h = h*2862933555777941757 + 1
		next = int64(float64(at+1) * (float64(int64(1)<<31) / float64(h>>33+1)))
	}
	return int(at)
}

// Shards returns the n shards that hold key where it is replicated within a node: Shard first.
func Shards(key []byte, shards, n int) []int {
	n = min(n, shards)
	if n <= 0 {
		return nil
	}
	out := make([]int, n)
	for i, first := 0, Shard(key, shards); i < n; i++ {
		out[i] = (first + i) % shards
	}
	return out
}
