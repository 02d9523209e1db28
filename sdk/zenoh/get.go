package zenoh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// GetOptions are the optional parts of a Get. nil and the zero value mean the defaults.
type GetOptions struct {
	Target        QueryTarget
	Consolidation ConsolidationMode
	// Payload of the query; HasPayload tells an empty one from none.
	Payload    []byte
	HasPayload bool
	Encoding   Encoding
	Attachment []byte
	// Timeout is how long the query may take: 0 means ctx's deadline alone or, where ctx has none, Config.QueryTimeout; <0
	// means for ever.
	Timeout           time.Duration
	CongestionControl CongestionControl // Block
	Priority          Priority
	Express           bool
	AcceptReplies     ReplyKeyExpr
	Budget            uint32 // replies at most, as a hint to the answering side; 0 means any number
	SourceInfo        SourceInfo
}

// Get sends a query to the queryables that intersect key and calls h for each reply, on the caller's goroutine. It returns when the
// query is final: at once with nil if nobody answers, with an ErrTimeout when its time is over, with ctx's error when that
// ends first, with the session's when that does, and with an ErrOverload when more replies have come than may wait. h is not
// called after Get has returned. parameters are what stands after the "?" of a selector, as "a=1;b=2".
func (s *Session) Get(ctx context.Context, key KeyExpr, parameters string, h func(Reply), o *GetOptions) error {
	if err := s.ready(ctx, key); err != nil {
		return s.wrapGet(key, err)
	}
	var none GetOptions
	if o == nil {
		o = &none
	}
	g := newGet(s, ctx, key, parameters, o, h)
	s.gets.enter(g)
	s.ask(g, parameters, o)
	err := g.wait()
	if g.timer != nil {
		g.timer.Stop()
	}
	s.gets.leave(g)
	if err == nil {
		g.finish()
	}
	g.free()
	return s.wrapGet(key, err)
}

func (s *Session) wrapGet(key KeyExpr, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("query %q: %w", key.s, err)
}

// Collect is Get that returns the replies, at most limit of them (0 for any number).
func (s *Session) Collect(ctx context.Context, key KeyExpr, parameters string, limit int, o *GetOptions) ([]Reply, error) {
	var all []Reply
	err := s.Get(ctx, key, parameters, func(r Reply) {
		if limit == 0 || len(all) < limit {
			all = append(all, r)
		}
	}, o)
	return all, err
}

// get is one Get under way. It is used again, so whoever finds one in the table checks under its lock that it is still the
// same.
type get struct {
	session *Session
	ctx     context.Context //nolint:containedctx // it is the asker's, and lives as long
	key     string
	anyKey  bool
	mode    ConsolidationMode
	h       func(Reply)
	expires time.Time // zero for never
	timeout time.Duration
	timer   *time.Timer
	wake    chan struct{} // of capacity one

	mu      sync.Mutex
	rid     uint32 // 0 when nobody waits
	self    uintptr
	replies []Reply // that h has not had
	spare   []Reply
	bytes   int
	room    chan struct{} // of capacity one: replies were taken
	waiting int           // senders that wait for room
	roused  bool          // wake is on its way
	direct  bool          // the asker's goroutine is in the router, or deeper
	final   bool
	late    bool // a handler noticed that the asker gave up, or what makes it final came after that
	expired bool // somebody on the way says that the time is over; the own clock is to say so, too
	err     error
	held    []Reply
	keys    map[string]int // indexes of held, where there are many
	task    task
}

