//go:build zenohc

package zenohc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// session implements transport.Session and transport.DropCounter.
type session struct {
	node    *node
	owns    bool // closing it closes the node
	id      string
	done    chan struct{} // closed when the session ends
	dropped atomic.Uint64

	mu    sync.Mutex
	ended bool
	decls map[declaration]struct{}
}

// declaration is what a session undeclares when it ends.
type declaration interface {
	undeclare() // others no longer see it, and nothing new starts
	join()      // waits for running handlers, but for the caller's own
}

// ID implements transport.Session.
func (s *session) ID() string { return s.id }

// Dropped implements transport.DropCounter.
func (s *session) Dropped() uint64 { return s.dropped.Load() }

// Close implements transport.Session.
func (s *session) Close() error {
	s.end()
	if s.owns {
		return s.node.Close()
	}
	return nil
}

// end closes the session. A second end waits for handlers like the first.
func (s *session) end() {
	s.mu.Lock()
	if !s.ended {
		s.ended = true
		close(s.done)
	}
	decls := make([]declaration, 0, len(s.decls))
	for d := range s.decls {
		decls = append(decls, d)
	}
	s.mu.Unlock()
	for _, d := range decls {
		d.undeclare()
	}
	for _, d := range decls {
		d.join()
	}
	s.mu.Lock()
	clear(s.decls)
	s.mu.Unlock()
	s.node.forget(s)
}

// check is what every operation begins with.
func (s *session) check(ctx context.Context, what, key string) error {
	if err := transport.ValidKeyExpr(key); err != nil {
		return err
	}
	select {
	case <-s.done:
		return errClosed()
	default:
	}
	if ctx.Err() != nil {
		return contextError(ctx, what, key)
	}
	return nil
}

// declare enters d into the session, so that it ends with it, and then calls publish, which declares it to the library.
func (s *session) declare(d declaration, what, key string, publish func(*native.Session) error) (transport.Closer, error) {
	s.mu.Lock()
	switch {
	case s.ended:
		s.mu.Unlock()
		return nil, errClosed()
	case len(s.decls) >= s.node.cfg.MaxDeclarations:
		s.mu.Unlock()
		return nil, status.Errorf(status.Overloaded, "%s %q: a session may declare %d things", what, key, s.node.cfg.MaxDeclarations)
	}
	s.decls[d] = struct{}{}
	s.mu.Unlock()
	c := &closer{s, d}
	if err := s.node.use(publish); err != nil {
		_ = c.Close()
		return nil, classify(what, key, err)
	}
	return c, nil
}

// closer undeclares d.
type closer struct {
	session *session
	d       declaration
}

// Close implements transport.Closer.
func (c *closer) Close() error {
	c.session.mu.Lock()
	delete(c.session.decls, c.d)
	c.session.mu.Unlock()
	c.d.undeclare()
	c.d.join()
	return nil
}

// handle is what the library has declared for us, which may have to be undeclared before the call that declares it has returned.
type handle struct {
	mu     sync.Mutex
	drop   func()
	closed bool
}

func (h *handle) set(drop func()) {
	h.mu.Lock()
	closed := h.closed
	h.drop = drop
	h.mu.Unlock()
	if closed {
		drop()
	}
}

func (h *handle) close() {
	h.mu.Lock()
	drop := h.drop
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	if drop != nil && !again {
		drop()
	}
}

// contextError is the error of an operation that ctx has ended.
func contextError(ctx context.Context, what, key string) error {
	err := ctx.Err()
	class := status.Cancelled
	if errors.Is(err, context.DeadlineExceeded) {
		class = status.Deadline
	}
	return status.Errorf(class, "%s %q: %w", what, key, err)
}

// classify gives an error of the library its class; our own have one.
func classify(what, key string, err error) error {
	var own *status.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return status.Errorf(status.Unavailable, "%s %q: %w", what, key, err)
}

// expr checks a key expression by the library's rules, too.
func expr(key string) (native.KeyExpr, error) {
	k, err := native.NewKeyExpr(key)
	if err != nil {
		return k, status.Errorf(status.Invalid, "key expression %q: %w", key, err)
	}
	return k, nil
}
