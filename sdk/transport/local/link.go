package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// link is what both ends of a connection have in common: the streams, and queries and answers over them.
type link struct {
	conn  *frame.Conn
	ready chan struct{} // closed when conn is set
	lost  func(n uint64)

	mu   sync.Mutex
	last uint64 // id of a stream or declaration
	in   map[uint64]*inflow
	out  map[uint64]*outflow

	holding []*answer
	flusher *time.Timer
}

func (l *link) init() {
	l.ready = make(chan struct{})
	l.in, l.out = map[uint64]*inflow{}, map[uint64]*outflow{}
}

// opened tells the frame layer's callbacks, which may come before Open has returned, that conn is set.
func (l *link) opened(c *frame.Conn) {
	l.conn = c
	close(l.ready)
}

func (l *link) nextID() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	return l.last
}

// open makes f a stream.
func (l *link) open(f *inflow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	f.id = l.last
	l.in[f.id] = f
}

func (l *link) close(f *inflow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.in, f.id)
}

func (l *link) openOut(id uint64, o *outflow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out[id] = o
}

func (l *link) closeOut(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.out, id)
}

// notice takes items and credit. It runs on the goroutine that reads and waits for nothing. Streams that are unknown have
// just been closed.
func (l *link) notice(f frame.Frame) {
	<-l.ready
	typ, cost := f.Type, len(f.Body)
	b := own(&f)
	id := b.num()
	switch typ {
	case typeItem:
		r, lost := b.item()
		if b.bad {
			break
		}
		if lost > 0 && l.lost != nil {
			l.lost(lost)
		}
		l.mu.Lock()
		in := l.in[id]
		l.mu.Unlock()
		if in != nil && !in.offer(r, cost) {
			l.conn.End(fmt.Errorf("%w: stream %d has more items than its window", frame.ErrProtocol, id))
		}
		return
	case typeCredit:
		items, bytes := b.num(), b.num()
		if b.bad {
			break
		}
		l.mu.Lock()
		out := l.out[id]
		l.mu.Unlock()
		if out != nil {
			out.credit(items, bytes)
		}
		return
	}
	l.conn.End(fmt.Errorf("%w: a notice cannot be read", frame.ErrProtocol))
}

func (l *link) giveCredit(id uint64, items, bytes int) {
	h := newHead().num(id).num(uint64(items)).num(uint64(bytes))
	defer h.free()
	_ = l.conn.Notify(context.Background(), typeCredit, 0, h.b) // fails with the connection only
}

// sendItem sends one item on a stream, waiting for credit unless done is closed.
func (l *link) sendItem(id uint64, o *outflow, r *transport.Reply, lost uint64, done <-chan struct{}) bool {
	h := newHead().num(id).item(r, lost).rest(payloadOf(r))
	defer h.free()
	if !o.acquire(len(h.b), done, l.conn.Done()) {
		return false
	}
	return l.conn.Notify(context.Background(), typeItem, 0, h.b) == nil
}

// ask sends a query on the stream of f and hands its replies to f.h until it is final. h is head with f's id in it.
func (l *link) ask(ctx context.Context, f *inflow, typ uint8, h *head, payload []byte) error {
	defer l.close(f)
	reply, err := l.conn.Call(ctx, typ, h.b, payload)
	if err != nil {
		f.stop()
		f.join()
		return err
	}
	// Every item came before the reply; their handler may still be busy with them.
	if err := f.drain(ctx); err != nil {
		f.stop()
		f.join()
		return err
	}
	return finalReply(ctx, &reply, f.h)
}

// finalReply reads the reply that makes a query final.
func finalReply(ctx context.Context, reply *frame.Frame, h func(transport.Reply)) error {
	typ := reply.Type
	b := own(reply)
	switch typ {
	case typeDone:
		return nil
	case typeItem:
		r, _ := b.item()
		if err := b.err(); err != nil {
			return err
		}
		h(r)
		return nil
	}
	return failure(ctx, typ, &b)
}

// call sends a request that is answered by "done" and returns what follows.
func (l *link) call(ctx context.Context, typ uint8, h *head, payload []byte) (body, error) {
	reply, err := l.conn.Call(ctx, typ, h.b, payload)
	if err != nil {
		return body{}, err
	}
	typ = reply.Type
	b := own(&reply)
	if typ == typeDone {
		return b, nil
	}
	return body{}, failure(ctx, typ, &b)
}

// failure returns the error that answers a request. Where ctx has ended the other side only says that it was told so.
func failure(ctx context.Context, typ uint8, b *body) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if typ != typeFailed {
		return status.Errorf(status.Internal, "reply of type %d, which this side does not know", typ)
	}
	code := b.str()
	text := string(b.rest())
	err := status.FromCode(code, text)
	switch err.Class {
	case status.Deadline:
		return status.Wrap(status.Deadline, &passedOn{text, context.DeadlineExceeded})
	case status.Cancelled:
		return status.Wrap(status.Cancelled, &passedOn{text, context.Canceled})
	}
	return err
}

