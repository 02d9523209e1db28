package zenoh

import (
	"slices"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Transport is what connects this node with another one, at some moment.
type Transport struct {
	ZID       ID
	WhatAmI   WhatAmI // what it says it is
	Presented WhatAmI // what we say we are to it
	Relation  Relation
	User      string // whom it proved to be when it dialled us, or empty
	Links     []Link // that which is written to first
	Stats     Stats
}

// Link is one link of a transport.
type Link struct {
	Src, Dst   string // locators: here and there
	Dialled    bool   // by us
	MTU        int    // bytes of a batch
	CommonName string // of the verified certificate at the other end; empty without
	UID        int    // of the process at the other end of a unix socket; -1 if unknown
	PID        int    // of that process; 0 if unknown
	Since      time.Time
	BytesIn    uint64
	BytesOut   uint64
}

// Stats are the counters of a transport.
type Stats struct {
	MessagesOut, MessagesIn uint64
	BytesOut, BytesIn       uint64 // with all headers
	Dropped                 uint64 // messages with Drop that found no room
	Refused                 uint64 // messages with Block whose sender gave up waiting for room
	Queued                  int    // bytes that wait
	Denied                  uint64 // of what the node at the other end asked for, what a Policy refused
}

func (c *conn) snapshot() Transport {
	x := Transport{ZID: c.t.ID(), WhatAmI: c.t.WhatAmI(), Presented: c.t.Presented(), Relation: c.rel, User: c.t.User()}
	s := c.t.Stats()
	x.Stats = Stats{
		MessagesOut: s.Out, MessagesIn: s.In, BytesOut: s.BytesOut, BytesIn: s.BytesIn, Dropped: s.Dropped, Refused: s.Refused,
		Queued: s.Queued,
	}
	if c.face != nil {
		x.Stats.Denied = c.face.Refused()
	}
	for _, l := range c.t.Links() {
		y := Link{
			Src: l.Local, Dst: l.Remote, Dialled: l.Dialled, MTU: l.BatchSize, CommonName: l.CommonName, UID: -1, Since: l.Since,
			BytesIn: l.BytesIn, BytesOut: l.BytesOut,
		}
		if l.Cred != nil {
			y.UID, y.PID = l.Cred.UID, l.Cred.PID
		}
		x.Links = append(x.Links, y)
	}
	return x
}

// Transports returns what the node is connected with, ordered by id.
func (n *Node) Transports() []Transport {
	n.mu.Lock()
	conns := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	all := make([]Transport, 0, len(conns))
	for _, c := range conns {
		all = append(all, c.snapshot())
	}
	slices.SortFunc(all, func(a, b Transport) int { return strings.Compare(a.ZID.String(), b.ZID.String()) })
	return all
}

// Dropped is how many messages with Drop the node's links, and those it had, found no room for.
func (n *Node) Dropped() uint64 {
	total := n.dropped.Load()
	for _, t := range n.Transports() {
		total += t.Stats.Dropped
	}
	return total
}

// Denied is how often the node's policies have refused something, and how often the node has refused another altogether for what it
// is and where it came in.
func (n *Node) Denied() uint64 { return n.router.Refused() + n.refused.Load() }

// Transports returns what the session's node is connected with.
func (s *Session) Transports() []Transport { return s.node.Transports() }

// Locators returns where others reach the session's node.
func (s *Session) Locators() []string { return s.node.Locators() }

// RoutersZID returns the ids of the routers that the node is connected with.
func (s *Session) RoutersZID() []ID { return s.node.ids(wire.Router) }

// PeersZID returns the ids of the peers that the node is connected with.
func (s *Session) PeersZID() []ID { return s.node.ids(wire.Peer) }

func (n *Node) ids(w WhatAmI) []ID {
	var all []ID
	for _, t := range n.Transports() {
		if t.WhatAmI == w {
			all = append(all, t.ZID)
		}
	}
	return all
}
