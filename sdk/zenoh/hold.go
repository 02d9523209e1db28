package zenoh

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// holdFor is how long the first reply to a query waits for its final. Most queries have one reply, and handlers that return right after
// it: the two then travel together, and wake the asker once.
const holdFor = 100 * time.Microsecond

// holder lets go of a reply that is held back. It is used again, since making a timer costs more than resetting one.
type holder struct {
	timer *time.Timer
	q     atomic.Pointer[Query] // whose reply it is
}

var holders sync.Pool

func newHolder() *holder {
	if h, ok := holders.Get().(*holder); ok {
		return h
	}
	h := &holder{}
	h.timer = time.AfterFunc(time.Hour, h.fire)
	h.timer.Stop()
	return h
}

// fire sends the reply. If it comes late, and h is another query's already, that one's reply is sent a little early.
func (h *holder) fire() {
	if q := h.q.Swap(nil); q != nil {
		q.letGo()
	}
}

// replies is what a query keeps of those it has sent. It is guarded by mu, also while one is sent, so that they leave in order.
type replies struct {
	mu     sync.Mutex
	any    bool          // there was one
	held   *wire.Message // the first one
	holder *holder
	final  bool // no more
}

// send sends a reply, or holds it back for a moment.
func (q *Query) send(m *wire.Message) error {
	o, s := &q.out, q.req.session
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.final {
		recycle(m)
		return ErrFinal
	}
	first := !o.any
	o.any = true
	if first && !q.to.o.Quick && q.to.ch == nil && q.life.with() == nil {
		o.held = m
		o.holder = newHolder()
		o.holder.q.Store(q)
		o.holder.timer.Reset(holdFor)
		return nil
	}
	q.sendHeld()
	s.send(m, s.done)
	return nil
}

// letGo sends the reply that is held back, if there still is one.
func (q *Query) letGo() {
	q.out.mu.Lock()
	defer q.out.mu.Unlock()
	q.sendHeld()
}

// sendHeld is letGo with the lock held.
func (q *Query) sendHeld() {
	if m := q.release(); m != nil {
		q.req.session.send(m, q.req.session.done)
	}
}

// release gives the holder back and returns what it held.
func (q *Query) release() *wire.Message {
	o := &q.out
	m := o.held
	if m == nil {
		return nil
	}
	o.held = nil
	if o.holder.q.CompareAndSwap(q, nil) {
		o.holder.timer.Stop()
	}
	holders.Put(o.holder)
	o.holder = nil
	return m
}

// lastHeld ends the replies and returns the one that is held back, if there is one.
func (q *Query) lastHeld() *wire.Message {
	q.out.mu.Lock()
	defer q.out.mu.Unlock()
	q.out.final = true
	return q.release()
}

const (
	// maxYield is how long goroutines may wait on the average for others to add to what is written; beyond it only every
	// trialAfter-th does.
	maxYield   = 100 * time.Microsecond
	trialAfter = 16
)

// yields lets other handlers that are ready to answer add to what is about to be written. Where many queries are under way that
// saves most of the writes. Where yielding takes long as a rule, others compute instead and it is only a delay; then it is left
// out but for a trial now and then.
type yields struct {
	took    atomic.Int64 // on the average
	skipped atomic.Uint32
}

func (y *yields) yield() {
	if y.took.Load() > int64(maxYield) && y.skipped.Add(1)%trialAfter != 0 {
		return
	}
	begin := time.Now()
	runtime.Gosched()
	took := min(int64(time.Since(begin)), 4*int64(maxYield)) // bounded, so that one pause of the whole process counts little
	avg := y.took.Load()
	y.took.Store(avg + (took-avg)/8)
}
