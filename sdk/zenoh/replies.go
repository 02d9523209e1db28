package zenoh

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

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
