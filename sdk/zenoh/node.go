package zenoh

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/internal/link"
	"github.com/essa-project/essad/sdk/zenoh/internal/route"
	"github.com/essa-project/essad/sdk/zenoh/internal/scout"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

const (
	// tickEvery is how often the router looks for what has timed out.
	tickEvery = 100 * time.Millisecond
	// openWait bounds how long Open waits for the declarations of the peers that it has connected to.
	openWait = 500 * time.Millisecond
	// closeWait bounds how long Close waits for others to take what is still to be sent.
	closeWait = 2 * time.Second
)

// Node has the links and the routing table that its sessions share.
type Node struct {
	cfg     Config
	router  *route.Router
	links   *link.Manager
	scout   *scout.Scout  // nil without multicast scouting
	gossip  *scout.Gossip // nil without gossip
	finding *finding      // nil for a client
	tasks   tasks
	runners runners
	yields  yields
	events  events

	stop    context.CancelFunc // ends what dials and ticks
	working sync.WaitGroup     // these

	// listening guards listeners; it is held while one is opened, for whoever dials it must find it here.
	listening sync.RWMutex
	listeners []listener
	opened    chan struct{} // closed once it is known where we listen and how others are found: links come up after that
	linkDone  sync.Map      // the done channels of faces that are links
	dropped   atomic.Uint64
	refused   atomic.Uint64

	mu       sync.Mutex
	ended    error
	sessions map[*Session]struct{}
	first    bool // the node's own id is taken by a session
	nextEID  uint32
	conns    map[*conn]struct{}
	closed   chan struct{} // closed when everything has ended
}

// listener is one that others dial.
type listener struct {
	Listen
	l *link.Listener
}

// OpenNode makes a node, has it listen, and waits until it is connected as c says. ctx bounds only that.
func OpenNode(ctx context.Context, c Config) (*Node, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, sessions: map[*Session]struct{}{}, conns: map[*conn]struct{}{}, opened: make(chan struct{}), closed: make(chan struct{})}
	n.runners.init()
	n.events.init(c.Events, &n.runners)
	n.router = route.New(n.routeOptions())
	n.links = link.NewManager(n.linkOptions(), (*linkHandler)(n))
	life, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.working.Go(func() { n.tick(life) })
	err := n.listen(ctx)
	if err == nil {
		err = n.startScouting(life)
	}
	close(n.opened)
	if err != nil {
		n.shutdown(err)
		return nil, err
	}
	if err := n.connect(ctx, life); err != nil {
		n.shutdown(err)
		return nil, err
	}
	return n, nil
}

func (n *Node) routeOptions() route.Options {
	o := route.Options{
		ID: n.cfg.ID, WhatAmI: n.cfg.Mode.whatAmI(), Stamp: n.cfg.Timestamping, QueryTimeout: n.cfg.QueryTimeout,
		MaxDeclarations: n.cfg.MaxDeclarations, MaxQueries: n.cfg.MaxPendingQueries, Report: n.report, Policy: policy{},
		Ticking: time.Now,
	}
	o.Guard = func(f *route.Face) bool {
		c, ok := f.Info().(*conn)
		return ok && c.policy != nil && f.Relation() == route.South
	}
	return o
}

func (n *Node) linkOptions() link.Options {
	c := &n.cfg
	return link.Options{
		ID: c.ID, WhatAmI: c.dialAs(), Present: c.Mode.present,
		Lease: c.Lease, OpenTimeout: c.OpenTimeout, BatchSize: c.BatchSize, MaxMessage: c.MaxMessage, QueueBytes: c.QueueBytes,
		WaitBlock: c.WaitBlock, WaitDrop: c.WaitDrop, MaxSessions: c.MaxSessions, MaxPending: c.MaxPending,
		User: c.User, Password: c.Password, Users: c.Users, TLS: link.TLS(c.TLS),
		Unix: link.UnixMode{Mode: c.SocketMode, Group: c.SocketGroup}, Log: c.Log,
	}
}

// dialAs is what a node says it is to who it dials.
func (c *Config) dialAs() wire.WhatAmI {
	if c.hasGateway() {
		return wire.Client
	}
	return c.Mode.whatAmI()
}

// whatAmI is what a node says it is where it dials: a hub is a peer among peers.
func (m Mode) whatAmI() wire.WhatAmI {
	if m == ModeClient {
		return wire.Client
	}
	return wire.Peer
}

// present is what a node says it is to who dials it.
func (m Mode) present(remote wire.WhatAmI) (wire.WhatAmI, error) {
	switch {
	case m != ModeRouter:
		return m.whatAmI(), nil
	case remote == wire.Client:
		return wire.Router, nil
	case remote == wire.Router:
		return 0, fmt.Errorf("a router dialled this hub, which is no member of a network of routers: " +
			"have this node dial the router with mode: client, or have whoever dials use mode: client")
	}
	return wire.Peer, nil
}

