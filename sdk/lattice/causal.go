package lattice

import (
	"bytes"
	"slices"
	"strings"

	"github.com/essa-project/essad/sdk/bincode"
)

// VectorClock counts the changes each writer made. Upstream's counters must stay below 2^32.
type VectorClock struct{ entries []ClockEntry }

// ClockEntry is one writer's count.
type ClockEntry struct {
	ID string
	N  uint64
}

// NewVectorClock returns the clock with these entries; of equal ids the last one counts.
func NewVectorClock(entries ...ClockEntry) VectorClock {
	return VectorClock{lastOfEach(entries, func(a, b ClockEntry) int { return strings.Compare(a.ID, b.ID) })}
}

// lastOfEach sorts and keeps the last of equal ones, which is what inserting into a map one after the other does.
func lastOfEach[E any](in []E, cmp func(E, E) int) []E {
	if len(in) == 0 {
		return nil
	}
	s := slices.Clone(in)
	slices.SortStableFunc(s, cmp)
	out := s[:0]
	for i, e := range s {
		if i+1 < len(s) && cmp(e, s[i+1]) == 0 {
			continue
		}
		out = append(out, e)
	}
	return out
}

// Entries returns the entries by ascending id.
func (c VectorClock) Entries() []ClockEntry { return c.entries }

// Get returns the count of id, 0 if it has none.
func (c VectorClock) Get(id string) uint64 {
	i, ok := slices.BinarySearchFunc(c.entries, id, func(e ClockEntry, id string) int { return strings.Compare(e.ID, id) })
	if !ok {
		return 0
	}
	return c.entries[i].N
}

// Next returns the clock with the count of id one higher: what a writer puts with a value it made from this one.
func (c VectorClock) Next(id string) VectorClock {
	return NewVectorClock(append(slices.Clone(c.entries), ClockEntry{id, c.Get(id) + 1})...)
}

// Join returns the clock with the greater of both counts for each id.
func (c VectorClock) Join(o VectorClock) VectorClock {
	return VectorClock{union(c.entries, o.entries,
		func(a, b ClockEntry) int { return strings.Compare(a.ID, b.ID) },
		func(a, b ClockEntry) ClockEntry { return ClockEntry{a.ID, max(a.N, b.N)} })}
}

// Covers reports whether c knows of everything that o knows of. An entry of 0 is more than none.
func (c VectorClock) Covers(o VectorClock) bool {
	i := 0
	for _, e := range o.entries {
		for i < len(c.entries) && c.entries[i].ID < e.ID {
			i++
		}
		if i == len(c.entries) || c.entries[i].ID != e.ID || c.entries[i].N < e.N {
			return false
		}
	}
	return true
}

func (c VectorClock) compare(o VectorClock) int {
	return slices.CompareFunc(c.entries, o.entries, func(a, b ClockEntry) int {
		if d := strings.Compare(a.ID, b.ID); d != 0 {
			return d
		}
		switch {
		case a.N < b.N:
			return -1
		case a.N > b.N:
			return 1
		}
		return 0
	})
}

func (c VectorClock) append(b []byte) []byte {
	b = bincode.AppendUint64(b, uint64(len(c.entries)))
	for _, e := range c.entries {
		b = bincode.AppendUint64(bincode.AppendString(b, e.ID), e.N)
	}
	return b
}

func decodeClock(d *bincode.Decoder) VectorClock {
	n := d.Count(16)
	out := make([]ClockEntry, 0, min(n, 1024))
	for range n {
		out = append(out, ClockEntry{d.String(), d.Uint64()})
		if d.Err() != nil {
			return VectorClock{}
		}
	}
	return NewVectorClock(out...)
}

// Dependency is a key, and the clock of the value of that key that a writer had seen.
type Dependency struct {
	Key   string
	Clock VectorClock
}

func compareDeps(a, b Dependency) int { return strings.Compare(a.Key, b.Key) }

func joinDeps(a, b []Dependency) []Dependency {
	return union(a, b, compareDeps, func(a, b Dependency) Dependency { return Dependency{a.Key, a.Clock.Join(b.Clock)} })
}

// Version is what one or more writers put under the same clock.
type Version struct {
	Clock  VectorClock
	Deps   []Dependency // by ascending key; multi-key causal values only
	values elements
}

// Values returns the version's values in ascending order.
func (v Version) Values() [][]byte { return v.values }

func (v Version) append(b []byte, deps bool) []byte {
	b = v.Clock.append(b)
	if deps {
		b = bincode.AppendUint64(b, uint64(len(v.Deps)))
		for _, d := range v.Deps {
			b = d.Clock.append(bincode.AppendString(b, d.Key))
		}
	}
	return v.values.append(b)
}

func decodeVersion(d *bincode.Decoder, deps bool) Version {
	v := Version{Clock: decodeClock(d)}
	if deps {
		n := d.Count(16)
		out := make([]Dependency, 0, min(n, 1024))
		for range n {
			out = append(out, Dependency{d.String(), decodeClock(d)})
			if d.Err() != nil {
				return Version{}
			}
		}
		v.Deps = lastOfEach(out, compareDeps)
	}
	v.values = decodeElements(d)
	return v
}

// versions is the state of a causal value: versions none of which covers another, ordered by their clocks.
//
// Why not one clock and one set, as upstream has it? Because then the merge cannot be associative: joining two concurrent
// values gives a clock that covers a third one which replaced only the first, and whether the first one's value is seen
// again depends on the order of merging. With the concurrent versions kept apart, a value stays exactly until something
// that covers its clock arrives. Outside, the joined clock and the union of values are shown, as upstream would.
type versions []Version

