package zenoh

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// anyKeyParameter in a query's parameters allows replies with any key.
const anyKeyParameter = "_anyke"

// request is one REQUEST to this session: the queries that it is to its queryables, and when all of them are final.
type request struct {
	session    *Session
	rid        uint32
	qos        wire.QoS
	key        string
	parameters string
	payload    []byte
	hasPayload bool
	encoding   Encoding
	attachment []byte
	source     SourceInfo
	expires    time.Time

	mu      sync.Mutex
	pending int  // queries that are not final
	gone    bool // nobody waits any more
	first   Query
	more    []Query
}

// Query is one query at one queryable.
type Query struct {
	req  *request
	to   *Queryable
	life life
	out  replies

	// These are guarded by req.mu.
	kept     bool
	dropped  bool // nothing is replied any more, though the handler may not have returned
	returned bool
	final    bool

	self uintptr // the goroutine of the handler
}

// asked takes a REQUEST. Whatever becomes of it, it is answered by one RESPONSE_FINAL.
func (s *Session) asked(m *wire.Message) {
	found := s.queryables.find(m.Key.Suffix)
	to := chosen(found.key, found.list, m.Target)
	if len(to) == 0 {
		s.sendFinal(m.RequestID, m.QoS)
		return
	}
	r := s.newRequest(m, found.key, to)
	here := false
	if len(to) == 1 {
		here = r.mayRunHere(to[0], s.node.tasks.mine())
	}
	if !s.requests.enter(r) {
		s.refuse(r)
		return
	}
	if here {
		r.first.run()
		return
	}
	r.each(func(q *Query) bool {
		s.node.runners.run(q)
		return true
	})
}

// mayRunHere reports whether the only handler of r may run on the calling goroutine, of which t is the task.
func (r *request) mayRunHere(qb *Queryable, t *task) bool {
	if t != nil && t.get != nil && (qb.o.Inline || qb.o.Quick) {
		r.first.life.asker = t.get
		return true
	}
	return qb.o.Quick
}

// chosen reduces the queryables that match to those that target means. Other implementations hand a query to all that match
// within a session; one complete one is enough.
func chosen(key string, all []*Queryable, target wire.Target) []*Queryable {
	if target == wire.All || len(all) == 0 {
		return all
	}
	complete := func(q *Queryable) bool { return q.o.Complete && (q.key.s == key || keyexpr.Includes(q.key.s, key)) }
	if target == wire.AllComplete {
		return slices.DeleteFunc(slices.Clone(all), func(q *Queryable) bool { return !complete(q) })
	}
	for i := range all {
		if complete(all[i]) {
			return all[i : i+1]
		}
	}
	return all
}

func (s *Session) newRequest(m *wire.Message, key string, to []*Queryable) *request {
	b := &m.Body
	r := &request{
		session: s, rid: m.RequestID, qos: m.QoS, key: key, parameters: b.Parameters,
		payload: b.Payload, hasPayload: b.HasPayload, encoding: b.Encoding, attachment: b.Attachment, source: b.Source,
	}
	if !m.Owned {
		r.payload, r.attachment = slices.Clone(b.Payload), slices.Clone(b.Attachment)
		r.parameters, r.encoding.Schema = string([]byte(b.Parameters)), string([]byte(b.Encoding.Schema))
	}
	timeout := s.node.cfg.QueryTimeout
	if m.TimeoutMS != 0 {
		timeout = time.Duration(m.TimeoutMS) * time.Millisecond
	}
	r.expires = time.Now().Add(timeout)
	r.pending = len(to)
	if len(to) == 1 {
		r.first.req, r.first.to = r, to[0]
		return r
	}
	r.more = make([]Query, len(to))
	for i, qb := range to {
		r.more[i].req, r.more[i].to = r, qb
	}
	return r
}