var gets = sync.Pool{New: func() any {
	return &get{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}}

func newGet(s *Session, ctx context.Context, key KeyExpr, parameters string, o *GetOptions, h func(Reply)) *get {
	g := gets.Get().(*get) //nolint:forcetypeassert // it is ours
	g.session, g.ctx, g.key, g.h = s, ctx, key.s, h
	g.anyKey = o.AcceptReplies == ReplyKeyExprAny || hasParameter(parameters, anyKeyParameter)
	g.mode = resolve(o.Consolidation, parameters)
	g.self = self.Goroutine()
	g.setExpiry(o.Timeout)
	return g
}

// resolve replaces Auto by what it means.
func resolve(m ConsolidationMode, parameters string) ConsolidationMode {
	switch {
	case m != ConsolidationModeAuto:
		return m
	case hasParameter(parameters, "_time"):
		return ConsolidationModeNone
	}
	return ConsolidationModeLatest
}

func (g *get) setExpiry(timeout time.Duration) {
	deadline, bounded := g.ctx.Deadline()
	if timeout == 0 && !bounded {
		timeout = g.session.node.cfg.QueryTimeout
	}
	if timeout > 0 {
		g.timeout, g.expires = timeout, time.Now().Add(timeout)
	}
	if bounded && (g.expires.IsZero() || deadline.Before(g.expires)) {
		g.expires, g.timeout = deadline, 0
	}
}

// remaining is the time that is left in milliseconds, rounded up; never is as long as can be said.
func (g *get) remaining() uint32 {
	if g.expires.IsZero() {
		return math.MaxUint32
	}
	ms := (time.Until(g.expires) + time.Millisecond - 1) / time.Millisecond
	return uint32(max(1, min(ms, math.MaxUint32))) //nolint:gosec // it fits
}

// ask sends the query. Where a handler of this node runs on this goroutine it returns when that has.
func (s *Session) ask(g *get, parameters string, o *GetOptions) {
	m := newMessage(wire.Request, qos(o.Priority, o.CongestionControl, CongestionControlBlock, o.Express))
	m.RequestID, m.Key = g.rid, wire.WireExpr{Sender: true, Suffix: g.key}
	m.Target, m.Budget, m.TimeoutMS = o.Target, o.Budget, g.remaining()
	b := &m.Body
	b.Kind, b.Parameters, b.Consolidation, b.Source = wire.Query, parameters, g.mode, o.SourceInfo
	b.Payload, b.Encoding, b.Attachment = o.Payload, o.Encoding, o.Attachment
	b.HasPayload = o.HasPayload || len(o.Payload) > 0
	if o.AcceptReplies == ReplyKeyExprAny && !hasParameter(parameters, anyKeyParameter) {
		b.Parameters = anyKeyParameter
		if parameters != "" {
			b.Parameters = parameters + ";" + anyKeyParameter
		}
	}
	g.task.get = g
	tasks := &s.node.tasks
	entered := tasks.begin(&g.task)
	s.send(m, s.until(g.ctx))
	if entered {
		tasks.end(&g.task)
	}
	g.mu.Lock()
	g.direct = false
	g.mu.Unlock()
}

// wait hands out replies until the query is final or the asker gives up.
func (g *get) wait() error {
	var expired <-chan time.Time
	for {
		more, err := g.handOut()
		if !more {
			return err
		}
		if expired == nil && g.timed() {
			expired = g.arm()
		}
		select {
		case <-g.wake:
		case <-g.ctx.Done():
			return g.gaveUp()
		case <-expired:
			return g.gaveUp()
		case <-g.session.done:
			return g.gaveUp()
		}
	}
}

// timed reports whether it takes a timer to notice that the time is over.
func (g *get) timed() bool {
	if g.expires.IsZero() {
		return false
	}
	_, bounded := g.ctx.Deadline()
	return !bounded || g.timeout > 0
}

func (g *get) arm() <-chan time.Time {
	d := time.Until(g.expires)
	if g.timer == nil {
		g.timer = time.NewTimer(d)
	} else {
		g.timer.Reset(d)
	}
	return g.timer.C
}

// handOut calls h for the replies that have come, and reports whether there may be more.
func (g *get) handOut() (more bool, err error) {
	for {
		g.mu.Lock()
		g.roused = false
		if len(g.replies) == 0 {
			if more = !g.final; !more {
				err = g.verdict()
			}
			g.mu.Unlock()
			return more, err
		}
		list := g.replies
		g.replies, g.spare, g.bytes = g.spare[:0], nil, 0
		if g.waiting > 0 {
			wakeOne(g.room)
		}
		g.mu.Unlock()
		for i := range list {
			g.h(list[i])
			list[i] = Reply{}
		}
		g.mu.Lock()
		g.spare = list[:0]
		g.mu.Unlock()
	}
}

// verdict is the error of a query that is final, with the lock held.
func (g *get) verdict() error {
	switch {
	case g.err != nil:
		return g.err
	case g.late:
		return g.endError()
	}
	return nil
}

// gaveUp is the end of a query whose asker waits no longer: what has come in time is still handed out, and the others are told
// if it is not final.
func (g *get) gaveUp() error {
	if more, err := g.handOut(); !more {
		return err
	}
	g.session.sendCancel(g.rid)
	return g.endError()
}

// endError tells why the asker gave up.
func (g *get) endError() error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if err := g.session.Err(); err != nil {
		return err
	}
	if g.timeout > 0 {
		return fmt.Errorf("%w: within %v", ErrTimeout, g.timeout)
	}
	return context.DeadlineExceeded // a timer was a little faster than that of ctx
}

