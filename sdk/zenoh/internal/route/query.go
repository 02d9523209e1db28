package route

import (
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// qblTarget is a face that may answer a query.
type qblTarget struct {
	target
	// blind is set where the face's queryables are not known: it is asked whenever not all are complete that could be.
	blind bool
	// complete is set if one complete queryable of the face includes the key.
	complete bool
}

// distance orders complete queryables: those of this process, those one link away, those behind the gateway.
func (t *qblTarget) distance() int {
	switch t.face.rel {
	case Local:
		return 0
	case South, Mesh:
		return 1
	case North:
	}
	return 2
}

// qblRoute is where a REQUEST may go, whoever it is from: nearest first. It is immutable.
type qblRoute struct {
	gen     uint64
	targets []qblTarget
}

// queryables returns where a REQUEST of that key may go.
func (r *Router) queryables(k *keyRoutes) *qblRoute {
	if q := k.qbls.Load(); q != nil && q.gen == r.gen[Queryable].Load() {
		return q
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	q := &qblRoute{gen: r.gen[Queryable].Load()}
	seen, complete := newBits(r.numbers.next), newBits(r.numbers.next)
	r.tables[Queryable].index.Intersecting(k.key, func(_ string, e *entry) bool {
		includes := -1 // not known yet
		for i := range e.holders {
			h := &e.holders[i]
			if seen.add(h.face.number) {
				q.targets = append(q.targets, qblTarget{target: h.face.target(k.key)})
			}
			if h.complete == 0 {
				continue
			}
			if includes < 0 {
				includes = 0
				if keyexpr.Includes(e.key, k.key) {
					includes = 1
				}
			}
			if includes == 1 {
				complete.add(h.face.number)
			}
		}
		return true
	})
	for i := range q.targets {
		q.targets[i].complete = !complete.add(q.targets[i].face.number)
	}
	for _, f := range r.pushed {
		if f.knows(Queryable, k.key) {
			continue
		}
		if seen.add(f.number) {
			q.targets = append(q.targets, qblTarget{target: f.target(k.key), blind: true})
			continue
		}
		for i := range q.targets {
			if q.targets[i].face == f {
				q.targets[i].blind = true
			}
		}
	}
	slices.SortFunc(q.targets, func(a, b qblTarget) int {
		if d := a.distance() - b.distance(); d != 0 {
			return d
		}
		return a.face.number - b.face.number
	})
	q.targets = slices.Clip(q.targets)
	k.qbls.Store(q)
	return q
}

// nearest chooses one face with a complete queryable for BestMatching, nil if there is none. Of several that are equally
// near it looks at two, which change from query to query, and takes the one that has fewer queries of ours to answer.
func (r *Router) nearest(f *Face, route *qblRoute) *qblTarget {
	var best [2]*qblTarget
	n, dist := 0, 0
	for i := range route.targets {
		t := &route.targets[i]
		if !t.complete || !t.reaches(f) {
			continue
		}
		if n > 0 && t.distance() > dist {
			break
		}
		n, dist = n+1, t.distance()
		if n == 1 {
			best[0] = t
		}
	}
	if n <= 1 {
		return best[0]
	}
	turn := r.spread.Add(1)
	first := int(turn % uint32(n))
	second := (first + 1 + int(turn/uint32(n)%uint32(n-1))) % n
	j := 0
	for i := range route.targets {
		t := &route.targets[i]
		if !t.complete || !t.reaches(f) {
			continue
		}
		switch j {
		case first:
			best[0] = t
		case second:
			best[1] = t
		}
		if j++; j == n {
			break
		}
	}
	if best[1].face.pend.load() < best[0].face.pend.load() {
		return best[1]
	}
	return best[0]
}

// request takes a REQUEST.
func (r *Router) request(f *Face, m *wire.Message, done <-chan struct{}) {
	k, s := r.resolve(f, &m.Key)
	if k == nil {
		r.report(f, Invalid, OpRequest, m.Key.Suffix, nil)
		r.sendFinal(f, m.RequestID, m.QoS, done)
		return
	}
	if f.guarded {
		if err := r.allowData(f, s, 1); err != nil {
			r.report(f, Refused, OpRequest, k.key, err)
			r.sendError(f, m.RequestID, m.QoS, r.o.ID, errBody(err), done)
			r.sendFinal(f, m.RequestID, m.QoS, done)
			return
		}
	}
	f.stats.requestsIn.Add(1)
	route := r.queryables(k)
	if len(route.targets) == 0 {
		r.sendFinal(f, m.RequestID, m.QoS, done)
		return
	}
	if int(f.asked.Add(1)) > r.o.MaxQueries {
		f.asked.Add(-1)
		r.overflow(f, m, k.key, done)
		return
	}
	timeout := r.o.QueryTimeout
	if m.TimeoutMS != 0 {
		timeout = time.Duration(m.TimeoutMS) * time.Millisecond
	}
	q := &query{src: f, rid: m.RequestID, qos: m.QoS, key: k.key, deadline: r.deadline(timeout)}
	q.left.Store(1)
	saved := m.Key
	n, full := 0, false // parts under way, and whether there was one too many
	ask := func(t *target) {
		switch ok, gone := r.ask(q, t, m, done); {
		case ok:
			n++
		case !gone:
			full = true
		}
	}
	if t := r.best(f, m.Target, route); t != nil {
		ask(&t.target)
	} else {
		for i := range route.targets {
			t := &route.targets[i]
			if t.reaches(f) && (m.Target != wire.AllComplete || t.complete || t.blind) {
				ask(&t.target)
			}
		}
	}
	m.Key, m.RequestID = saved, q.rid
	if full && n == 0 && !f.gone.Load() { // nobody will answer, though somebody should
		r.report(f, Overflow, OpRequest, k.key, nil)
		r.sendError(f, q.rid, q.qos, r.o.ID, overflowBody(), done)
	}
	r.finish(q, done)
}

// best returns the one face that a query goes to, nil if it goes to all.
func (r *Router) best(f *Face, t wire.Target, route *qblRoute) *qblTarget {
	if t != wire.BestMatching {
		return nil
	}
	return r.nearest(f, route)
}

// ask sends one part of a query to t. It is not ok if t has too many already, or is gone.
func (r *Router) ask(q *query, t *target, m *wire.Message, done <-chan struct{}) (ok, gone bool) {
	q.left.Add(1)
	rid, ok := t.face.pend.add(q, r.o.MaxQueries)
	if !ok {
		q.left.Add(-1) // it is not the last: request holds one
		return false, t.face.gone.Load()
	}
	m.RequestID, m.NodeID = rid, 0
	t.expr(&m.Key, q.key)
	t.face.stats.requestsOut.Add(1)
	sent := t.face.peer.Send(m, done)
	if (!sent || q.src.gone.Load()) && t.face.pend.take(rid) != nil {
		q.left.Add(-1)
	}
	return true, false
}

// finish ends one part of a query; the last one ends it for its source.
func (r *Router) finish(q *query, done <-chan struct{}) {
	if q.left.Add(-1) != 0 {
		return
	}
	q.src.asked.Add(-1)
	if q.silent.Load() || q.src.gone.Load() {
		return
	}
	r.sendFinal(q.src, q.rid, q.qos, done)
}

// response takes a RESPONSE.
func (r *Router) response(f *Face, m *wire.Message, done <-chan struct{}) {
	q := f.pend.get(m.RequestID)
	if q == nil || q.src.gone.Load() || q.silent.Load() {
		f.stats.late.Add(1)
		return
	}
	saved, rid := m.Key, m.RequestID
	key := q.key
	switch {
	case m.Key.Scope == 0 && m.Key.Suffix == key:
	case m.Key.Scope == 0 && m.Key.Suffix == "" && m.Body.Kind == wire.Err:
		key = ""
	case m.Key.Scope == 0 && keyexpr.Valid(m.Key.Suffix) == nil:
		key = m.Key.Suffix
	default:
		k, _ := r.resolve(f, &m.Key)
		if k == nil || m.Key.Scope == 0 {
			r.report(f, Invalid, OpResponse, m.Key.Suffix, nil)
			return
		}
		key = k.key
	}
	f.stats.repliesIn.Add(1)
	q.src.stats.repliesOut.Add(1)
	m.RequestID, m.QoS, m.NodeID = q.rid, q.qos, 0
	m.Key = wire.WireExpr{Sender: key != "", Suffix: key}
	q.src.peer.Send(m, done)
	m.Key, m.RequestID = saved, rid
}

// responseFinal takes a RESPONSE_FINAL.
func (r *Router) responseFinal(f *Face, m *wire.Message, done <-chan struct{}) {
	q := f.pend.take(m.RequestID)
	if q == nil {
		f.stats.late.Add(1)
		return
	}
	r.finish(q, done)
}

// Cancel ends a query of f for which nobody waits any more: what is still answered is dropped, and no final is sent.
func (r *Router) Cancel(f *Face, rid uint32) {
	r.dropParts(func(q *query) bool {
		if q.src != f || q.rid != rid {
			return false
		}
		q.silent.Store(true)
		return true
	})
}

// dropParts ends those parts of queries that which says, and tells who was to answer them.
func (r *Router) dropParts(which func(q *query) bool) {
	for _, t := range *r.faceList.Load() {
		for _, s := range t.pend.takeAll(which) {
			if t.canceller != nil {
				t.canceller.CancelQuery(s.rid)
			}
			r.finish(s.q, nil)
		}
	}
}

// dropQueries ends what f was asked, and forgets what it asked.
func (r *Router) dropQueries(f *Face) {
	for _, s := range f.pend.close() {
		r.finish(s.q, s.q.src.done)
	}
	r.dropParts(func(q *query) bool { return q.src == f })
}

// expireQueries ends what has waited until now.
func (r *Router) expireQueries(now int64) {
	for _, t := range *r.faceList.Load() {
		for _, s := range t.pend.takeAll(func(q *query) bool { return q.deadline <= now }) {
			t.stats.timeouts.Add(1)
			if t.canceller != nil {
				t.canceller.CancelQuery(s.rid)
			}
			if !s.q.silent.Load() {
				r.sendError(s.q.src, s.q.rid, s.q.qos, t.id, wire.Body{Kind: wire.Err, Payload: []byte("Timeout")}, s.q.src.done)
			}
			r.finish(s.q, s.q.src.done)
		}
	}
}

// answers are the messages that the router itself answers queries with: handed on by address, so kept.
var answers = sync.Pool{New: func() any { return new(wire.Message) }}

func (r *Router) sendFinal(f *Face, rid uint32, qos wire.QoS, done <-chan struct{}) {
	m := answers.Get().(*wire.Message) //nolint:forcetypeassert // it is ours
	m.Kind, m.RequestID, m.QoS, m.Reliable, m.Owned = wire.ResponseFinal, rid, qos, true, true
	f.peer.Send(m, done)
	answers.Put(m)
}

// sendError sends an ERR on behalf of the node with that id.
func (r *Router) sendError(f *Face, rid uint32, qos wire.QoS, id wire.ID, body wire.Body, done <-chan struct{}) {
	if f.gone.Load() {
		return
	}
	m := &wire.Message{
		Kind: wire.Response, RequestID: rid, QoS: qos, Reliable: true, Owned: true,
		Key: wire.WireExpr{Sender: true}, Responder: wire.EntityID{ZID: id}, Body: body,
	}
	f.peer.Send(m, done)
}

// overflow answers a query of a face that has too many.
func (r *Router) overflow(f *Face, m *wire.Message, key string, done <-chan struct{}) {
	r.report(f, Overflow, OpRequest, key, nil)
	r.sendError(f, m.RequestID, m.QoS, r.o.ID, overflowBody(), done)
	r.sendFinal(f, m.RequestID, m.QoS, done)
}

func overflowBody() wire.Body {
	return wire.Body{Kind: wire.Err, Encoding: wire.Encoding{ID: textEncoding}, Payload: []byte("too many queries under way")}
}

// textEncoding is text/plain.
const textEncoding = 4

func errBody(err error) wire.Body {
	b := wire.Body{Kind: wire.Err, Encoding: wire.Encoding{ID: textEncoding}, Payload: []byte(err.Error())}
	if e, ok := err.(EncodedError); ok { //nolint:errorlint // it is the policy's own error, not one that it wraps
		b.Encoding = e.Encoding()
	}
	return b
}
