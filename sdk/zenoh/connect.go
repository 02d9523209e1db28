package zenoh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/internal/link"
	"github.com/essa-project/essad/sdk/zenoh/internal/scout"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// connect dials what is configured. life is the node's, ctx the caller's who opens it.
func (n *Node) connect(ctx, life context.Context) error {
	ends := make([]link.Endpoint, len(n.cfg.Connect))
	for i, s := range n.cfg.Connect {
		e, err := link.ParseEndpoint(s)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		ends[i] = e
	}
	if n.cfg.hasGateway() {
		return n.attach(ctx, life, ends)
	}
	n.meet(ctx, life, ends)
	return nil
}

// meet keeps a link to each endpoint, and waits a moment for the first try of each and for the declarations of those it has reached.
func (n *Node) meet(ctx, life context.Context, ends []link.Endpoint) {
	var tried sync.WaitGroup
	for _, e := range ends {
		tried.Add(1)
		n.working.Go(func() { n.keep(life, e, sync.OnceFunc(tried.Done)) })
	}
	wait, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	done := make(chan struct{})
	n.working.Go(func() {
		tried.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-wait.Done():
	}
	for _, c := range n.linked() {
		select {
		case <-c.face.Synced():
		case <-wait.Done():
			return
		}
	}
}

func (n *Node) linked() []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		if c.face != nil {
			all = append(all, c)
		}
	}
	return all
}

// backoff is the pause before the next try: Config.RetryMin, twice that and so on up to RetryMax. A link that has lasted longer
// than RetryMax starts it anew, with a try at once.
type backoff struct {
	min, max, next time.Duration
}

func (n *Node) backoff() *backoff { return &backoff{min: n.cfg.RetryMin, max: n.cfg.RetryMax} }