// over reports whether the asker gives up, though it may not have noticed yet: what comes now comes too late.
func (g *get) over() bool {
	return g.ctx.Err() != nil || !g.expires.IsZero() && !time.Now().Before(g.expires)
}

// cut is called where a handler on the asker's goroutine has noticed that the asker gave up: what it did then was not to
// answer.
func (g *get) cut() {
	g.mu.Lock()
	g.late = true
	g.mu.Unlock()
}

func wakeOne(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// finish delivers what was held back.
func (g *get) finish() {
	if g.mode != ConsolidationModeLatest {
		return // held is what was delivered
	}
	for i := range g.held {
		g.h(g.held[i])
	}
}

// free gives g back. Senders that hold it find that it is nobody's.
func (g *get) free() {
	g.mu.Lock()
	g.rid = 0
	if g.waiting > 0 { // they will find that it is nobody's; it is not used again
		g.mu.Unlock()
		wakeOne(g.room)
		return
	}
	clear(g.replies)
	clear(g.held)
	g.replies, g.held = g.replies[:0], g.held[:0]
	if cap(g.replies) > keptReplies {
		g.replies = nil
	}
	if cap(g.spare) > keptReplies {
		g.spare = nil
	}
	if cap(g.held) > keptReplies {
		g.held = nil
	}
	g.ctx, g.h, g.session, g.keys, g.err = nil, nil, nil, nil, nil
	g.expires, g.timeout = time.Time{}, 0
	g.bytes, g.final, g.late, g.expired, g.roused, g.direct = 0, false, false, false, false, false
	g.mu.Unlock()
	select {
	case <-g.wake:
	default:
	}
	select {
	case <-g.room:
	default:
	}
	gets.Put(g)
}

// keptReplies bounds the room that a Get leaves to the next.
const keptReplies = 16

// fewHeld is up to how many held replies a key is looked for one by one.
const fewHeld = 16

// wakeUp implements waker.
func (g *get) wakeUp() { wakeOne(g.wake) }

// rouse wakes the asker, once until it has looked.
func (g *get) rouse(tasks *tasks) {
	g.mu.Lock()
	again := g.roused || g.direct
	g.roused = true
	g.mu.Unlock()
	if !again {
		tasks.rouse(g)
	}
}

// answered takes a RESPONSE.
func (s *Session) answered(m *wire.Message, done <-chan struct{}) {
	g := s.gets.find(m.RequestID)
	if g == nil {
		return
	}
	var r Reply
	if !r.fill(g, m) {
		return
	}
	if r.Err != nil && m.Key.Suffix == "" && string(r.Err.Payload) == timeoutText && g.isExpiry(m.RequestID) {
		return
	}
	if g.take(m.RequestID, &r, done, s.node.patience(done)) {
		g.rouse(&s.node.tasks)
	}
}

const (
	// timeoutText is what a router answers for those who have not answered in time, with an empty key.
	timeoutText = "Timeout"
	// clockSlack is how much earlier than the asker others may think that its time is over.
	clockSlack = 500 * time.Millisecond
)

// isExpiry reports whether word that the query has timed out only says what the asker will see in a moment. It is then left to
// the asker, so that the query ends in one way and in time.
func (g *get) isExpiry(rid uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rid != rid || g.expires.IsZero() || time.Until(g.expires) > clockSlack {
		return false
	}
	g.expired = true
	return true
}

// fill makes r the reply that a RESPONSE carries.
func (r *Reply) fill(g *get, m *wire.Message) bool {
	r.Replier = m.Responder
	if m.Body.Kind != wire.Err {
		return r.Sample.fill(m, g.keyOf(m))
	}
	r.Err = &ReplyError{Payload: m.Body.Payload, Encoding: m.Body.Encoding}
	if !m.Owned {
		r.Err.Payload = slices.Clone(r.Err.Payload)
		r.Err.Encoding.Schema = string([]byte(r.Err.Encoding.Schema))
	}
	return true
}

// keyOf returns a reply's key, which may be kept: the query's own if it is the same.
func (g *get) keyOf(m *wire.Message) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rid == m.RequestID && m.Key.Suffix == g.key {
		return g.key
	}
	return string([]byte(m.Key.Suffix))
}

var errReplies = errors.New("replies for more keys than may be held (HeldReplies); ask without consolidation")

