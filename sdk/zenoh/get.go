package zenoh

import (
	"context"
	"fmt"
	"math"
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