// refuse answers one query too many.
func (s *Session) refuse(r *request) {
	m := newMessage(wire.Response, r.qos)
	m.RequestID, m.Key = r.rid, wire.WireExpr{Sender: true, Suffix: r.key}
	m.Responder = s.EntityGlobalID()
	m.Body.Kind, m.Body.Encoding = wire.Err, textPlain
	m.Body.Payload = []byte("the session answers as many queries as it may at a time already")
	s.send(m, s.done)
	s.sendFinal(r.rid, r.qos)
}

var textPlain = func() Encoding {
	e, _ := wire.ParseEncoding("text/plain")
	return e
}()

func (s *Session) sendFinal(rid uint32, q wire.QoS) {
	m := newMessage(wire.ResponseFinal, q)
	m.RequestID = rid
	s.send(m, s.done)
}

// run calls the handler, unless the queryable was closed meanwhile.
func (q *Query) run() {
	defer q.leave() // also when the handler ends its goroutine
	q.req.session.requests.begin(q, self.Goroutine())
	if q.to.closed.Load() {
		return
	}
	q.to.call(q)
}

// leave is the end of the handler.
func (q *Query) leave() {
	r := q.req
	r.session.requests.finished(q)
	r.mu.Lock()
	q.returned = true
	kept := q.kept && !q.to.closed.Load()
	r.mu.Unlock()
	if kept {
		q.life.leaveAsker()
		return
	}
	q.end()
}

// Keep makes the query outlive its handler: it is final when Drop is called, and has to be.
func (q *Query) Keep() {
	q.req.mu.Lock()
	defer q.req.mu.Unlock()
	q.kept = true
}

// Drop makes the query final; nothing can be replied any more. It is for those who have kept it, or got it from a channel.
// Dropping twice is harmless.
func (q *Query) Drop() {
	r := q.req
	r.mu.Lock()
	q.dropped = q.dropped || q.kept // of others a handler that closes its queryable may still reply
	q.kept = false
	returned := q.returned
	r.mu.Unlock()
	if returned {
		q.end()
	}
}

// end makes the query final, and the request if it was the last: the reply that was held back leaves before its RESPONSE_FINAL,
// and with it.
func (q *Query) end() {
	r := q.req
	asker := q.life.with()
	late := asker != nil && q.late()
	r.mu.Lock()
	if q.final {
		r.mu.Unlock()
		return
	}
	q.final = true
	gone := r.gone
	r.mu.Unlock()
	if late {
		asker.cut()
	}
	q.cancel()
	held := q.lastHeld()
	if held != nil && gone {
		recycle(held)
		held = nil
	}
	if held == nil {
		r.finish()
		return
	}
	links := r.session.node.links
	links.Cork()
	r.session.send(held, r.session.done)
	r.finish()
	if r.session.requests.busy() {
		r.session.node.yields.yield()
	}
	links.Uncork()
}

// finish is the end of one query. After the last one the request is final.
func (r *request) finish() {
	r.mu.Lock()
	r.pending--
	last, gone := r.pending == 0, r.gone
	r.mu.Unlock()
	if !last {
		return
	}
	r.session.requests.leave(r)
	if !gone {
		r.session.sendFinal(r.rid, r.qos)
	}
}

// KeyExpr is what is asked for.
func (q *Query) KeyExpr() KeyExpr { return KeyExpr{q.req.key} }

// Parameters are what stands after the "?" of the selector, as "a=1;b=2".
func (q *Query) Parameters() string { return q.req.parameters }

// Payload is the payload of the query; HasPayload tells an empty one from none.
func (q *Query) Payload() []byte { return q.req.payload }

// HasPayload reports whether the query has a payload.
func (q *Query) HasPayload() bool { return q.req.hasPayload }

// Encoding is the payload's.
func (q *Query) Encoding() Encoding { return q.req.encoding }

// Attachment is the query's; nil means none.
func (q *Query) Attachment() []byte { return q.req.attachment }

// SourceInfo says who asks, where they say.
func (q *Query) SourceInfo() SourceInfo { return q.req.source }

// Deadline is when the asker stops waiting.
func (q *Query) Deadline() time.Time { return q.req.expires }