// take queues r, or holds it back, and reports whether the asker has to be woken.
func (g *get) take(rid uint32, r *Reply, done <-chan struct{}, bound time.Duration) (rouse bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rid != rid || g.final || !g.direct && g.over() {
		return false
	}
	latest := g.mode == ConsolidationModeLatest && r.Err == nil
	if latest || g.mode == ConsolidationModeMonotonic && r.Err == nil {
		if !g.hold(r) || latest {
			return g.err != nil
		}
	}
	if g.direct && g.self == self.Goroutine() {
		g.h(*r)
		return false
	}
	size := len(r.Sample.Payload) + len(r.Sample.Attachment)
	if r.Err != nil {
		size = len(r.Err.Payload)
	}
	if g.bytes > 0 && g.bytes+size > g.session.node.cfg.ReplyBytes && !g.waitForRoom(rid, size, done, bound) {
		if g.rid == rid && !g.final {
			g.err, g.final = fmt.Errorf("%w: replies of more than %d bytes wait (ReplyBytes)", ErrOverload, g.session.node.cfg.ReplyBytes), true
			return true
		}
		return false
	}
	g.bytes += size + replyOverhead
	g.replies = append(g.replies, *r)
	return true
}

// replyOverhead is what a reply costs besides its payload.
const replyOverhead = 256

// waitForRoom waits until size bytes fit, and reports whether they do. It is called and returns with the lock held.
func (g *get) waitForRoom(rid uint32, size int, done <-chan struct{}, bound time.Duration) bool {
	var expired <-chan time.Time
	if bound > 0 {
		t := time.NewTimer(bound)
		defer t.Stop()
		expired = t.C
	}
	tasks := &g.session.node.tasks
	g.waiting++
	defer func() {
		if g.waiting--; g.waiting > 0 {
			wakeOne(g.room)
		}
	}()
	for {
		limit := g.session.node.cfg.ReplyBytes
		g.mu.Unlock()
		if x := tasks.mine(); x != nil {
			x.wake()
		}
		wakeOne(g.wake)
		ok := true
		select {
		case <-g.room:
		case <-done:
			ok = false
		case <-expired:
			ok = false
		}
		g.mu.Lock()
		switch {
		case g.rid != rid || g.final:
			return false
		case g.bytes == 0 || g.bytes+size <= limit:
			return true
		case !ok:
			return false
		}
	}
}

// hold keeps r for its key, and reports whether it is newer than what was there.
func (g *get) hold(r *Reply) bool {
	i := g.holds(r.Sample.KeyExpr.s)
	if i >= 0 {
		old := &g.held[i].Sample.Timestamp
		if !old.IsZero() && !r.Sample.Timestamp.IsZero() && r.Sample.Timestamp.Compare(*old) < 0 {
			return false
		}
		g.held[i] = *r
		return true
	}
	if len(g.held) >= g.session.node.cfg.HeldReplies {
		g.err, g.final = fmt.Errorf("%w: %w", ErrOverload, errReplies), true
		return false
	}
	if g.keys != nil {
		g.keys[r.Sample.KeyExpr.s] = len(g.held)
	}
	g.held = append(g.held, *r)
	return true
}

// holds returns the index of what is held for key, or -1.
func (g *get) holds(key string) int {
	if g.keys == nil && len(g.held) >= fewHeld {
		g.keys = make(map[string]int, 2*fewHeld)
		for i := range g.held {
			g.keys[g.held[i].Sample.KeyExpr.s] = i
		}
	}
	if g.keys != nil {
		if i, ok := g.keys[key]; ok {
			return i
		}
		return -1
	}
	for i := range g.held {
		if g.held[i].Sample.KeyExpr.s == key {
			return i
		}
	}
	return -1
}

// getTable finds the Gets under way by the ids of their requests.
type getTable struct {
	mu   sync.Mutex
	next uint32
	m    map[uint32]*get
}

// enter gives g an id.
func (t *getTable) enter(g *get) {
	t.mu.Lock()
	for {
		if t.next++; t.next == 0 {
			t.next = 1
		}
		if _, used := t.m[t.next]; !used {
			break
		}
	}
	rid := t.next
	t.m[rid] = g
	t.mu.Unlock()
	g.mu.Lock()
	g.rid, g.direct = rid, true
	g.mu.Unlock()
}

func (t *getTable) leave(g *get) {
	t.mu.Lock()
	delete(t.m, g.rid)
	t.mu.Unlock()
}

func (t *getTable) find(rid uint32) *get {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[rid]
}

// final takes a RESPONSE_FINAL.
func (t *getTable) final(s *Session, rid uint32) {
	g := t.find(rid)
	if g == nil {
		return
	}
	g.mu.Lock()
	ok := g.rid == rid && !g.final && !g.expired
	if ok {
		g.final = true
		g.late = g.late || !g.direct && g.over() || s.Err() != nil
	}
	g.mu.Unlock()
	if ok {
		g.rouse(&s.node.tasks)
	}
}
