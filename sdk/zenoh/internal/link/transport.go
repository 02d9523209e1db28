package link

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Handler is told of transports and their messages. For one transport its methods are called one after the other.
type Handler interface {
	// Up comes before any message of t; what it returns is t.Context() from then on. It may send, and close t.
	Up(t *Transport) (context any)
	// Message comes on the goroutine that reads. m is valid until it returns. It must not block for long: nothing else is
	// read from t meanwhile.
	Message(t *Transport, m *wire.Message)
	// EndOfBatch comes after the last message of what was read in one go: the moment to wake receivers, once.
	EndOfBatch(t *Transport)
	// Down comes once, after the last message. err says why: ErrClosed if we closed t, a *ClosedError if the peer did.
	Down(t *Transport, err error)
}

// The reasons why a transport is gone.
var (
	// ErrClosed: by us.
	ErrClosed = errors.New("closed")
	// ErrExpired: the peer was silent for the lease that it announced.
	ErrExpired = errors.New("lease expired")
	// ErrUnresponsive: the peer took nothing for Options.WaitBlock while messages waited that must not be dropped.
	ErrUnresponsive = errors.New("unresponsive: takes no data")
	// ErrLost: the connection ended without a CLOSE.
	ErrLost = errors.New("connection lost")
	// ErrProtocol: what the peer sent was malformed.
	ErrProtocol = errors.New("protocol error")
)

// joinDoubt is how long after a second link has come the loss of the first one ends the transport: the peer may have lost
// the first one, and with it all it knew of us, before the second one came, which to it is a new transport then.
const joinDoubt = 500 * time.Millisecond

// Transport is what connects us with one remote node: one link, or two if both sides dialled. Its methods may be called
// by anybody.
type Transport struct {
	m       *Manager
	agreed  agreed
	context atomic.Pointer[any]
	up      chan struct{} // closed when Up returned
	done    chan struct{} // closed when no message can be sent any more
	gone    chan struct{} // closed when Down returned

	sender // what is sent

	rx       sync.Mutex // held while messages are handed out
	receiver *receiver

	in, stale, abandoned atomic.Uint64 // copies of the receiver's counts
}

func newTransport(m *Manager, a *agreed) *Transport {
	t := &Transport{m: m, agreed: *a, up: make(chan struct{}), done: make(chan struct{}), gone: make(chan struct{})}
	t.queue = newQueue(a, a.batch)
	t.receiver = newReceiver(a, m.o.MaxMessage, func(msg *wire.Message) { m.h.Message(t, msg) })
	return t
}

// ID is the remote node's.
func (t *Transport) ID() wire.ID { return t.agreed.id }

// WhatAmI is what the remote node presents.
func (t *Transport) WhatAmI() wire.WhatAmI { return t.agreed.theirs }

// Presented is what we present to it.
func (t *Transport) Presented() wire.WhatAmI { return t.agreed.ours }

// User is whom the remote node proved to be when it dialled us, or empty.
func (t *Transport) User() string { return t.agreed.user }

// Context is what Handler.Up returned, and nil until then.
func (t *Transport) Context() any {
	if c := t.context.Load(); c != nil {
		return *c
	}
	return nil
}

// Done is closed when nothing can be sent any more. Messages may still arrive until Handler.Down.
func (t *Transport) Done() <-chan struct{} { return t.done }

// Stats are a transport's counters.
type Stats struct {
	Out, In           uint64 // messages
	BytesOut, BytesIn uint64 // with all headers
	Dropped           uint64 // droppable messages that found no room
	Refused           uint64 // others that found none: their sender gave up
	Stale             uint64 // frames of the peer that came twice or too late
	Abandoned         uint64 // messages of the peer that came incomplete or too large
	Queued            int    // bytes that wait
}

// Stats returns t's counters.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{
		Out: t.out, In: t.in.Load(), BytesOut: t.moved, BytesIn: t.received, Dropped: t.dropped, Refused: t.refused,
		Stale: t.stale.Load(), Abandoned: t.abandoned.Load(),
	}
	for _, n := range t.queued {
		s.Queued += n
	}
	for _, l := range t.links {
		s.BytesIn += l.rxBytes.Load()
	}
	return s
}

// LinkInfo describes one link of a transport.
type LinkInfo struct {
	Local, Remote string    // locators
	Dialled       bool      // by us
	Listener      *Listener // that it came in by; nil if we dialled
	BatchSize     int       // bytes
	Cred          *Cred     // who is at the other end of a unix socket; nil if unknown
	CommonName    string    // of the peer's verified certificate; empty without
	Since         time.Time
	BytesIn       uint64
	BytesOut      uint64
}

// Cred is who opened the other end of a unix socket.
type Cred struct{ PID, UID, GID int }

// Links describes t's links, that which is written to first.
func (t *Transport) Links() []LinkInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	infos := make([]LinkInfo, 0, len(t.links))
	for _, l := range t.links {
		info := l.info
		info.BytesIn, info.BytesOut = l.rxBytes.Load(), l.txBytes
		infos = append(infos, info)
	}
	return infos
}

// Close ends t, which sends what waits and then CLOSE, as long as the peer takes it. It does not wait for that.
func (t *Transport) Close(reason wire.Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.seal(ErrClosed)
	t.dead.Store(true)
	t.closing = true
	t.queued[priorities-1] += t.queue.addRaw(priorities-1, wire.AppendClose(nil, wire.Close{Session: true, Reason: reason}))
	if !t.writing {
		t.writing = true
		t.run(false)
	}
}

