package link

import (
	"encoding/binary"

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
	// maxSpare bounds a buffer that is kept for what comes next.
	maxSpare = 2 * pieceBytes

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
	full     [][]byte // whole batches in front of buf's
	buf      []byte   // whole batches; the last one may grow
	open     int      // where in buf the batch begins that may grow, or -1
	reliable bool     // the frame's in it
}

func newQueue(a *agreed, limit int) *queue {
	q := &queue{qos: a.qos, patch: a.patch, mask: a.mask, limit: limit}
	for i := range q.sn {
		q.sn[i] = a.ownSN
	}
	for i := range q.piles {
		q.piles[i].open = -1
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

// add encodes m and returns by how many bytes the queue grew.
func (q *queue) add(m *wire.Message) int {
	p, rel := q.priority(m), reliable(m)
	pl := &q.piles[p]
	if size := sizeHint(m); size > q.limit-headerBytes {
		return q.addLarge(pl, p, rel, m, size)
	}
	if pl.open >= 0 && pl.reliable == rel {
		before := len(pl.buf)
		pl.buf = wire.AppendMessage(pl.buf, m)
		if q.closeBatch(pl) {
			return len(pl.buf) - before
		}
		pl.buf = pl.buf[:before]
	}
	if len(pl.buf) >= pieceBytes {
		pl.full = append(pl.full, pl.buf)
		if pl.buf = q.buffer(); pl.buf == nil {
			pl.buf = make([]byte, 0, pieceBytes+maxBatchSize)
		}
	}
	before, ln := len(pl.buf), lane(rel, wire.QoS(p))
	pl.open, pl.reliable = before, rel
	pl.buf = q.frameHeader(pl.buf, p, rel)
	pl.buf = wire.AppendMessage(pl.buf, m)
	if !q.closeBatch(pl) { // larger than it looked
		size := len(pl.buf) - before
		pl.buf, pl.open = pl.buf[:before], -1
		return q.addLarge(pl, p, rel, m, size)
	}
	q.sn[ln] = (q.sn[ln] + 1) & q.mask
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

// addLarge encodes m, which probably does not fit a batch, into a buffer of its own: behind a gap for the headers of the
// fragments, into which they then move one after the other.
func (q *queue) addLarge(pl *pile, p int, rel bool, m *wire.Message, size int) int {
	gap := (size/(q.limit-headerBytes) + 2) * headerBytes
	b := wire.AppendMessage(make([]byte, gap, gap+size+512), m)
	if more := ((len(b)-gap)/(q.limit-headerBytes) + 1) * headerBytes; more > gap {
		b = append(append(make([]byte, 0, more+len(b)-gap), make([]byte, more)...), b[gap:]...)
		gap = more
	}
	if len(pl.buf) > 0 {
		pl.full = append(pl.full, pl.buf)
		pl.buf, pl.open = nil, -1
	}
	n := q.cut(b, gap, p, rel)
	pl.full = append(pl.full, b[:n])
	return n
}

// cut makes batches of the message at b[from:], at the beginning of b, and returns their length.
func (q *queue) cut(b []byte, from, p int, rel bool) int {
	sn := &q.sn[lane(rel, wire.QoS(p))]
	if header := q.frameHeader(b[:0], p, rel); len(header)+len(b)-from <= q.limit {
		n := len(header) + copy(b[len(header):], b[from:])
		binary.LittleEndian.PutUint16(b, uint16(n-prefixBytes))
		*sn = (*sn + 1) & q.mask
		return n
	}
	h := wire.FragmentHeader{Reliable: rel, More: true, Priority: wire.QoS(p), First: q.patch}
	at := 0
	for h.More {
		h.SN = *sn
		*sn = (*sn + 1) & q.mask
		header := len(wire.AppendFragmentHeader(b[at:at+prefixBytes], h))
		if rest := len(b) - from; header+rest <= q.limit {
			h.More = false
			wire.AppendFragmentHeader(b[at:at+prefixBytes], h)
		}
		h.First = false
		n := copy(b[at+header:min(at+q.limit, len(b))], b[from:])
		from += n
		n += header
		binary.LittleEndian.PutUint16(b[at:], uint16(n-prefixBytes))
		at += n
	}
	return at
}

// addRaw appends a batch that holds the transport message p alone, behind everything of priority prio.
func (q *queue) addRaw(prio int, p []byte) int {
	pl := &q.piles[prio]
	pl.buf = append(binary.LittleEndian.AppendUint16(pl.buf, uint16(len(p))), p...)
	pl.open = -1
	return prefixBytes + len(p)
}

// take removes what is to be written next, whole batches of one priority and not many more than pieceBytes, or nothing.
// They belong to the caller; own says that the whole buffer does, so that it may come back by recycle.
func (q *queue) take() (piece []byte, prio int, own bool) {
	for i := range q.piles {
		pl := &q.piles[i]
		if len(pl.full) > 0 {
			b := pl.full[0]
			n := cutAt(b, pieceBytes)
			if n < len(b) {
				pl.full[0] = b[n:]
				return b[:n:n], i, false
			}
			pl.full[0] = nil
			if pl.full = pl.full[1:]; len(pl.full) == 0 {
				pl.full = nil
			}
			return b, i, false
		}
		if len(pl.buf) > 0 {
			b := pl.buf
			pl.buf, pl.open = q.buffer(), -1
			return b, i, true
		}
	}
	return nil, 0, false
}

// recycle takes back a buffer that was written.
func (q *queue) recycle(b []byte) {
	if c := cap(b); c > cap(q.spare) && c <= maxSpare {
		q.spare = b[:0]
	}
}

// buffer returns an empty buffer, if it has one.
func (q *queue) buffer() []byte {
	b := q.spare
	q.spare = nil
	return b
}

// trim gives up memory that an idle transport need not keep.
func (q *queue) trim() {
	q.spare = nil
	for i := range q.piles {
		if pl := &q.piles[i]; len(pl.buf) == 0 {
			pl.buf = nil
		}
	}
}

// cutAt returns the length of the batches at the front of b up to about n bytes, and of one at least.
func cutAt(b []byte, n int) int {
	at := 0
	for at < len(b) {
		size := prefixBytes + int(binary.LittleEndian.Uint16(b[at:]))
		if at > 0 && at+size > n {
			break
		}
		at += size
	}
	return at
}

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
			if !fits(b, limit) {
				return false
			}
		}
		if !fits(pl.buf, limit) {
			return false
		}
	}
	return true
}
