package link

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

const (
	// maxRounds bounds how many pieces a sender writes for others before it leaves that to a goroutine.
	maxRounds = 8
	// burst is the time after a write within which the next one is left to a goroutine: who sends that fast, and not in
	// answer to anything, has more to send, which then goes along. The first message after a pause is written at once.
	burst = 15 * time.Microsecond
	// gatherMax bounds how often a sender lets others append before it writes.
	gatherMax = 4
	// corkBytes bounds what is held back until the messages that are being read are handled.
	corkBytes = 64 << 10
	// closeGrace is how long a transport that we close may go without progress before it is cut off, and how long the
	// peer has to answer.
	closeGrace = time.Second
	// maxClose bounds how long a transport that we close may take to send what waits.
	maxClose = 30 * time.Second
)

// sender is the half of a transport that sends. Whoever finds it idle writes, by itself, as much as the link takes at
// once; everybody else appends to the queue and goes its way.
type sender struct {
	mu      sync.Mutex
	queue   *queue
	queued  [priorities]int // bytes that wait, what is being written included
	links   []*link         // the first one is written to
	readers int             // links whose reader has not ended
	byPeer  int             // links that the peer opened, and those that are about to be
	byUs    int             // the same of ours

	cur     block // what is being written, from off on, by whom writing stands for
	off     int
	curPrio int
	writing bool
	corked  bool      // somebody will write, when the messages that are being read are handled
	last    time.Time // when the last write ended
	heard   uint64    // what of the link had been read by then
	crowd   bool      // the last write carried messages of several senders

	waiting [priorities]chan struct{} // closed when there is room again; nil if nobody waits for that
	blocked int                       // who waits and must not drop the message

	err     error // why nothing can be sent any more
	dead    atomic.Bool
	closing bool // what waits is still sent
	parting bool // it is sent, and the peer is to close the connection

	out, dropped, refused uint64
	moved                 uint64 // bytes written
	received              uint64 // bytes of links that are gone

	watch stallWatch // the clock's
}

// Send queues m, of which nothing is kept, and perhaps writes. It reports whether it did: it does not if m is no message
// that wire.AppendMessage takes; a droppable message that finds
// no room (for Options.WaitDrop) is dropped and counted; any other waits until done is closed or the transport is gone,
// which it is, too, when its peer takes nothing for Options.WaitBlock while somebody waits.
func (t *Transport) Send(m *wire.Message, done <-chan struct{}) bool {
	p := t.queue.priority(m)
	t.mu.Lock()
	if t.err != nil {
		t.mu.Unlock()
		return false
	}
	if t.queued[p] >= t.m.o.QueueBytes && !t.room(p, droppable(m), done) {
		t.mu.Unlock()
		return false
	}
	n := t.queue.add(m)
	if n == 0 { // no valid message
		t.refused++
		t.mu.Unlock()
		return false
	}
	t.queued[p] += n
	t.out++
	switch {
	case t.writing:
		t.crowd = true
	case t.corked:
		if t.queued[p] >= corkBytes {
			t.writing = true
			t.run(false)
		}
	case t.m.leave(t):
		t.corked = true
	default:
		t.begin()
	}
	t.mu.Unlock()
	return true
}

// begin writes what has just been queued, or has it written. t.mu is held.
func (t *Transport) begin() {
	t.writing = true
	if time.Since(t.last) < burst && (len(t.links) == 0 || t.links[0].rx.Load() == t.heard) {
		t.m.running.Go(t.background)
		return
	}
	if t.crowd {
		t.gather()
	}
	t.run(false)
}

// background writes until nothing waits, however long the link makes it wait.
func (t *Transport) background() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gather()
	t.run(true)
}

// gather lets others append before a write: those that are ready to run are about to send. It goes on for as long as they
// do, and gatherMax times at most. t.mu is held, writing set.
func (t *Transport) gather() {
	for range gatherMax {
		before := t.out
		t.mu.Unlock()
		runtime.Gosched()
		t.mu.Lock()
		if t.out == before {
			return
		}
	}
}

// uncork writes what was left to whoever handles messages.
func (t *Transport) uncork() {
	t.mu.Lock()
	t.corked = false
	t.mu.Unlock()
	t.kick()
}

// kick writes what waits, if nobody does.
func (t *Transport) kick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.writing && (t.err == nil || t.closing) {
		t.writing = true
		t.run(false)
	}
}

