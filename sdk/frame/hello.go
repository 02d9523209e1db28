package frame

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Limits are what one side accepts. The other side keeps them.
type Limits struct {
	MaxFrame        uint32 // bytes of a body
	MaxRequests     uint32 // unanswered requests
	MaxRequestBytes uint64 // bodies of unanswered requests together; one alone may be larger
}

// DefaultLimits are the limits of a side that names none. A frame holds the largest value and batch that the storage
// contract allows.
var DefaultLimits = Limits{MaxFrame: 80 << 20, MaxRequests: 1 << 16, MaxRequestBytes: 256 << 20}

func (l Limits) orDefault() Limits {
	if l.MaxFrame == 0 {
		l.MaxFrame = DefaultLimits.MaxFrame
	}
	if l.MaxRequests == 0 {
		l.MaxRequests = DefaultLimits.MaxRequests
	}
	if l.MaxRequestBytes == 0 {
		l.MaxRequestBytes = DefaultLimits.MaxRequestBytes
	}
	return l
}

// Versions are the versions of the user's frames that a side speaks.
type Versions struct{ Min, Max uint32 }

// pick returns the highest version in both ranges.
func (v Versions) pick(peer Versions) (uint32, error) {
	if got := min(v.Max, peer.Max); got >= max(v.Min, peer.Min) {
		return got, nil
	}
	return 0, fmt.Errorf("%w: this side speaks %d to %d, the peer %d to %d; upgrade the older one",
		ErrVersion, v.Min, v.Max, peer.Min, peer.Max)
}

type hello struct {
	versions Versions
	limits   Limits
	accepter bool // its sender is the accepting side
}

// maxHello bounds a hello, which is read before any limit is known. Later versions have room to add to it.
const maxHello = 4096

func (h hello) append(b []byte) []byte {
	var body []byte
	for i, v := range []uint64{
		uint64(h.versions.Min), uint64(h.versions.Max),
		uint64(h.limits.MaxFrame), uint64(h.limits.MaxRequests), h.limits.MaxRequestBytes, b2u(h.accepter),
	} {
		body = append(body, byte(i+1)<<3)
		body = binary.AppendUvarint(body, v)
	}
	b = Header{Length: uint32(len(body)), Type: TypeHello, ID: helloID}.AppendTo(b)
	return append(b, body...)
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func readHello(r io.Reader) (hello, error) {
	var head [HeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, fmt.Errorf("read the peer's hello: %w", err)
	}
	h := ParseHeader(head[:])
	if h.Type != TypeHello || h.ID != helloID || h.Length > maxHello {
		return hello{}, fmt.Errorf("%w: the stream does not begin with a hello", ErrProtocol)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(r, body); err != nil {
		return hello{}, fmt.Errorf("read the peer's hello: %w", err)
	}
	return parseHello(body)
}

// parseHello reads the protobuf fields 1 to 6, all varints, and skips every other field.
func parseHello(b []byte) (hello, error) {
	var v [7]uint64
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return hello{}, fmt.Errorf("%w: damaged hello", ErrProtocol)
		}
		b = b[n:]
		field, skip := tag>>3, 0
		switch tag & 7 {
		case 0:
			x, n := binary.Uvarint(b)
			if n <= 0 {
				return hello{}, fmt.Errorf("%w: damaged hello", ErrProtocol)
			}
			if field < uint64(len(v)) {
				v[field] = x
			}
			skip = n
		case 1:
			skip = 8
		case 2:
			x, n := binary.Uvarint(b)
			if n <= 0 || x > maxHello {
				return hello{}, fmt.Errorf("%w: damaged hello", ErrProtocol)
			}
			skip = n + int(x)
		case 5:
			skip = 4
		default:
			return hello{}, fmt.Errorf("%w: damaged hello", ErrProtocol)
		}
		if skip > len(b) {
			return hello{}, fmt.Errorf("%w: damaged hello", ErrProtocol)
		}
		b = b[skip:]
	}
	for _, x := range v[1:5] {
		if x > 1<<32-1 {
			return hello{}, fmt.Errorf("%w: hello with a number out of range", ErrProtocol)
		}
	}
	h := hello{
		versions: Versions{Min: uint32(v[1]), Max: uint32(v[2])},
		limits:   Limits{MaxFrame: uint32(v[3]), MaxRequests: uint32(v[4]), MaxRequestBytes: v[5]},
		accepter: v[6] == 1,
	}
	if h.limits.MaxFrame == 0 || h.limits.MaxRequests == 0 {
		return hello{}, fmt.Errorf("%w: hello without limits", ErrProtocol)
	}
	return h, nil
}
