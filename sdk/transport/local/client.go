package local

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// defaultTimeout is Zenoh's default time for a query.
const defaultTimeout = 10 * time.Second

// session is a Session at the client's end of a connection.
type session struct {
	link
	id      string
	dropped atomic.Uint64

	declMu sync.Mutex
	ended  error // set by Close
	decls  map[uint64]declaration
}

// declaration is what the session has declared.
type declaration interface {
	stop() // no handler starts any more
	join() // waits for running handlers, but for the caller's own
}

// Dial opens a session over the socket of a daemon.
func Dial(ctx context.Context, path string) (transport.Session, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, dialError(path, err)
	}
	s, err := open(ctx, nc)
	if err != nil {
		return nil, status.Errorf(openClass(err), "open a session on %s: %w", path, err)
	}
	return s, nil
}

// openClass is the class of an error of open.
func openClass(err error) status.Class {
	switch c := status.Of(err); {
	case errors.Is(err, frame.ErrVersion):
		return status.Invalid
	case c == status.Internal: // it had none
		return status.Unavailable
	default:
		return c
	}
}

func dialError(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return status.Safe(status.Errorf(status.Unavailable, "nobody listens on %s: there is no such socket", path))
	case errors.Is(err, syscall.ECONNREFUSED):
		return status.Safe(status.Errorf(status.Unavailable, "nobody listens on %s: whoever made the socket is gone", path))
	case errors.Is(err, os.ErrPermission):
		return status.Errorf(status.Denied, "no permission for the socket %s: its owner's group may use it", path)
	case status.Of(err) == status.Deadline, status.Of(err) == status.Cancelled:
		return status.Errorf(status.Of(err), "dial %s: %w", path, err)
	}
	return status.Safe(status.Errorf(status.Unavailable, "dial %s: %w", path, err))
}

func open(ctx context.Context, nc net.Conn) (*session, error) {
	s := &session{decls: map[uint64]declaration{}}
	s.init()
	s.lost = func(n uint64) { s.dropped.Add(n) }
	conn, err := frame.Open(ctx, nc, frame.Options{
		Versions: versions, Limits: limits, Types: []uint8{typeQuery, typeItem, typeCredit},
		Handle: s.handle, Notice: s.notice,
	})
	if err != nil {
		return nil, err
	}
	s.opened(conn)
	h := newHead()
	defer h.free()
	b, err := s.call(ctx, typeOpen, h, nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	s.id = string(b.rest())
	return s, nil
}

func (s *session) ID() string { return s.id }

// Dropped implements transport.DropCounter.
func (s *session) Dropped() uint64 { return s.dropped.Load() }

// endError tells why the session has ended.
func (s *session) endError() error {
	s.declMu.Lock()
	defer s.declMu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	return status.Errorf(status.Unavailable, "the connection to the daemon is lost: %w", s.conn.Err())
}

func (s *session) wrap(what, key string, err error) error {
	if err == nil {
		return nil
	}
	return callError(what, key, err, s.endError)
}

func (s *session) Close() error {
	s.goodbye()
	s.declMu.Lock()
	if s.ended == nil {
		s.ended = status.Errorf(status.Cancelled, "the session is closed")
	}
	decls := make([]declaration, 0, len(s.decls))
	for _, d := range s.decls {
		decls = append(decls, d)
	}
	s.declMu.Unlock()
	_ = s.conn.Close()
	for _, d := range decls {
		d.stop()
	}
	for _, d := range decls {
		d.join()
	}
	return nil
}

// goodbye makes sure that nobody sees this session's declarations any more when Close returns.
func (s *session) goodbye() {
	if s.conn.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	h := newHead()
	defer h.free()
	_, _ = s.call(ctx, typeGoodbye, h, nil) // a daemon that does not answer sees the end of the connection
}

func (s *session) Put(ctx context.Context, key string, payload []byte, o transport.PutOptions) error {
	if err := check(ctx, "put on", key); err != nil {
		return err
	}
	h := newHead().str(key).byte(uint8(o.Kind)).byte(uint8(o.Congestion)).str(o.Encoding).raw(o.Attachment)
	defer h.free()
	_, err := s.call(ctx, typePut, h, payload)
	return s.wrap("put on", key, err)
}

// check looks at what every operation has.
func check(ctx context.Context, what, key string) error {
	if err := transport.ValidKeyExpr(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return callError(what, key, err, nil)
	}
	return nil
}

func (s *session) Get(ctx context.Context, sel transport.Selector, o transport.GetOptions, h func(transport.Reply)) error {
	if err := check(ctx, "query", sel.KeyExpr); err != nil {
		return err
	}
	deadline, bounded := ctx.Deadline()
	if o.Timeout == 0 && !bounded {
		o.Timeout = defaultTimeout
	}
	// Whether the time-out comes before ctx's own deadline.
	timed := o.Timeout > 0 && (!bounded || time.Until(deadline) > o.Timeout)
	if timed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	f := newInflow(&s.link, streamItems, h)
	s.open(f)
	b := newHead().num(f.id).str(sel.KeyExpr).str(sel.Parameters).byte(uint8(o.Target)).byte(uint8(o.Consolidation)).
		remaining(ctx.Deadline()).str(o.Encoding).raw(o.Attachment)
	defer b.free()
	err := s.ask(ctx, f, typeGet, b, o.Payload)
	if timed && err != nil && errors.Is(err, context.DeadlineExceeded) {
		return status.Errorf(status.Deadline, "query %q: no final answer within %v", sel.KeyExpr, o.Timeout)
	}
	return s.wrap("query", sel.KeyExpr, err)
}

func (s *session) GetLiveliness(ctx context.Context, keyExpr string, h func(key string)) error {
	if err := check(ctx, "get tokens of", keyExpr); err != nil {
		return err
	}
	b := newHead().str(keyExpr)
	defer b.free()
	reply, err := s.call(ctx, typeAlive, b, nil)
	if err != nil {
		return s.wrap("get tokens of", keyExpr, err)
	}
	for n := reply.num(); n > 0; n-- {
		key := reply.str()
		if err := reply.err(); err != nil {
			return err
		}
		h(key)
	}
	return nil
}