// pause waits before the next try, and reports whether there is to be one.
func (b *backoff) pause(ctx context.Context, lasted time.Duration) bool {
	if lasted > b.max {
		b.next = 0
	}
	d := b.next
	b.next = min(max(2*d, b.min), b.max)
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dial dials e and returns the transport and when it came up.
func (n *Node) dial(ctx context.Context, e link.Endpoint, expect ID) (*link.Transport, error) {
	t, err := n.links.Dial(ctx, e, expect)
	if err != nil {
		return nil, err
	}
	if c, ok := t.Context().(*conn); !ok || c.face == nil {
		return nil, fmt.Errorf("%s: the node there was refused", e.Locator())
	}
	return t, nil
}

// keep keeps a link to e until ctx ends. tried is called after the first try.
func (n *Node) keep(ctx context.Context, e link.Endpoint, tried func()) {
	defer tried()
	b := n.backoff()
	b.next = b.min
	for {
		begin := time.Now()
		t, err := n.dial(ctx, e, ID{})
		tried()
		if err == nil {
			select {
			case <-t.Done():
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() == nil {
			n.cfg.Log.Info("no link", "endpoint", e.Locator(), "error", err)
		}
		if isSelf(err) || !b.pause(ctx, time.Since(begin)) {
			return
		}
	}
}

// isSelf reports whether it was ourselves that we dialled.
func isSelf(err error) bool {
	var c *link.ClosedError
	return errors.As(err, &c) && c.Reason == wire.ReasonConnectionToSelf
}

// attach gives a client its gateway, and keeps it.
func (n *Node) attach(ctx, life context.Context, ends []link.Endpoint) error {
	limit := ctx
	if n.cfg.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, n.cfg.ConnectTimeout)
		defer cancel()
	}
	b := n.backoff()
	b.next = b.min
	for {
		t, err := n.tryAll(limit, ends)
		if err == nil {
			n.working.Go(func() { n.reattach(life, ends, t) })
			return nil
		}
		if n.cfg.ConnectTimeout == 0 || !b.pause(limit, 0) {
			return err
		}
	}
}

// tryAll dials the endpoints in their order, or whoever scouting finds where there are none, until one takes it.
func (n *Node) tryAll(ctx context.Context, ends []link.Endpoint) (*link.Transport, error) {
	if len(ends) == 0 {
		return n.tryFound(ctx)
	}
	var all error
	for _, e := range ends {
		t, err := n.dial(ctx, e, ID{})
		if err == nil {
			return t, nil
		}
		all = errors.Join(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, all
}

// tryFound dials those who answer a scout, for Scouting.Timeout.
func (n *Node) tryFound(ctx context.Context) (*link.Transport, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Scouting.Timeout)
	defer cancel()
	found := make(chan scout.Found, 64)
	s, err := scout.Start(scout.Options{
		ID: n.cfg.ID, Group: n.cfg.Scouting.Address, Interface: n.cfg.Scouting.Interface, What: mask(n.cfg.Scouting.AutoConnect),
		Log: n.cfg.Log,
		Found: func(f scout.Found) {
			select {
			case found <- f:
			default: // it will answer the next one, too
			}
		},
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all error
	for {
		select {
		case f := <-found:
			t, err := n.dialFound(ctx, f)
			if err == nil {
				return t, nil
			}
			all = errors.Join(all, err)
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("scouting has found no gateway: %w", ctx.Err()), all)
		}
	}
}

// dialFound dials a node at one after the other of its locators.
func (n *Node) dialFound(ctx context.Context, f scout.Found) (*link.Transport, error) {
	var all error
	for _, l := range f.Locators {
		e, err := link.ParseEndpoint(l)
		if err == nil {
			var t *link.Transport
			if t, err = n.dial(ctx, e, f.ID); err == nil {
				return t, nil
			}
		}
		all = errors.Join(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, all
}

// reattach dials again whenever the gateway is lost.
func (n *Node) reattach(ctx context.Context, ends []link.Endpoint, t *link.Transport) {
	b := n.backoff()
	begin := time.Now()
	for {
		select {
		case <-t.Done():
		case <-ctx.Done():
			return
		}
		if n.cfg.NoReconnect {
			go n.abort(fmt.Errorf("%w: the gateway is lost", ErrDisconnected)) // which waits for this goroutine
			return
		}
		for lasted := time.Since(begin); ; lasted = 0 {
			if !b.pause(ctx, lasted) {
				return
			}
			var err error
			if t, err = n.tryAll(ctx, ends); err == nil {
				begin = time.Now()
				break
			}
			if ctx.Err() == nil {
				n.cfg.Log.Info("no gateway", "error", err)
			}
		}
	}
}

// mask is the set of kinds that a scout asks for.
func mask(modes []Mode) (what uint8) {
	for _, m := range modes {
		what |= m.found().Mask()
	}
	return what
}

// found is what a node of that mode says it is where it is found.
func (m Mode) found() wire.WhatAmI {
	switch m {
	case ModeRouter:
		return wire.Router
	case ModeClient:
		return wire.Client
	case ModePeer:
	}
	return wire.Peer
}

// startScouting begins what goes on as long as the node: a client only looks for others when it has no gateway.
func (n *Node) startScouting(life context.Context) error {
	if n.cfg.hasGateway() {
		return nil
	}
	n.finding = newFinding(n, life)
	if n.cfg.Scouting.Gossip {
		n.gossip = scout.NewGossip(n.cfg.ID, n.cfg.Mode.found(), n.peerLocators)
	}
	if !n.cfg.Scouting.Multicast {
		return nil
	}
	as := []wire.WhatAmI{wire.Peer}
	if n.cfg.Mode == ModeRouter {
		as = []wire.WhatAmI{wire.Router, wire.Peer}
	}
	s, err := scout.Start(scout.Options{
		ID: n.cfg.ID, Group: n.cfg.Scouting.Address, Interface: n.cfg.Scouting.Interface,
		Self: &scout.Self{ID: n.cfg.ID, As: as, Locators: n.peerLocators},
		What: mask(n.cfg.Scouting.AutoConnect), Found: n.finding.add, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.scout = s
	return nil
}

const (
	// maxFinding bounds the nodes that are dialled, or linked, because they were found.
	maxFinding = 1024
	// findAgain is how long one that was found is dialled again when it cannot be reached, or its link is lost.
	findAgain = time.Minute
)

// finding dials the nodes that scouting and gossip find.
type finding struct {
	n    *Node
	life context.Context //nolint:containedctx // the node's

	mu   sync.Mutex
	busy map[ID]struct{}
}

func newFinding(n *Node, life context.Context) *finding {
	return &finding{n: n, life: life, busy: map[ID]struct{}{}}
}

// wanted reports whether a node that was found is to be dialled.
func (x *finding) wanted(f scout.Found) bool {
	n := x.n
	switch {
	case f.ID == n.cfg.ID || x.life.Err() != nil:
		return false
	case !slices.ContainsFunc(n.cfg.Scouting.AutoConnect, func(m Mode) bool { return m.found() == f.WhatAmI }):
		return false
	case n.cfg.Scouting.Greater && n.cfg.ID.Less(f.ID):
		return false
	}
	return !n.linkedTo(f.ID)
}

// add keeps a link to f, unless that is not wanted or under way already. One that cannot be reached for too long is dialled again
// when it is found again.
func (x *finding) add(f scout.Found) {
	if !x.wanted(f) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, busy := x.busy[f.ID]; busy || len(x.busy) >= maxFinding {
		return
	}
	x.busy[f.ID] = struct{}{}
	x.n.working.Go(func() {
		x.keep(f)
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.busy, f.ID)
	})
}

// keep keeps a link to f until it cannot be reached for findAgain: then it is gone, or somebody else will tell of it.
func (x *finding) keep(f scout.Found) {
	n := x.n
	b := n.backoff()
	b.next = b.min
	for last := time.Now(); time.Since(last) < findAgain; {
		begin := time.Now()
		if n.linkedTo(f.ID) {
			return // it has dialled us, and will again
		}
		t, err := n.dialFound(x.life, f)
		switch {
		case errors.Is(err, link.ErrOther):
			return // there has been another start since
		case err == nil:
			select {
			case <-t.Done():
				last = time.Now()
			case <-x.life.Done():
				return
			}
		case x.life.Err() == nil:
			n.cfg.Log.Info("no link to a node that was found", "id", f.ID.String(), "error", err)
		}
		if !b.pause(x.life, time.Since(begin)) {
			return
		}
	}
}

func (n *Node) linkedTo(id ID) bool {
	return slices.ContainsFunc(n.linked(), func(c *conn) bool { return c.t.ID() == id })
}

// gossipUp tells a new neighbour of us and of others.
func (n *Node) gossipUp(c *conn) {
	if n.gossip == nil {
		if c.t.Presented() == wire.Router && c.t.WhatAmI() == wire.Peer {
			c.sendOAM(wire.AppendLinkStates(nil, nil))
		}
		return
	}
	if c.rel == RelationSouth && c.t.WhatAmI() == wire.Client {
		return
	}
	n.gossipOut(n.gossip.Up(c.t.ID(), c.t.WhatAmI(), c.t.Presented()), c)
}

func (n *Node) gossipDown(c *conn) {
	if n.gossip != nil {
		n.gossip.Down(c.t.ID())
	}
}

// gossiped takes an OAM message.
func (n *Node) gossiped(c *conn, m *wire.Message) {
	if n.gossip == nil || m.OAMID != wire.OAMLinkState {
		return
	}
	found, out, err := n.gossip.Receive(c.t.ID(), m.OAMBody)
	if err != nil {
		n.cfg.Log.Debug("gossip", "error", err)
		return
	}
	n.gossipOut(out, nil)
	for _, f := range found {
		n.finding.add(f)
	}
}

// gossipOut sends what the gossip has to say. c is a neighbour that may not be entered yet.
func (n *Node) gossipOut(list []scout.Out, c *conn) {
	for _, o := range list {
		if c != nil && c.t.ID() == o.To {
			c.sendOAM(o.Body)
			continue
		}
		for _, x := range n.linked() {
			if x.t.ID() == o.To {
				x.sendOAM(o.Body)
			}
		}
	}
}

func (c *conn) sendOAM(body []byte) {
	m := newMessage(wire.OAM, wire.ControlQoS)
	m.OAMID, m.OAMBody = wire.OAMLinkState, body
	c.t.Send(m, c.t.Done())
	recycle(m)
}