// passedOn is the text of an error of the other side with the error that it was to begin with.
type passedOn struct {
	text  string
	cause error
}

func (e *passedOn) Error() string { return e.text }
func (e *passedOn) Unwrap() error { return e.cause }

// fail answers r with err.
func fail(r *frame.Request, err error) {
	h := newHead().str(status.Code(err)).rest([]byte(err.Error()))
	defer h.free()
	_ = r.Reply(typeFailed, h.b, nil)
}

// flushSoon sees to it that the reply a holds is sent, be a's query final by then or not. One timer serves all answers of
// a connection, since at most one in many needs it.
func (l *link) flushSoon(a *answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holding = append(l.holding, a)
	if len(l.holding) > 1 {
		return
	}
	if l.flusher == nil {
		l.flusher = time.AfterFunc(holdFor, l.flushAll)
	} else {
		l.flusher.Reset(holdFor)
	}
}

func (l *link) flushAll() {
	l.mu.Lock()
	held := l.holding
	l.holding = nil
	l.mu.Unlock()
	for _, a := range held {
		a.flush()
	}
}

// answer sends the replies to one query. The first is held back for a moment: mostly it is the only one and the query is
// final right after, and then both are one frame.
type answer struct {
	link   *link
	r      *frame.Request
	stream uint64

	holding atomic.Bool // held is to be sent; changes with mu held only

	mu    sync.Mutex // held while a reply waits for credit
	done  bool
	count int
	held  transport.Reply
	flow  *outflow
}

func newAnswer(l *link, r *frame.Request, stream uint64) *answer {
	return &answer{link: l, r: r, stream: stream}
}

func (a *answer) send(x *transport.Reply) error {
	if n := len(x.Sample.Key) + len(x.Sample.Attachment) + len(payloadOf(x)) + 256; n > int(a.link.conn.PeerLimits().MaxFrame) {
		return status.Errorf(status.Invalid, "a reply of %d bytes is too large for one message", n)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.done:
		return status.Errorf(status.Invalid, "the handler has returned, so the query is final")
	case a.r.Context().Err() != nil:
		return status.Errorf(status.Cancelled, "the asker no longer waits")
	}
	if a.count++; a.count == 1 {
		a.held = *x
		a.holding.Store(true)
		a.link.flushSoon(a)
		return nil
	}
	a.flushLocked()
	return a.sendNow(x)
}

// flush sends the reply that is held, if it still is. It waits for nobody: there are other answers to flush.
func (a *answer) flush() {
	switch {
	case !a.holding.Load():
	case a.mu.TryLock():
		a.flushLocked()
		a.mu.Unlock()
	default:
		a.link.flushSoon(a)
	}
}

func (a *answer) flushLocked() {
	if a.holding.Load() {
		a.holding.Store(false)
		_ = a.sendNow(&a.held) // the asker is gone or has left; the next reply will say so
	}
}

func (a *answer) sendNow(x *transport.Reply) error {
	if a.flow == nil {
		a.flow = newOutflow(streamItems)
		a.link.openOut(a.stream, a.flow)
	}
	if !a.link.sendItem(a.stream, a.flow, x, 0, a.r.Context().Done()) {
		return status.Errorf(status.Cancelled, "the asker no longer waits")
	}
	return nil
}

// finish makes the query final: with the reply that is held if there is one, or with err.
func (a *answer) finish(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && a.r.Context().Err() == context.DeadlineExceeded {
		err = status.Errorf(status.Deadline, "the time for the query is over")
	}
	if err != nil {
		a.flushLocked()
	}
	a.done = true
	if a.flow != nil {
		a.link.closeOut(a.stream)
	}
	switch {
	case err != nil:
		fail(a.r, err)
	case a.holding.Load():
		h := newHead().item(&a.held, 0)
		_ = a.r.Reply(typeItem, h.b, payloadOf(&a.held))
		h.free()
		a.holding.Store(false)
	default:
		_ = a.r.Reply(typeDone, nil, nil)
	}
}

// callError gives an error of the frame layer its class.
func callError(what, key string, err error, ended func() error) error {
	var e *status.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, frame.ErrEnded):
		return ended()
	case errors.Is(err, frame.ErrBusy):
		return status.Safe(status.Errorf(status.Overloaded, "%s %q: too many requests wait for an answer on this connection (at most %d)",
			what, key, MaxRequests))
	case errors.Is(err, frame.ErrTooLarge):
		return status.Errorf(status.Invalid, "%s %q: %w", what, key, err)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Errorf(status.Deadline, "%s %q: %w", what, key, context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return status.Errorf(status.Cancelled, "%s %q: %w", what, key, context.Canceled)
	}
	return status.Errorf(status.Unavailable, "%s %q: %w", what, key, err)
}
