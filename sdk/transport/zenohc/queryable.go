//go:build zenohc

package zenohc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// maxQueryTime ends the context of a query whose end is not seen: the library does not tell how long its asker waits.
const maxQueryTime = 10 * time.Minute

// asker is who waits for an answer, and the number of its query. Only nodes of this package say that.
type asker struct {
	zid zid
	sn  uint32
}

// queryable is a declared one.
type queryable struct {
	handle
	session *session
	h       func(transport.Query)
	closed  atomic.Bool
}

// Queryable implements transport.Session.
func (s *session) Queryable(keyExpr string, o transport.QueryableOptions, h func(transport.Query)) (transport.Closer, error) {
	if err := s.check(context.Background(), "answer queries on", keyExpr); err != nil {
		return nil, err
	}
	k, err := expr(keyExpr)
	if err != nil {
		return nil, err
	}
	if err := s.node.hear(); err != nil {
		return nil, classify("answer queries on", keyExpr, err)
	}
	d := &queryable{session: s, h: h}
	return s.declare(d, "answer queries on", keyExpr, func(n *native.Session) error {
		qb, err := n.DeclareQueryable(k, native.Closure[native.Query]{Call: d.call}, &native.QueryableOptions{Complete: o.Complete})
		if err == nil {
			d.set(qb.Drop)
		}
		return err
	})
}

func (d *queryable) undeclare() {
	d.closed.Store(true)
	d.session.node.queries.each(func(q *query) {
		if q.to == d {
			q.end()
		}
	})
	d.close()
}

func (d *queryable) join() {
	d.session.node.queries.wait(func(q *query) bool { return q.to == d })
}

// call is called by threads of the library for each query.
func (d *queryable) call(x native.Query) {
	q := &query{to: d, native: x}
	if info := x.SourceInfo(); info.IsSome() {
		i := info.Unwrap()
		q.asked, q.asker = true, asker{zidOf(i.Id().ZId()), i.Sn()}
	}
	q.ctx, q.end = context.WithTimeout(context.Background(), maxQueryTime)
	if !d.session.node.queries.enter(q) {
		_ = transport.ReplyStatus(q, status.Errorf(status.Overloaded, "query %q: this node answers as many as it may", q.KeyExpr()))
		q.finish()
		return
	}
	go q.run()
}

// query is one query at one queryable.
type query struct {
	to     *queryable
	native native.Query
	asked  bool // asker is known
	asker  asker
	ctx    context.Context
	end    context.CancelFunc
	gone   atomic.Bool // nobody waits for the answer
	self   uintptr     // the goroutine of the handler; guarded by queries.mu

	mu    sync.Mutex // held while the library sends a reply
	final bool
}

func (q *query) run() {
	table := &q.to.session.node.queries
	defer table.leave(q)
	defer q.finish() // also when the handler ends its goroutine
	table.began(q)
	if !q.to.closed.Load() {
		q.to.h(q)
	}
}

// finish makes the query final.
func (q *query) finish() {
	q.mu.Lock()
	q.final = true
	q.native.Drop()
	q.mu.Unlock()
	q.end()
}

func (q *query) Context() context.Context { return q.ctx }
func (q *query) KeyExpr() string          { return q.native.KeyExpr().String() }
func (q *query) Parameters() string       { return q.native.Parameters() }
func (q *query) Payload() []byte          { return unbytes(q.native.Payload()) }
func (q *query) Attachment() []byte       { return unbytes(q.native.Attachement()) }

func (q *query) Encoding() string {
	if e := q.native.Encoding(); e.IsSome() {
		return encodingText(e.Unwrap())
	}
	return ""
}

func (q *query) Reply(key string, payload []byte, o transport.ReplyOptions) error {
	if err := transport.CheckReplyKey(q.KeyExpr(), key); err != nil {
		return err
	}
	k, err := expr(key)
	if err != nil {
		return err
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return err
	}
	return q.send(func() error {
		return q.native.Reply(k, native.NewZBytes(payload), &native.QueryReplyOptions{Encoding: e, Attachement: filled(o.Attachment)})
	})
}

func (q *query) ReplyError(payload []byte, enc string) error {
	e, err := encoding(enc)
	if err != nil {
		return err
	}
	return q.send(func() error {
		return q.native.ReplyErr(native.NewZBytes(payload), &native.QueryReplyErrOptions{Encoding: e})
	})
}

func (q *query) send(f func() error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.final:
		return status.Errorf(status.Invalid, "reply on %q: the handler has returned, so the query is final", q.KeyExpr())
	case q.gone.Load():
		return status.Errorf(status.Cancelled, "reply on %q: the asker no longer waits", q.KeyExpr())
	}
	return classify("reply on", q.KeyExpr(), q.to.session.node.use(func(*native.Session) error { return f() }))
}

// queries are those of a node that are not final.
type queries struct {
	limit int

	mu   sync.Mutex
	all  map[*query]struct{}
	left sync.Cond // on mu: a handler has returned
}

func (t *queries) init(limit int) {
	t.limit, t.all, t.left.L = limit, map[*query]struct{}{}, &t.mu
}

// enter reports whether there is room for q.
func (t *queries) enter(q *query) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= t.limit {
		return false
	}
	t.all[q] = struct{}{}
	return true
}

func (t *queries) began(q *query) {
	t.mu.Lock()
	q.self = self.Goroutine()
	t.mu.Unlock()
}

func (t *queries) leave(q *query) {
	t.mu.Lock()
	delete(t.all, q)
	t.left.Broadcast()
	t.mu.Unlock()
}

func (t *queries) each(f func(q *query)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for q := range t.all {
		f(q)
	}
}

// cancel ends the contexts of queries that nobody waits for.
func (t *queries) cancel(match func(q *query) bool) {
	t.each(func(q *query) {
		if match(q) {
			q.gone.Store(true)
			q.end()
		}
	})
}

// wait waits for the handlers of the queries that match, but for the caller's own.
func (t *queries) wait(match func(q *query) bool) {
	self := self.Goroutine()
	t.mu.Lock()
	defer t.mu.Unlock()
	busy := func() bool {
		for q := range t.all {
			if match(q) && q.self != self {
				return true
			}
		}
		return false
	}
	for busy() {
		t.left.Wait()
	}
}
