package link

import (
	"errors"
	"fmt"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// maxLanes is how many lanes a direction has: two reliabilities of eight priorities.
const maxLanes = 16

// lane returns the number of a lane.
func lane(reliable bool, p wire.QoS) int {
	n := int(p) << 1
	if reliable {
		n++
	}
	return n
}

// errRestarted says that the peer begins anew, with its first sequence number: it has lost the transport that we added its
// second link to.
var errRestarted = errors.New("the peer has begun a new transport")

// receiver makes messages of the batches of one transport, of all its links. It is pure, and not safe for concurrent use.
type receiver struct {
	qos, patch bool
	mask       uint32
	first      uint32              // the peer's first sequence number
	max        int                 // bytes of all incomplete messages
	deliver    func(*wire.Message) // gets each message, valid until it returns

	partial int // bytes allocated for incomplete messages
	lanes   [maxLanes]rxLane
	m       wire.Message
	counts  rxCounts
}

type rxCounts struct {
	messages  uint64
	stale     uint64 // frames and fragments with a sequence number from before
	abandoned uint64 // messages in fragments that were incomplete, too large or no message
}

// rxLane is the state of one lane.
type rxLane struct {
	last  uint32 // sequence number
	state joinState
	buf   []byte // of an incomplete message
	hint  int    // size of the last message in fragments
}

// joinState says what to do with the next fragment.
type joinState uint8

const (
	joinIdle joinState = iota // the next fragment begins a message
	joinOpen                  // the next one continues buf
	joinSkip                  // the rest of this message is of no use
)

func newReceiver(a *agreed, limit int, deliver func(*wire.Message)) *receiver {
	r := &receiver{qos: a.qos, patch: a.patch, mask: a.mask, first: a.theirSN, max: limit, deliver: deliver}
	for i := range r.lanes {
		r.lanes[i].last = (a.theirSN - 1) & a.mask
	}
	return r
}

// batch takes the content of one batch. It returns the peer's CLOSE if there is one, behind which nothing counts. After
// an error the link that the batch came by is of no more use.
func (r *receiver) batch(p []byte) (*wire.Close, error) {
	for len(p) > 0 {
		if wire.IsNetwork(p[0]) {
			return nil, fmt.Errorf("message %#02x outside a frame", p[0])
		}
		var n int
		var err error
		switch kind := wire.TransportID(p[0]); kind {
		case wire.Frame:
			n, err = r.frame(p)
		case wire.Fragment:
			return nil, r.fragment(p)
		case wire.CloseKind:
			var c wire.Close
			if _, err = wire.DecodeClose(p, &c); err == nil {
				return &c, nil
			}
		default:
			n, err = skip(kind, p)
		}
		if err != nil {
			return nil, err
		}
		p = p[n:]
	}
	return nil, nil
}

// skip returns the length of a message that means nothing any more.
func skip(kind wire.TransportKind, p []byte) (int, error) {
	switch kind {
	case wire.KeepAlive:
		return wire.DecodeKeepAlive(p)
	case wire.TransportOAM:
		return wire.SkipTransportOAM(p)
	case wire.InitKind:
		var m wire.Init
		return wire.DecodeInit(p, &m)
	case wire.OpenKind:
		var m wire.Open
		return wire.DecodeOpen(p, &m)
	}
	return 0, fmt.Errorf("unexpected transport message %#02x", p[0])
}

// frame takes one frame with its messages and returns its length.
func (r *receiver) frame(p []byte) (int, error) {
	var h wire.FrameHeader
	n, err := wire.DecodeFrameHeader(p, &h)
	if err != nil {
		return 0, err
	}
	ln, fresh, err := r.accept(h.Reliable, h.Priority, h.SN)
	if err != nil {
		return 0, err
	}
	if fresh { // the fragments of a message are consecutive
		r.abandon(ln, joinIdle)
	}
	for n < len(p) && wire.IsNetwork(p[n]) {
		k, err := wire.DecodeMessage(p[n:], &r.m)
		if err != nil {
			return 0, err
		}
		n += k
		if fresh {
			r.counts.messages++
			r.m.Reliable = h.Reliable
			r.deliver(&r.m)
		}
	}
	return n, nil
}

// accept finds the lane of a frame or fragment. It is not fresh if its sequence number is one from before, as after the
// loss of one of two links. Numbers may be left out: senders do that.
func (r *receiver) accept(reliable bool, p wire.QoS, sn uint32) (ln *rxLane, fresh bool, err error) {
	if !r.qos && p != wire.PriorityData {
		return nil, false, fmt.Errorf("frame of priority %d without negotiated QoS", p)
	}
	if sn > r.mask {
		return nil, false, fmt.Errorf("sequence number %d, at most %d was agreed", sn, r.mask)
	}
	ln = &r.lanes[lane(reliable, p)]
	gap := (sn - ln.last) & r.mask
	if gap == 0 || gap > r.mask/2 {
		if sn == r.first && ln.last != r.first {
			return nil, false, errRestarted
		}
		r.counts.stale++
		return ln, false, nil
	}
	if gap != 1 { // so are their numbers
		r.abandon(ln, joinIdle)
	}
	ln.last = sn
	return ln, true, nil
}

// fragment takes one fragment, which fills its batch.
func (r *receiver) fragment(p []byte) error {
	var h wire.FragmentHeader
	n, err := wire.DecodeFragmentHeader(p, &h)
	if err != nil {
		return err
	}
	ln, fresh, err := r.accept(h.Reliable, h.Priority, h.SN)
	if err != nil || !fresh {
		return err
	}
	switch {
	case h.Drop && r.patch:
		r.abandon(ln, joinIdle)
		return nil
	case r.patch && h.First:
		r.abandon(ln, joinOpen)
	case r.patch && ln.state == joinIdle:
		return nil // its beginning was lost
	case ln.state == joinIdle:
		ln.state = joinOpen
	}
	if ln.state == joinOpen {
		r.join(ln, p[n:])
	}
	if h.More {
		return nil
	}
	if ln.state == joinOpen {
		r.complete(ln, h.Reliable)
	}
	ln.state = joinIdle
	return nil
}

// abandon forgets what came of a message.
func (r *receiver) abandon(ln *rxLane, next joinState) {
	if ln.state == joinOpen {
		r.counts.abandoned++
		r.partial -= cap(ln.buf)
		ln.buf = nil
	}
	ln.state = next
}

// join appends a part to a message. Memory for it at most doubles what has arrived, except that a lane whose messages
// are large gets room for another one once an eighth of it is there.
func (r *receiver) join(ln *rxLane, part []byte) {
	need := len(ln.buf) + len(part)
	if need > cap(ln.buf) {
		size := 2 * need
		if len(ln.buf) == 0 {
			size = need
		}
		if need < ln.hint && ln.hint <= 8*need {
			size = ln.hint
		}
		if size = min(size, r.max-r.partial+cap(ln.buf)); size < need {
			r.abandon(ln, joinSkip)
			return
		}
		grown := append(make([]byte, 0, size), ln.buf...)
		r.partial += cap(grown) - cap(ln.buf)
		ln.buf = grown
	}
	ln.buf = append(ln.buf, part...)
}

// complete delivers a message whose last fragment has come.
func (r *receiver) complete(ln *rxLane, reliable bool) {
	b := ln.buf
	ln.buf, ln.hint = nil, len(b)
	r.partial -= cap(b)
	if n, err := wire.DecodeMessage(b, &r.m); err != nil || n != len(b) {
		r.counts.abandoned++
		return
	}
	r.counts.messages++
	r.m.Reliable, r.m.Owned = reliable, true
	r.deliver(&r.m)
	r.m = wire.Message{} // it must not keep b alive
}
