// Package mailbox is what every implementation of the fabric puts between those who publish and a subscriber's handler: a
// bounded queue and, while there is something in it, a goroutine that hands it out.
//
// It promises that
//
//   - the handler is called for one item after the other, in the order in which they were taken, and never after Join;
//   - an idle mailbox has no goroutine and no more memory than for a few items;
//   - senders that wait for room are let in as it comes, and all of them return when the mailbox is stopped;
//   - a handler may stop and join its own mailbox, and may end its goroutine.
//
// It imports sdk/internal/self only; sdk/transport with its implementations and sdk/zenoh may import it.
package mailbox

import (
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/internal/self"
)

// Starter has a mailbox's Run called on a goroutine that is not the caller's. Without one, each Run has a new goroutine.
type Starter interface {
	// Start does it now.
	Start()
	// StartSoon does it now or in a moment, before the sender waits for anything.
	StartSoon()
}

// Options are what a mailbox is made with.
type Options[T any] struct {
	Limit   int // items that wait at most
	Call    func(T)
	Drop    func() // called once, after the last Call has ended; may be nil
	Starter Starter
	// Reduce makes the mailbox grow beyond Limit instead of refusing: what waits is first reduced to what matters. It returns
	// the items to keep, in order.
	Reduce func(waiting []T) []T
	Rings  *Rings[T] // shared by many mailboxes; may be nil
}

// Mailbox is a bounded queue and the goroutine that empties it.
type Mailbox[T any] struct {
	o Options[T]

	mu      sync.Mutex
	ring    []T // its length is a power of two, or 0
	head, n int
	running bool    // a goroutine hands out items, or is about to
	self    uintptr // that goroutine, once it has begun
	closed  bool
	stuck   bool          // somebody has waited for room in vain, and no room has come since
	ended   sync.Cond     // on mu: self has become 0
	waiting int           // senders that wait for room
	room    chan struct{} // wakes one of them; made when the first one waits
}

// Init is called once, before anything else.
func (m *Mailbox[T]) Init(o Options[T]) {
	m.o = o
	m.ended.L = &m.mu
}

// Len is how many items wait.
func (m *Mailbox[T]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// Offer takes x if there is room and reports whether it is settled: taken, or nobody's any more.
func (m *Mailbox[T]) Offer(x *T) bool {
	m.mu.Lock()
	settled, start := m.offer(x)
	m.mu.Unlock()
	switch {
	case !start:
	case m.o.Starter != nil:
		m.o.Starter.StartSoon()
	default:
		go m.Run()
	}
	return settled
}

// offer also tells whether Run has to be started. The lock is held.
func (m *Mailbox[T]) offer(x *T) (settled, start bool) {
	if m.closed {
		return true, false
	}
	if m.n >= m.o.Limit {
		if m.o.Reduce == nil {
			return false, false
		}
		m.reduce()
	}
	m.push(x)
	start = !m.running
	m.running = true
	return true, start
}

func (m *Mailbox[T]) start() {
	if m.o.Starter != nil {
		m.o.Starter.Start()
		return
	}
	go m.Run()
}

func (m *Mailbox[T]) push(x *T) {
	if m.n == len(m.ring) {
		bigger := m.o.Rings.take(m.n)
		for i := range m.n {
			bigger[i] = *m.at(i)
		}
		clear(m.ring)
		m.o.Rings.free(m.ring)
		m.ring, m.head = bigger, 0
	}
	*m.at(m.n) = *x
	m.n++
}

func (m *Mailbox[T]) at(i int) *T { return &m.ring[(m.head+i)&(len(m.ring)-1)] }

// Wait blocks until there is room for x and reports whether it is settled. It gives up when done or also, which may be nil, is
// closed, or after bound (0: never); after that nobody with a bound waits again until there has been room.
func (m *Mailbox[T]) Wait(x *T, done, also <-chan struct{}, bound time.Duration) bool {
	var expired <-chan time.Time
	if bound > 0 {
		t := time.NewTimer(bound)
		defer t.Stop()
		expired = t.C
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		settled, start := m.offer(x)
		if start {
			m.start()
		}
		gaveUp := !settled && (bound > 0 && m.stuck || !m.sleep(done, also, expired))
		if gaveUp && bound > 0 {
			m.stuck = true
		}
		if !settled && !gaveUp {
			continue
		}
		if m.waiting > 0 && (m.n < m.o.Limit || m.closed || m.stuck) {
			m.wakeSender() // a wake-up is passed on
		}
		return settled
	}
}

// sleep waits for a sign that there may be room. It is called and returns with the lock held.
func (m *Mailbox[T]) sleep(done, also <-chan struct{}, expired <-chan time.Time) (roused bool) {
	if m.room == nil {
		m.room = make(chan struct{}, 1)
	}
	m.waiting++
	m.mu.Unlock()
	select {
	case <-m.room:
		roused = true
	case <-done:
	case <-also:
	case <-expired:
	}
	m.mu.Lock()
	m.waiting--
	return roused
}

func (m *Mailbox[T]) wakeSender() {
	select {
	case m.room <- struct{}{}:
	default:
	}
}

// Run hands out items until there are none. Only a Starter calls it.
func (m *Mailbox[T]) Run() {
	defer m.stopped() // also when the handler ends its goroutine
	var zero T
	m.mu.Lock()
	m.self = self.Goroutine()
	for m.n > 0 && !m.closed {
		x := *m.at(0)
		*m.at(0) = zero
		m.head++
		m.n--
		m.stuck = false
		if m.waiting > 0 {
			m.wakeSender()
		}
		m.mu.Unlock()
		m.o.Call(x)
		m.mu.Lock()
	}
	if len(m.ring) > keptRing && m.n == 0 {
		m.o.Rings.free(m.ring)
		m.ring, m.head = nil, 0
	}
	m.leave()
	m.mu.Unlock()
}

// leave ends the handing out, with the lock held.
func (m *Mailbox[T]) leave() {
	if m.closed {
		m.finish()
	}
	m.running, m.self = false, 0
	m.ended.Broadcast()
}

// finish calls Drop. It is called and returns with the lock held.
func (m *Mailbox[T]) finish() {
	drop := m.o.Drop
	m.o.Drop = nil
	if drop != nil {
		m.mu.Unlock()
		drop()
		m.mu.Lock()
	}
}

// stopped has another goroutine go on if the handler has ended this one.
func (m *Mailbox[T]) stopped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running || m.self != self.Goroutine() {
		return
	}
	m.leave()
	if m.n > 0 && !m.closed {
		m.running = true
		m.start()
	}
}

// Stop drops what waits and lets nothing more in. Doing so twice is harmless.
func (m *Mailbox[T]) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	m.ring, m.head, m.n = nil, 0, 0
	if m.waiting > 0 {
		m.wakeSender()
	}
	if m.self == 0 {
		m.finish()
	}
}

// Join, after Stop, waits for a running handler, unless it is the caller.
func (m *Mailbox[T]) Join() {
	me := self.Goroutine()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.self != 0 && m.self != me { // one that has not begun will find the mailbox closed
		m.ended.Wait()
	}
}

// reduce makes room. If Reduce does not help, the bound grows with what matters. The lock is held.
func (m *Mailbox[T]) reduce() {
	all := make([]T, m.n)
	for i := range all {
		all[i] = *m.at(i)
	}
	all = m.o.Reduce(all)
	m.ring, m.head, m.n = nil, 0, 0
	for i := range all {
		m.push(&all[i])
	}
	if m.n > m.o.Limit/2 {
		m.o.Limit = 2 * max(m.o.Limit, m.n)
	}
}
