package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
)

// peer is the other side of the border as requests see it.
type peer struct {
	who  string // begins the errors' texts
	conn *frame.Conn
}

// call sends a request and returns the reply to it; error replies become errors.
func (p *peer) call(ctx context.Context, grace time.Duration, typ uint8, head, tail []byte) (frame.Frame, error) {
	f, err := p.conn.CallGrace(ctx, grace, typ, head, tail)
	return p.answer(ctx, typ, f, err)
}

// answer turns a reply, or the lack of one, into what call returns.
func (p *peer) answer(ctx context.Context, typ uint8, f frame.Frame, err error) (frame.Frame, error) {
	if err != nil {
		return frame.Frame{}, transportError(p.who, err)
	}
	switch f.Type {
	case typ:
		return f, nil
	case typeError:
		err = parseError(f.Body)
		// The peer is told that nobody waits any more, and not why: its answer may be here before that was noticed.
		if status.Of(err) == status.Cancelled && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = transportError(p.who, ctx.Err())
		}
	default:
		err = status.Wrap(status.Corrupt, badReply(p.who, f.Type))
	}
	f.Release()
	return frame.Frame{}, err
}

// start is do in two parts: it returns when the request is sent.
func (p *peer) start(ctx context.Context, typ uint8, head, tail []byte) (wait func() error) {
	pending, err := p.conn.Begin(ctx, typ, head, tail)
	return func() error {
		var f frame.Frame
		if err == nil {
			f, err = pending.End()
		}
		f, err = p.answer(ctx, typ, f, err)
		f.Release()
		return err
	}
}

// do is call for replies without a body.
func (p *peer) do(ctx context.Context, typ uint8, head, tail []byte) error {
	f, err := p.call(ctx, 0, typ, head, tail)
	f.Release()
	return err
}

// reply answers a request with a body, or with err.
func reply(r *frame.Request, head, tail []byte, err error) {
	if err == nil {
		err = r.Reply(r.Type, head, tail)
		if !errors.Is(err, frame.ErrTooLarge) {
			return // sent, or nobody is there any more
		}
		err = status.Errorf(status.Invalid, "answer: %w", err)
	}
	s := getScratch()
	defer s.put()
	s.b = appendError(s.b, err)
	_ = r.Reply(typeError, s.b, nil)
}

// handle runs f for a request on a goroutine of its own. A panic of f is the request's error and ends nothing else.
func handle(log hclog.Logger, r *frame.Request, f func(*frame.Request) error) {
	newHandler(log, f).handle(r)
}

// handler runs one function for many requests, each on a goroutine of its own. It is made once, so that a request costs
// no closure.
type handler struct {
	log hclog.Logger
	f   func(*frame.Request) error
	run func(*frame.Request)
}

func newHandler(log hclog.Logger, f func(*frame.Request) error) *handler {
	h := &handler{log: log, f: f}
	h.run = func(r *frame.Request) {
		if err := guarded(h.log, r, h.f); err != nil {
			reply(r, nil, nil, err)
		}
	}
	return h
}

func (h *handler) handle(r *frame.Request) { r.Go(h.run) }

func guarded(log hclog.Logger, r *frame.Request, f func(*frame.Request) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("a request panicked", "type", r.Type, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = status.Errorf(status.Internal, "panic while handling a request: %v; the plugin's log has the stack", v)
		}
	}()
	return f(r)
}

// within gives the request's context the timeout that its sender named.
func within(r *frame.Request, timeout time.Time) context.Context {
	if !timeout.IsZero() {
		r.SetDeadline(timeout)
	}
	return r.Context()
}

// deadlineOf is ctx's deadline, or the zero time.
func deadlineOf(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}

// maxCopy is the size up to which bytes are copied out of a frame so that its buffer can be used again at once. Longer
// ones stay where they are, and the frame is left to the garbage collector with them.
const maxCopy = 4 << 10

// keep makes b, a part of f, last. It releases f where it has copied b.
func keep(f *frame.Frame, b []byte) []byte {
	if len(f.Body) > maxCopy {
		return b
	}
	b = bytes.Clone(b)
	f.Release()
	return b
}
