package zenoh

import (
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// livelinessQueue is how many changes wait for a handler before those that cancel out are taken out.
const livelinessQueue = 1024

// Liveliness is what a session does with tokens. A token is alive until it is undeclared, its session is closed, or its
// node is lost; several with one key are one to everybody.
type Liveliness struct{ s *Session }

// Liveliness returns the session's liveliness operations.
func (s *Session) Liveliness() Liveliness { return Liveliness{s} }

// LivelinessToken is a token that is alive.
type LivelinessToken struct {
	session *Session
	key     KeyExpr
	id      uint32
}

// DeclareToken declares a token on key.
func (l Liveliness) DeclareToken(key KeyExpr) (*LivelinessToken, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	t := &LivelinessToken{session: l.s, key: key, id: l.s.nextID.Add(1)}
	err := l.s.declare(t, func() { l.s.sendDeclare(wire.Declaration{Kind: wire.DeclToken, ID: t.id}, key.s) })
	if err != nil {
		return nil, err
	}
	return t, nil
}

// KeyExpr is the token's key.
func (t *LivelinessToken) KeyExpr() KeyExpr { return t.key }

// Undeclare ends the token. Doing so twice is harmless.
func (t *LivelinessToken) Undeclare() error { return t.session.undeclare(t) }

func (t *LivelinessToken) withdraw() {
	t.session.sendDeclare(wire.Declaration{Kind: wire.UndeclToken, ID: t.id}, "")
}

func (t *LivelinessToken) join() {}

// LivelinessSubscriberOptions are the optional parts of a liveliness subscriber.
type LivelinessSubscriberOptions struct {
	History bool // the tokens that are alive now are delivered first
}

// LivelinessSubscriber hears of tokens: a put when one appears and a delete when it is lost. Changes that its handler is too
// slow for are left out where later ones undo them, so that what it heard last of a key is always true.
type LivelinessSubscriber struct{ follower }

// follower is what is inside.
type follower struct {
	*Subscriber
	history bool
	alive   map[string]struct{} // the keys that it was told are alive; guarded by the session's mu
}

// DeclareSubscriber has h hear of the tokens that match key.
func (l Liveliness) DeclareSubscriber(key KeyExpr, h Handler[Sample], o *LivelinessSubscriberOptions) (*LivelinessSubscriber, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	s := l.s
	f := &LivelinessSubscriber{follower{Subscriber: newSubscriber(s, key, h, livelinessQueue, true), alive: map[string]struct{}{}}}
	mode := wire.InterestFuture
	if o != nil && o.History {
		f.history, mode = true, wire.InterestCurrentFuture
	}
	err := s.declare(f, func() {
		s.mu.Lock()
		s.follows[&f.follower] = struct{}{}
		s.mu.Unlock()
		s.sendInterest(f.id, mode, wire.InterestTokens|wire.InterestKeyExprs, key.s)
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Undeclare ends the subscriber and waits for its handler, unless it is called from there. Doing so twice is harmless.
func (f *LivelinessSubscriber) Undeclare() error { return f.session.undeclare(f) }

func (f *LivelinessSubscriber) withdraw() {
	s := f.session
	s.mu.Lock()
	delete(s.follows, &f.follower)
	s.mu.Unlock()
	f.stop()
	s.sendInterest(f.id, wire.InterestFinal, 0, "")
}

// token takes the news that a token is alive or lost. One that answers an interest was alive before, which only those hear who
// asked for history.
func (s *Session) token(m *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, key := m.Decl.ID, m.Key.Suffix
	if m.Decl.Kind == wire.UndeclToken {
		if known, ok := s.told[id]; ok {
			delete(s.told, id)
			key = known
		}
		if key != "" {
			s.lost(string([]byte(key)))
		}
		return
	}
	key = string([]byte(key))
	if m.HasInterest {
		if g := s.lists[m.InterestID]; g != nil {
			g.add(key)
			return
		}
	}
	s.told[id] = key
	for f := range s.follows {
		_, known := f.alive[key]
		concerns := !m.HasInterest || f.history && f.id == m.InterestID
		if !known && concerns && keyexpr.Intersects(f.key.s, key) {
			f.alive[key] = struct{}{}
			f.queue.Offer(&Sample{KeyExpr: KeyExpr{key}, Kind: SampleKindPut, Reliability: ReliabilityReliable})
		}
	}
}

// lost tells of a token that is lost. Who did not ask for history hears of those that were alive before, too.
func (s *Session) lost(key string) {
	for f := range s.follows {
		_, known := f.alive[key]
		delete(f.alive, key)
		if known || !f.history && keyexpr.Intersects(f.key.s, key) {
			f.queue.Offer(&Sample{KeyExpr: KeyExpr{key}, Kind: SampleKindDelete, Reliability: ReliabilityReliable})
		}
	}
}

// LivelinessGetOptions are the optional parts of a liveliness Get.
type LivelinessGetOptions struct {
	Timeout time.Duration // 0: ctx's deadline alone or, where it has none, Config.QueryTimeout; <0 for ever
}

// livelinessGet is one under way.
type livelinessGet struct {
	mu   sync.Mutex
	keys []string
	done chan struct{}
	once sync.Once
}

func (g *livelinessGet) add(key string) {
	g.mu.Lock()
	g.keys = append(g.keys, key)
	g.mu.Unlock()
}

// Get calls h with the key of every matching token that is alive now, in no particular order and each once. It is an ErrTimeout
// where nobody has said in time that these are all.
func (l Liveliness) Get(ctx context.Context, key KeyExpr, h func(KeyExpr), o *LivelinessGetOptions) error {
	s := l.s
	if err := s.ready(ctx, key); err != nil {
		return s.wrapGet(key, err)
	}
	timeout := s.node.cfg.QueryTimeout
	if _, bounded := ctx.Deadline(); bounded {
		timeout = -1
	}
	if o != nil && o.Timeout != 0 {
		timeout = o.Timeout
	}
	g := &livelinessGet{done: make(chan struct{})}
	id := s.nextID.Add(1)
	s.mu.Lock()
	s.lists[id] = g
	s.mu.Unlock()
	s.sendInterest(id, wire.InterestCurrent, wire.InterestTokens|wire.InterestKeyExprs, key.s)
	err := g.wait(ctx, s, timeout)
	s.mu.Lock()
	delete(s.lists, id)
	s.mu.Unlock()
	if err != nil {
		return s.wrapGet(key, err)
	}
	seen := make(map[string]struct{}, len(g.keys))
	for _, k := range g.keys {
		if _, twice := seen[k]; !twice {
			seen[k] = struct{}{}
			h(KeyExpr{k})
		}
	}
	return nil
}

func (g *livelinessGet) wait(ctx context.Context, s *Session, timeout time.Duration) error {
	select {
	case <-g.done: // it was answered from what is known here
		return nil
	default:
	}
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return ErrTimeout
	case <-s.done:
		return s.Err()
	}
}

// listed takes the end of an answer.
func (s *Session) listed(interest uint32) {
	s.mu.Lock()
	g := s.lists[interest]
	s.mu.Unlock()
	if g != nil {
		g.once.Do(func() { close(g.done) })
	}
}
