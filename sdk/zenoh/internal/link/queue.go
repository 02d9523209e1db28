package link

import (
	"encoding/binary"
	"sync"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

const (
	// pieceBytes is about how much one write takes, and how far a pile's buffer grows: after so much, messages of higher
	// priority come first.
	pieceBytes = 128 << 10
	// prefixBytes is the length that stands before each batch on a stream.
	prefixBytes = 2
	// headerBytes bounds the header of a frame or fragment with the batch's length: kind, four bytes of sequence number,
	// two of priority and one for First.
	headerBytes = prefixBytes + 8
	// bufferBytes is the size of a pile's buffer: one more batch may begin as long as less than a piece is in it.
	bufferBytes = pieceBytes + 1<<16 + 2*slack
	// smallBytes is the size of a pile's first buffer.
	smallBytes = 2 << 10
	// maxScratch bounds a buffer for encoding that is kept.
	maxScratch = 1 << 20
	// slack is more than what of a message is small enough for sizeHint to leave it out, as a rule.
	slack = 512

	priorities = 8
)

// queue holds what waits to be sent over one transport, as batches. It is pure, and not safe for concurrent use.
//
// There is one pile for each priority, and the lower number leaves first; without QoS all is of priority Data. A batch
// holds one frame or one fragment, because there are peers that expect that.
type queue struct {
	qos, patch bool
	mask       uint32
	limit      int // bytes of a batch
	sn         [maxLanes]uint32
	piles      [priorities]pile
	spare      []byte
}

// pile is what waits of one priority.
type pile struct {
	full     []block  // whole batches in front of buf's
	first    [2]block // where full lies as a rule
	buf      []byte   // whole batches; the last one may grow
	open     int      // where in buf the batch begins that may grow, or -1
	reliable bool     // the frame's in it
}

// block is a buffer with whole batches.
type block struct {
	b   []byte
	own owner
}

// owner says who has use for a buffer after it is written.
type owner uint8

const (
	nobody    owner = iota // it grew in another way
	queueOnly              // it is small
	anyone                 // it is from the pool
)

// buffers are what piles grow in while much is sent.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// scratches are where large messages are encoded before they are cut.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

func newQueue(a *agreed, limit int) *queue {
	q := &queue{qos: a.qos, patch: a.patch, mask: a.mask, limit: limit}
	for i := range q.sn {
		q.sn[i] = a.ownSN
	}
	for i := range q.piles {
		q.piles[i].open = -1
		q.piles[i].full = q.piles[i].first[:0]
	}
	return q
}

// priority returns the number of the pile that m goes to.
func (q *queue) priority(m *wire.Message) int {
	if !q.qos {
		return int(wire.PriorityData)
	}
	return int(m.QoS.Priority())
}

// reliable reports whether m goes by reliable frames: only publications may do without.
func reliable(m *wire.Message) bool { return m.Reliable || m.Kind != wire.Push }

// droppable reports whether m may be lost rather than wait.
func droppable(m *wire.Message) bool { return m.QoS&wire.Block == 0 || !reliable(m) }

// add encodes m and returns by how many bytes the queue grew: 0 if m is not a valid message.
func (q *queue) add(m *wire.Message) int {
	p, rel := q.priority(m), reliable(m)
	pl := &q.piles[p]
	size := sizeHint(m)
	if size > q.limit-headerBytes {
		return q.addLarge(pl, p, rel, m)
	}
	if pl.open >= 0 && pl.reliable == rel && len(pl.buf)-pl.open+size <= q.limit {
		q.reserve(pl, size+slack)
		before := len(pl.buf)
		pl.buf = wire.AppendMessage(pl.buf, m)
		if q.closeBatch(pl) {
			return len(pl.buf) - before
		}
		pl.buf = pl.buf[:before]
	}
	if len(pl.buf) >= pieceBytes {
		pl.close()
	}
	q.reserve(pl, size+slack)
	before := len(pl.buf)
	pl.open, pl.reliable = before, rel
	pl.buf = q.frameHeader(pl.buf, p, rel)
	header := len(pl.buf)
	pl.buf = wire.AppendMessage(pl.buf, m)
	if len(pl.buf) == header {
		pl.buf, pl.open = pl.buf[:before], -1
		return 0
	}
	if !q.closeBatch(pl) { // larger than it looked
		pl.buf = pl.buf[:before]
		return q.addLarge(pl, p, rel, m)
	}
	sn := &q.sn[lane(rel, wire.QoS(p))]
	*sn = (*sn + 1) & q.mask
	return len(pl.buf) - before
}

// frameHeader begins a batch with a frame.
func (q *queue) frameHeader(b []byte, p int, rel bool) []byte {
	return wire.AppendFrameHeader(append(b, 0, 0), wire.FrameHeader{
		Reliable: rel, SN: q.sn[lane(rel, wire.QoS(p))], Priority: wire.QoS(p),
	})
}

// closeBatch writes the length of the batch that may grow, unless it grew too large.
func (q *queue) closeBatch(pl *pile) bool {
	n := len(pl.buf) - pl.open
	if n > q.limit {
		return false
	}
	binary.LittleEndian.PutUint16(pl.buf[pl.open:], uint16(n-prefixBytes))
	return true
}

// sizeHint is the size of m without what is of a fixed size or small.
func sizeHint(m *wire.Message) int {
	b := &m.Body
	n := len(m.Key.Suffix) + len(m.OAMBody) + len(m.Stack)
	if b.Raw != nil {
		return n + len(b.Raw)
	}
	return n + len(b.Payload) + len(b.Attachment) + len(b.Parameters) + len(b.Unknown)
}

// addLarge adds m, which probably does not fit a batch.
func (q *queue) addLarge(pl *pile, p int, rel bool, m *wire.Message) int {
	s := scratches.Get().(*[]byte)
	head, tail := encodeParts((*s)[:0], m)
	n := 0
	if len(head) > 0 {
		n = q.cut(pl, p, rel, head, tail)
	}
	if cap(head) <= maxScratch {
		*s = head[:0]
	}
	scratches.Put(s)
	return n
}

// encodeParts encodes m as two parts, so that what is large in it is not copied twice.
func encodeParts(b []byte, m *wire.Message) (head, tail []byte) {
	if m.Kind != wire.Push && m.Kind != wire.Request && m.Kind != wire.Response {
		return wire.AppendMessage(b, m), nil
	}
	part := *m
	switch body := &m.Body; {
	case body.Raw != nil: // is the end of the message
		part.Body.Raw = body.Raw[:0]
		return wire.AppendMessage(b, &part), body.Raw
	case body.Kind == wire.Put || body.Kind == wire.Err: // so is the payload, behind its length
		part.Body.Payload = nil
		if head = wire.AppendMessage(b, &part); len(head) > 0 {
			head = wire.AppendZint(head[:len(head)-1], uint64(len(body.Payload)))
		}
		return head, body.Payload
	}
	return wire.AppendMessage(b, m), nil
}

// cut adds batches with the encoded message head+tail: one with a frame if it fits, else with fragments.
func (q *queue) cut(pl *pile, p int, rel bool, head, tail []byte) (added int) {
	pl.open = -1
	sn := &q.sn[lane(rel, wire.QoS(p))]
	h := wire.FragmentHeader{Reliable: rel, More: true, Priority: wire.QoS(p), First: q.patch}
	for first := true; h.More; first = false {
		if len(pl.buf) >= pieceBytes {
			pl.close()
		}
		q.reserve(pl, min(q.limit, len(head)+len(tail)+headerBytes))
		at, rest := len(pl.buf), len(head)+len(tail)
		h.SN = *sn
		*sn = (*sn + 1) & q.mask
		pl.buf = wire.AppendFragmentHeader(append(pl.buf, 0, 0), h)
		if len(pl.buf)-at+rest <= q.limit {
			h.More = false
			if first {
				pl.buf = wire.AppendFrameHeader(pl.buf[:at+prefixBytes], wire.FrameHeader{Reliable: rel, SN: h.SN, Priority: h.Priority})
			} else {
				pl.buf = wire.AppendFragmentHeader(pl.buf[:at+prefixBytes], h)
			}
		}
		h.First = false
		for _, part := range []*[]byte{&head, &tail} {
			n := min(len(*part), q.limit-(len(pl.buf)-at))
			pl.buf = append(pl.buf, (*part)[:n]...)
			*part = (*part)[n:]
		}
		binary.LittleEndian.PutUint16(pl.buf[at:], uint16(len(pl.buf)-at-prefixBytes))
		added += len(pl.buf) - at
	}
	return added
}

// addRaw appends a batch that holds the transport message p alone, behind everything of priority prio.
func (q *queue) addRaw(prio int, p []byte) int {
	pl := &q.piles[prio]
	pl.close()
	pl.buf = rawBatch(p)
	return prefixBytes + len(p)
}

// take removes what is to be written next, whole batches of one priority and not many more than pieceBytes, or nothing.
// It is the caller's until it comes back by recycle.
func (q *queue) take() (piece block, prio int) {
	for i := range q.piles {
		pl := &q.piles[i]
		if len(pl.full) == 0 {
			pl.close()
		}
		if len(pl.full) == 0 {
			continue
		}
		first := pl.full[0]
		pl.full[0] = block{}
		if pl.full = pl.full[1:]; len(pl.full) == 0 {
			pl.full = pl.first[:0]
		}
		return first, i
	}
	return block{}, 0
}

// close lets what follows go to another buffer.
func (pl *pile) close() {
	if len(pl.buf) == 0 {
		return
	}
	b := block{pl.buf, nobody}
	switch cap(pl.buf) {
	case bufferBytes:
		b.own = anyone
	case smallBytes:
		b.own = queueOnly
	}
	pl.full = append(pl.full, b)
	pl.buf, pl.open = nil, -1
}

// reserve makes room for n more bytes in pl.buf.
func (q *queue) reserve(pl *pile, n int) {
	if len(pl.buf)+n <= cap(pl.buf) {
		return
	}
	if len(pl.buf)+n <= smallBytes {
		if q.spare == nil {
			q.spare = make([]byte, 0, smallBytes)
		}
		pl.buf, q.spare = append(q.spare, pl.buf...), nil
		return
	}
	b := append(buffers.Get().(*[bufferBytes]byte)[:0], pl.buf...)
	if cap(pl.buf) == smallBytes {
		q.spare = pl.buf[:0]
	}
	pl.buf = b
}

// recycle takes back what was written.
func (q *queue) recycle(b block) {
	switch b.own {
	case anyone:
		buffers.Put((*[bufferBytes]byte)(b.b[:bufferBytes]))
	case queueOnly:
		q.spare = b.b[:0]
	}
}

// trim gives up memory that an idle transport need not keep.
func (q *queue) trim() { q.spare = nil }

// batchAt returns where in b, which holds whole batches, the batch begins that offset off is in.
func batchAt(b []byte, off int) int {
	at := 0
	for {
		next := at + prefixBytes + int(binary.LittleEndian.Uint16(b[at:]))
		if next > off {
			return at
		}
		if at = next; at >= len(b) {
			return at
		}
	}
}

// fits reports whether no batch in b is larger than limit.
func fits(b []byte, limit int) bool {
	for at := 0; at < len(b); {
		size := prefixBytes + int(binary.LittleEndian.Uint16(b[at:]))
		if size > limit {
			return false
		}
		at += size
	}
	return true
}

// setLimit changes how large batches may be, and reports whether those that wait are no larger.
func (q *queue) setLimit(limit int) bool {
	q.limit = limit
	for i := range q.piles {
		pl := &q.piles[i]
		for _, b := range pl.full {
			if !fits(b.b, limit) {
				return false
			}
		}
		if !fits(pl.buf, limit) {
			return false
		}
	}
	return true
}
