// Package lattice holds the values essad stores: types that can be merged in any order, any number of times, with the
// same outcome.
//
// Tags 0 to 4 are the five types of anna-api and their encoding (bincode) is the same byte for byte, so guests and
// clients of the upstream systems read and write them. Tags from 5 on are essad's own. Every merge is commutative,
// associative and idempotent for all values that Decode accepts; the tests hold each type to each law.
//
// Values are immutable. Slices that methods return must not be changed by the caller.
//
// Everybody may import this package, guests included: it imports sdk/bincode and a few small standard packages only.
package lattice

import (
	"bytes"
	"errors"

	"github.com/essa-project/essad/sdk/bincode"
)

// Tag is the type of a value: the variant of upstream's LatticeValue, or one of ours.
type Tag uint32

// The types. The numbers are part of the stored form.
const (
	TagLWW Tag = iota
	TagSet
	TagOrderedSet
	TagSingleCausal
	TagMultiCausal
	TagPriority
	TagCounter
	TagMap
	tags
)

// Upstream reports whether guests and clients of the upstream systems know the type.
func (t Tag) Upstream() bool { return t <= TagMultiCausal }

var tagNames = [tags]string{"lww", "set", "ordered set", "single-key causal", "multi-key causal", "priority", "counter", "map"}

// String returns the type's name for people.
func (t Tag) String() string {
	if t >= tags {
		return "unknown"
	}
	return tagNames[t]
}

// MaxDepth bounds how deep maps may be nested in a value.
const MaxDepth = 8

// The errors of this package. Those of bincode come through from Decode.
var (
	ErrType  = errors.New("lattice: values of different types cannot be merged")
	ErrTag   = errors.New("lattice: unknown type of value")
	ErrDepth = errors.New("lattice: maps are nested too deep")
	ErrTime  = errors.New("lattice: not a timestamp")
	// ErrSiblings tells a writer to read the value and put one whose clock covers what it has read.
	ErrSiblings = errors.New("lattice: too many concurrent versions, none of which covers another")
)

// Value is a lattice value: LWW, Set, OrderedSet, SingleCausal, MultiCausal, Priority, Counter or Map.
type Value interface {
	Tag() Tag
	appendBody(b []byte) []byte
	// join returns the least value that includes both; other has the same tag. strict makes a type mismatch inside it an
	// error, otherwise the higher tag wins.
	join(other Value, strict bool) (Value, error)
}

// Append appends the bincode form of v, tag included.
func Append(b []byte, v Value) []byte {
	return v.appendBody(bincode.AppendUint32(b, uint32(v.Tag())))
}

// Encode returns the bincode form of v: equal values have equal bytes.
func Encode(v Value) []byte {
	if l, ok := v.(LWW); ok {
		return l.Encode()
	}
	return Append(nil, v)
}

// Equal reports whether a and b are the same value.
func Equal(a, b Value) bool {
	return a.Tag() == b.Tag() && bytes.Equal(Encode(a), Encode(b))
}

// Decode reads a value. As upstream, it takes elements in any order, collapses equal elements of a set, lets the last of
// equal keys of a map win, and ignores trailing bytes. The value does not alias b.
func Decode(b []byte) (Value, error) {
	return decode(b, 0)
}

func decode(b []byte, depth int) (Value, error) {
	d := bincode.NewDecoder(b)
	v := decodeBody(d, Tag(d.Uint32()), depth)
	if err := d.Err(); err != nil {
		return nil, err
	}
	return v, nil
}

func decodeBody(d *bincode.Decoder, tag Tag, depth int) Value {
	if d.Err() != nil {
		return nil
	}
	switch tag {
	case TagLWW:
		return decodeLWW(d)
	case TagSet:
		return Set{decodeElements(d)}
	case TagOrderedSet:
		return OrderedSet{decodeElements(d)}
	case TagSingleCausal:
		return SingleCausal{decodeVersions(d, false)}
	case TagMultiCausal:
		return MultiCausal{decodeVersions(d, true)}
	case TagPriority:
		return Priority{Priority: d.Float64(), Data: d.Bytes()}
	case TagCounter:
		return decodeCounter(d)
	case TagMap:
		return decodeMap(d, depth)
	}
	d.Fail(ErrTag)
	return nil
}

// Merge returns the least value that includes both a and b. Values of different types, at any depth, are ErrType.
func Merge(a, b Value) (Value, error) {
	if a.Tag() != b.Tag() {
		return nil, ErrType
	}
	return a.join(b, true)
}

// Join is Merge without an exception: where types differ, which only a race between replicas brings about, the value with
// the higher tag wins whole. Replicas use it, so that they always agree in the end.
func Join(a, b Value) Value {
	switch {
	case a.Tag() > b.Tag():
		return a
	case a.Tag() < b.Tag():
		return b
	}
	v, err := a.join(b, false)
	if err != nil {
		return a // a strict join alone fails
	}
	return v
}

// TagOf returns the type of an encoded value without decoding it.
func TagOf(b []byte) (Tag, error) {
	d := bincode.NewDecoder(b)
	t := Tag(d.Uint32())
	if err := d.Err(); err != nil {
		return 0, err
	}
	if t >= tags {
		return 0, ErrTag
	}
	return t, nil
}

// Normalize checks an encoded value and returns the bytes Encode would give, which may alias b, and the newest timestamp
// in it. timed is false for values without one.
func Normalize(b []byte) (canonical []byte, newest Timestamp, timed bool, err error) {
	if n, ts, ok := scanLWW(b); ok {
		return b[:n:n], ts, true, nil
	}
	v, err := Decode(b)
	if err != nil {
		return nil, Timestamp{}, false, err
	}
	newest, timed = newestOf(v)
	return Encode(v), newest, timed, nil
}

func newestOf(v Value) (newest Timestamp, timed bool) {
	switch v := v.(type) {
	case LWW:
		return v.Time, true
	case Map:
		for _, e := range v.entries {
			if ts, ok := newestOf(e.Value); ok && (!timed || ts.Compare(newest) > 0) {
				newest, timed = ts, true
			}
		}
	}
	return newest, timed
}

// MergeEncoded merges two values in the form Normalize returns. The result is a or b itself where it equals that one; a
// if it equals both. It allocates nothing for last-writer-wins values.
func MergeEncoded(a, b []byte) ([]byte, error) { return mergeEncoded(a, b, true) }

// JoinEncoded is MergeEncoded as replicas need it: see Join.
func JoinEncoded(a, b []byte) ([]byte, error) { return mergeEncoded(a, b, false) }

func mergeEncoded(a, b []byte, strict bool) ([]byte, error) {
	if bytes.Equal(a, b) {
		return a, nil
	}
	if na, ta, ok := scanLWW(a); ok {
		if nb, tb, ok := scanLWW(b); ok {
			if c := ta.Compare(tb); c > 0 || c == 0 && bytes.Compare(lwwData(a[:na]), lwwData(b[:nb])) >= 0 {
				return a, nil
			}
			return b, nil
		}
	}
	va, err := Decode(a)
	if err != nil {
		return nil, err
	}
	vb, err := Decode(b)
	if err != nil {
		return nil, err
	}
	var v Value
	if strict {
		if v, err = Merge(va, vb); err != nil {
			return nil, err
		}
	} else {
		v = Join(va, vb)
	}
	out := Encode(v)
	switch {
	case bytes.Equal(out, a):
		return a, nil
	case bytes.Equal(out, b):
		return b, nil
	}
	return out, nil
}
