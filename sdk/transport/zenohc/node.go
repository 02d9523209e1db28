//go:build zenohc

package zenohc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"sync"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// node is a session of the library, shared by sessions of ours.
type node struct {
	cfg     zenoh.Config
	s       native.Session
	id      string
	eid     native.EntityGlobalId
	zid     zid
	calls   gate // holds the library's session while it is used
	queries queries
	tokens  tokens
	asks    asks
	events  events

	mu       sync.Mutex
	ended    bool
	sessions map[*session]struct{}
	first    bool // the node's own id is taken by a session
	hears    bool // of queries that nobody waits for
}

// Open makes a node and a session of it, which closes it. It waits as zenoh.Open does.
func Open(ctx context.Context, c zenoh.Config) (transport.Session, error) {
	n, err := openNode(ctx, c)
	if err != nil {
		return nil, err
	}
	s, err := n.session()
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	s.owns = true
	return s, nil
}

// OpenNode makes a node.
func OpenNode(ctx context.Context, c zenoh.Config) (Node, error) {
	n, err := openNode(ctx, c)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func openNode(ctx context.Context, c zenoh.Config) (*node, error) {
	if err := complete(&c); err != nil {
		return nil, err
	}
	prepare()
	s, err := openNative(ctx, &c)
	if err != nil {
		return nil, err
	}
	n := &node{cfg: c, s: s, id: s.ZId().String(), eid: s.Id(), zid: zidOf(s.ZId()), sessions: map[*session]struct{}{}}
	n.calls.init()
	n.queries.init(c.MaxQueries)
	n.asks.init()
	n.events.call = c.Events
	if err := permit(&c); err != nil {
		_ = n.Close()
		return nil, err
	}
	watch := native.Closure[native.TransportEvent]{Call: n.transport}
	history := &native.TransportEventsListenerOptions{History: c.Events != nil}
	if err := n.s.DeclareBackgroundTransportEventsListener(watch, history); err != nil {
		_ = n.Close()
		return nil, status.Errorf(status.Unavailable, "watch the links of libzenohc: %w", err)
	}
	return n, nil
}

// prepare sets up the library, which takes its settings from the environment when it is first used.
var prepare = sync.OnceFunc(func() {
	const threads = "ZENOH_RUNTIME"
	if os.Getenv(threads) == "" {
		_ = os.Setenv(threads, "(rx: (worker_threads: 8))") // fails for malformed names only
	}
	if os.Getenv("RUST_LOG") != "" {
		native.InitLoggerFromEnvOr("error")
	}
})

// openNative opens the library's session; when ctx ends first, it is closed as soon as it is open.
func openNative(ctx context.Context, c *zenoh.Config) (native.Session, error) {
	users, remove, err := writeUsers(c.Users)
	if err != nil {
		return native.Session{}, err
	}
	text, err := render(ctx, c, users)
	if err != nil {
		remove()
		return native.Session{}, err
	}
	cfg, err := native.NewConfigFromStr(text)
	if err != nil {
		remove()
		return native.Session{}, status.Errorf(status.Invalid, "configuration of libzenohc: %w", err)
	}
	type result struct {
		s   native.Session
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer remove()
		s, err := native.Open(cfg, nil)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return r.s, status.Safe(status.Errorf(status.Unavailable, "open a session: %w", r.err))
		}
		return r.s, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.s.Drop()
			}
		}()
		return native.Session{}, contextError(ctx, "open a session", "")
	}
}

// ID implements Node.
func (n *node) ID() string { return n.id }

// Session implements Node.
func (n *node) Session() (transport.Session, error) {
	s, err := n.session()
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (n *node) session() (*session, error) {
	s := &session{node: n, done: make(chan struct{}), decls: map[declaration]struct{}{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil, errClosed()
	}
	if s.id = n.id; n.first {
		s.id = randomID()
	}
	n.first = true
	n.sessions[s] = struct{}{}
	return s, nil
}

func randomID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	id[0] |= 0x80           // Zenoh writes ids without leading zeros
	return hex.EncodeToString(id[:])
}

// Close implements Node. A second Close waits for handlers only.
func (n *node) Close() error {
	n.mu.Lock()
	first := !n.ended
	n.ended = true
	all := make([]*session, 0, len(n.sessions))
	for s := range n.sessions {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		s.end()
	}
	if !first {
		return nil
	}
	n.asks.wait(goodbyeWait) // so that others hear of queries that nobody waits for any more
	err := n.s.Close(nil)    // ends calls that wait for links
	n.calls.shut()
	n.s.Drop()
	if err != nil {
		return status.Errorf(status.Unavailable, "close the session: %w", err)
	}
	return nil
}

func (n *node) forget(s *session) {
	n.mu.Lock()
	delete(n.sessions, s)
	n.mu.Unlock()
}

// use calls f with the library's session, unless that is closed.
func (n *node) use(f func(s *native.Session) error) error {
	if !n.calls.enter() {
		return errClosed()
	}
	defer n.calls.leave()
	return f(&n.s)
}

func errClosed() error { return status.Errorf(status.Cancelled, "the session is closed") }

// gate counts who is inside, until it is shut.
type gate struct {
	mu     sync.Mutex
	empty  sync.Cond
	inside int
	closed bool
}

func (g *gate) init() { g.empty.L = &g.mu }

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.empty.Broadcast()
	}
}

// shut lets nobody in any more and waits until all are out.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for g.inside > 0 {
		g.empty.Wait()
	}
}
