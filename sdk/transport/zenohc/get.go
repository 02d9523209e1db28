//go:build zenohc

package zenohc

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/BooleanCat/option"
	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

const (
	// margin is how much longer the library waits than a Get, which so ends by itself.
	margin = 250 * time.Millisecond
	// endless is how long the library waits for a Get without any limit.
	endless = 365 * 24 * time.Hour
)

// get is one Get under way. Replies come by threads of the library and are handed out by the asker's goroutine.
type get struct {
	session *session
	ctx     context.Context // the asker's
	key     string
	timeout time.Duration // 0: only ctx's
	h       func(transport.Reply)
	wake    chan struct{}

	mu      sync.Mutex
	list    []native.Reply
	bytes   int
	final   bool
	over    bool          // Get is about to return
	failed  error         // too much waited for too long
	waiting int           // threads that wait for room
	room    chan struct{} // wakes one of them

	held  []held // for Latest
	index map[string]int
}

// held is a reply that waits for the end.
type held struct {
	reply native.Reply
	time  uint64 // of its timestamp, or 0
}

// Get implements transport.Session.
func (s *session) Get(ctx context.Context, sel transport.Selector, o transport.GetOptions, h func(transport.Reply)) error {
	if err := s.check(ctx, "query", sel.KeyExpr); err != nil {
		return err
	}
	if strings.IndexByte(sel.Parameters, 0) >= 0 {
		return status.Errorf(status.Invalid, "query %q: a parameter holds a zero byte", sel.KeyExpr)
	}
	k, err := expr(sel.KeyExpr)
	if err != nil {
		return err
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return err
	}
	g := &get{session: s, ctx: ctx, key: sel.KeyExpr, h: h, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	token, sn := native.NewCancellationToken(), rand.Uint32() // unguessable, so that nobody can end others' queries
	opts := native.GetOptions{
		Target:         option.Some(targets[o.Target%transport.Target(len(targets))]),
		Consolidataion: option.Some(native.NewQueryConsolidataion(native.ConsolidationModeNone)),
		Payload:        filled(o.Payload), Encoding: e, Attachement: filled(o.Attachment), TimeoutMs: g.limit(&o),
		CancellationToken: option.Some(token), SourceInfo: option.Some(native.NewSourceInfo(s.node.eid, sn)),
	}
	s.node.asks.enter(g)
	latest := o.Consolidation == transport.Latest
	take := native.Closure[native.Reply]{Call: g.take, Drop: g.end}
	err = s.node.use(func(n *native.Session) error {
		_, err := n.Get(k, sel.Parameters, take, &opts)
		return err
	})
	if err == nil {
		err = g.wait(latest)
	}
	if g.close() { // it is not final
		_ = token.Cancel()
		s.node.queries.cancel(func(q *query) bool { return q.asked && q.asker == asker{s.node.zid, sn} })
		go func() { // which may wait for a link
			defer s.node.asks.leave(g)
			s.node.tellGone(sn)
		}()
	} else {
		s.node.asks.leave(g)
	}
	if err != nil {
		return classify("query", sel.KeyExpr, err)
	}
	for i := range g.held {
		h(reply(g.held[i].reply))
	}
	return nil
}

var targets = [...]native.QueryTarget{
	transport.BestMatching: native.QueryTargetBestMatching, transport.All: native.QueryTargetAll,
	transport.AllComplete: native.QueryTargetAllComplete,
}

// limit notes the time that the query has and returns that which the library gives it, in milliseconds.
func (g *get) limit(o *transport.GetOptions) uint64 {
	deadline, bounded := g.ctx.Deadline()
	switch {
	case o.Timeout > 0:
		g.timeout = o.Timeout
	case o.Timeout == 0 && !bounded:
		g.timeout = g.session.node.cfg.QueryTimeout
	}
	d := endless
	if bounded {
		d = time.Until(deadline)
	}
	if g.timeout > 0 {
		d = min(d, g.timeout)
	}
	return uint64(max(d, 0)+margin) / uint64(time.Millisecond)
}

// take is called by threads of the library for each reply.
func (g *get) take(r native.Reply) {
	n := size(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	if limit := g.session.node.cfg.ReplyBytes; g.bytes > 0 && g.bytes+n > limit && !g.await(n, limit) {
		g.failed = status.Errorf(status.Overloaded, "query %q: more than %d bytes of replies wait for their handler", g.key, limit)
		g.list, g.bytes = nil, 0
	}
	if g.over || g.failed != nil {
		return
	}
	g.list = append(g.list, r)
	g.bytes += n
	wake(g.wake)
}

func size(r native.Reply) int {
	if x := r.Ok(); x.IsSome() {
		s := x.Unwrap()
		return s.Payload().Len() + len(unbytes(s.Attachement()))
	}
	e := r.Err().Unwrap()
	return e.Payload().Len()
}

// await waits until there is room for n bytes, or nobody wants them.
func (g *get) await(n, limit int) bool {
	timer := time.NewTimer(g.session.node.cfg.WaitSubscriber)
	defer timer.Stop()
	late := false
	for !late && !g.over && g.failed == nil && g.bytes > 0 && g.bytes+n > limit {
		g.waiting++
		g.mu.Unlock()
		select {
		case <-g.room:
		case <-timer.C:
			late = true
		}
		g.mu.Lock()
		g.waiting--
	}
	if g.waiting > 0 {
		wake(g.room)
	}
	return g.over || g.failed != nil || !late
}

// end is called once, when the query is final.
func (g *get) end() {
	g.mu.Lock()
	g.final = true
	g.mu.Unlock()
	wake(g.wake)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait hands out replies until the query is final or the asker gives up.
func (g *get) wait(latest bool) error {
	var expired <-chan time.Time
	if g.timeout > 0 {
		t := time.NewTimer(g.timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		more, err := g.handOut(latest)
		if !more || err != nil {
			return err
		}
		select {
		case <-g.wake:
		case <-g.ctx.Done():
			return contextError(g.ctx, "query", g.key)
		case <-expired:
			return status.Errorf(status.Deadline, "query %q: no final answer within %v", g.key, g.timeout)
		case <-g.session.done:
			return errClosed()
		}
	}
}

// handOut calls the handler for what has come, and reports whether there may be more.
func (g *get) handOut(latest bool) (more bool, err error) {
	g.mu.Lock()
	list, final, err := g.list, g.final, g.failed
	g.list, g.bytes = nil, 0
	if g.waiting > 0 {
		wake(g.room)
	}
	g.mu.Unlock()
	if err != nil {
		return false, err
	}
	for _, r := range list {
		if !latest || !r.IsOk() { // errors are never held back
			g.h(reply(r))
		} else if err := g.hold(r); err != nil {
			return false, err
		}
	}
	return !final, nil
}

// hold keeps the newest reply of each key: by their timestamps, the later one where there are none.
func (g *get) hold(r native.Reply) error {
	x := r.Ok().Unwrap()
	entry := held{reply: r}
	if t := x.TimeStamp(); t.IsSome() {
		entry.time = t.Unwrap().Time()
	}
	key := x.KeyExpr().String()
	if i, ok := g.index[key]; ok {
		if entry.time == 0 || entry.time >= g.held[i].time {
			g.held[i] = entry
		}
		return nil
	}
	if limit := g.session.node.cfg.HeldReplies; len(g.held) >= limit {
		return status.Errorf(status.Overloaded, "query %q: replies for more than %d keys (ask without consolidation)", g.key, limit)
	}
	if g.index == nil {
		g.index = map[string]int{}
	}
	g.index[key] = len(g.held)
	g.held = append(g.held, entry)
	return nil
}

// close lets no reply in any more, and reports whether there may be some.
func (g *get) close() (open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over, g.list = true, nil
	if g.waiting > 0 {
		wake(g.room)
	}
	return !g.final
}

// goodbyeWait bounds how long the end of a node waits for the ends of its queries.
const goodbyeWait = time.Second

// asks are the Gets of a node that are under way, or of which the others are still to be told.
type asks struct {
	mu   sync.Mutex
	all  map[*get]uintptr // the asker's goroutine
	left sync.Cond        // on mu
}

func (t *asks) init() { t.all, t.left.L = map[*get]uintptr{}, &t.mu }

func (t *asks) enter(g *get) {
	me := self.Goroutine()
	t.mu.Lock()
	t.all[g] = me
	t.mu.Unlock()
}

func (t *asks) leave(g *get) {
	t.mu.Lock()
	delete(t.all, g)
	t.left.Broadcast()
	t.mu.Unlock()
}

// wait waits until there are none but the caller's own, limit at most.
func (t *asks) wait(limit time.Duration) {
	me, late := self.Goroutine(), false
	timer := time.AfterFunc(limit, func() {
		t.mu.Lock()
		late = true
		t.left.Broadcast()
		t.mu.Unlock()
	})
	defer timer.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	others := func() bool {
		for _, goroutine := range t.all {
			if goroutine != me {
				return true
			}
		}
		return false
	}
	for !late && others() {
		t.left.Wait()
	}
}

// Nodes of this package tell each other of queries that nobody waits for, by a sample on a key below this one: the asker's id
// is the next chunk, the number of its query the payload, four bytes, least significant first. Wildcards do not match the
// first chunk, so nobody else gets them.
const cancelKey = "@essa/cancel/"

// tellGone tells the others that nobody waits for query sn of this node.
func (n *node) tellGone(sn uint32) {
	k, err := native.NewKeyExpr(cancelKey + n.id)
	if err != nil { // it is one
		return
	}
	opts := native.PutOptions{CongestionControl: option.Some(native.CongestionControlBlock)}
	_ = n.use(func(s *native.Session) error {
		return s.Put(k, native.NewZBytes(binary.LittleEndian.AppendUint32(nil, sn)), &opts)
	})
}

// hear listens to what tellGone says, from the first queryable on.
func (n *node) hear() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hears {
		return nil
	}
	k, err := native.NewKeyExpr(cancelKey + "*")
	if err != nil {
		return err
	}
	call := native.Closure[native.Sample]{Call: func(x native.Sample) {
		id, ok := strings.CutPrefix(x.KeyExpr().String(), cancelKey)
		if b := x.Payload().Bytes(); ok && len(b) == 4 {
			sn := binary.LittleEndian.Uint32(b)
			n.queries.cancel(func(q *query) bool { return q.asked && q.asker.sn == sn && q.asker.zid.text() == id })
		}
	}}
	if err := n.use(func(s *native.Session) error { return s.DeclareBackgroundSubscriber(k, call, nil) }); err != nil {
		return err
	}
	n.hears = true
	return nil
}
