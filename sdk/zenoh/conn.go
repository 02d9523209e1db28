package zenoh

import (
	"sync"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/zenoh/internal/link"
	"github.com/essa-project/essad/sdk/zenoh/internal/route"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// conn is a transport of the node and the face that it is to the router. A conn without a face was refused.
type conn struct {
	n      *Node
	t      *link.Transport
	face   *route.Face
	rel    Relation
	policy Policy
	snap   Transport // for the policy

	// These are the reader's.
	task    task
	reading bool // there are messages of a batch
	tasked  bool // the task is entered
}

// linkHandler is a node as its links see it.
type linkHandler Node

// Up implements link.Handler.
func (h *linkHandler) Up(t *link.Transport) any {
	n := (*Node)(h)
	<-n.opened // who came by which endpoint decides what it may do
	c := &conn{n: n, t: t}
	l, known := n.dialledAt(t)
	rel, why := n.classify(t, l)
	if !known {
		why = "it came in by no endpoint that this node listens on"
	}
	if why != "" {
		n.cfg.Log.Warn("node refused", "id", t.ID().String(), "cause", why)
		n.refused.Add(1)
		t.Close(wire.ReasonUnsupported)
		return c
	}
	c.rel = rel
	if rel == RelationSouth {
		c.policy = n.cfg.Policy
		if l != nil && l.Policy != nil {
			c.policy = l.Policy
		}
	}
	c.snap = c.snapshot()
	c.face = n.router.Attach((*outbox)(c), t.ID(), routeRelations[rel], c)
	n.mu.Lock()
	n.conns[c] = struct{}{} // with its face: others look for that
	n.mu.Unlock()
	n.linkDone.Store(c.face.Done(), struct{}{})
	n.gossipUp(c)
	n.cfg.Log.Info("node linked", "id", t.ID().String(), "relation", rel.String(), "links", c.snap.Links)
	n.events.add(Event{Up: true, Transport: c.snap})
	return c
}

var routeRelations = map[Relation]route.Relation{
	RelationLocal: route.Local, RelationSouth: route.South, RelationMesh: route.Mesh, RelationNorth: route.North,
}

// classify says what the node at the other end is to us, or why it is refused.
func (n *Node) classify(t *link.Transport, l *listener) (Relation, string) {
	theirs := t.WhatAmI()
	if l != nil && l.Relation == RelationSouth && theirs != wire.Client {
		return RelationAuto, "the endpoint it has dialled is for clients: it has to use mode: client"
	}
	gateway := n.cfg.hasGateway() && dialled(t)
	switch {
	case gateway && theirs == wire.Client:
		return RelationAuto, "both ends are clients"
	case gateway, theirs == wire.Router:
		return RelationNorth, ""
	case theirs == wire.Client:
		return RelationSouth, ""
	case t.Presented() == wire.Router:
		return RelationSouth, ""
	}
	return RelationMesh, ""
}

func dialled(t *link.Transport) bool {
	links := t.Links()
	return len(links) == 0 || links[0].Dialled
}

// dialledAt returns the listener that a transport came in by, nil if we dialled. It is not known where we did not dial and the
// listener is none of the node's: nobody has said what may be done there.
func (n *Node) dialledAt(t *link.Transport) (l *listener, known bool) {
	links := t.Links()
	if len(links) == 0 || links[0].Dialled {
		return nil, true
	}
	n.listening.RLock()
	defer n.listening.RUnlock()
	for i := range n.listeners {
		if n.listeners[i].l == links[0].Listener {
			return &n.listeners[i], true
		}
	}
	return nil, false
}

// Message implements link.Handler.
func (h *linkHandler) Message(t *link.Transport, m *wire.Message) {
	c, ok := t.Context().(*conn)
	if !ok || c.face == nil {
		return
	}
	if !c.reading {
		c.reading = true
		c.tasked = c.n.tasks.begin(&c.task)
	}
	switch {
	case m.Kind == wire.OAM:
		c.n.gossiped(c, m)
	case m.Kind == wire.Push && isCancel(m):
		c.cancelled(m)
	default:
		c.n.router.Handle(c.face, m)
	}
}

// EndOfBatch implements link.Handler.
func (h *linkHandler) EndOfBatch(t *link.Transport) {
	c, ok := t.Context().(*conn)
	if !ok || !c.reading {
		return
	}
	c.reading = false
	if c.tasked {
		c.tasked = false
		c.n.tasks.end(&c.task)
	}
}

// Down implements link.Handler.
func (h *linkHandler) Down(t *link.Transport, err error) {
	n := (*Node)(h)
	c, ok := t.Context().(*conn)
	if !ok || c.face == nil {
		return
	}
	h.EndOfBatch(t)
	n.router.Detach(c.face)
	n.linkDone.Delete(c.face.Done())
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
	n.dropped.Add(t.Stats().Dropped)
	n.gossipDown(c)
	n.cfg.Log.Info("node lost", "id", t.ID().String(), "relation", c.rel.String(), "cause", err)
	n.events.add(Event{Transport: c.snap, Err: err})
}

// outbox is a conn as the router sees it.
type outbox conn

// Send implements route.Peer.
func (o *outbox) Send(m *wire.Message, done <-chan struct{}) bool { return o.t.Send(m, done) }

// policy asks the Policy of the conn that a face is.
type policy struct{}

var publicOps = map[route.Op]Op{
	route.OpPush: OpPut, route.OpRequest: OpQuery, route.OpSubscribe: OpSubscriber, route.OpQueryable: OpQueryable,
	route.OpToken: OpToken, route.OpInterest: OpInterest,
}

// Allow implements route.Policy.
func (policy) Allow(f *route.Face, op route.Op, key string) error {
	c, ok := f.Info().(*conn)
	if !ok || c.policy == nil {
		return nil
	}
	return c.policy(&c.snap, publicOps[op], key)
}

// report logs trouble that the router has with a face. A client that declares more than it may is cut off, rather than left to
// believe that all of it counts; a gateway or a fellow peer may just be large.
func (n *Node) report(r route.Report) {
	attrs := []any{"problem", r.Problem.String(), "op", r.Op.String(), "key", r.Key, "count", r.Count}
	if c, ok := r.Face.Info().(*conn); ok {
		if r.Problem == route.Overflow && r.Op != route.OpRequest && c.rel == RelationSouth {
			c.t.Close(wire.ReasonInvalid)
		}
		attrs = append(attrs, "id", c.t.ID().String(), "relation", c.rel.String(), "user", c.t.User())
	}
	if r.Err != nil {
		attrs = append(attrs, "cause", r.Err.Error())
	}
	n.cfg.Log.Warn("refused", attrs...)
}

// events calls Config.Events, one event at a time.
type events struct {
	call    func(Event)
	runners *runners

	mu      sync.Mutex
	idle    sync.Cond // on mu: running has become false
	queue   []Event
	running bool
	self    uintptr // the goroutine that calls
	closed  bool
}

// maxEvents bounds the events that wait for a slow Config.Events; the oldest ones are lost.
const maxEvents = 1 << 14

func (e *events) init(call func(Event), r *runners) {
	e.call, e.runners = call, r
	e.idle.L = &e.mu
}

func (e *events) add(x Event) {
	if e.call == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	if len(e.queue) >= maxEvents {
		e.queue = e.queue[1:]
	}
	e.queue = append(e.queue, x)
	if !e.running {
		e.running = true
		e.runners.run(e)
	}
}

func (e *events) run() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.self = self.Goroutine()
	for len(e.queue) > 0 {
		x := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		e.call(x)
		e.mu.Lock()
	}
	e.queue, e.running, e.self = nil, false, 0
	e.idle.Broadcast()
}

// close waits until all events were delivered, unless it is called by whom they are delivered to.
func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for e.running && e.self != self.Goroutine() {
		e.idle.Wait()
	}
}
