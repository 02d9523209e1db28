//go:build zenohc

package zenohc

import (
	"encoding/hex"
	"strings"
	"sync"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// zid is a Zenoh id in the library's form.
type zid [16]byte

func zidOf(id native.Id) (z zid) {
	copy(z[:], id.Bytes())
	return z
}

// transport takes the news that a node was linked, or lost: who is lost waits for no answer.
func (n *node) transport(e native.TransportEvent) {
	t := e.Transport()
	up := e.Kind() == native.SampleKindPut
	if !up {
		lost := zidOf(t.ZId())
		n.queries.cancel(func(q *query) bool { return q.asked && q.asker.zid == lost })
	}
	if n.events.call != nil {
		n.events.add(zenoh.Event{Up: up, Transport: transportOf(t)})
	}
}

func transportOf(t native.Transport) zenoh.Transport {
	x := zenoh.Transport{ZID: idOf(t.ZId())}
	switch t.WhatAmI() {
	case native.WhatAmIRouter:
		x.WhatAmI = wire.Router
	case native.WhatAmIPeer:
		x.WhatAmI = wire.Peer
	case native.WhatAmIClient:
		x.WhatAmI = wire.Client
	}
	return x
}

func idOf(id native.Id) zenoh.ID {
	x, err := wire.ParseID(id.String())
	if err != nil { // the library's own text is one
		return zenoh.ID{}
	}
	return x
}

// Transports implements Node.
func (n *node) Transports() []zenoh.Transport {
	var all []zenoh.Transport
	_ = n.use(func(s *native.Session) error {
		transports, err := s.Transports()
		if err != nil {
			return err
		}
		links, err := s.Links(nil)
		if err != nil {
			return err
		}
		for _, t := range transports {
			x := transportOf(t)
			for _, l := range links {
				if idOf(l.ZId()) == x.ZID {
					x.Links = append(x.Links, zenoh.Link{Src: l.Src(), Dst: l.Dst(), MTU: int(l.Mtu()), UID: -1})
				}
			}
			all = append(all, x)
		}
		return nil
	})
	return all
}

// events hands out news one at a time and in order, on a goroutine of its own while there are some.
type events struct {
	call func(zenoh.Event)

	mu      sync.Mutex
	list    []zenoh.Event
	running bool
}

func (e *events) add(x zenoh.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, x)
	if !e.running {
		e.running = true
		go e.run()
	}
}

func (e *events) run() {
	for {
		e.mu.Lock()
		if len(e.list) == 0 {
			e.running = false
			e.mu.Unlock()
			return
		}
		x := e.list[0]
		e.list = e.list[1:]
		e.mu.Unlock()
		e.call(x)
	}
}

// text is the id as Zenoh writes it.
func (z zid) text() string {
	var b []byte
	for i := len(z) - 1; i >= 0; i-- {
		b = append(b, z[i])
	}
	return strings.TrimLeft(hex.EncodeToString(b), "0")
}
