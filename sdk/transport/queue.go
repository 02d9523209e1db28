package transport

import (
	"context"
	"sync"

	"github.com/essa-project/essad/sdk/internal/self"
)

// defaultQueue is how many samples wait for a subscriber's handler unless it asks for another number.
const defaultQueue = 1024

// keptRing is the room that an empty queue keeps.
const keptRing = 64

// subscription is a bounded queue of samples and, while there are some, a goroutine that hands them to the handler.
type subscription struct {
	session *session
	expr    string
	h       func(Sample)
	limit   int
	// keepAll makes the queue grow beyond limit instead of losing samples, having first reduced it to the last state of
	// each key. Liveliness is delivered so: membership must come out right in the end.
	keepAll bool

	mu      sync.Mutex
	ring    []Sample // its length is a power of two, or 0
	head, n int
	running bool    // a goroutine hands out samples
	self    uintptr // that goroutine
	closed  bool
	ended   sync.Cond     // on mu: running has become false
	waiting int           // publishers that wait for room
	room    chan struct{} // wakes one of them
}

func newSubscription(s *session, expr string, limit int, h func(Sample)) *subscription {
	if limit <= 0 {
		limit = defaultQueue
	}
	q := &subscription{session: s, expr: expr, h: h, limit: limit}
	q.ended.L = &q.mu
	return q
}

// offer takes the sample if there is room and reports whether it is settled: taken, or nobody's any more.
func (q *subscription) offer(s Sample) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.offerLocked(s)
}

func (q *subscription) offerLocked(s Sample) bool {
	if q.closed {
		return true
	}
	if q.n >= q.limit {
		if !q.keepAll {
			return false
		}
		q.compact()
	}
	q.push(s)
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

func (q *subscription) push(s Sample) {
	if q.n == len(q.ring) {
		bigger := make([]Sample, max(8, 2*len(q.ring)))
		for i := range q.n {
			bigger[i] = *q.at(i)
		}
		q.ring, q.head = bigger, 0
	}
	*q.at(q.n) = s
	q.n++
}

func (q *subscription) at(i int) *Sample { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// wait blocks until there is room for the sample, or ctx or the publisher's session ends.
func (q *subscription) wait(ctx context.Context, publisher *session, s Sample) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.offerLocked(s) {
		if q.room == nil {
			q.room = make(chan struct{}, 1)
		}
		q.waiting++
		q.mu.Unlock()
		var err error
		select {
		case <-q.room:
		case <-ctx.Done():
			err = contextError(ctx, "put on", s.Key)
		case <-publisher.done:
			err = publisher.endError()
		}
		q.mu.Lock()
		q.waiting--
		if err != nil {
			return err
		}
	}
	if q.waiting > 0 && (q.n < q.limit || q.closed) {
		q.wakePublisher()
	}
	return nil
}

func (q *subscription) wakePublisher() {
	select {
	case q.room <- struct{}{}:
	default:
	}
}

// run hands out samples until there are none. It is started when one arrives, so that idle subscriptions cost nothing.
func (q *subscription) run() {
	defer q.stopped() // also when the handler ends its goroutine
	q.mu.Lock()
	q.self = self.Goroutine()
	for q.n > 0 && !q.closed {
		s := *q.at(0)
		*q.at(0) = Sample{}
		q.head++
		q.n--
		if q.waiting > 0 {
			q.wakePublisher()
		}
		q.mu.Unlock()
		q.h(s)
		q.mu.Lock()
	}
	if len(q.ring) > keptRing {
		q.ring, q.head = nil, 0
	}
	q.running, q.self = false, 0
	q.ended.Broadcast()
	q.mu.Unlock()
}

// stopped restarts the queue's goroutine if its handler has ended it.
func (q *subscription) stopped() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running || q.self != self.Goroutine() {
		return
	}
	q.running, q.self = false, 0
	if q.n > 0 && !q.closed {
		q.running = true
		go q.run()
	}
	q.ended.Broadcast()
}

// stop drops what waits and lets nothing more in.
func (q *subscription) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.ring, q.head, q.n = nil, 0, 0
	if q.waiting > 0 {
		q.wakePublisher()
	}
}

// join waits for a running handler, unless it is the caller.
func (q *subscription) join() {
	self := self.Goroutine()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running && q.self != self {
		q.ended.Wait()
	}
}

// compact reduces the samples that wait to what each key needs: nothing if it came and went, its loss, its loss and
// return, or its appearance. If that does not help, the bound grows with the number of keys.
func (q *subscription) compact() {
	type net struct {
		lost, back bool
		last       Sample
	}
	var order []string
	keys := map[string]*net{}
	for i := range q.n {
		s := *q.at(i)
		k := keys[s.Key]
		if k == nil {
			k = &net{}
			keys[s.Key] = k
			order = append(order, s.Key)
		}
		switch {
		case s.Kind == Put:
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
			q.push(Sample{Key: key, Kind: Delete})
		}
		if k.back {
			q.push(k.last)
		}
	}
	if q.n > q.limit/2 {
		q.limit = 2 * max(q.limit, q.n)
	}
}
