package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
)

// NewID returns a random id of 16 bytes.
func NewID() (id ID) {
	for id[len(id)-1] == 0 {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}

// ParseID parses what String returns: 1 to 32 lower-case hexadecimal digits, the first of which is not 0.
func ParseID(s string) (ID, error) {
	var id ID
	if s == "" || len(s) > 2*len(id) || s[0] == '0' {
		return ID{}, fmt.Errorf("zenoh id %.40q: want 1 to 32 hexadecimal digits, the first not 0", s)
	}
	for i := range len(s) {
		c := s[len(s)-1-i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return ID{}, fmt.Errorf("zenoh id %.40q: want lower-case hexadecimal digits only", s)
		}
		id[i/2] |= c << (i % 2 * 4)
	}
	return id, nil
}

// Bytes returns the bytes that id has on the wire. They share the memory of id.
func (id *ID) Bytes() []byte { return id[:id.size()] }

func (id *ID) size() int {
	n := len(id)
	for n > 0 && id[n-1] == 0 {
		n--
	}
	return n
}

// none is IsZero without a copy.
func (id *ID) none() bool {
	return binary.LittleEndian.Uint64(id[:8])|binary.LittleEndian.Uint64(id[8:]) == 0
}

// IsZero reports whether id is none.
func (id ID) IsZero() bool { return id == ID{} }

// Less orders ids as Zenoh does where it compares two of them to say who dials whom: by their bytes from the first on.
func (id ID) Less(other ID) bool { return bytes.Compare(id[:], other[:]) < 0 }

// String returns id as Zenoh prints it: the hexadecimal number that its bytes are in little-endian order, without leading
// zeros. No id is "0".
func (id ID) String() string {
	const digits = "0123456789abcdef"
	var buf [2 * len(id)]byte
	n := 0
	for i := 2*len(id) - 1; i >= 0; i-- {
		d := id[i/2] >> (i % 2 * 4) & 0xf
		if n > 0 || d != 0 || i == 0 {
			buf[n] = digits[d]
			n++
		}
	}
	return string(buf[:n])
}

// InitialSN is the sequence number that a session with id own starts with towards other, as the Rust implementation
// computes it: all links between the same two sessions have to announce the same. mask is that of the agreed resolution.
func InitialSN(own, other ID, mask uint32) uint32 {
	h := sha3.NewSHAKE128()
	_, _ = h.Write(own.Bytes())
	_, _ = h.Write(other.Bytes())
	var sum [4]byte
	_, _ = h.Read(sum[:])
	return binary.LittleEndian.Uint32(sum[:]) & mask
}
