package transport

import (
	"context"
	"slices"
	"sync"
)

// livelinessQueue is how many changes wait for a handler before those that cancel out are taken out.
const livelinessQueue = 1024

// liveliness holds the tokens of a bus and those who follow them. Several tokens with one key are one to the outside.
type liveliness struct {
	mu     sync.Mutex
	tokens map[string]int
	subs   map[*subscription]struct{}
}

// token is a declared liveliness token.
type token struct {
	session *session
	key     string
	once    sync.Once
}

func (s *session) Token(key string) (Closer, error) {
	if err := ValidKeyExpr(key); err != nil {
		return nil, err
	}
	t := &token{session: s, key: key}
	return s.declare(t, func() { s.bus.liveliness.change(key, 1) })
}

func (t *token) withdraw()  { t.undeclare() }
func (t *token) undeclare() { t.once.Do(func() { t.session.bus.liveliness.change(t.key, -1) }) }
func (t *token) join()      {}

func (l *liveliness) change(key string, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.tokens[key]
	after := before + by
	kind := Put
	switch {
	case after == 0:
		delete(l.tokens, key)
		kind = Delete
	case before == 0:
		l.tokens[key] = after
	default:
		l.tokens[key] = after
		return
	}
	for q := range l.subs {
		if Intersects(q.expr, key) {
			q.Offer(&Sample{Key: key, Kind: kind})
		}
	}
}

// alive returns the keys of the matching tokens in order.
func (l *liveliness) alive(expr string) []string {
	var keys []string
	for key := range l.tokens {
		if Intersects(expr, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// follower is a subscription to tokens.
type follower struct{ *subscription }

func (s *session) SubscribeLiveliness(keyExpr string, history bool, h func(Sample)) (Closer, error) {
	if err := ValidKeyExpr(keyExpr); err != nil {
		return nil, err
	}
	q := newFollower(s, keyExpr, h)
	return s.declare(follower{q}, func() {
		l := &s.bus.liveliness
		l.mu.Lock()
		defer l.mu.Unlock()
		if history {
			for _, key := range l.alive(keyExpr) {
				q.Offer(&Sample{Key: key, Kind: Put})
			}
		}
		l.subs[q] = struct{}{}
	})
}

func (f follower) withdraw() { f.undeclare() }

func (f follower) undeclare() {
	l := &f.session.bus.liveliness
	l.mu.Lock()
	delete(l.subs, f.subscription)
	l.mu.Unlock()
	f.Stop()
}

func (s *session) GetLiveliness(ctx context.Context, keyExpr string, h func(key string)) error {
	if err := ValidKeyExpr(keyExpr); err != nil {
		return err
	}
	if s.isDone() {
		return s.endError()
	}
	l := &s.bus.liveliness
	l.mu.Lock()
	keys := l.alive(keyExpr)
	l.mu.Unlock()
	for _, key := range keys {
		if ctx.Err() != nil {
			return contextError(ctx, "get tokens of", keyExpr)
		}
		h(key)
	}
	return nil
}
