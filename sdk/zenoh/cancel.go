package zenoh

import (
	"encoding/binary"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// cancelKey is the key of a PUSH by which a node tells the next one that nobody waits any more for the answer to a REQUEST that it
// has sent it: its payload is the id of that request on their link, as four bytes, least significant first.
//
// The protocol has no such message. This one is said by one node to the next, each of which knows only its own links' ids, so
// that it goes the way that the query went, and through hubs of ours; nobody can end a query that is not its own. Others
// take it for a publication that nobody subscribes to (wildcards do not match its first chunk), and ignore it; there the
// context of a query ends when its time is over. It has the lowest priority, so that it never overtakes the request,
// and may be dropped where a link is congested.
const cancelKey = "@zenoh-go/cancel"

const cancelQoS = wire.PriorityBackground

// CancelQuery implements route.Canceller.
func (o *outbox) CancelQuery(rid uint32) {
	var payload [4]byte
	binary.LittleEndian.PutUint32(payload[:], rid)
	m := newMessage(wire.Push, cancelQoS)
	m.Key = wire.WireExpr{Sender: true, Suffix: cancelKey}
	m.Body.Kind, m.Body.Payload = wire.Put, payload[:]
	o.t.Send(m, nil)
	recycle(m)
}

// isCancel reports whether a PUSH is such a message.
func isCancel(m *wire.Message) bool {
	return m.Key.Scope == 0 && m.Key.Suffix == cancelKey
}

// cancelled takes it.
func (c *conn) cancelled(m *wire.Message) {
	if m.Body.Kind == wire.Put && len(m.Body.Payload) == 4 {
		c.n.router.Cancel(c.face, binary.LittleEndian.Uint32(m.Body.Payload))
	}
}

// sendCancel ends a query of this session that nobody waits for.
func (s *Session) sendCancel(rid uint32) { s.node.router.Cancel(s.face, rid) }
