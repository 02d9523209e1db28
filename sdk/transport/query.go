package transport

import (
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/lifetime"
	"github.com/essa-project/essad/sdk/status"
)

const (
	// defaultTimeout is Zenoh's default time for a query.
	defaultTimeout = 10 * time.Second
	// maxHeldReplies is how many keys a query with Latest holds replies for; one with more ends as Overloaded.
	maxHeldReplies = 64 << 10
)

type queryable struct {
	session  *session
	expr     string
	complete bool
	inline   bool
	h        func(Query)
	order    uint64 // older ones have lower numbers
	closed   closedFlag
}

func (s *session) Queryable(keyExpr string, opts QueryableOptions, h func(Query)) (Closer, error) {
	if err := ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	q := &queryable{
		session: s, expr: keyExpr, complete: opts.Complete, inline: opts.Inline, h: h, order: s.bus.declared.Add(1),
	}
	return s.declare(q, func() { s.bus.queryables.add(keyExpr, q) })
}

func (qb *queryable) withdraw() { qb.session.bus.queryables.remove(qb.expr, qb) }

func (qb *queryable) undeclare() {
	qb.withdraw()
	qb.closed.set()
	qb.session.bus.running.cancel(func(q *query) bool { return q.to == qb })
}

func (qb *queryable) join() {
	qb.session.bus.running.wait(func(q *query) bool { return q.to == qb })
}

// choose reduces the queryables that match to those that target means.
func choose(s *session, keyExpr string, target Target, all []*queryable) []*queryable {
	if target == All || len(all) == 0 {
		return all
	}
	wild := Wild(keyExpr)
	complete := func(q *queryable) bool { return q.complete && (!wild || Includes(q.expr, keyExpr)) }
	if target == AllComplete {
		out := all[:0]
		for _, q := range all {
			if complete(q) {
				out = append(out, q)
			}
		}
		return out
	}
	// The nearest complete one: of the same session, then the oldest, so that the choice is stable.
	var best *queryable
	for _, q := range all {
		if !complete(q) {
			continue
		}
		if best == nil || nearer(s, q, best) {
			best = q
		}
	}
	if best == nil {
		return all
	}
	all[0] = best
	return all[:1]
}

func nearer(s *session, a, b *queryable) bool {
	if ownA, ownB := a.session == s, b.session == s; ownA != ownB {
		return ownA
	}
	return a.order < b.order
}

// get is one Get under way.
type get struct {
	session *session
	ctx     context.Context // the asker's
	sel     Selector
	opts    GetOptions
	expires time.Time // when opts.Timeout is over; zero for never
	h       func(Reply)
	final   chan struct{} // nil where the one handler runs on the asker's goroutine

	mu       sync.Mutex // held while h runs, so that Get does not return before h has
	pending  int        // queries that are not final
	over     bool       // Get is about to return
	cut      bool       // a handler noticed that the asker gave up
	overflow bool
	held     []Reply
	heldKeys map[string]int // indexes of held, where there are many

	first query // saves an allocation for the usual query to one queryable
}

func (s *session) Get(ctx context.Context, sel Selector, opts GetOptions, h func(Reply)) error {
	var buf [8]*queryable
	targets, known := s.bus.queryables.match(sel.KeyExpr, buf[:0])
	if !known {
		if err := ValidKeyExpr(sel.KeyExpr); err != nil {
			return err
		}
	}
	if s.isDone() {
		return s.endError()
	}
	if ctx.Err() != nil {
		return contextError(ctx, "query", sel.KeyExpr)
	}
	if targets = choose(s, sel.KeyExpr, opts.Target, targets); len(targets) == 0 {
		return nil
	}
	g := &get{session: s, ctx: ctx, sel: sel, opts: opts, h: h, pending: len(targets)}
	g.setExpiry()
	if len(targets) == 1 {
		g.first.get, g.first.to = g, targets[0]
		if targets[0].inline {
			g.first.run()
			return g.close(g.verdict())
		}
		g.final = make(chan struct{})
		go g.first.run()
		return g.close(g.wait(nil))
	}
	g.final = make(chan struct{})
	queries := make([]query, len(targets))
	for i, to := range targets {
		queries[i].get, queries[i].to = g, to
		go queries[i].run()
	}
	return g.close(g.wait(queries))
}

func (g *get) setExpiry() {
	switch {
	case g.opts.Timeout > 0:
		g.expires = time.Now().Add(g.opts.Timeout)
	case g.opts.Timeout == 0:
		if _, ok := g.ctx.Deadline(); !ok {
			g.expires = time.Now().Add(defaultTimeout)
		}
	}
}

// deadline returns the earlier of the time-out and the asker's own deadline.
func (g *get) deadline() (time.Time, bool) {
	d, ok := g.ctx.Deadline()
	if g.expires.IsZero() || (ok && d.Before(g.expires)) {
		return d, ok
	}
	return g.expires, true
}

