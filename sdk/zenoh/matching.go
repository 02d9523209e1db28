package zenoh

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/internal/route"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// matching is what publishers and queriers have in common: a key, and whether somebody is there for it.
type matching struct {
	session *Session
	key     KeyExpr
	id      uint32
	cancel  func() // ends the watch
	gone    atomic.Bool
	matches atomic.Bool

	mu       sync.Mutex
	listener *statusQueue
}

// declare has the router tell of matching declarations. self is what contains m.
func (m *matching) declare(s *Session, key KeyExpr, kind route.Kind, complete bool, self declaration) error {
	if err := key.check(); err != nil {
		return err
	}
	m.session, m.key, m.id = s, key, s.nextID.Add(1)
	return s.declare(self, func() { m.cancel = s.node.router.Watch(s.face, kind, key.s, complete, m.set) })
}

// set is told of a change.
func (m *matching) set(now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.matches.Store(now)
	if m.listener != nil {
		m.listener.set(now)
	}
}

func (m *matching) withdraw() {
	m.gone.Store(true)
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listener != nil {
		m.listener.q.Stop()
	}
}

func (m *matching) join() {
	m.mu.Lock()
	l := m.listener
	m.mu.Unlock()
	if l != nil {
		l.q.Join()
	}
}

// KeyExpr is what it was declared on.
func (m *matching) KeyExpr() KeyExpr { return m.key }

// ID names it in the whole system.
func (m *matching) ID() EntityGlobalID { return EntityGlobalID{ZID: m.session.ZID(), EID: m.id} }

// MatchingStatus tells whether somebody was there when it was last heard of: a subscriber for a publisher, a queryable for a
// querier.
type MatchingStatus struct{ Matching bool }

// MatchingStatus returns the status as it is known now.
func (m *matching) MatchingStatus() MatchingStatus { return MatchingStatus{m.matches.Load()} }

// OnMatching has f called with the status now and after every change, one call at a time, on a goroutine of its own. It
// replaces what was set before; nil ends it.
func (m *matching) OnMatching(f func(MatchingStatus)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listener != nil {
		m.listener.q.Stop()
		m.listener = nil
	}
	if f != nil && !m.gone.Load() {
		m.listener = newStatusQueue(m.session, f)
		m.listener.set(m.matches.Load())
	}
}

// statusQueue calls a listener with the latest status; those that were overtaken are left out.
type statusQueue struct{ q queue }

func newStatusQueue(s *Session, f func(MatchingStatus)) *statusQueue {
	x := &statusQueue{}
	last, first := false, true
	x.q.init(s.node, 2, true, func(sample Sample) {
		if now := sample.Kind == SampleKindPut; first || now != last {
			first, last = false, now
			f(MatchingStatus{now})
		}
	}, nil)
	return x
}

func (x *statusQueue) set(matches bool) {
	s := Sample{Kind: SampleKindDelete}
	if matches {
		s.Kind = SampleKindPut
	}
	x.q.Offer(&s)
}

// declared takes a DECLARE: a token, or the end of an answer.
func (s *Session) declared(m *wire.Message) {
	switch m.Decl.Kind {
	case wire.DeclToken, wire.UndeclToken:
		s.token(m)
	case wire.DeclFinal:
		s.listed(m.InterestID)
	default: // a session asks for nothing else
	}
}

// QuerierOptions are the optional parts of a querier. nil and the zero value mean the defaults.
type QuerierOptions struct {
	Target            QueryTarget
	Consolidation     ConsolidationMode
	Timeout           time.Duration
	CongestionControl CongestionControl
	Priority          Priority
	Express           bool
	AcceptReplies     ReplyKeyExpr
}

// QuerierGetOptions are the optional parts of a querier's Get.
type QuerierGetOptions struct {
	Payload    []byte
	HasPayload bool
	Encoding   Encoding
	Attachment []byte
}

// Querier queries one key expression; it knows whether somebody answers.
type Querier struct {
	matching
	o QuerierOptions
}

// DeclareQuerier declares a querier on key.
func (s *Session) DeclareQuerier(key KeyExpr, o *QuerierOptions) (*Querier, error) {
	q := &Querier{}
	if o != nil {
		q.o = *o
	}
	if err := q.declare(s, key, route.Queryable, q.o.Target == QueryTargetAllComplete, q); err != nil {
		return nil, err
	}
	return q, nil
}

// Get sends a query, as Session.Get does.
func (q *Querier) Get(ctx context.Context, parameters string, h func(Reply), o *QuerierGetOptions) error {
	if q.gone.Load() {
		return ErrClosed
	}
	get := GetOptions{
		Target: q.o.Target, Consolidation: q.o.Consolidation, Timeout: q.o.Timeout, CongestionControl: q.o.CongestionControl,
		Priority: q.o.Priority, Express: q.o.Express, AcceptReplies: q.o.AcceptReplies,
	}
	if o != nil {
		get.Payload, get.HasPayload, get.Encoding, get.Attachment = o.Payload, o.HasPayload, o.Encoding, o.Attachment
	}
	return q.session.Get(ctx, q.key, parameters, h, &get)
}

// Undeclare ends the querier.
func (q *Querier) Undeclare() error { return q.session.undeclare(q) }
