// Package frame multiplexes requests of both sides over one byte stream: a socketpair between the daemon and a plugin, a
// unix socket, or a stream of another protocol.
//
// # The stream
//
// A frame is a header of 14 bytes and a body:
//
//	u32 length of the body | u8 type | u8 flags | u64 id        (little endian)
//
// The first frame in each direction is a hello: its id is a magic number, its body the sender's versions and limits as
// protobuf (message Hello of plugin.v1). The highest version both sides speak is used. Types below FirstType belong
// to this package, the others to its user. A frame whose type the receiver does not know ends the connection unless its
// sender flagged it ignorable; a request is answered by a frame of type TypeUnhandled then.
//
// Both sides may make requests. A request's id is made by the side that sends it, its reply carries the same id and
// FlagReply. Bit 63 of an id tells which side made it, so that ids of the two sides never meet; bits 32 to 62 are a
// generation and bits 0 to 31 a slot of the requester's table, so that a stale reply cannot reach a later request. Every
// request gets exactly one reply, also a cancelled one: until then it counts against the receiver's limits, which the
// requester keeps (ErrBusy) and the receiver enforces. A frame with id 0 is a notice and gets no reply.
//
// # Promises
//
// Nothing is allocated for a length that the receiver's limit does not allow. The reader never waits for the writer, so
// two sides whose buffers are full cannot block each other. When the connection ends every waiter ends at once, all with
// the same error.
//
// Everybody may import this package; it imports the standard library and sdk/internal/sock, which does likewise.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the size of a frame's header.
const HeaderSize = 14

// Types of this package. The hello is first in each direction and never again.
const (
	TypeHello     = 1
	TypeCancel    = 2 // the requester no longer waits for the reply of this id
	TypePing      = 3 // answered by the receiver's frame layer with the same type
	TypeUnhandled = 4 // reply: the receiver does not know the request's type, or its handler gave no answer

	// FirstType is the first type of this package's user.
	FirstType = 16
)

// Flags of a frame. Other bits are zero; a receiver ignores them.
const (
	FlagReply     = 1 << 0 // answers the request of this id, which the receiver made
	FlagIgnorable = 1 << 1 // a receiver that does not know the type drops the frame
)

// helloID is the id of a hello: "essaframe" cut to eight letters, so that a stream of something else is told at once.
const helloID = 0x6d61726661737365

// sideBit of an id is set where the accepting side made it.
const sideBit = 1 << 63

var (
	// ErrEnded is what every error of an ended connection is.
	ErrEnded = errors.New("connection ended")
	// ErrNotSent is an error of a request of which nothing was sent.
	ErrNotSent = errors.New("nothing was sent")
	// ErrBusy is an error of a request that exceeds what the peer allows at once. Nothing was sent.
	ErrBusy = fmt.Errorf("peer has no room for another request: %w", ErrNotSent)
	// ErrTooLarge is an error of a frame that exceeds what the peer accepts. Nothing was sent.
	ErrTooLarge = fmt.Errorf("frame is larger than the peer accepts: %w", ErrNotSent)
	// ErrUnhandled is an error of a request that the peer did not know or gave no answer to.
	ErrUnhandled = errors.New("peer did not handle the request")
	// ErrLate is an error of a request that ended without a reply in the time the peer has to answer a cancellation.
	ErrLate = errors.New("peer did not answer the cancellation in time")
	// ErrVersion is an error of two sides that share no version.
	ErrVersion = errors.New("no shared version")
	// ErrProtocol is the end of a connection whose peer broke the rules.
	ErrProtocol = errors.New("protocol error")
)

// Header is the head of a frame.
type Header struct {
	Length uint32 // of the body
	Type   uint8
	Flags  uint8
	ID     uint64
}

// AppendTo appends the header's bytes to b.
func (h Header) AppendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.Length)
	b = append(b, h.Type, h.Flags)
	return binary.LittleEndian.AppendUint64(b, h.ID)
}

// ParseHeader reads a header from the first HeaderSize bytes of b.
func ParseHeader(b []byte) Header {
	_ = b[HeaderSize-1]
	return Header{
		Length: binary.LittleEndian.Uint32(b),
		Type:   b[4],
		Flags:  b[5],
		ID:     binary.LittleEndian.Uint64(b[6:]),
	}
}

// Frame is a received frame. Body belongs to whoever got the frame. Release gives its memory back for the next frame; who
// keeps Body, or anything that points into it, does not call Release and leaves it to the garbage collector.
type Frame struct {
	Type  uint8
	Flags uint8
	ID    uint64
	Body  []byte

	buf *buffer
}

// Release gives the frame's memory back. Body must not be used afterwards. Releasing twice is harmless.
func (f *Frame) Release() {
	if f.buf != nil {
		f.buf.put()
		f.buf = nil
	}
	f.Body = nil
}