// AcceptsReplies says which keys replies may have.
func (q *Query) AcceptsReplies() ReplyKeyExpr {
	if hasParameter(q.req.parameters, anyKeyParameter) {
		return ReplyKeyExprAny
	}
	return ReplyKeyExprMatchingQuery
}

// ReplyOptions are the optional parts of a reply. nil and the zero value mean the defaults.
type ReplyOptions struct {
	Encoding   Encoding
	Attachment []byte
	Timestamp  Timestamp
	Express    bool
	SourceInfo SourceInfo
}

// ReplyDelOptions are the optional parts of a reply that says that a key is deleted.
type ReplyDelOptions struct {
	Attachment []byte
	Timestamp  Timestamp
	Express    bool
	SourceInfo SourceInfo
}

// ReplyErrOptions are the optional parts of an error reply.
type ReplyErrOptions struct{ Encoding Encoding }

// Reply sends one reply. Its key must intersect the query's, unless the asker accepts any (ErrReplyKey). It is an ErrFinal when
// the query is final and an ErrGone when it is known that nobody waits any more; otherwise it returns when the reply was handed
// on, and waits for that if links are slow.
func (q *Query) Reply(key KeyExpr, payload []byte, o *ReplyOptions) error {
	m, err := q.newReply(key)
	if err != nil {
		return err
	}
	m.Body.Kind, m.Body.Payload = wire.Put, payload
	if o != nil {
		m.Body.Encoding, m.Body.Attachment, m.Body.Timestamp, m.Body.Source = o.Encoding, o.Attachment, o.Timestamp, o.SourceInfo
		setExpress(m, o.Express)
	}
	return q.send(m)
}

// ReplyDel is Reply with the news that key is deleted.
func (q *Query) ReplyDel(key KeyExpr, o *ReplyDelOptions) error {
	m, err := q.newReply(key)
	if err != nil {
		return err
	}
	m.Body.Kind = wire.Del
	if o != nil {
		m.Body.Attachment, m.Body.Timestamp, m.Body.Source = o.Attachment, o.Timestamp, o.SourceInfo
		setExpress(m, o.Express)
	}
	return q.send(m)
}

// ReplyErr sends an error reply.
func (q *Query) ReplyErr(payload []byte, o *ReplyErrOptions) error {
	m, err := q.newReply(KeyExpr{q.req.key})
	if err != nil {
		return err
	}
	m.Body.Kind, m.Body.Payload = wire.Err, payload
	if o != nil {
		m.Body.Encoding = o.Encoding
	}
	return q.send(m)
}

func setExpress(m *wire.Message, express bool) {
	if express {
		m.QoS |= wire.Express
	}
}

// newReply checks whether there may be a reply, and begins it.
func (q *Query) newReply(key KeyExpr) (*wire.Message, error) {
	r := q.req
	if key.s != r.key {
		if err := key.check(); err != nil {
			return nil, err
		}
		if !keyexpr.Intersects(key.s, r.key) && q.AcceptsReplies() != ReplyKeyExprAny {
			return nil, fmt.Errorf("%w: %q answers %q", ErrReplyKey, key.s, r.key)
		}
	}
	r.mu.Lock()
	final, gone := q.final || q.dropped, r.gone
	r.mu.Unlock()
	switch {
	case final:
		return nil, ErrFinal
	case gone, q.late():
		return nil, ErrGone
	}
	m := newMessage(wire.Response, r.qos)
	m.RequestID = r.rid
	m.Key = wire.WireExpr{Sender: true, Suffix: key.s}
	m.Responder = EntityGlobalID{ZID: r.session.ZID(), EID: q.to.id}
	return m, nil
}

// hasParameter reports whether name is among the parameters.
func hasParameter(parameters, name string) bool {
	for p := parameters; p != ""; {
		var one string
		one, p = cut(p, ';')
		if one, _ = cut(one, '='); one == name {
			return true
		}
	}
	return false
}

func cut(s string, sep byte) (before, after string) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
