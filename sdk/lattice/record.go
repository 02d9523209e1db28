package lattice

import (
	"bytes"
	"errors"

	"github.com/essa-project/essad/sdk/bincode"
)

// RecordFormat is the first byte of an encoded Record.
const RecordFormat = 1

// recordHeader is format, generation, version and expiry.
const recordHeader = 1 + 8 + 8 + 8

// ErrRecord means that bytes are no record of a format known here.
var ErrRecord = errors.New("lattice: not a record")

// Record is what is stored under a key and sent between nodes: a value, or its absence, with what is needed to merge it
// right in any order of arrival. All times are clock readings in nanoseconds since 1970.
//
// The zero Record is the least one: nothing was ever put.
type Record struct {
	// Generation is the clock of the key's last delete. It is compared first and the higher one wins whole, so what was
	// put before a delete cannot come back.
	Generation uint64
	Version    uint64 // the owner's clock at the last change
	Expires    uint64 // the value is absent from then on; 0: never. The higher version's counts
	Value      []byte // as Normalize returns it; empty: absent
}

// Present reports whether the record holds a value at the time now.
func (r Record) Present(now uint64) bool { return len(r.Value) > 0 && !r.Expired(now) }

// Expired reports whether the record's value has passed its time.
func (r Record) Expired(now uint64) bool { return r.Expires != 0 && r.Expires <= now }

// Buried returns what is left of a record whose value has expired: a delete at the time of expiry. Every replica makes
// the same of it.
func (r Record) Buried() Record {
	g := max(r.Generation+1, r.Expires)
	return Record{Generation: g, Version: max(r.Version, g)}
}

// IsZero reports whether nothing was ever put.
func (r Record) IsZero() bool {
	return r.Generation == 0 && r.Version == 0 && r.Expires == 0 && len(r.Value) == 0
}

// Append appends the record's bytes.
func (r Record) Append(b []byte) []byte {
	b = append(b, RecordFormat)
	b = bincode.AppendUint64(b, r.Generation)
	b = bincode.AppendUint64(b, r.Version)
	b = bincode.AppendUint64(b, r.Expires)
	return append(b, r.Value...)
}

// Size returns how many bytes Append adds.
func (r Record) Size() int { return recordHeader + len(r.Value) }

// DecodeRecord reads a record. Its value aliases b and is not checked.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) < recordHeader || b[0] != RecordFormat {
		return Record{}, ErrRecord
	}
	var d bincode.Decoder
	d.Reset(b[1:])
	return Record{Generation: d.Uint64(), Version: d.Uint64(), Expires: d.Uint64(), Value: d.Rest()}, d.Err()
}

// JoinRecords merges two records of one key, as replicas do. It fails only where a value is not in Normalize's form.
func JoinRecords(a, b Record) (Record, error) {
	switch {
	case a.Generation > b.Generation:
		return a, nil
	case a.Generation < b.Generation:
		return b, nil
	}
	out := a
	if b.Version > a.Version || b.Version == a.Version && later(b.Expires, a.Expires) {
		out.Version, out.Expires = b.Version, b.Expires
	}
	switch {
	case len(b.Value) == 0:
		return out, nil
	case len(a.Value) == 0:
		out.Value = b.Value
		return out, nil
	}
	v, err := JoinEncoded(a.Value, b.Value)
	out.Value = v
	return out, err
}

// later orders times of expiry, of which 0 is the last.
func later(a, b uint64) bool { return b != 0 && (a == 0 || a > b) }

// Equal reports whether two records are the same.
func (r Record) Equal(o Record) bool {
	return r.Generation == o.Generation && r.Version == o.Version && r.Expires == o.Expires && bytes.Equal(r.Value, o.Value)
}