// newVersions brings versions into the one form that equal states share.
func newVersions(in []Version) versions {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b Version) int { return a.Clock.compare(b.Clock) })
	var same versions
	for _, v := range in {
		if n := len(same); n > 0 && same[n-1].Clock.compare(v.Clock) == 0 {
			same[n-1].Deps = joinDeps(same[n-1].Deps, v.Deps)
			same[n-1].values = same[n-1].values.union(v.values)
			continue
		}
		same = append(same, v)
	}
	var out versions
	for i, v := range same {
		covered := slices.ContainsFunc(same[:i], func(o Version) bool { return o.Clock.Covers(v.Clock) }) ||
			slices.ContainsFunc(same[i+1:], func(o Version) bool { return o.Clock.Covers(v.Clock) })
		empty := len(v.Clock.entries) == 0 && len(v.Deps) == 0 && len(v.values) == 0
		if !covered && !empty {
			out = append(out, v)
		}
	}
	return out
}

func (vs versions) join(o versions, strict bool) (versions, error) {
	out := newVersions(append(slices.Clone(vs), o...))
	if strict && len(out) > MaxSiblings {
		return nil, ErrSiblings
	}
	return out, nil
}

// head is the one version that upstream would see.
func (vs versions) head() Version {
	if len(vs) == 1 {
		return vs[0]
	}
	var h Version
	for _, v := range vs {
		h.Clock = h.Clock.Join(v.Clock)
		h.Deps = joinDeps(h.Deps, v.Deps)
		h.values = h.values.union(v.values)
	}
	return h
}

// siblingsMark begins what follows the upstream form of a value that has concurrent versions: their number and each of
// them. Upstream ignores trailing bytes, so it reads such a value as well.
const siblingsMark = "\x00essaSib"

func (vs versions) append(b []byte, deps bool) []byte {
	b = vs.head().append(b, deps)
	if len(vs) < 2 {
		return b
	}
	b = append(b, siblingsMark...)
	b = bincode.AppendUint64(b, uint64(len(vs)))
	for _, v := range vs {
		b = v.append(b, deps)
	}
	return b
}

func decodeVersions(d *bincode.Decoder, deps bool) versions {
	head := decodeVersion(d, deps)
	if d.Err() != nil {
		return nil
	}
	if vs := decodeSiblings(d.Rest(), deps); len(vs) > 1 &&
		bytes.Equal(vs.head().append(nil, deps), head.append(nil, deps)) {
		return vs
	}
	return newVersions([]Version{head})
}

// MaxSiblings bounds the concurrent versions of one value: comparing them takes quadratic time. Merge refuses to make
// more; replicas may between them have more for a while, up to what is read back.
const (
	MaxSiblings     = 256
	maxReadSiblings = 16 * MaxSiblings
)

// decodeSiblings reads what may be concurrent versions; other trailing bytes are none.
func decodeSiblings(b []byte, deps bool) versions {
	if len(b) < len(siblingsMark) || string(b[:len(siblingsMark)]) != siblingsMark {
		return nil
	}
	d := bincode.NewDecoder(b[len(siblingsMark):])
	n := d.Count(16)
	if n > maxReadSiblings {
		return nil
	}
	var out []Version
	for range n {
		out = append(out, decodeVersion(d, deps))
		if d.Err() != nil {
			return nil
		}
	}
	return newVersions(out)
}

// SingleCausal keeps the values that no later one has replaced, by the vector clocks of their writers.
type SingleCausal struct{ versions versions }

// NewSingleCausal returns the value with one version.
func NewSingleCausal(clock VectorClock, values ...[]byte) SingleCausal {
	return SingleCausal{newVersions([]Version{{Clock: clock, values: newElements(values)}})}
}

// Tag returns TagSingleCausal.
func (SingleCausal) Tag() Tag { return TagSingleCausal }

// Clock returns the clock a writer goes on from: it covers every version.
func (c SingleCausal) Clock() VectorClock { return c.versions.head().Clock }

// Values returns the values of all versions in ascending order.
func (c SingleCausal) Values() [][]byte { return c.versions.head().values }

// Versions returns the concurrent versions one by one.
func (c SingleCausal) Versions() []Version { return c.versions }

func (c SingleCausal) appendBody(b []byte) []byte { return c.versions.append(b, false) }

func (c SingleCausal) join(other Value, strict bool) (Value, error) {
	vs, err := c.versions.join(other.(SingleCausal).versions, strict)
	return SingleCausal{vs}, err
}

// MultiCausal is a SingleCausal that also tells which versions of other keys its writers had seen.
type MultiCausal struct{ versions versions }

// NewMultiCausal returns the value with one version; of dependencies on the same key the last one counts.
func NewMultiCausal(clock VectorClock, deps []Dependency, values ...[]byte) MultiCausal {
	return MultiCausal{newVersions([]Version{{Clock: clock, Deps: lastOfEach(deps, compareDeps), values: newElements(values)}})}
}

// Tag returns TagMultiCausal.
func (MultiCausal) Tag() Tag { return TagMultiCausal }

// Clock returns the clock a writer goes on from: it covers every version.
func (c MultiCausal) Clock() VectorClock { return c.versions.head().Clock }

// Dependencies returns the dependencies of all versions by ascending key.
func (c MultiCausal) Dependencies() []Dependency { return c.versions.head().Deps }

// Values returns the values of all versions in ascending order.
func (c MultiCausal) Values() [][]byte { return c.versions.head().values }

// Versions returns the concurrent versions one by one.
func (c MultiCausal) Versions() []Version { return c.versions }

func (c MultiCausal) appendBody(b []byte) []byte { return c.versions.append(b, true) }

func (c MultiCausal) join(other Value, strict bool) (Value, error) {
	vs, err := c.versions.join(other.(MultiCausal).versions, strict)
	return MultiCausal{vs}, err
}
