package route

import (
	"slices"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// counters count the messages of a face.
type counters struct {
	pushesIn, pushesOut, pushesLost       atomic.Uint64
	requestsIn, requestsOut               atomic.Uint64
	repliesIn, repliesOut, timeouts, late atomic.Uint64
	future                                atomic.Uint64
}

// Stats are the numbers of a face, or of all together. In is what the face sent, Out what it was sent.
type Stats struct {
	PushesIn, PushesOut     uint64
	PushesLost              uint64 // to this face, because it had no room or is lost
	RequestsIn, RequestsOut uint64
	RepliesIn, RepliesOut   uint64
	Timeouts                uint64 // requests to this face that it has not ended in time
	Late                    uint64 // replies and finals of requests that it does not have
	Future                  uint64 // dropped for their time stamp
	Refused                 uint64 // by the policy
	Invalid                 uint64 // messages with an unknown scope or an invalid key
	Overflow                uint64 // messages that would have exceeded a bound
	Protocol                uint64 // messages that made no sense

	Pending     int // requests to this face that are not final
	Asked       int // requests of this face that are not final
	Subscribers int // declared by this face; Queryables and Tokens likewise
	Queryables  int
	Tokens      int
	KeyExprs    int
	Interests   int
}

// Declaration is one thing that a face has declared.
type Declaration struct {
	Kind     Kind
	Key      string
	Complete bool // Queryable
}

// Faces returns the faces in the order of their attachment.
func (r *Router) Faces() []*Face { return slices.Clone(*r.faceList.Load()) }

// Stats returns the numbers of one face.
func (r *Router) Stats(f *Face) Stats {
	c := &f.stats
	s := Stats{
		PushesIn: c.pushesIn.Load(), PushesOut: c.pushesOut.Load(), PushesLost: c.pushesLost.Load(),
		RequestsIn: c.requestsIn.Load(), RequestsOut: c.requestsOut.Load(),
		RepliesIn: c.repliesIn.Load(), RepliesOut: c.repliesOut.Load(),
		Timeouts: c.timeouts.Load(), Late: c.late.Load(), Future: c.future.Load(),
		Refused: f.trouble[Refused].n.Load(), Invalid: f.trouble[Invalid].n.Load(),
		Overflow: f.trouble[Overflow].n.Load(), Protocol: f.trouble[Protocol].n.Load(),
		Pending: f.pend.len(), Asked: int(f.asked.Load()),
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	s.Subscribers, s.Queryables, s.Tokens = len(f.has[Subscriber]), len(f.has[Queryable]), len(f.has[Token])
	s.KeyExprs = f.declared - s.Subscribers - s.Queryables - s.Tokens
	s.Interests = len(f.interests) + len(f.watches)
	return s
}

// Refused is how often the policy has refused something to the face.
func (f *Face) Refused() uint64 { return f.trouble[Refused].n.Load() }

// Refused is how often the policy has refused something, to faces past and present.
func (r *Router) Refused() uint64 { return r.refused.Load() }

// Declarations returns what a face has declared, by kind and in the order of its ids.
func (r *Router) Declarations(f *Face) []Declaration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Declaration
	for k := range kinds {
		for _, id := range sortedIDs(f.has[k]) {
			if x := f.has[k][id]; !x.stale {
				out = append(out, Declaration{Kind: k, Key: x.key, Complete: x.complete})
			}
		}
	}
	return out
}

// Timestamp returns a time stamp of the router's clock, later than all that it has given or, as far as it stamps, seen.
func (r *Router) Timestamp() wire.Timestamp {
	return wire.Timestamp{Time: r.clock.next(r.o.Now()), ID: r.o.ID}
}
