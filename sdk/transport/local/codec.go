package local

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"
	"unsafe"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// heads are buffers for the parts of frames before their payload.
var heads = sync.Pool{New: func() any { return new(head) }}

type head struct{ b []byte }

func newHead() *head {
	h := heads.Get().(*head)
	h.b = h.b[:0]
	return h
}

func (h *head) free() {
	if cap(h.b) <= 64<<10 {
		heads.Put(h)
	}
}

func (h *head) num(n uint64) *head  { h.b = binary.AppendUvarint(h.b, n); return h }
func (h *head) byte(c uint8) *head  { h.b = append(h.b, c); return h }
func (h *head) str(s string) *head  { h.num(uint64(len(s))); h.b = append(h.b, s...); return h }
func (h *head) raw(b []byte) *head  { h.num(uint64(len(b))); h.b = append(h.b, b...); return h }
func (h *head) rest(b []byte) *head { h.b = append(h.b, b...); return h }

func (h *head) flag(v bool) *head {
	if v {
		return h.byte(1)
	}
	return h.byte(0)
}

// remaining writes how much time is left until d.
func (h *head) remaining(d time.Time, ok bool) *head {
	if !ok {
		return h.num(0)
	}
	return h.num(uint64(max(time.Until(d), 0)) + 1)
}

// item writes everything of r but the payload.
func (h *head) item(r *transport.Reply, lost uint64) *head {
	if r.Err != nil {
		return h.byte(kindError).num(lost).str("").str(r.Err.Encoding).raw(nil)
	}
	s := &r.Sample
	return h.byte(uint8(s.Kind)).num(lost).str(s.Key).str(s.Encoding).raw(s.Attachment)
}

const kindError = 2

func payloadOf(r *transport.Reply) []byte {
	if r.Err != nil {
		return r.Err.Payload
	}
	return r.Sample.Payload
}

// body reads a frame's body. After a field that is not there every other one is empty too, and bad is set.
type body struct {
	b     []byte
	small bool // b is ours alone and not larger than smallBody: strings may point into it
	bad   bool
}

// smallBody is the size up to which a body is copied out of the frame's pooled buffer instead of keeping that.
const smallBody = 4 << 10

// own returns the frame's body as memory that may be kept for ever: payloads are handed on without a copy.
func own(f *frame.Frame) body {
	if len(f.Body) > smallBody {
		return body{b: f.Body}
	}
	b := bytes.Clone(f.Body)
	f.Release()
	return body{b: b, small: true}
}

func (r *body) num() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *body) byte() uint8 {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *body) raw() []byte {
	n := r.num()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// str returns a string that points into a small body, which nobody writes to, and a copy from a large one, so that
// whoever keeps a key does not keep a large payload with it.
func (r *body) str() string {
	b := r.raw()
	if r.small && len(b) > 0 {
		return unsafe.String(&b[0], len(b))
	}
	return string(b)
}

func (r *body) rest() []byte {
	b := r.b
	r.b = nil
	if len(b) == 0 {
		return nil
	}
	return b
}

func (r *body) fail() { r.b, r.bad = nil, true }

// timeout reads remaining as the time-out of a query.
func (r *body) timeout() time.Duration {
	n := r.num()
	if n == 0 {
		return -1
	}
	const longest = 1<<63 - 1
	return max(time.Duration(min(n, longest)-1), 1)
}

func (r *body) err() error {
	if r.bad {
		return status.Errorf(status.Invalid, "a message cannot be read")
	}
	return nil
}

// item reads what head.item wrote, and the payload.
func (r *body) item() (x transport.Reply, lost uint64) {
	kind := r.byte()
	lost = r.num()
	key, encoding, attachment := r.str(), r.str(), r.raw()
	if kind == kindError {
		x.Err = &transport.ReplyError{Payload: r.rest(), Encoding: encoding}
		return x, lost
	}
	if kind > uint8(transport.Delete) {
		r.fail()
	}
	x.Sample = transport.Sample{
		Key: key, Kind: transport.Kind(kind), Payload: r.rest(), Encoding: encoding, Attachment: attachment,
	}
	return x, lost
}
