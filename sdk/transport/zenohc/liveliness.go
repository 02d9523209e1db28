//go:build zenohc

package zenohc

import (
	"context"
	"sync"
	"time"

	"github.com/BooleanCat/option"
	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/internal/self"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// tokens are those that the sessions of a node hold. The library gets one for each key.
type tokens struct {
	mu  sync.Mutex
	all map[string]*heldToken
}

type heldToken struct {
	count  int
	native native.LivelinessToken
}

// token is a declared one.
type token struct {
	handle
	node *node
	key  string
}

// Token implements transport.Session.
func (s *session) Token(key string) (transport.Closer, error) {
	if err := s.check(context.Background(), "declare a token on", key); err != nil {
		return nil, err
	}
	k, err := expr(key)
	if err != nil {
		return nil, err
	}
	d := &token{node: s.node, key: key}
	return s.declare(d, "declare a token on", key, func(n *native.Session) error {
		err := s.node.tokens.hold(n, k, key)
		if err == nil {
			d.set(d.release)
		}
		return err
	})
}

func (d *token) undeclare() { d.close() }
func (d *token) join()      {}

func (d *token) release() {
	_ = d.node.use(func(*native.Session) error {
		d.node.tokens.release(d.key)
		return nil
	})
}

func (t *tokens) hold(n *native.Session, k native.KeyExpr, key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.all[key]; x != nil {
		x.count++
		return nil
	}
	x, err := n.Liveliness().DeclareToken(k, nil)
	if err != nil {
		return err
	}
	if t.all == nil {
		t.all = map[string]*heldToken{}
	}
	t.all[key] = &heldToken{1, x}
	return nil
}

func (t *tokens) release(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.all[key]
	if x.count--; x.count == 0 {
		delete(t.all, key)
		x.native.Drop()
	}
}

// matching are the keys of the node's own tokens that intersect keyExpr.
func (t *tokens) matching(keyExpr string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var keys []string
	for key := range t.all {
		if transport.Intersects(keyExpr, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// GetLiveliness implements transport.Session.
func (s *session) GetLiveliness(ctx context.Context, keyExpr string, h func(key string)) error {
	if err := s.check(ctx, "get tokens of", keyExpr); err != nil {
		return err
	}
	keys, err := s.alive(ctx, keyExpr)
	if err != nil {
		return err
	}
	for _, key := range keys {
		h(key)
	}
	return nil
}

// alive returns the keys of the tokens that match, each once.
func (s *session) alive(ctx context.Context, keyExpr string) ([]string, error) {
	k, err := expr(keyExpr)
	if err != nil {
		return nil, err
	}
	limit := s.node.cfg.QueryTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	var mu sync.Mutex
	var failed error
	seen, final := map[string]struct{}{}, make(chan struct{})
	take := native.Closure[native.Reply]{
		Call: func(r native.Reply) {
			mu.Lock()
			defer mu.Unlock()
			if x := r.Ok(); x.IsSome() {
				t := x.Unwrap()
				seen[t.KeyExpr().String()] = struct{}{}
				return
			}
			e := r.Err().Unwrap()
			failed = status.Errorf(status.Deadline, "get tokens of %q: %s", keyExpr, e.Payload().Bytes())
		},
		Drop: func() { close(final) },
	}
	cancel := native.NewCancellationToken()
	opts := native.LivelinessGetOptions{
		TimeoutMs: uint64(max(limit, 0)+margin) / uint64(time.Millisecond), CancellationToken: option.Some(cancel),
	}
	err = s.node.use(func(n *native.Session) error {
		_, err := n.Liveliness().Get(k, take, &opts)
		return err
	})
	if err != nil {
		return nil, classify("get tokens of", keyExpr, err)
	}
	select {
	case <-final:
	case <-ctx.Done():
		_ = cancel.Cancel()
		return nil, contextError(ctx, "get tokens of", keyExpr)
	case <-s.done:
		_ = cancel.Cancel()
		return nil, errClosed()
	}
	if failed != nil {
		return nil, failed
	}
	for _, key := range s.node.tokens.matching(keyExpr) {
		seen[key] = struct{}{}
	}
	keys := make([]string, 0, len(seen))
	for key := range seen {
		keys = append(keys, key)
	}
	return keys, nil
}

// follower is a liveliness subscription.
type follower struct {
	handle
	h func(transport.Sample)

	mu      sync.Mutex
	muted   bool // what comes was there before
	alive   map[string]struct{}
	list    []change
	limit   int
	running bool
	self    uintptr
	ended   sync.Cond // on mu: running has become false
	stopped bool
}

// change is a token that appeared or was lost.
type change struct {
	key  string
	lost bool
}

// followerQueue is how many changes wait for a handler before those that cancel out are taken out.
const followerQueue = 1024

// SubscribeLiveliness implements transport.Session. The library tells who asks for no history nothing of the loss of tokens that were
// there before, so it is always asked for.
func (s *session) SubscribeLiveliness(keyExpr string, history bool, h func(transport.Sample)) (transport.Closer, error) {
	if err := s.check(context.Background(), "follow tokens on", keyExpr); err != nil {
		return nil, err
	}
	k, err := expr(keyExpr)
	if err != nil {
		return nil, err
	}
	d := &follower{h: h, alive: map[string]struct{}{}, limit: followerQueue, muted: !history}
	d.ended.L = &d.mu
	take := native.Closure[native.Sample]{Call: d.take}
	c, err := s.declare(d, "follow tokens on", keyExpr, func(n *native.Session) error {
		sub, err := n.Liveliness().DeclareSubscriber(k, take, &native.LivelinessSubscriberOptions{History: true})
		if err == nil {
			d.set(sub.Drop)
		}
		return err
	})
	if err != nil || history {
		return c, err
	}
	// What was there before has come when a query of the same tokens, sent after it, has been answered.
	ctx, cancel := context.WithTimeout(context.Background(), s.node.cfg.QueryTimeout)
	defer cancel()
	if _, err := s.alive(ctx, keyExpr); err != nil {
		_ = c.Close()
		return nil, err
	}
	d.unmute()
	return c, nil
}

func (d *follower) unmute() {
	d.mu.Lock()
	d.muted = false
	d.mu.Unlock()
}

// take is called by threads of the library for each change.
func (d *follower) take(x native.Sample) {
	key, lost := x.KeyExpr().String(), x.Kind() == native.SampleKindDelete
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, was := d.alive[key]; was != lost || d.stopped {
		return // it was known
	}
	if lost {
		delete(d.alive, key)
	} else {
		d.alive[key] = struct{}{}
	}
	if d.muted {
		return
	}
	if len(d.list) >= d.limit {
		d.compact()
	}
	d.list = append(d.list, change{key, lost})
	if !d.running {
		d.running = true
		go d.run()
	}
}

// compact reduces the changes that wait to what each key needs: its loss, its appearance, its loss and return, or nothing. If that
// does not help, the bound grows with the number of keys.
func (d *follower) compact() {
	type net struct{ lost, back bool }
	var order []string
	keys := map[string]*net{}
	for _, c := range d.list {
		k := keys[c.key]
		if k == nil {
			k = &net{}
			keys[c.key] = k
			order = append(order, c.key)
		}
		switch {
		case !c.lost:
			k.back = true
		case k.back:
			k.back = false
		default:
			k.lost = true
		}
	}
	d.list = nil
	for _, key := range order {
		if keys[key].lost {
			d.list = append(d.list, change{key, true})
		}
		if keys[key].back {
			d.list = append(d.list, change{key, false})
		}
	}
	if len(d.list) > d.limit/2 {
		d.limit = 2 * max(d.limit, len(d.list))
	}
}

func (d *follower) run() {
	defer d.leave() // also when the handler ends its goroutine
	d.mu.Lock()
	d.self = self.Goroutine()
	for len(d.list) > 0 && !d.stopped {
		c := d.list[0]
		d.list = d.list[1:]
		d.mu.Unlock()
		s := transport.Sample{Key: c.key}
		if c.lost {
			s.Kind = transport.Delete
		}
		d.h(s)
		d.mu.Lock()
	}
	d.list, d.running, d.self = nil, false, 0
	d.ended.Broadcast()
	d.mu.Unlock()
}

// leave restarts the goroutine if its handler has ended it.
func (d *follower) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running || d.self != self.Goroutine() {
		return
	}
	d.running, d.self = false, 0
	if len(d.list) > 0 && !d.stopped {
		d.running = true
		go d.run()
	}
	d.ended.Broadcast()
}

func (d *follower) undeclare() {
	d.mu.Lock()
	d.stopped, d.list = true, nil
	d.mu.Unlock()
	d.close()
}

func (d *follower) join() {
	self := self.Goroutine()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.running && d.self != self {
		d.ended.Wait()
	}
}
