package kvs

import (
	"encoding/binary"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
)

// A stored key is a space byte, the length of the scope as a uvarint, the scope, and the name: the keys of a scope are a
// range, and no scope's range holds another's. Keys of the store that are not in a space are this package's own.
const (
	// dueSpace holds no values: dueSpace, time (8 bytes, big endian), stored key says that something is to be done about
	// the key at that time, because its value expires or its tombstone may go.
	dueSpace = 0xf0

	maxScope   = 1024
	scopeOwned = "essa/scope/" // METADATA: records of deleted scopes
)

func checkSpace(s annav1.Space) error {
	if s < annav1.Space_USER || s > annav1.Space_METADATA {
		return status.Errorf(status.Invalid, "kvs: %d is not a space of keys", s)
	}
	return nil
}

// appendScope appends what all stored keys of a scope begin with.
func appendScope(b []byte, space annav1.Space, scope string) []byte {
	b = append(b, byte(space))
	b = binary.AppendUvarint(b, uint64(len(scope)))
	return append(b, scope...)
}

// splitKey takes a stored key apart.
func splitKey(key string) (space annav1.Space, scope, name string, ok bool) {
	if key == "" || checkSpace(annav1.Space(key[0])) != nil {
		return 0, "", "", false
	}
	var n, shift uint64
	i := 1
	for ; i < len(key) && i < 4; i++ {
		n |= uint64(key[i]&0x7f) << shift
		shift += 7
		if key[i] < 0x80 {
			break
		}
	}
	i++
	if i > len(key) || n > maxScope || uint64(len(key)-i) < n {
		return 0, "", "", false
	}
	return annav1.Space(key[0]), key[i : i+int(n)], key[i+int(n):], true
}

// scopePart returns the part of a stored key that all keys of its scope begin with.
func scopePart(key string) string {
	_, _, name, ok := splitKey(key)
	if !ok {
		return key
	}
	return key[:len(key)-len(name)]
}

func appendDue(b []byte, at uint64, key string) []byte {
	b = append(b, dueSpace)
	b = binary.BigEndian.AppendUint64(b, at)
	return append(b, key...)
}

func splitDue(b []byte) (at uint64, key []byte, ok bool) {
	if len(b) < 9 || b[0] != dueSpace {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[1:]), b[9:], true
}