// run writes until nothing waits. With wait it waits for the link; without, a goroutine does where that is needed, or
// where it takes long. It is called and returns with t.mu held; writing is set and its own.
func (t *Transport) run(wait bool) {
	for rounds := 0; len(t.links) > 0 && (t.err == nil || t.closing); rounds++ {
		if t.off == len(t.cur.b) && !t.take() && !t.links[0].pending() {
			break
		}
		if !wait && rounds == maxRounds {
			t.m.running.Go(t.background)
			return
		}
		l, p := t.links[0], t.cur.b[t.off:]
		t.mu.Unlock()
		n, err := l.write(p, wait)
		t.mu.Lock()
		if len(t.links) == 0 || t.links[0] != l {
			continue // it was lost meanwhile: the next one, if any, begins with that batch again
		}
		t.advance(l, n)
		switch {
		case err == nil:
		case errors.Is(err, errAgain):
			t.m.running.Go(t.background)
			return
		default:
			t.mute(l, err)
		}
	}
	t.writing = false
	t.last = time.Now()
	if len(t.links) > 0 {
		t.heard = t.links[0].rx.Load()
	}
	if t.closing {
		t.closing = false
		t.part()
	}
}

// take begins with the next piece. t.mu is held.
func (t *Transport) take() bool {
	t.queue.recycle(t.cur)
	t.cur, t.curPrio = t.queue.take()
	t.off = 0
	t.crowd = false
	return len(t.cur.b) > 0
}

// advance takes note that l took n bytes. t.mu is held.
func (t *Transport) advance(l *link, n int) {
	if n == 0 {
		return
	}
	l.txBytes += uint64(n)
	l.tx++
	t.moved += uint64(n)
	t.off += n
	t.queued[t.curPrio] -= n
	t.admit(t.curPrio)
}

// rewind makes another link begin with the batch that the last one has not taken whole. t.mu is held.
func (t *Transport) rewind() {
	if t.off == len(t.cur.b) {
		return
	}
	at := batchAt(t.cur.b, t.off)
	t.queued[t.curPrio] += t.off - at
	t.off = at
}

// room waits for room among the messages of priority p. t.mu is held, and let go meanwhile.
func (t *Transport) room(p int, drop bool, done <-chan struct{}) bool {
	var expired <-chan time.Time
	if drop {
		if t.m.o.WaitDrop <= 0 {
			t.dropped++
			return false
		}
		timer := time.NewTimer(t.m.o.WaitDrop)
		defer timer.Stop()
		expired = timer.C
	} else {
		t.blocked++
		defer func() { t.blocked-- }()
	}
	for t.queued[p] >= t.m.o.QueueBytes {
		if t.waiting[p] == nil {
			t.waiting[p] = make(chan struct{})
		}
		room := t.waiting[p]
		t.mu.Unlock()
		t.m.flush() // what it waits for may be held back by this very goroutine
		gaveUp := false
		select {
		case <-room:
		case <-done:
			gaveUp = true
		case <-expired:
			gaveUp = true
		case <-t.done:
		}
		t.mu.Lock()
		switch {
		case t.err != nil:
			return false
		case gaveUp && drop:
			t.dropped++
			return false
		case gaveUp:
			t.refused++
			return false
		}
	}
	return true
}

// admit lets in all who wait for room, once there is plenty. t.mu is held.
func (t *Transport) admit(p int) {
	if t.waiting[p] != nil && t.queued[p] <= t.m.o.QueueBytes/2 {
		close(t.waiting[p])
		t.waiting[p] = nil
	}
}

// linkCount is byUs or byPeer. t.mu is held.
func (t *Transport) linkCount(dialled bool) *int {
	if dialled {
		return &t.byUs
	}
	return &t.byPeer
}

// seal makes every Send fail, those that wait too. t.mu is held.
func (t *Transport) seal(err error) {
	if t.err == nil {
		t.err = err
		close(t.done)
	}
}

// mute takes away l, which can be written to no more. What the peer sent before may still be there to be read. t.mu is
// held.
func (t *Transport) mute(l *link, err error) {
	_ = l.sock.SetReadDeadline(time.Now().Add(closeGrace))
	t.takeLink(l, fmt.Errorf("%w: %w", ErrLost, err))
}

// part tells the peer that nothing more comes; it answers by closing the connection. t.mu is held.
func (t *Transport) part() {
	t.parting = true
	for i, l := range t.links {
		if i > 0 {
			_, _ = l.write(closeBatch, false)
		}
		l.closeWrite()
	}
}