// abort ends t at once.
func (t *Transport) abort(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(err)
}

// fail is abort with t.mu held.
func (t *Transport) fail(err error) {
	t.seal(err)
	t.dead.Store(true)
	t.closing = false
	for i, l := range t.links {
		t.farewell(i, l, wire.Close{Session: true, Reason: reasonOf(err)})
		l.kill(err)
	}
}

// farewell tells the peer why l, which is t.links[i], is ended: as far as that can be said without waiting, and not into
// the middle of something else. t.mu is held.
func (t *Transport) farewell(i int, l *link, c wire.Close) {
	if i > 0 || !t.writing {
		_, _ = l.write(rawBatch(wire.AppendClose(nil, c)), false)
	}
}

// reasonOf is what a peer is told about err.
func reasonOf(err error) wire.Reason {
	switch {
	case errors.Is(err, ErrExpired):
		return wire.ReasonExpired
	case errors.Is(err, ErrUnresponsive):
		return wire.ReasonUnresponsive
	case errors.Is(err, ErrProtocol):
		return wire.ReasonInvalid
	}
	return wire.ReasonGeneric
}

// addLink makes l, which has just been made, one of t's. It fails if t is gone.
func (t *Transport) addLink(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return false
	}
	t.links = append(t.links, l)
	t.readers++
	t.queue.setLimit(min(t.queue.limit, l.info.BatchSize))
	return true
}

// dropLink ends l, and takes it away. t.mu is held.
func (t *Transport) dropLink(l *link, err error) {
	if i := slices.Index(t.links, l); i >= 0 {
		t.farewell(i, l, wire.Close{Reason: reasonOf(err)})
	}
	l.kill(err)
	t.takeLink(l, err)
}

// takeLink takes away l, if it is still there, and goes on over another one. err is why t is gone if there is none. t.mu
// is held.
func (t *Transport) takeLink(l *link, err error) {
	i := slices.Index(t.links, l)
	if i < 0 {
		return
	}
	t.received += l.rxBytes.Load()
	t.links = slices.Delete(t.links, i, i+1)
	if len(t.links) == 0 {
		t.seal(err)
		return
	}
	limit := maxBatchSize
	for _, o := range t.links {
		limit = min(limit, o.info.BatchSize)
	}
	if newest := t.newest(); time.Since(newest.joined) < joinDoubt {
		t.fail(fmt.Errorf("%w, and the other link is too new to go on with", err))
		return
	}
	if i == 0 {
		t.rewind()
	}
	if !t.queue.setLimit(limit) || !fits(t.cur.b[t.off:], limit) {
		t.fail(fmt.Errorf("%w, and the other link takes only batches of %d bytes", err, limit))
	}
}

// newest returns the link that came last, of one at least. t.mu is held.
func (t *Transport) newest() *link {
	return slices.MaxFunc(t.links, func(a, b *link) int { return a.joined.Compare(b.joined) })
}

// read is the life of l, one of t's links, from when Up returned: it hands out what comes until l ends.
func (t *Transport) read(l *link) {
	err := t.receive(l)
	l.uncork()
	t.mu.Lock()
	t.dropLink(l, err)
	*t.linkCount(l.info.Dialled)--
	t.readers--
	last, why := t.readers == 0, t.err
	var closed *ClosedError
	if errors.As(err, &closed) && !errors.Is(why, ErrClosed) {
		why = err // it says more than that the link is lost
	}
	t.mu.Unlock()
	l.close()
	t.m.o.Log.Debug("link closed", "remote", l.info.Remote, "id", t.agreed.id, "cause", err)
	if last {
		t.m.forget(t)
		t.m.h.Down(t, why)
		close(t.gone)
	}
}

func (t *Transport) receive(l *link) error {
	for {
		if err := t.process(l); err != nil {
			return err
		}
		if err := l.fill(); err != nil {
			if cause := l.cause.Load(); cause != nil {
				return *cause
			}
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
}

// process hands out the whole batches that l has read. What is sent meanwhile, by anybody, is written when no more is there to be
// read, or soon.
func (t *Transport) process(l *link) error {
	if t.dead.Load() { // nobody wants it, but the peer's end of the connection is awaited
		l.r = l.w
		return nil
	}
	batch, ok := l.next()
	if !ok {
		return nil
	}
	l.busy.Store(true)
	l.cork()
	t.rx.Lock()
	before := t.receiver.counts
	var closed *wire.Close
	var err error
	for ; ok && err == nil && closed == nil && !t.dead.Load(); batch, ok = l.next() {
		closed, err = t.receiver.batch(batch)
	}
	if counts := &t.receiver.counts; *counts != before {
		if counts.messages != before.messages {
			t.m.h.EndOfBatch(t)
		}
		t.in.Store(counts.messages)
		t.stale.Store(counts.stale)
		t.abandoned.Store(counts.abandoned)
	}
	t.rx.Unlock()
	if l.tls != nil || l.corked >= corkedReads || err != nil || closed != nil {
		l.uncork()
	}
	if l.pending() { // TLS has something to say
		t.kick()
	}
	l.busy.Store(false)
	switch {
	case err != nil:
		t.m.counts.malformed.Add(1)
		t.m.o.Log.Warn("link ended for a protocol error", "remote", l.info.Remote, "id", t.agreed.id, "error", err)
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
		if errors.Is(err, errRestarted) {
			t.abort(err)
		}
		return err
	case closed != nil:
		err := &ClosedError{closed.Reason}
		if closed.Session {
			t.abort(err)
		}
		return err
	}
	return nil
}
