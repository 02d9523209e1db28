package zenoh

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// QueryableOptions are the optional parts of a queryable. nil and the zero value mean the defaults.
type QueryableOptions struct {
	// Complete says that it knows everything about its key expression, so that one like it is enough for a query with the target
	// BestMatching.
	Complete bool
	// Inline promises that the handler heeds the query's context, and so returns soon after it ends. A Get of the same node
	// then runs it on its own goroutine, which saves two switches.
	Inline bool
	// Quick promises that the handler never waits, neither for another query nor for a lock that is held while one is made. It
	// is then run on the goroutine that reads the link, which saves a switch.
	Quick bool
}

// Queryable answers queries. Its handler runs on a goroutine of its own for each of them.
type Queryable struct {
	session *Session
	key     KeyExpr
	id      uint32
	o       QueryableOptions
	call    func(*Query)
	drop    func()
	dropped sync.Once
	ch      <-chan *Query
	ending  chan struct{}
	closed  atomic.Bool
	hidden  sync.Once
}

// DeclareQueryable has h get every query that intersects key. A query is final, as far as this queryable is concerned, when a
// Closure's Call returns or, where it has called Query.Keep, and for channels, by Query.Drop.
func (s *Session) DeclareQueryable(key KeyExpr, h Handler[*Query], o *QueryableOptions) (*Queryable, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	q := &Queryable{session: s, key: key, id: s.nextID.Add(1), ending: make(chan struct{})}
	if o != nil {
		q.o = *o
	}
	q.call, q.drop, q.ch = h.bind(q.ending)
	if q.ch != nil {
		put := q.call
		q.call = func(x *Query) {
			x.Keep()
			put(x)
		}
	}
	err := s.declare(q, func() {
		s.queryables.add(key.s, q)
		s.sendDeclare(wire.Declaration{Kind: wire.DeclQueryable, ID: q.id, Complete: q.o.Complete}, key.s)
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// KeyExpr is what is answered for.
func (qb *Queryable) KeyExpr() KeyExpr { return qb.key }

// ID names the queryable in the whole system.
func (qb *Queryable) ID() EntityGlobalID { return EntityGlobalID{ZID: qb.session.ZID(), EID: qb.id} }

// Handler is the channel of a FifoChannel or RingChannel, nil for a Closure.
func (qb *Queryable) Handler() <-chan *Query { return qb.ch }

// Undeclare ends the queryable: it gets no more queries, the contexts of those under way end, and it waits for their
// handlers, but for the one it is called from. Doing so twice is harmless.
func (qb *Queryable) Undeclare() error { return qb.session.undeclare(qb) }

// Withdraw is Undeclare as far as others see it, but leaves the handlers that run, and the contexts of their queries, alone.
func (qb *Queryable) Withdraw() {
	qb.hidden.Do(func() {
		s := qb.session
		s.sendDeclare(wire.Declaration{Kind: wire.UndeclQueryable, ID: qb.id}, "")
		s.queryables.remove(qb.key.s, qb)
	})
}

func (qb *Queryable) withdraw() {
	qb.Withdraw()
	qb.closed.Store(true)
	close(qb.ending)
	qb.session.requests.cancelWhere(func(q *Query) bool { return q.to == qb })
}

func (qb *Queryable) join() {
	within := qb.session.requests.wait(func(q *Query) bool { return q.to == qb })
	if qb.drop != nil && !within {
		qb.dropped.Do(qb.drop)
	}
}
