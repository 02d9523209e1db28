// Package hlc holds the hybrid logical clock that stamps every change in essad, and the ids of calls.
//
// Everybody may import this package; it imports the standard library only.
package hlc

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// ID is a 128-bit random id of a call, a run or an attempt. The zero ID means none.
type ID [16]byte

// NewID returns a fresh random id.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// ParseID reads the 32 hexadecimal digits that String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("id %q: want 32 hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %q: want 32 hexadecimal digits", s)
	}
	return id, nil
}

// String returns the id as 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }
