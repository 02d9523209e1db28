package zenoh

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/internal/route"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Session is one participant: it publishes, subscribes, queries, answers queries and holds liveliness tokens. All its methods may be
// called concurrently.
type Session struct {
	node *Node
	owns bool // closing it closes the node
	eid  uint32
	id   ID
	face *route.Face
	done chan struct{} // closed when the session ends

	nextID  atomic.Uint32 // of entities, tokens and interests
	dropped atomic.Uint64
	over    atomic.Bool // done is closed, or about to be

	subscribers matcher[*Subscriber]
	queryables  matcher[*Queryable]
	gets        getTable
	requests    requestTable

	mu      sync.Mutex
	ended   error // why the session has ended
	ending  bool  // somebody takes it apart
	decls   map[declaration]struct{}
	follows map[*follower]struct{}    // liveliness subscribers
	lists   map[uint32]*livelinessGet // liveliness gets, by the ids of their interests
	told    map[uint32]string         // the keys of tokens, by the ids under which they were told
}

// declaration is what a session undeclares when it ends.
type declaration interface {
	withdraw() // others no longer see it, and nothing new starts
	join()     // waits for running handlers, but for the caller's own
}

// Open makes a node and a session of it, which ends with the session. It waits until the node is connected as c says.
func Open(ctx context.Context, c Config) (*Session, error) {
	n, err := OpenNode(ctx, c)
	if err != nil {
		return nil, err
	}
	s, err := n.Session()
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	s.owns = true
	return s, nil
}

// Node returns the session's node.
func (s *Session) Node() *Node { return s.node }

// ZID is the id of the session's node, which all its sessions share.
func (s *Session) ZID() ID { return s.node.cfg.ID }

// ID is the session's own: the node's for its first session, a random one for every other.
func (s *Session) ID() ID { return s.id }

// EntityGlobalID names the session among those of its node.
func (s *Session) EntityGlobalID() EntityGlobalID { return EntityGlobalID{ZID: s.ZID(), EID: s.eid} }

// Done is closed when the session ends; Err then tells why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session is open, ErrClosed after Close, and an ErrDisconnected if the node ended otherwise.
func (s *Session) Err() error {
	if !s.over.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Dropped is how many samples the session's subscribers have lost because their queues were full.
func (s *Session) Dropped() uint64 { return s.dropped.Load() }

// ready is what every operation begins with.
func (s *Session) ready(ctx context.Context, key KeyExpr) error {
	if key.s == "" {
		return key.check()
	}
	if err := s.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// until is what ends the waits of an operation.
func (s *Session) until(ctx context.Context) <-chan struct{} {
	if d := ctx.Done(); d != nil {
		return d
	}
	return s.done
}

// declare enters d into the session, with publish called while it cannot end.
func (s *Session) declare(d declaration, publish func()) error {
	s.mu.Lock()
	if s.ended != nil {
		defer s.mu.Unlock()
		return s.ended
	}
	if len(s.decls) >= s.node.cfg.MaxDeclarations {
		defer s.mu.Unlock()
		return fmt.Errorf("%w: a session may declare %d things (MaxDeclarations)", ErrOverload, s.node.cfg.MaxDeclarations)
	}
	s.decls[d] = struct{}{}
	s.mu.Unlock()
	publish()
	return nil
}

// undeclare takes d out and waits for its handlers, however often it is called.
func (s *Session) undeclare(d declaration) error {
	s.mu.Lock()
	_, was := s.decls[d]
	delete(s.decls, d)
	s.mu.Unlock()
	if was {
		d.withdraw()
	}
	d.join()
	return nil
}

// Close undeclares everything, ends the queries under way with ErrClosed and waits for the handlers that run, but for the
// one it is called from. It closes the node if Open made it. Closing twice is harmless.
func (s *Session) Close() error {
	s.end(ErrClosed, true)
	if s.owns {
		return s.node.Close()
	}
	return nil
}

// fail makes everything fail with why from now on.
func (s *Session) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = why
		s.over.Store(true)
		close(s.done)
	}
}

// end ends the session for the reason why; polite tells others of it. A second end waits like the first.
func (s *Session) end(why error, polite bool) {
	s.fail(why)
	s.mu.Lock()
	first := !s.ending
	s.ending = true
	decls := make([]declaration, 0, len(s.decls))
	for d := range s.decls {
		decls = append(decls, d)
	}
	s.mu.Unlock()
	if first {
		if !polite {
			s.node.router.Detach(s.face)
		}
	}
	for _, d := range decls {
		s.mu.Lock()
		_, was := s.decls[d]
		delete(s.decls, d)
		s.mu.Unlock()
		if was {
			d.withdraw()
		}
	}
	for _, d := range decls {
		d.join()
	}
	s.requests.join()
	if first && polite {
		s.node.router.Detach(s.face)
	}
	s.node.forget(s)
}

// messages are those that sessions send: a message is handed on by address, and so would be allocated each time.
var messages = sync.Pool{New: func() any { return new(wire.Message) }}

func newMessage(kind wire.Kind, qos wire.QoS) *wire.Message {
	m := messages.Get().(*wire.Message) //nolint:forcetypeassert // it is ours
	m.Kind, m.QoS, m.Reliable, m.Owned = kind, qos, true, true
	return m
}

// send hands m to the router and takes it back.
func (s *Session) send(m *wire.Message, done <-chan struct{}) {
	s.node.router.HandleUntil(s.face, m, done)
	recycle(m)
}

// recycle takes a message back.
func recycle(m *wire.Message) {
	*m = wire.Message{}
	messages.Put(m)
}

// sendDeclare sends a declaration, or the end of one.
func (s *Session) sendDeclare(d wire.Declaration, key string) {
	m := newMessage(wire.Declare, wire.ControlQoS)
	m.Decl = d
	if key != "" {
		m.Key = wire.WireExpr{Sender: true, Suffix: key}
	}
	s.send(m, s.face.Done())
}

func (s *Session) sendInterest(id uint32, mode wire.InterestMode, o wire.InterestOptions, key string) {
	m := newMessage(wire.Interest, wire.ControlQoS)
	m.InterestID, m.Mode, m.Options = id, mode, o
	if key != "" {
		m.Options |= wire.InterestRestricted
		m.Key = wire.WireExpr{Sender: true, Suffix: key}
	}
	s.send(m, s.face.Done())
}

// inbox is a session as the router sees it.
type inbox Session

// Send implements route.Peer. It runs on the goroutine of whoever sends.
func (b *inbox) Send(m *wire.Message, done <-chan struct{}) bool {
	s := (*Session)(b)
	switch m.Kind {
	case wire.Push:
		s.deliver(m, done)
	case wire.Request:
		s.asked(m)
	case wire.Response:
		s.answered(m, done)
	case wire.ResponseFinal:
		s.gets.final(s, m.RequestID)
	case wire.Declare:
		s.declared(m)
	case wire.Interest, wire.OAM: // nobody asks a session for its declarations
	}
	return true
}

// CancelQuery implements route.Canceller.
func (b *inbox) CancelQuery(rid uint32) { (*Session)(b).requests.cancel(rid) }

// NewTimestamp returns a time stamp of the node's clock, later than all that it has given.
func (s *Session) NewTimestamp() Timestamp { return s.node.router.Timestamp() }
