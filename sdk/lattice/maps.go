package lattice

import (
	"bytes"
	"slices"

	"github.com/essa-project/essad/sdk/bincode"
)

// Map holds values under names; its merge merges what is under the same name.
type Map struct{ entries []MapEntry }

// MapEntry is one name and its value.
type MapEntry struct {
	Key   []byte
	Value Value
}

func compareEntries(a, b MapEntry) int { return bytes.Compare(a.Key, b.Key) }

// NewMap returns the map with these entries; of equal keys the last one counts.
func NewMap(entries ...MapEntry) Map { return Map{lastOfEach(entries, compareEntries)} }

// Tag returns TagMap.
func (Map) Tag() Tag { return TagMap }

// Entries returns the entries by ascending key.
func (m Map) Entries() []MapEntry { return m.entries }

// Get returns the value under key, nil if there is none.
func (m Map) Get(key []byte) Value {
	i, ok := slices.BinarySearchFunc(m.entries, key, func(e MapEntry, k []byte) int { return bytes.Compare(e.Key, k) })
	if !ok {
		return nil
	}
	return m.entries[i].Value
}

// Values inside a map carry their length, for the end of some cannot be told from what follows.
func (m Map) appendBody(b []byte) []byte {
	b = bincode.AppendUint64(b, uint64(len(m.entries)))
	for _, e := range m.entries {
		b = bincode.AppendBytes(b, e.Key)
		at := len(b)
		b = append(b, make([]byte, 8)...)
		b = Append(b, e.Value)
		bincode.AppendUint64(b[at:at], uint64(len(b)-at-8))
	}
	return b
}

func decodeMap(d *bincode.Decoder, depth int) Map {
	if depth >= MaxDepth {
		d.Fail(ErrDepth)
		return Map{}
	}
	n := d.Count(8 + 8 + 4)
	out := make([]MapEntry, 0, min(n, 1024))
	for range n {
		key := d.Bytes()
		body := d.View()
		if d.Err() != nil {
			return Map{}
		}
		v, err := decode(body, depth+1)
		if err != nil {
			d.Fail(err)
			return Map{}
		}
		out = append(out, MapEntry{key, v})
	}
	return NewMap(out...)
}

func (m Map) join(other Value, strict bool) (Value, error) {
	var err error
	out := union(m.entries, other.(Map).entries, compareEntries, func(a, b MapEntry) MapEntry {
		if !strict {
			return MapEntry{a.Key, Join(a.Value, b.Value)}
		}
		v, e := Merge(a.Value, b.Value)
		if e != nil {
			err = e
		}
		return MapEntry{a.Key, v}
	})
	if err != nil {
		return nil, err
	}
	return Map{out}, nil
}
