package plugin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// The bodies of frames are the messages of sdk/proto/plugin/v1/frames.proto, written and read by hand: this avoids the
// generated structures between the contracts' own and the bytes, and costs a fraction of their allocations. The tests hold
// both forms against each other.

// Types of frames; frames.proto has the table.
const (
	typeError = frame.FirstType + iota
	typeInfo
	typePrepare
	typeInvoke
	typeUpdate
	typeLoad
	typeMerge
	typeCall
	typeOutput
	typeInput
	typeModuleRead
	typeDrain
)

const (
	typeStoreInfo = 32 + iota
	typeApply
	typeGet
	typeScan
	typeSnapshot
	typeRelease
	typeStats
	typeClose
)

// frameVersions are the versions of the frames this package speaks.
var frameVersions = frame.Versions{Min: 1, Max: 1}

const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

// scratch is a pooled buffer to write a body into.
type scratch struct{ b []byte }

// maxScratch is the size beyond which a buffer is not kept.
const maxScratch = 1 << 20

var scratches = sync.Pool{New: func() any { return &scratch{b: make([]byte, 0, 512)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) put() {
	if cap(s.b) <= maxScratch {
		s.b = s.b[:0]
		scratches.Put(s)
	}
}

func putTag(b []byte, field, wire uint64) []byte { return binary.AppendUvarint(b, field<<3|wire) }

func putUint(b []byte, field, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(putTag(b, field, wireVarint), v)
}

func putInt(b []byte, field uint64, v int64) []byte { return putUint(b, field, uint64(v)) }

func putBool(b []byte, field uint64, v bool) []byte {
	if !v {
		return b
	}
	return append(putTag(b, field, wireVarint), 1)
}

func putString(b []byte, field uint64, s string) []byte {
	if s == "" {
		return b
	}
	return putEachString(b, field, s)
}

// putEachString writes an element of a repeated field, which is there even where it is empty.
func putEachString(b []byte, field uint64, s string) []byte {
	b = binary.AppendUvarint(putTag(b, field, wireBytes), uint64(len(s)))
	return append(b, s...)
}

func putBytes(b []byte, field uint64, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	return putEachBytes(b, field, p)
}

func putEachBytes(b []byte, field uint64, p []byte) []byte {
	return append(putTail(b, field, len(p)), p...)
}

// putTail writes what stands before a bytes field of n bytes, which follow as the frame's tail.
func putTail(b []byte, field uint64, n int) []byte {
	return binary.AppendUvarint(putTag(b, field, wireBytes), uint64(n))
}

func putID(b []byte, field uint64, id hlc.ID) []byte {
	if id.IsZero() {
		return b
	}
	return putEachBytes(b, field, id[:])
}

func putTime(b []byte, field uint64, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return putInt(b, field, t.UnixNano())
}

// putTimeout writes when ctx gives up.
func putTimeout(b []byte, field uint64, ctx context.Context) []byte {
	t, ok := ctx.Deadline()
	if !ok {
		return b
	}
	return putTime(b, field, t)
}

// openMessage begins an embedded message; closeMessage ends it, counting extra bytes that follow as the frame's tail.
func openMessage(b []byte, field uint64) (_ []byte, start int) {
	b = append(putTag(b, field, wireBytes), 0)
	return b, len(b)
}

func closeMessage(b []byte, start, extra int) []byte {
	n := uint64(len(b) - start + extra)
	if n < 1<<7 {
		b[start-1] = byte(n)
		return b
	}
	more := (bits.Len64(n) - 1) / 7 // bytes of the length beyond the one that was left for it
	for range more {
		b = append(b, 0)
	}
	copy(b[start+more:], b[start:len(b)-more])
	binary.PutUvarint(b[start-1:], n)
	return b
}

var errDamaged = errors.New("damaged message")

// fields reads a message field by field. Bytes point into the message.
type fields struct {
	b     []byte
	field uint64
	wire  uint64
	n     uint64 // value of a varint
	p     []byte // value of bytes
	err   error
}

// next goes to the next field and reports whether there is one.
func (f *fields) next() bool {
	if len(f.b) == 0 || f.err != nil {
		return false
	}
	tag := f.varint()
	f.field, f.wire = tag>>3, tag&7
	f.n, f.p = 0, nil
	switch f.wire {
	case wireVarint:
		f.n = f.varint()
	case wireBytes:
		n := f.varint()
		if f.err != nil || n > uint64(len(f.b)) {
			f.err = errDamaged
			return false
		}
		f.p, f.b = f.b[:n:n], f.b[n:]
	case wireFixed4, wireFixed8: // of a later version
		n := 4
		if f.wire == wireFixed8 {
			n = 8
		}
		if n > len(f.b) {
			f.err = errDamaged
			return false
		}
		f.b = f.b[n:]
	default:
		f.err = errDamaged
	}
	if f.err == nil && f.field == 0 {
		f.err = errDamaged
	}
	return f.err == nil
}

func (f *fields) varint() uint64 {
	if len(f.b) > 0 && f.b[0] < 0x80 {
		v := f.b[0]
		f.b = f.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.err = errDamaged
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) int() int64   { return int64(f.n) }
func (f *fields) bool() bool   { return f.n != 0 }
func (f *fields) text() string { return string(f.p) }

// bytes returns the value; it is never nil.
func (f *fields) bytes() []byte {
	if f.p == nil {
		return []byte{}
	}
	return f.p
}

func (f *fields) id(id *hlc.ID) {
	if len(f.p) != len(id) {
		f.err = errDamaged
		return
	}
	copy(id[:], f.p)
}

func (f *fields) time() time.Time {
	if f.n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(f.n))
}

// damaged makes the error of a body that could not be read; nil stays nil.
func damaged(what string, err error) error {
	if err == nil {
		return nil
	}
	return status.Errorf(status.Corrupt, "%s from the other side of the plugin border: %w", what, err)
}

// appendError writes err as a message Error. Its text is bounded: an error must fit any frame.
func appendError(b []byte, err error) []byte {
	const maxText = 64 << 10
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText] + " ..."
	}
	return putString(putString(b, 1, status.Code(err)), 2, text)
}

// parseError reads a message Error.
func parseError(b []byte) error {
	var code, text string
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			code = f.text()
		case 2:
			text = f.text()
		}
	}
	if f.err != nil {
		return damaged("error", f.err)
	}
	return status.FromCode(code, text)
}

// transportError gives the errors of the frame layer their classes.
func transportError(who string, err error) error {
	class := status.Internal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		class = status.Deadline
	case errors.Is(err, context.Canceled):
		class = status.Cancelled
	case errors.Is(err, frame.ErrTooLarge):
		class = status.Invalid
	case errors.Is(err, frame.ErrBusy):
		class = status.Overloaded
	case errors.Is(err, frame.ErrEnded):
		class = status.Unavailable
	}
	e := status.Errorf(class, "%s: %w", who, err)
	if errors.Is(err, frame.ErrNotSent) {
		return status.Safe(e)
	}
	return e
}

func badReply(who string, typ uint8) error {
	return fmt.Errorf("%s: reply of type %d to another request: %w", who, typ, errDamaged)
}
