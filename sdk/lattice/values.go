package lattice

import (
	"bytes"
	"math"
	"slices"

	"github.com/essa-project/essad/sdk/bincode"
)

// LWW keeps the data with the newest timestamp. Of two with the same timestamp the greater data, byte by byte, is kept,
// so that replicas agree whatever came first.
type LWW struct {
	Time Timestamp
	Data []byte
}

// Tag returns TagLWW.
func (LWW) Tag() Tag { return TagLWW }

func (l LWW) appendBody(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = l.Time.Append(b)
	bincode.AppendUint64(b[at:at], uint64(len(b)-at-8))
	return bincode.AppendBytes(b, l.Data)
}

// Encode is the function Encode for the type of value that is written most often: it costs one allocation.
func (l LWW) Encode() []byte {
	b := make([]byte, 0, 4+8+maxText+8+len(l.Data))
	return l.appendBody(bincode.AppendUint32(b, uint32(TagLWW)))
}

func decodeLWW(d *bincode.Decoder) LWW {
	text := d.StringView()
	if d.Err() != nil {
		return LWW{}
	}
	ts, err := ParseTimestamp(text)
	if err != nil {
		d.Fail(err)
		return LWW{}
	}
	return LWW{Time: ts, Data: d.Bytes()}
}

func (l LWW) join(other Value, _ bool) (Value, error) {
	o := other.(LWW)
	if c := l.Time.Compare(o.Time); c < 0 || c == 0 && bytes.Compare(l.Data, o.Data) < 0 {
		return o, nil
	}
	return l, nil
}

// scanLWW finds the end and the time of an encoded LWW value in canonical form without allocating. What it refuses may
// still be a value.
func scanLWW(b []byte) (n int, ts Timestamp, ok bool) {
	// The text's length is one byte: canonical timestamps are shorter than 256 bytes.
	if len(b) < 12+20+8 || b[0]|b[1]|b[2]|b[3] != 0 || b[5]|b[6]|b[7]|b[8]|b[9]|b[10]|b[11] != 0 {
		return 0, Timestamp{}, false
	}
	end := 12 + int(b[4])
	if len(b) < end+8 {
		return 0, Timestamp{}, false
	}
	ts, ok = parseCanonical(b[12:end])
	if !ok {
		return 0, Timestamp{}, false
	}
	var d bincode.Decoder
	d.Reset(b[end:])
	size := d.Uint64()
	if size > uint64(len(d.Rest())) {
		return 0, Timestamp{}, false
	}
	return end + 8 + int(size), ts, true
}

// lwwData returns the data of what scanLWW accepted.
func lwwData(b []byte) []byte { return b[12+int(b[4])+8:] }

// Priority keeps the data with the smallest priority; of two with the same priority, the greater data. NaN is greater
// than every number.
type Priority struct {
	Priority float64
	Data     []byte
}

// Tag returns TagPriority.
func (Priority) Tag() Tag { return TagPriority }

// rank maps priorities to integers in the same order, -0 before 0 and every NaN to one.
func (p Priority) rank() uint64 {
	if math.IsNaN(p.Priority) {
		return math.MaxUint64
	}
	b := math.Float64bits(p.Priority)
	if b>>63 == 1 {
		return ^b
	}
	return b | 1<<63
}

func (p Priority) appendBody(b []byte) []byte {
	if math.IsNaN(p.Priority) {
		p.Priority = math.NaN() // one of them, so that equal values have equal bytes
	}
	return bincode.AppendBytes(bincode.AppendFloat64(b, p.Priority), p.Data)
}

func (p Priority) join(other Value, _ bool) (Value, error) {
	o := other.(Priority)
	if a, b := p.rank(), o.rank(); a > b || a == b && bytes.Compare(p.Data, o.Data) < 0 {
		return o, nil
	}
	return p, nil
}

// elements are byte strings in ascending order, each once.
type elements [][]byte

func newElements(in [][]byte) elements {
	if len(in) == 0 {
		return nil
	}
	if !slices.IsSortedFunc(in, bytes.Compare) {
		in = slices.Clone(in)
		slices.SortFunc(in, bytes.Compare)
	}
	return slices.CompactFunc(slices.Clone(in), bytes.Equal)
}

func decodeElements(d *bincode.Decoder) elements {
	n := d.Count(8)
	if n == 0 {
		return nil
	}
	out := make([][]byte, 0, min(n, 1024))
	for range n {
		out = append(out, d.Bytes())
		if d.Err() != nil {
			return nil
		}
	}
	return newElements(out)
}

func (e elements) append(b []byte) []byte {
	b = bincode.AppendUint64(b, uint64(len(e)))
	for _, x := range e {
		b = bincode.AppendBytes(b, x)
	}
	return b
}

func (e elements) union(o elements) elements {
	return union(e, o, bytes.Compare, func(a, _ []byte) []byte { return a })
}

func (e elements) contains(x []byte) bool {
	_, ok := slices.BinarySearchFunc(e, x, bytes.Compare)
	return ok
}

// union merges two ascending slices without duplicates; both joins what is in both.
func union[S ~[]E, E any](a, b S, cmp func(E, E) int, both func(E, E) E) S {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(S, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, both(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// Set is a set of byte strings that only grows. Its merge is the union.
type Set struct{ elems elements }

// NewSet returns the set of elems.
func NewSet(elems ...[]byte) Set { return Set{newElements(elems)} }

// Tag returns TagSet.
func (Set) Tag() Tag { return TagSet }

// Elements returns the elements in ascending order.
func (s Set) Elements() [][]byte { return s.elems }

// Contains reports whether x is an element.
func (s Set) Contains(x []byte) bool { return s.elems.contains(x) }

func (s Set) appendBody(b []byte) []byte { return s.elems.append(b) }

func (s Set) join(other Value, _ bool) (Value, error) {
	return Set{s.elems.union(other.(Set).elems)}, nil
}

// OrderedSet is a Set whose encoding promises ascending order.
type OrderedSet struct{ elems elements }

// NewOrderedSet returns the set of elems.
func NewOrderedSet(elems ...[]byte) OrderedSet { return OrderedSet{newElements(elems)} }

// Tag returns TagOrderedSet.
func (OrderedSet) Tag() Tag { return TagOrderedSet }

// Elements returns the elements in ascending order.
func (s OrderedSet) Elements() [][]byte { return s.elems }

// Contains reports whether x is an element.
func (s OrderedSet) Contains(x []byte) bool { return s.elems.contains(x) }

func (s OrderedSet) appendBody(b []byte) []byte { return s.elems.append(b) }

func (s OrderedSet) join(other Value, _ bool) (Value, error) {
	return OrderedSet{s.elems.union(other.(OrderedSet).elems)}, nil
}