// wait blocks until every query is final or the asker gives up, in which case it ends the contexts of the queries.
func (g *get) wait(queries []query) error {
	var expired <-chan time.Time
	if !g.expires.IsZero() {
		t := time.NewTimer(time.Until(g.expires))
		defer t.Stop()
		expired = t.C
	}
	var err error
	select {
	case <-g.final:
		return g.verdict()
	case <-g.ctx.Done():
	case <-expired:
	case <-g.session.done:
	}
	err = g.endError()
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	if queries == nil {
		g.first.cancel()
	}
	for i := range queries {
		queries[i].cancel()
	}
	return err
}

// verdict returns the error of a query that is final. It is one where a handler has noticed that the asker gave up:
// what it did then was not to answer.
func (g *get) verdict() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		return g.endError()
	}
	return nil
}

// endError tells why the asker gave up.
func (g *get) endError() error {
	switch {
	case g.ctx.Err() != nil:
		return contextError(g.ctx, "query", g.sel.KeyExpr)
	case g.session.isDone():
		return g.session.endError()
	case g.expires.IsZero() || time.Now().Before(g.expires):
		// The handler's clock was a little faster than that of ctx.
		return status.Errorf(status.Deadline, "query %q: %w", g.sel.KeyExpr, context.DeadlineExceeded)
	}
	return status.Errorf(status.Deadline, "query %q: no final answer within %v", g.sel.KeyExpr, g.timeout())
}

func (g *get) timeout() time.Duration {
	if g.opts.Timeout > 0 {
		return g.opts.Timeout
	}
	return defaultTimeout
}

// close delivers what was held back, unless err says that the query failed as a whole.
func (g *get) close(err error) error {
	g.mu.Lock()
	g.over = true
	held, overflow := g.held, g.overflow
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if overflow {
		return status.Errorf(status.Overloaded, "query %q: replies for more than %d keys (ask without consolidation)",
			g.sel.KeyExpr, maxHeldReplies)
	}
	for i := range held {
		g.h(held[i])
	}
	return nil
}

// deliver hands a reply to the asker. Replies are held back for Latest; errors never are.
func (g *get) deliver(q *query, r *Reply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case q.done:
		return status.Errorf(status.Invalid, "reply on %q: the handler has returned, so the query is final", g.sel.KeyExpr)
	case g.over || q.late():
		return status.Errorf(status.Cancelled, "reply on %q: the asker no longer waits", g.sel.KeyExpr)
	case g.opts.Consolidation == Latest && r.Err == nil:
		return g.hold(r)
	}
	g.h(*r)
	return nil
}

func (g *get) hold(r *Reply) error {
	const few = 16
	if g.heldKeys == nil {
		for i := range g.held {
			if g.held[i].Sample.Key == r.Sample.Key {
				g.held[i] = *r
				return nil
			}
		}
		if len(g.held) == few {
			g.heldKeys = make(map[string]int, 2*few)
			for i := range g.held {
				g.heldKeys[g.held[i].Sample.Key] = i
			}
		}
	}
	if g.heldKeys != nil {
		if i, ok := g.heldKeys[r.Sample.Key]; ok {
			g.held[i] = *r
			return nil
		}
		if len(g.held) >= maxHeldReplies {
			g.overflow = true
			return status.Errorf(status.Overloaded, "reply on %q: replies for more than %d keys", g.sel.KeyExpr, maxHeldReplies)
		}
		g.heldKeys[r.Sample.Key] = len(g.held)
	}
	g.held = append(g.held, *r)
	return nil
}

// query is one query at one queryable.
type query struct {
	get  *get
	to   *queryable
	done bool // the handler has returned; guarded by get.mu
	life lifetime.Lifetime

	self       uintptr // the goroutine of the handler
	prev, next *query  // in running
}

// run calls the handler, unless the queryable was closed meanwhile, and makes the query final.
func (q *query) run() {
	table := &q.to.session.bus.running
	defer q.finish() // also when the handler ends its goroutine
	stripe := table.enter(q)
	defer table.leave(q, stripe)
	if q.to.closed.isSet() {
		return
	}
	q.to.h(q)
}

func (q *query) finish() {
	g := q.get
	late := q.late()
	g.mu.Lock()
	g.cut = g.cut || late
	q.done = true
	g.pending--
	final := g.pending == 0
	g.mu.Unlock()
	q.cancel()
	if final && g.final != nil {
		close(g.final)
	}
}

func (q *query) KeyExpr() string    { return q.get.sel.KeyExpr }
func (q *query) Parameters() string { return q.get.sel.Parameters }
func (q *query) Payload() []byte    { return q.get.opts.Payload }
func (q *query) Encoding() string   { return q.get.opts.Encoding }
func (q *query) Attachment() []byte { return q.get.opts.Attachment }

func (q *query) Reply(key string, payload []byte, opts ReplyOptions) error {
	if err := CheckReplyKey(q.get.sel.KeyExpr, key); err != nil {
		return err
	}
	return q.get.deliver(q, &Reply{Sample: Sample{
		Key: key, Payload: payload, Encoding: opts.Encoding, Attachment: opts.Attachment,
	}})
}

func (q *query) ReplyError(payload []byte, encoding string) error {
	return q.get.deliver(q, &Reply{Err: &ReplyError{Payload: payload, Encoding: encoding}})
}
