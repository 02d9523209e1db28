package scout

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// maxPSIDs bounds the nodes that one neighbour may tell of.
const maxPSIDs = 4096

// Found is a node that somebody has told of.
type Found struct {
	ID       wire.ID
	WhatAmI  wire.WhatAmI
	Locators []string
}

// Out is the body of an OAM message to send to a neighbour.
type Out struct {
	To   wire.ID
	Body []byte
}

// Gossip is what a node says to its neighbours of itself and of its other neighbours, and what it makes of what they say.
// Neighbours are peers and routers; clients are not told and not told of. What is passed on is the locators of direct
// neighbours only, as the default of other implementations is (multihop off).
type Gossip struct {
	id       wire.ID
	whatAmI  wire.WhatAmI
	locators func() []string

	mu         sync.Mutex
	sn         uint64 // of the own entry: grows with each neighbour that comes
	nextPSID   uint64
	neighbours map[wire.ID]*neighbour
}

// neighbour is a node that there is a link to.
type neighbour struct {
	id       wire.ID
	whatAmI  wire.WhatAmI
	mute     bool // sees us as a router, and is told of nobody
	psid     uint64
	sn       uint64 // of its own entry; 0 until it has sent one
	locators []string

	told  map[wire.ID]uint64 // the nodes it was told of, with the number of their states
	names map[uint64]wire.ID // its own names for nodes
}

// NewGossip returns the gossip of a node without neighbours. locators tells where it is reached.
func NewGossip(id wire.ID, whatAmI wire.WhatAmI, locators func() []string) *Gossip {
	return &Gossip{id: id, whatAmI: whatAmI, locators: locators, neighbours: map[wire.ID]*neighbour{}}
}

// Up is a new neighbour, to which we present ourselves as presented. It returns what to say, to it and to others.
func (g *Gossip) Up(id wire.ID, theirs, presented wire.WhatAmI) []Out {
	if theirs == wire.Client || presented == wire.Client {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sn++
	g.nextPSID++
	n := &neighbour{
		id: id, whatAmI: theirs, psid: g.nextPSID, told: map[wire.ID]uint64{}, names: map[uint64]wire.ID{},
		mute: presented == wire.Router && theirs == wire.Peer,
	}
	g.neighbours[id] = n
	if n.mute {
		// With an empty list its start-up is at once complete; without any it would wait for half a second.
		return []Out{{id, wire.AppendLinkStates(nil, nil)}}
	}
	list := []wire.LinkState{g.own(n), {PSID: n.psid, ID: id, HasWhatAmI: true, WhatAmI: theirs, Gateway: theirs == wire.Router}}
	n.told[g.id], n.told[id] = g.sn, 0
	for _, o := range g.sorted() {
		if o != n && o.sn > 0 {
			list = append(list, g.entry(n, o))
		}
	}
	return []Out{{id, wire.AppendLinkStates(nil, list)}}
}

// own is this node's entry as n is told it.
func (g *Gossip) own(n *neighbour) wire.LinkState {
	s := wire.LinkState{
		SN: g.sn, ID: g.id, HasWhatAmI: true, WhatAmI: g.whatAmI, HasLocators: true, Locators: g.locators(),
	}
	if n.whatAmI == wire.Router {
		s.Links = []uint64{n.psid}
	}
	return s
}

// entry is o's entry as n is told it.
func (g *Gossip) entry(n, o *neighbour) wire.LinkState {
	s := wire.LinkState{PSID: o.psid, SN: o.sn, HasWhatAmI: true, WhatAmI: o.whatAmI, HasLocators: true, Locators: o.locators}
	if _, known := n.told[o.id]; !known {
		s.ID = o.id
	}
	n.told[o.id] = o.sn
	return s
}

func (g *Gossip) sorted() []*neighbour {
	all := make([]*neighbour, 0, len(g.neighbours))
	for _, n := range g.neighbours {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *neighbour) int { return int(a.psid) - int(b.psid) }) //nolint:gosec // small numbers
	return all
}

// Down is a neighbour that is lost.
func (g *Gossip) Down(id wire.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.neighbours, id)
	for _, n := range g.neighbours {
		delete(n.told, id) // it will have another number when it comes back
	}
}

// Receive takes the body of an OAM message of a neighbour. It returns the nodes that it tells of, and what to say to others:
// what the neighbour says of itself.
func (g *Gossip) Receive(from wire.ID, body []byte) ([]Found, []Out, error) {
	list, err := wire.DecodeLinkStates(body)
	if err != nil {
		return nil, nil, fmt.Errorf("link states of %s: %w", from, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.neighbours[from]
	if n == nil {
		return nil, nil, nil
	}
	var found []Found
	news := false
	for i := range list {
		s := &list[i]
		id, ok := n.name(s)
		switch {
		case !ok || id == g.id:
		case id == from:
			news = n.learn(s) || news
		case s.HasLocators && len(s.Locators) > 0:
			found = append(found, Found{ID: id, WhatAmI: s.WhatAmI, Locators: keep(s.Locators)})
		}
	}
	if !news || n.mute {
		return found, nil, nil
	}
	var out []Out
	for _, o := range g.sorted() {
		if o != n && !o.mute {
			out = append(out, Out{o.id, wire.AppendLinkStates(nil, []wire.LinkState{g.entry(o, n)})})
		}
	}
	return found, out, nil
}

// name returns the id that an entry is about.
func (n *neighbour) name(s *wire.LinkState) (wire.ID, bool) {
	if s.ID.IsZero() {
		id, ok := n.names[s.PSID]
		return id, ok
	}
	if _, known := n.names[s.PSID]; !known && len(n.names) >= maxPSIDs {
		return s.ID, true // it will have to be told with its id each time
	}
	n.names[s.PSID] = s.ID
	return s.ID, true
}

// learn takes a neighbour's own entry, and reports whether it is news.
func (n *neighbour) learn(s *wire.LinkState) bool {
	if s.SN <= n.sn {
		return false
	}
	news := n.sn == 0 || s.HasLocators && !slices.Equal(s.Locators, n.locators)
	n.sn = s.SN
	if s.HasLocators {
		n.locators = keep(s.Locators)
	}
	return news
}

// keep copies what refers to the buffer that it was read into.
func keep(locators []string) []string {
	out := make([]string, len(locators))
	for i, l := range locators {
		out[i] = strings.Clone(l)
	}
	return out
}
