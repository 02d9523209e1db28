package transport

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/status"
)

// Bus is the fabric inside one process: its sessions reach each other directly, without frames and without a copy.
type Bus struct {
	queryables    index[*queryable]
	subscriptions index[*subscription]
	running       running
	liveliness    liveliness
	declared      atomic.Uint64 // numbers the queryables in the order they were declared
}

// NewBus makes a bus without sessions.
func NewBus() *Bus {
	b := &Bus{}
	b.running.init()
	b.liveliness.tokens = map[string]int{}
	b.liveliness.subs = map[*subscription]struct{}{}
	return b
}

// Open opens a session. It holds no goroutine of its own.
func (b *Bus) Open() Session {
	return &session{bus: b, id: newSessionID(), done: make(chan struct{}), decls: map[declaration]struct{}{}}
}

func newSessionID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	id[0] |= 0x80           // Zenoh writes ids without leading zeros
	return hex.EncodeToString(id[:])
}

type session struct {
	bus     *Bus
	id      string
	done    chan struct{} // closed when the session ends
	dropped atomic.Uint64

	mu    sync.Mutex
	ended error // why the session has ended
	decls map[declaration]struct{}
}

// declaration is what a session undeclares when it ends.
type declaration interface {
	withdraw()  // others no longer see it
	undeclare() // and nothing new starts
	join()      // waits for running handlers, but for the caller's own
}

func (s *session) ID() string { return s.id }

// Dropped implements DropCounter.
func (s *session) Dropped() uint64 { return s.dropped.Load() }

func (s *session) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *session) endError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// declare enters d into the session and then calls publish, unless the session has ended.
func (s *session) declare(d declaration, publish func()) (Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, s.ended
	}
	s.decls[d] = struct{}{}
	publish()
	return &closer{session: s, d: d}, nil
}

// closer undeclares d.
type closer struct {
	session *session
	d       declaration
}

func (c *closer) Close() error {
	c.session.mu.Lock()
	delete(c.session.decls, c.d)
	c.session.mu.Unlock()
	c.d.undeclare()
	c.d.join()
	return nil
}

// Undeclare implements Undeclarer.
func (c *closer) Undeclare() {
	c.session.mu.Lock()
	delete(c.session.decls, c.d)
	c.session.mu.Unlock()
	c.d.withdraw()
}

func (s *session) Close() error {
	s.end(status.Errorf(status.Cancelled, "the session is closed"))
	return nil
}

// end closes the session for the reason why. A second end waits like the first.
func (s *session) end(why error) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = why
		close(s.done)
	}
	decls := make([]declaration, 0, len(s.decls))
	for d := range s.decls {
		decls = append(decls, d)
	}
	s.mu.Unlock()
	s.bus.running.cancel(func(q *query) bool { return q.get.session == s })
	for _, d := range decls {
		d.undeclare()
	}
	for _, d := range decls {
		d.join()
	}
	s.mu.Lock()
	clear(s.decls)
	s.mu.Unlock()
}

func (s *session) Put(ctx context.Context, key string, payload []byte, opts PutOptions) error {
	var buf [8]*subscription
	subs, known := s.bus.subscriptions.match(key, buf[:0])
	if !known {
		if err := ValidKeyExpr(key); err != nil {
			return err
		}
	}
	if s.isDone() {
		return s.endError()
	}
	if ctx.Err() != nil {
		return contextError(ctx, "put on", key)
	}
	sample := Sample{Key: key, Kind: opts.Kind, Payload: payload, Encoding: opts.Encoding, Attachment: opts.Attachment}
	full := subs[:0]
	for _, q := range subs {
		switch {
		case q.Offer(&sample):
		case opts.Congestion == Drop:
			q.session.dropped.Add(1)
		default:
			full = append(full, q)
		}
	}
	// Everybody with room has it by now; only the publisher waits for those without.
	for _, q := range full {
		if err := q.wait(ctx, s, &sample); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) Subscribe(keyExpr string, opts SubscribeOptions, h func(Sample)) (Closer, error) {
	if err := ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	q := newSubscription(s, keyExpr, opts.Queue, h)
	return s.declare(q, func() { s.bus.subscriptions.add(keyExpr, q) })
}

func (q *subscription) withdraw() { q.undeclare() }

func (q *subscription) undeclare() {
	q.session.bus.subscriptions.remove(q.expr, q)
	q.Stop()
}

// contextError is the error of an operation that ctx has ended.
func contextError(ctx context.Context, what, key string) error {
	err := ctx.Err()
	class := status.Cancelled
	if status.Of(err) == status.Deadline {
		class = status.Deadline
	}
	return status.Errorf(class, "%s %q: %w", what, key, err)
}
