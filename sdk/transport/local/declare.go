package local

import (
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/internal/self"
)

// declareTimeout bounds the declarations and their end, which have no context: a daemon that does not answer for so long
// is in trouble.
const declareTimeout = 30 * time.Second

// declare enters d under id and tells the daemon of it.
func (s *session) declare(id uint64, d declaration, what, key string, typ uint8, h *head) (transport.Closer, error) {
	defer h.free()
	s.declMu.Lock()
	if s.ended != nil {
		s.declMu.Unlock()
		return nil, s.ended
	}
	s.decls[id] = d
	s.declMu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), declareTimeout)
	defer cancel()
	if _, err := s.call(ctx, typ, h, nil); err != nil {
		s.forget(id)
		d.stop()
		d.join()
		return nil, s.wrap(what, key, err)
	}
	return &closer{session: s, id: id, d: d}, nil
}

func (s *session) forget(id uint64) {
	s.declMu.Lock()
	defer s.declMu.Unlock()
	delete(s.decls, id)
}

// closer takes a declaration back.
type closer struct {
	session *session
	id      uint64
	d       declaration
	once    sync.Once
	err     error
}

// Close returns an error if the daemon does not answer; what was declared is gone here nevertheless.
func (c *closer) Close() error {
	c.once.Do(func() {
		c.d.stop()
		ctx, cancel := context.WithTimeout(context.Background(), declareTimeout)
		defer cancel()
		h := newHead().num(c.id)
		defer h.free()
		_, err := c.session.call(ctx, typeUndeclare, h, nil)
		if err != nil && c.session.conn.Err() == nil {
			c.err = c.session.wrap("undeclare", "", err)
		}
		c.session.forget(c.id)
	})
	c.d.join()
	return c.err
}

// subscription is the stream of a subscription.
type subscription struct{ *inflow }

func (d subscription) stop() {
	d.link.close(d.inflow)
	d.inflow.stop()
}

func (s *session) Subscribe(keyExpr string, o transport.SubscribeOptions, h func(transport.Sample)) (transport.Closer, error) {
	if err := transport.ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	queue := min(o.Queue, maxQueue)
	if queue <= 0 {
		queue = 1024
	}
	// One half waits here and one at the daemon.
	window := max(queue/2, 1)
	f := newInflow(&s.link, window, func(r transport.Reply) { h(r.Sample) })
	s.open(f)
	b := newHead().num(f.id).str(keyExpr).num(uint64(max(queue-window, 1))).num(uint64(window))
	return s.declare(f.id, subscription{f}, "subscribe to", keyExpr, typeSubscribe, b)
}

func (s *session) SubscribeLiveliness(keyExpr string, history bool, h func(transport.Sample)) (transport.Closer, error) {
	if err := transport.ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	f := newInflow(&s.link, streamItems, func(r transport.Reply) { h(r.Sample) })
	s.open(f)
	b := newHead().num(f.id).str(keyExpr).flag(history).num(streamItems)
	return s.declare(f.id, subscription{f}, "follow tokens on", keyExpr, typeFollow, b)
}

// token has no handlers.
type token struct{}

func (token) stop() {}
func (token) join() {}

func (s *session) Token(key string) (transport.Closer, error) {
	if err := transport.ValidKeyExpr(key); err != nil {
		return nil, err
	}
	id := s.nextID()
	return s.declare(id, token{}, "declare a token on", key, typeToken, newHead().num(id).str(key))
}

// queryable answers the queries that the daemon passes on.
type queryable struct {
	h func(transport.Query)

	mu      sync.Mutex
	left    sync.Cond // on mu: a handler has returned
	running map[*query]struct{}
	stopped bool
}

func (s *session) Queryable(keyExpr string, o transport.QueryableOptions, h func(transport.Query)) (transport.Closer, error) {
	if err := transport.ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	d := &queryable{h: h, running: map[*query]struct{}{}}
	d.left.L = &d.mu
	id := s.nextID()
	b := newHead().num(id).str(keyExpr).flag(o.Complete)
	return s.declare(id, d, "answer queries on", keyExpr, typeQueryable, b)
}

func (d *queryable) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	for q := range d.running {
		q.cancel()
	}
}

func (d *queryable) join() {
	me := self.Goroutine()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.busy(me) {
		d.left.Wait()
	}
}

// busy reports whether a handler of another goroutine than me runs.
func (d *queryable) busy(me uintptr) bool {
	for q := range d.running {
		if q.self != me {
			return true
		}
	}
	return false
}

// enter reports whether the queryable still takes queries.
func (d *queryable) enter(q *query) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return false
	}
	q.self = self.Goroutine()
	d.running[q] = struct{}{}
	return true
}

func (d *queryable) leave(q *query) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, q)
	d.left.Broadcast()
}

// handle takes the daemon's requests. It runs on the goroutine that reads.
func (s *session) handle(r *frame.Request) { go s.answer(r) }

func (s *session) answer(r *frame.Request) {
	<-s.ready
	b := own(&r.Frame)
	id, stream := b.num(), b.num()
	q := &query{keyExpr: b.str(), parameters: b.str()}
	if timeout := b.timeout(); timeout > 0 {
		r.SetDeadline(time.Now().Add(timeout))
	}
	q.encoding, q.attachment, q.payload = b.str(), b.raw(), b.rest()
	if err := b.err(); err != nil {
		fail(r, err)
		return
	}
	q.out = newAnswer(&s.link, r, stream)
	defer q.out.finish(nil) // also when the handler ends its goroutine
	s.declMu.Lock()
	d, ok := s.decls[id].(*queryable)
	s.declMu.Unlock()
	if !ok { // closed meanwhile
		return
	}
	q.ctx, q.cancel = context.WithCancel(r.Context())
	defer q.cancel()
	if !d.enter(q) {
		return
	}
	defer d.leave(q)
	d.h(q)
}

// query is a query that the daemon passed on.
type query struct {
	keyExpr, parameters string
	payload             []byte
	encoding            string
	attachment          []byte
	ctx                 context.Context
	cancel              context.CancelFunc
	out                 *answer
	self                uintptr // the goroutine of the handler
}

func (q *query) Context() context.Context { return q.ctx }
func (q *query) KeyExpr() string          { return q.keyExpr }
func (q *query) Parameters() string       { return q.parameters }
func (q *query) Payload() []byte          { return q.payload }
func (q *query) Encoding() string         { return q.encoding }
func (q *query) Attachment() []byte       { return q.attachment }

func (q *query) Reply(key string, payload []byte, o transport.ReplyOptions) error {
	if err := transport.CheckReplyKey(q.keyExpr, key); err != nil {
		return err
	}
	return q.send(&transport.Reply{Sample: transport.Sample{
		Key: key, Payload: payload, Encoding: o.Encoding, Attachment: o.Attachment,
	}})
}

func (q *query) ReplyError(payload []byte, encoding string) error {
	return q.send(&transport.Reply{Err: &transport.ReplyError{Payload: payload, Encoding: encoding}})
}

func (q *query) send(r *transport.Reply) error {
	if err := q.out.send(r); err != nil {
		return status.Errorf(status.Of(err), "reply on %q: %w", q.keyExpr, err)
	}
	return nil
}
