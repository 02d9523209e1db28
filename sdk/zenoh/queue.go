package zenoh

import (
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
)

const (
	// keptRing is the room that an empty queue keeps.
	keptRing = 64
	// pooledRing is the room that busy queues take from a pool, and give back when they are empty.
	pooledRing = 1024
)

// rings are those of that size, empty.
var rings = sync.Pool{New: func() any { return new([pooledRing]Sample) }}

// newRing returns a ring that is larger than n.
func newRing(n int) []Sample {
	switch {
	case n < 8:
		return make([]Sample, 8)
	case n < keptRing:
		return make([]Sample, keptRing)
	case n < pooledRing:
		return rings.Get().(*[pooledRing]Sample)[:] //nolint:forcetypeassert // it is ours
	}
	return make([]Sample, 2*n)
}

// freeRing takes a ring back, all of whose samples were zeroed.
func freeRing(r []Sample) {
	if len(r) == pooledRing {
		rings.Put((*[pooledRing]Sample)(r))
	}
}

// queue is a bounded queue of samples and, while there are some, a goroutine that hands them to the handler.
type queue struct {
	session *Session
	call    func(Sample)
	drop    func() // called once, after the last call has ended; may be nil
	limit   int
	// keepAll makes the queue grow beyond limit instead of losing samples, having first reduced it to the last state of each
	// key. Liveliness is delivered so: who is alive must come out right in the end.
	keepAll bool

	mu      sync.Mutex
	ring    []Sample // its length is a power of two, or 0
	head, n int
	running bool    // a goroutine hands out samples, or is about to
	self    uintptr // that goroutine, once it has begun
	closed  bool
	stuck   bool          // a sample has waited for room in vain, and no room has come since
	ended   sync.Cond     // on mu: self has become 0
	waiting int           // senders that wait for room
	room    chan struct{} // wakes one of them
}

func (q *queue) init(s *Session, limit int, call func(Sample), drop func()) {
	q.session, q.limit, q.call, q.drop = s, limit, call, drop
	q.ended.L = &q.mu
}

// offer takes the sample if there is room and reports whether it is settled: taken, or nobody's any more.
func (q *queue) offer(s *Sample) bool {
	q.mu.Lock()
	settled, start := q.offerLocked(s)
	q.mu.Unlock()
	if start {
		q.session.node.tasks.rouse(q)
	}
	return settled
}

// offerLocked also tells whether the goroutine has to be started.
func (q *queue) offerLocked(s *Sample) (settled, start bool) {
	if q.closed {
		return true, false
	}
	if q.n >= q.limit {
		if !q.keepAll {
			return false, false
		}
		q.compact()
	}
	q.push(s)
	start = !q.running
	q.running = true
	return true, start
}

func (q *queue) push(s *Sample) {
	if q.n == len(q.ring) {
		bigger := newRing(len(q.ring))
		for i := range q.n {
			bigger[i] = *q.at(i)
			*q.at(i) = Sample{}
		}
		freeRing(q.ring)
		q.ring, q.head = bigger, 0
	}
	*q.at(q.n) = *s
	q.n++
}

func (q *queue) at(i int) *Sample { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// wait blocks until there is room for the sample and reports whether it is settled. It gives up when done is closed, when
// the session ends, or after bound (0: never); after that nobody waits again until there has been room.
func (q *queue) wait(s *Sample, done <-chan struct{}, bound time.Duration) bool {
	if x := q.session.node.tasks.mine(); x != nil {
		x.wake() // it may be this very queue that sleeps
	}
	var expired <-chan time.Time
	if bound > 0 {
		t := time.NewTimer(bound)
		defer t.Stop()
		expired = t.C
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		settled, start := q.offerLocked(s)
		if settled {
			if start {
				q.session.node.runners.run(q)
			}
			break
		}
		if bound > 0 && q.stuck {
			return false
		}
		if !q.sleep(done, expired) {
			q.stuck = q.stuck || bound > 0
			return false
		}
	}
	if q.waiting > 0 && (q.n < q.limit || q.closed) {
		q.wakeSender()
	}
	return true
}

// sleep waits for a sign that there may be room. It is called and returns with the lock held.
func (q *queue) sleep(done <-chan struct{}, expired <-chan time.Time) (roused bool) {
	if q.room == nil {
		q.room = make(chan struct{}, 1)
	}
	q.waiting++
	q.mu.Unlock()
	select {
	case <-q.room:
		roused = true
	case <-done:
	case <-expired:
	}
	q.mu.Lock()
	q.waiting--
	return roused
}

func (q *queue) wakeSender() {
	select {
	case q.room <- struct{}{}:
	default:
	}
}

func (q *queue) wakeUp() { q.session.node.runners.run(q) }

// run hands out samples until there are none. It is started when one arrives, so that idle subscribers cost nothing.
func (q *queue) run() {
	defer q.stopped() // also when the handler ends its goroutine
	q.mu.Lock()
	q.self = self.Goroutine()
	for q.n > 0 && !q.closed {
		s := *q.at(0)
		*q.at(0) = Sample{}
		q.head++
		q.n--
		q.stuck = false
		if q.waiting > 0 {
			q.wakeSender()
		}
		q.mu.Unlock()
		q.call(s)
		q.mu.Lock()
	}
	if len(q.ring) > keptRing && q.n == 0 {
		freeRing(q.ring)
		q.ring, q.head = nil, 0
	}
	q.leave()
	q.mu.Unlock()
}

// leave ends the handing out, with the lock held.
func (q *queue) leave() {
	if q.closed {
		q.finish()
	}
	q.running, q.self = false, 0
	q.ended.Broadcast()
}

// finish calls drop. It is called and returns with the lock held.
func (q *queue) finish() {
	drop := q.drop
	q.drop = nil
	if drop != nil {
		q.mu.Unlock()
		drop()
		q.mu.Lock()
	}
}

// stopped restarts the queue's goroutine if its handler has ended it.
func (q *queue) stopped() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running || q.self != self.Goroutine() {
		return
	}
	q.leave()
	if q.n > 0 && !q.closed {
		q.running = true
		q.session.node.runners.run(q)
	}
}

// stop drops what waits and lets nothing more in.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.ring, q.head, q.n = nil, 0, 0
	if q.waiting > 0 {
		q.wakeSender()
	}
	if q.self == 0 {
		q.finish()
	}
}

// join waits for a running handler, unless it is the caller.
func (q *queue) join() {
	me := self.Goroutine()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.self != 0 && q.self != me { // one that has not begun will find the queue closed
		q.ended.Wait()
	}
}

// compact reduces the samples that wait to what each key needs: nothing if it came and went, its loss, its loss and
// return, or its appearance. If that does not help, the bound grows with the number of keys.
func (q *queue) compact() {
	type net struct {
		lost, back bool
		last       Sample
	}
	var order []string
	keys := map[string]*net{}
	for i := range q.n {
		s := *q.at(i)
		k := keys[s.KeyExpr.s]
		if k == nil {
			k = &net{}
			keys[s.KeyExpr.s] = k
			order = append(order, s.KeyExpr.s)
		}
		switch {
		case s.Kind == SampleKindPut:
			k.back, k.last = true, s
		case k.back:
			k.back = false
		default:
			k.lost = true
		}
	}
	q.ring, q.head, q.n = nil, 0, 0
	for _, key := range order {
		k := keys[key]
		if k.lost {
			q.push(&Sample{KeyExpr: KeyExpr{key}, Kind: SampleKindDelete})
		}
		if k.back {
			q.push(&k.last)
		}
	}
	if q.n > q.limit/2 {
		q.limit = 2 * max(q.limit, q.n)
	}
}
