//go:build zenohc

package zenohc

import (
	"sync"
	"sync/atomic"
	"time"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/internal/self"
)

// keptRing is the room that an empty queue keeps.
const keptRing = 64

// queue is a bounded queue of samples and, while there are some, a goroutine that hands them to the handler. Samples are
// put by threads of the library.
type queue struct {
	h        func(native.Sample)
	limit    int
	patience time.Duration
	dropped  *atomic.Uint64

	mu      sync.Mutex
	ring    []native.Sample // its length is a power of two, or 0
	head, n int
	running bool    // a goroutine hands out samples
	self    uintptr // that goroutine
	closed  bool
	stalled bool          // somebody has waited in vain since the handler took a sample
	ended   sync.Cond     // on mu: running has become false
	waiting int           // threads that wait for room
	room    chan struct{} // wakes one of them
}

func (q *queue) init(limit int, patience time.Duration, dropped *atomic.Uint64, h func(native.Sample)) {
	q.limit, q.patience, q.dropped, q.h = limit, patience, dropped, h
	q.ended.L = &q.mu
	q.room = make(chan struct{}, 1)
}

// put takes the sample. Where there is no room it is lost, or waits for some time if it may.
func (q *queue) put(s native.Sample, wait bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.offer(s) {
		return
	}
	if !wait || q.stalled || !q.await(s) {
		q.dropped.Add(1)
	}
}

// offer reports whether the sample is settled: taken, or nobody's any more.
func (q *queue) offer(s native.Sample) bool {
	if q.closed {
		return true
	}
	if q.n >= q.limit {
		return false
	}
	q.push(s)
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

// await offers the sample until it is settled or patience ends.
func (q *queue) await(s native.Sample) bool {
	timer := time.NewTimer(q.patience)
	defer timer.Stop()
	settled := false
	for !settled && !q.stalled {
		q.waiting++
		q.mu.Unlock()
		late := false
		select {
		case <-q.room:
		case <-timer.C:
			late = true
		}
		q.mu.Lock()
		q.waiting--
		settled = q.offer(s)
		q.stalled = q.stalled || late && !settled
	}
	if q.waiting > 0 && (q.n < q.limit || q.closed || q.stalled) {
		q.wakeOne() // a wake-up is passed on
	}
	return settled
}

func (q *queue) wakeOne() {
	select {
	case q.room <- struct{}{}:
	default:
	}
}

func (q *queue) push(s native.Sample) {
	if q.n == len(q.ring) {
		bigger := make([]native.Sample, max(8, 2*len(q.ring)))
		for i := range q.n {
			bigger[i] = *q.at(i)
		}
		q.ring, q.head = bigger, 0
	}
	*q.at(q.n) = s
	q.n++
}

func (q *queue) at(i int) *native.Sample { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// run hands out samples until there are none.
func (q *queue) run() {
	defer q.stopped() // also when the handler ends its goroutine
	q.mu.Lock()
	q.self = self.Goroutine()
	for q.n > 0 && !q.closed {
		s := *q.at(0)
		*q.at(0) = native.Sample{}
		q.head++
		q.n--
		q.stalled = false
		if q.waiting > 0 {
			q.wakeOne()
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
func (q *queue) stopped() {
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
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ring, q.head, q.n = nil, 0, 0
	q.wakeOne()
}

// join waits for a running handler, unless it is the caller.
func (q *queue) join() {
	self := self.Goroutine()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running && q.self != self {
		q.ended.Wait()
	}
}
