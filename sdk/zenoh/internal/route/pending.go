package route

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// query is a REQUEST that is not final: with its source until each face that it was sent to has ended it.
type query struct {
	src      *Face
	key      string
	rid      uint32 // the source's
	qos      wire.QoS
	silent   atomic.Bool  // cancelled: nobody waits for the final
	left     atomic.Int32 // parts that are not final, and one more while it is sent out
	deadline int64        // as Router.now counts
}

// pendTable are the queries that a face was sent, by the ids that they have there. Ids are given in sequence, so their low
// bits are as good as a hash.
type pendTable struct {
	mu     sync.Mutex
	slots  []pendSlot
	n      int
	last   uint32
	closed bool
	shown  atomic.Int32 // n, for who only compares
}

type pendSlot struct {
	rid uint32
	q   *query
}

const pendTableMin = 8

// add gives q an id, unless the table is closed or has limit queries.
func (t *pendTable) add(q *query, limit int) (rid uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.n >= limit {
		return 0, false
	}
	if 4*t.n >= 3*len(t.slots) {
		t.resize(max(pendTableMin, 2*len(t.slots)))
	}
	for { // a quarter of the slots is free
		t.last++
		s := &t.slots[t.last&uint32(len(t.slots)-1)]
		if s.q == nil && t.last != 0 {
			s.rid, s.q = t.last, q
			t.count(1)
			return t.last, true
		}
	}
}

func (t *pendTable) resize(n int) {
	old := t.slots
	t.slots = make([]pendSlot, n)
	for _, s := range old {
		if s.q != nil {
			t.slots[s.rid&uint32(n-1)] = s
		}
	}
}

func (t *pendTable) slot(rid uint32) *pendSlot {
	if len(t.slots) == 0 {
		return nil
	}
	s := &t.slots[rid&uint32(len(t.slots)-1)]
	if s.q == nil || s.rid != rid {
		return nil
	}
	return s
}

func (t *pendTable) get(rid uint32) *query {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.slot(rid); s != nil {
		return s.q
	}
	return nil
}

// take removes a query: whoever gets it ends that part of it.
func (t *pendTable) take(rid uint32) *query {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.slot(rid)
	if s == nil {
		return nil
	}
	q := s.q
	*s = pendSlot{}
	t.count(-1)
	return q
}

// takeAll removes those queries that which says.
func (t *pendTable) takeAll(which func(q *query) bool) []pendSlot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		if len(t.slots) > pendTableMin {
			t.slots = nil
		}
		return nil
	}
	var out []pendSlot
	// In the order of their ids, which count up from the one after last.
	for i := range uint32(len(t.slots)) {
		s := &t.slots[(t.last+1+i)&uint32(len(t.slots)-1)]
		if s.q != nil && which(s.q) {
			out = append(out, *s)
			*s = pendSlot{}
			t.count(-1)
		}
	}
	return out
}

func (t *pendTable) close() []pendSlot {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	return t.takeAll(func(*query) bool { return true })
}

func (t *pendTable) count(d int) {
	t.n += d
	t.shown.Store(int32(t.n))
}

// load is how many there were a moment ago.
func (t *pendTable) load() int32 { return t.shown.Load() }

func (t *pendTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}