func (n *Node) listen(ctx context.Context) error {
	for _, x := range n.cfg.Listen {
		e, err := link.ParseEndpoint(x.Endpoint)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		n.listening.Lock()
		l, err := n.links.Listen(ctx, e)
		if err == nil {
			n.listeners = append(n.listeners, listener{x, l})
		}
		n.listening.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Locators returns where others reach this node.
func (n *Node) Locators() []string {
	n.listening.RLock()
	defer n.listening.RUnlock()
	var all []string
	for _, l := range n.listeners {
		all = append(all, l.l.Locators()...)
	}
	return all
}

// peerLocators are those that nodes of the mesh may dial: endpoints that make a client of everybody are not told to others.
func (n *Node) peerLocators() []string {
	n.listening.RLock()
	defer n.listening.RUnlock()
	var all []string
	for _, l := range n.listeners {
		if l.Relation != RelationSouth {
			all = append(all, l.l.Locators()...)
		}
	}
	return all
}

// ID is the node's Zenoh id.
func (n *Node) ID() ID { return n.cfg.ID }

// Mode is the node's.
func (n *Node) Mode() Mode { return n.cfg.Mode }

func (n *Node) tick(life context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	n.router.Tick(time.Now())
	for {
		select {
		case now := <-t.C:
			n.router.Tick(now)
		case <-life.Done():
			return
		}
	}
}

// Session opens another session of the node. It ends with the node at the latest.
func (n *Node) Session() (*Session, error) {
	s := &Session{
		node: n, done: make(chan struct{}), decls: map[declaration]struct{}{}, follows: map[*follower]struct{}{},
		lists: map[uint32]*livelinessGet{}, told: map[uint32]string{},
	}
	s.gets.m = map[uint32]*get{}
	s.requests.init(n.cfg.MaxQueries)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended != nil {
		return nil, n.ended
	}
	n.nextEID++
	s.eid, s.id = n.nextEID, n.cfg.ID
	if n.first {
		s.id = wire.NewID()
	}
	n.first = true
	s.face = n.router.Attach((*inbox)(s), s.id, route.Local, s)
	n.sessions[s] = struct{}{}
	return s, nil
}

// Sibling opens another session of the same node.
func (s *Session) Sibling() (*Session, error) { return s.node.Session() }

func (n *Node) forget(s *Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sessions, s)
}

// patience is how long a message waits for a full queue in this node: without a bound if the one who waits is a session, for it
// holds up nobody else.
func (n *Node) patience(done <-chan struct{}) time.Duration {
	if _, ok := n.linkDone.Load(done); ok {
		return n.cfg.WaitSubscriber
	}
	return 0
}

// Close ends the node: its sessions as their Close does, then its links, each with what it still has to send, as far as that
// takes no more than a moment. Closing twice is harmless.
func (n *Node) Close() error {
	n.endSessions(ErrClosed, true)
	n.shutdown(ErrClosed)
	return nil
}

// Abort ends the node as a crash would, as far as its sessions and others can tell: nothing is undeclared, and all that is
// under way fails with an ErrDisconnected.
func (n *Node) Abort() { n.abort(fmt.Errorf("%w: the node was aborted", ErrDisconnected)) }

func (n *Node) abort(why error) {
	n.mu.Lock()
	if n.ended == nil {
		n.ended = why
	}
	for s := range n.sessions {
		s.fail(why)
	}
	n.mu.Unlock()
	n.cutLinks()
	n.endSessions(why, false)
	n.shutdown(why)
}

func (n *Node) endSessions(why error, polite bool) {
	n.mu.Lock()
	if n.ended == nil {
		n.ended = why
	}
	all := make([]*Session, 0, len(n.sessions))
	for s := range n.sessions {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		s.end(why, polite)
	}
}

// shutdown ends everything but the sessions, once; whoever comes second waits for the first.
func (n *Node) shutdown(why error) {
	n.mu.Lock()
	if n.ended == nil {
		n.ended = why
	}
	first := n.stop != nil
	stop := n.stop
	n.stop = nil
	n.mu.Unlock()
	if !first {
		return
	}
	stop()
	if n.scout != nil {
		n.scout.Close()
	}
	n.cutLinks()
	n.working.Wait()
	n.events.close()
	n.runners.close()
	close(n.closed)
}

func (n *Node) cutLinks() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if err := n.links.Close(ctx); err != nil {
		n.cfg.Log.Debug("links were cut off", "error", err)
	}
}

// Batch calls f, and has what is sent meanwhile, by anybody, leave when f returns, or a moment later at most: many answers then
// travel in one write and wake their receiver once. f must not wait.
func (n *Node) Batch(f func()) {
	n.links.Cork()
	defer n.links.Uncork()
	f()
}

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return n.closed }

// PolicyChanged makes the node ask its policies again for what it remembers a verdict on.
func (n *Node) PolicyChanged() { n.router.PolicyChanged() }
