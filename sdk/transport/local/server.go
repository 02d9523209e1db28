package local

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Options of a server. The zero value allows everything and has the bounds of the package.
type Options struct {
	Allow           transport.Policy // what clients may do (topic.Names.ClientPolicy); nil means everything
	MaxConnections  int
	MaxDeclarations int    // of each connection
	Stats           *Stats // counted where it is not nil
}

// Stats count what a server did.
type Stats struct {
	Connections atomic.Int64  // open now
	Refused     atomic.Uint64 // connections beyond MaxConnections
	Queries     atomic.Uint64
	Puts        atomic.Uint64
	Denied      atomic.Uint64 // operations that Allow refused
}

// Serve gives each connection that ln accepts a session that open opens, until ctx ends. It owns ln, and before it returns
// it closes every connection and session.
func Serve(ctx context.Context, ln net.Listener, open func() transport.Session, o Options) error {
	if o.MaxConnections <= 0 {
		o.MaxConnections = MaxConnections
	}
	if o.MaxDeclarations <= 0 {
		o.MaxDeclarations = MaxDeclarations
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	defer ln.Close()
	room := make(chan struct{}, o.MaxConnections)
	for {
		nc, err := accept(ctx, ln)
		if err != nil || ctx.Err() != nil {
			if nc != nil {
				_ = nc.Close()
			}
			if ctx.Err() != nil {
				return nil
			}
			return status.Errorf(status.Unavailable, "accept a connection: %w", err)
		}
		select {
		case room <- struct{}{}:
		default:
			o.Stats.Refused.Add(1)
			_ = nc.Close()
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			o.Stats.Connections.Add(1)
			serve(ctx, nc, open(), &o)
			o.Stats.Connections.Add(-1)
			<-room
		}()
	}
}

// accept waits out what passes by itself, above all a lack of file descriptors.
func accept(ctx context.Context, ln net.Listener) (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		nc, err := ln.Accept()
		var ne net.Error
		if err == nil || errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) {
			return nc, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// client is the server's end of a connection.
type client struct {
	link
	o        *Options
	session  transport.Session
	drops    transport.DropCounter
	reported atomic.Uint64 // of drops
	handlers sync.WaitGroup

	declMu sync.Mutex
	decls  map[uint64]*declared
}

// declared is what the client has declared.
type declared struct {
	closer transport.Closer
	gone   chan struct{} // closed when it is taken back, or was never made
}

// serve runs a connection until it or ctx ends.
func serve(ctx context.Context, nc net.Conn, s transport.Session, o *Options) {
	c := &client{o: o, session: s, decls: map[uint64]*declared{}}
	c.drops, _ = s.(transport.DropCounter)
	c.init()
	defer s.Close()
	conn, err := frame.Open(ctx, nc, frame.Options{
		Accepter: true, Versions: versions, Limits: limits,
		Types: []uint8{
			typeOpen, typePut, typeSubscribe, typeFollow, typeQueryable, typeToken, typeUndeclare, typeAlive, typeGoodbye,
			typeGet, typeItem, typeCredit,
		},
		Handle: c.handle, Notice: c.notice,
	})
	if err != nil {
		return
	}
	c.opened(conn)
	select {
	case <-conn.Done():
	case <-ctx.Done():
	}
	_ = conn.Close()
	_ = s.Close()
	c.handlers.Wait()
}

// handle runs on the goroutine that reads.
func (c *client) handle(r *frame.Request) {
	c.handlers.Add(1)
	r.Go(func(*frame.Request) {
		defer c.handlers.Done()
		<-c.ready
		b := own(&r.Frame)
		if r.Type == typeGet {
			c.get(r, &b)
			return
		}
		h := newHead()
		defer h.free()
		if err := c.request(r, &b, h); err != nil {
			fail(r, err)
			return
		}
		if err := r.Reply(typeDone, h.b, nil); errors.Is(err, frame.ErrTooLarge) {
			fail(r, status.Errorf(status.Limit, "the answer is too large for one message"))
		}
	})
}

// request serves everything but queries; what it writes to out becomes the reply.
func (c *client) request(r *frame.Request, b *body, out *head) error {
	switch r.Type {
	case typeOpen:
		out.rest([]byte(c.session.ID()))
		return b.err()
	case typePut:
		return c.put(r.Context(), b)
	case typeSubscribe:
		return c.subscribe(b)
	case typeFollow:
		return c.follow(b)
	case typeQueryable:
		return c.queryable(b)
	case typeToken:
		return c.token(b)
	case typeUndeclare:
		c.undeclare(b.num())
		return b.err()
	case typeGoodbye:
		c.undeclareAll()
		return nil
	case typeAlive:
		return c.alive(r.Context(), b, out)
	}
	return status.Errorf(status.Invalid, "request of type %d, which this daemon does not know", r.Type)
}

// allow checks that the message was read in full and asks the policy.
func (c *client) allow(b *body, op transport.Op, keyExpr string) error {
	if err := b.err(); err != nil {
		return err
	}
	if c.o.Allow == nil {
		return nil
	}
	if err := transport.ValidKeyExpr(keyExpr); err != nil {
		return err // before a policy looks at it
	}
	err := c.o.Allow(op, keyExpr)
	if err != nil {
		c.o.Stats.Denied.Add(1)
	}
	return status.Wrap(status.Denied, err)
}

func (c *client) put(ctx context.Context, b *body) error {
	key := b.str()
	o := transport.PutOptions{Kind: transport.Kind(b.byte()), Congestion: transport.Congestion(b.byte())}
	o.Encoding, o.Attachment = b.str(), b.raw()
	payload := b.rest()
	if o.Kind > transport.Delete || o.Congestion > transport.Block {
		b.fail()
	}
	if err := c.allow(b, transport.OpPut, key); err != nil {
		return err
	}
	c.o.Stats.Puts.Add(1)
	return c.session.Put(ctx, key, payload, o)
}

func (c *client) get(r *frame.Request, b *body) {
	a := newAnswer(&c.link, r, b.num())
	sel := transport.Selector{KeyExpr: b.str(), Parameters: b.str()}
	o := transport.GetOptions{
		Target: transport.Target(b.byte()), Consolidation: transport.Consolidation(b.byte()), Timeout: b.timeout(),
		Encoding: b.str(), Attachment: b.raw(), Payload: b.rest(),
	}
	if o.Target > transport.AllComplete || o.Consolidation > transport.None {
		b.fail()
	}
	err := c.allow(b, transport.OpGet, sel.KeyExpr)
	if err == nil {
		c.o.Stats.Queries.Add(1)
		err = c.session.Get(r.Context(), sel, o, func(x transport.Reply) {
			if e := a.send(&x); status.Of(e) == status.Invalid { // too large for the connection
				_ = a.send(&transport.Reply{Err: &transport.ReplyError{Payload: []byte(e.Error())}})
			}
		})
	}
	a.finish(err)
}

// declare makes room for a declaration under id and calls make.
func (c *client) declare(b *body, op transport.Op, id uint64, expr string, make func(d *declared) (transport.Closer, error)) error {
	if err := c.allow(b, op, expr); err != nil {
		return err
	}
	d := &declared{gone: newGone()}
	c.declMu.Lock()
	_, twice := c.decls[id]
	full := len(c.decls) >= c.o.MaxDeclarations
	if !twice && !full {
		c.decls[id] = d
	}
	c.declMu.Unlock()
	switch {
	case twice:
		return status.Errorf(status.Invalid, "declaration %d exists already", id)
	case full:
		return status.Errorf(status.Overloaded, "%s %q: this connection has %d declarations, which is the most", op, expr, c.o.MaxDeclarations)
	}
	closer, err := make(d)
	if err != nil {
		c.undeclare(id)
		return err
	}
	c.declMu.Lock()
	d.closer = closer
	taken := c.decls[id] != d // back already: the client did not wait for the answer
	c.declMu.Unlock()
	if taken {
		return closer.Close()
	}
	return nil
}

func newGone() chan struct{} { return make(chan struct{}) }

// undeclare takes a declaration back. What it runs goes on, and ends as the client lets it.
func (c *client) undeclare(id uint64) {
	c.declMu.Lock()
	d := c.decls[id]
	delete(c.decls, id)
	var closer transport.Closer
	if d != nil {
		close(d.gone)
		closer = d.closer
	}
	c.declMu.Unlock()
	c.closeOut(id)
	if closer == nil {
		return
	}
	if u, ok := closer.(transport.Undeclarer); ok {
		u.Undeclare()
		return
	}
	_ = closer.Close()
}

func (c *client) undeclareAll() {
	c.declMu.Lock()
	ids := slices.Collect(maps.Keys(c.decls))
	c.declMu.Unlock()
	for _, id := range ids {
		c.undeclare(id)
	}
}

func (c *client) subscribe(b *body) error {
	id, expr, queue, window := b.num(), b.str(), b.num(), b.num()
	o := transport.SubscribeOptions{Queue: int(min(max(queue, 1), maxQueue))}
	return c.declare(b, transport.OpSubscribe, id, expr, func(d *declared) (transport.Closer, error) {
		return c.session.Subscribe(expr, o, c.sender(id, window, d))
	})
}

func (c *client) follow(b *body) error {
	id, expr, history, window := b.num(), b.str(), b.byte(), b.num()
	return c.declare(b, transport.OpLiveliness, id, expr, func(d *declared) (transport.Closer, error) {
		return c.session.SubscribeLiveliness(expr, history == 1, c.sender(id, window, d))
	})
}

// sender returns a handler that sends samples on a stream, as fast as the client takes them.
func (c *client) sender(id, window uint64, d *declared) func(transport.Sample) {
	flow := newOutflow(int(min(max(window, 1), maxQueue)))
	c.openOut(id, flow)
	return func(s transport.Sample) {
		c.sendItem(id, flow, &transport.Reply{Sample: s}, c.newlyDropped(), d.gone)
	}
}

// newlyDropped returns how many samples were lost that the client has not been told of.
func (c *client) newlyDropped() uint64 {
	if c.drops == nil {
		return 0
	}
	n := c.drops.Dropped()
	for {
		old := c.reported.Load()
		if n <= old {
			return 0
		}
		if c.reported.CompareAndSwap(old, n) {
			return n - old
		}
	}
}

func (c *client) token(b *body) error {
	id, key := b.num(), b.str()
	return c.declare(b, transport.OpToken, id, key, func(*declared) (transport.Closer, error) { return c.session.Token(key) })
}

func (c *client) queryable(b *body) error {
	id, expr := b.num(), b.str()
	o := transport.QueryableOptions{Complete: b.byte() == 1}
	return c.declare(b, transport.OpQueryable, id, expr, func(*declared) (transport.Closer, error) {
		return c.session.Queryable(expr, o, func(q transport.Query) { c.forward(id, q) })
	})
}

// forward passes a query on to the client and its replies back.
func (c *client) forward(id uint64, q transport.Query) {
	f := newInflow(&c.link, streamItems, func(r transport.Reply) {
		// An error means that the asker is gone, of which q's context tells the client.
		if r.Err != nil {
			_ = q.ReplyError(r.Err.Payload, r.Err.Encoding)
			return
		}
		s := &r.Sample
		_ = q.Reply(s.Key, s.Payload, transport.ReplyOptions{Encoding: s.Encoding, Attachment: s.Attachment})
	})
	c.open(f)
	h := newHead().num(id).num(f.id).str(q.KeyExpr()).str(q.Parameters()).remaining(q.Context().Deadline()).
		str(q.Encoding()).raw(q.Attachment())
	defer h.free()
	err := c.ask(q.Context(), f, typeQuery, h, q.Payload())
	switch {
	case status.Of(err) == status.Deadline:
		// The client's clock was a little faster. The query is not final, it has failed, as its own context is about to tell.
		select {
		case <-q.Context().Done():
		case <-c.conn.Done():
		}
	case errors.Is(err, frame.ErrBusy), errors.Is(err, frame.ErrTooLarge):
		_ = transport.ReplyStatus(q, callError("query", q.KeyExpr(), err, nil))
	}
}

func (c *client) alive(ctx context.Context, b *body, out *head) error {
	expr := b.str()
	if err := c.allow(b, transport.OpLiveliness, expr); err != nil {
		return err
	}
	var keys []string
	if err := c.session.GetLiveliness(ctx, expr, func(k string) { keys = append(keys, k) }); err != nil {
		return err
	}
	out.num(uint64(len(keys)))
	for _, k := range keys {
		out.str(k)
	}
	return nil
}
