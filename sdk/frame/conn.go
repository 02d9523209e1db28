package frame

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/internal/sock"
)

// Options of a connection.
type Options struct {
	// Accepter says which side this is; the two sides must differ. It only tells their ids apart.
	Accepter bool
	Versions Versions
	Limits   Limits // what this side accepts; zero means DefaultLimits

	// Types are the types of requests and notices this side knows, from FirstType on.
	Types []uint8
	// Handle gets every request of a known type, in the order they came. It runs on the goroutine that reads and must not
	// wait for anything: it starts a goroutine or fills a queue. Without Handle the peer may make no requests.
	Handle func(*Request)
	// Notice gets every notice of a known type, on the goroutine that reads, and must not wait either. It owns the frame.
	Notice func(Frame)
}

// HelloTimeout bounds the exchange of hellos where the context has no earlier deadline.
const HelloTimeout = 10 * time.Second

// readBuffer is the size of the reader's buffer: several system calls' worth of small frames.
const readBuffer = 128 << 10

// Conn is one end of a connection. All methods may be called concurrently.
type Conn struct {
	nc      net.Conn
	opts    Options
	known   [256]bool
	version uint32
	peer    Limits
	side    uint64
	runners runners

	w   writer
	out pending

	inMu    sync.Mutex
	in      []*Request // by slot of the peer's table
	inCount int
	inBytes uint64

	asking   atomic.Int32 // our calls under way
	handling atomic.Int32 // the peer's requests under way
	progress atomic.Uint64
	endOnce  sync.Once
	err      error
	over     atomic.Bool   // err is set
	ended    chan struct{} // closed when err is set and every waiter is woken
	read     chan struct{} // closed when the reader has returned
}

// Open exchanges hellos over nc and starts reading. It owns nc from then on and closes it where it fails.
func Open(ctx context.Context, nc net.Conn, opts Options) (*Conn, error) {
	opts.Limits = opts.Limits.orDefault()
	nc, direct := own(nc)
	c := &Conn{nc: nc, opts: opts, ended: make(chan struct{}), read: make(chan struct{})}
	if opts.Accepter {
		c.side = sideBit
	}
	for _, t := range opts.Types {
		if t < FirstType {
			panic(fmt.Sprintf("frame: type %d belongs to this package", t))
		}
		c.known[t] = true
	}
	r := newReader(nc)
	if err := c.greet(ctx, r); err != nil {
		nc.Close()
		return nil, err
	}
	c.w.conn, c.w.small, c.w.fail = nc, direct, c.end
	r.conn = direct
	c.out.side, c.out.max = c.side, c.peer
	go func() {
		defer close(c.read)
		c.end(c.readAll(r))
	}()
	return c, nil
}

// own takes a connection over, and returns how to read and write it with the least switching of threads.
func own(nc net.Conn) (net.Conn, io.ReadWriter) {
	if c, ok := nc.(*net.UnixConn); ok {
		if u, err := sock.Own(c); err == nil {
			nc = u
		}
	}
	if s, ok := nc.(syscall.Conn); ok {
		if c, err := sock.New(s); err == nil {
			return nc, c
		}
	}
	return nc, nc
}

func (c *Conn) greet(ctx context.Context, r *reader) error {
	ctx, cancel := context.WithTimeout(ctx, HelloTimeout)
	defer cancel()
	// Closing is the way out that every net.Conn has; deadlines some do not.
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	defer stop()
	ours := hello{c.opts.Versions, c.opts.Limits, c.opts.Accepter}
	// Written beside reading: a net.Conn without a buffer would otherwise block both sides.
	wrote := make(chan error, 1)
	go func() {
		_, err := c.nc.Write(ours.append(nil))
		wrote <- err
	}()
	theirs, err := readHello(r)
	if err == nil {
		err = <-wrote
	} else {
		c.nc.Close()
		_ = <-wrote // it failed because of ours
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("exchange hellos: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("exchange hellos: %w", err)
	case theirs.accepter == c.opts.Accepter:
		return fmt.Errorf("%w: both sides take the same part", ErrProtocol)
	}
	c.peer = theirs.limits
	c.version, err = c.opts.Versions.pick(theirs.versions)
	return err
}

// Version is the version both sides agreed on.
func (c *Conn) Version() uint32 { return c.version }

// PeerLimits are what the other side accepts.
func (c *Conn) PeerLimits() Limits { return c.peer }

// Progress counts the frames received. A connection whose count stands still while requests wait has a peer in trouble.
func (c *Conn) Progress() uint64 { return c.progress.Load() }

// Unanswered is the number of requests that wait for the peer's reply.
func (c *Conn) Unanswered() int { return c.out.unanswered() }

// Overdue is which of the requests that were given up has waited longest for the peer's reply, and since when it was given
// up; 0 where none waits. A peer that heeds cancellation answers soon.
func (c *Conn) Overdue() (id uint64, since time.Time) { return c.out.overdue() }

// Owes reports whether the peer has not answered a request that was given up: the one an AbandonedError names.
func (c *Conn) Owes(id uint64) bool { return c.out.owes(id) }

// AbandonedError is the context's error of a request that was given up and may still get its reply. It is an ErrLate where
// the grace has passed, too.
type AbandonedError struct {
	ID    uint64 // of the request, for Owes
	cause error
}

// Error implements error.
func (e *AbandonedError) Error() string { return e.cause.Error() }

// Unwrap returns the reason.
func (e *AbandonedError) Unwrap() error { return e.cause }

// Handling is the number of the peer's requests that wait for our reply.
func (c *Conn) Handling() int {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	return c.inCount
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Err is why the connection ended, or nil while it has not. It is an ErrEnded.
func (c *Conn) Err() error {
	if !c.over.Load() {
		return nil
	}
	return c.err
}

// Call sends a request whose body is head followed by tail and waits for the reply, which the caller owns. Where ctx ends
// first the peer is told. Neither head nor tail is referenced after Call returned; with a long tail it may therefore
// return later than ctx ends, by the time that the peer takes to read.
func (c *Conn) Call(ctx context.Context, typ uint8, head, tail []byte) (Frame, error) {
	return c.CallGrace(ctx, 0, typ, head, tail)
}

// CallGrace is Call that, when ctx's deadline has passed and the peer was told, still waits for the reply for as long as
// grace. Where none came by then the error is an ErrLate beside ctx's. The error of whatever was given up is an
// *AbandonedError.
func (c *Conn) CallGrace(ctx context.Context, grace time.Duration, typ uint8, head, tail []byte) (Frame, error) {
	p, err := c.Begin(ctx, typ, head, tail)
	if err != nil {
		return Frame{}, err
	}
	return p.EndGrace(grace)
}

// Pending is a request that was sent and whose reply is still to be waited for.
type Pending struct {
	conn *Conn
	slot *slot
	ctx  context.Context //nolint:containedctx // it is the Call's, in two parts
}

// Begin is the first part of Call: the request is sent, behind all that were before it. Without an error Pending.End, or
// EndGrace, is to be called once. Neither head nor tail is referenced after Begin returned.
func (c *Conn) Begin(ctx context.Context, typ uint8, head, tail []byte) (Pending, error) {
	done := ctx.Done()
	if done != nil {
		if err := ctx.Err(); err != nil {
			return Pending{}, fmt.Errorf("%w: %w", err, ErrNotSent)
		}
	}
	size := len(head) + len(tail)
	if uint64(size) > uint64(c.peer.MaxFrame) {
		return Pending{}, tooLarge(size, c.peer.MaxFrame)
	}
	crowd := c.asking.Add(1) > 1 || c.handling.Load() > 1
	s, err := c.out.open(size)
	if err != nil {
		c.asking.Add(-1)
		if !errors.Is(err, ErrBusy) {
			err = fmt.Errorf("%w: %w", err, ErrNotSent)
		}
		return Pending{}, err
	}
	sent, err := c.w.send(Header{uint32(size), typ, 0, s.id}, head, tail, sending{crowd: crowd, cancel: done})
	if !sent && c.out.drop(s) {
		c.asking.Add(-1)
		if err == nil {
			err = ctx.Err()
		}
		return Pending{}, fmt.Errorf("%w: %w", err, ErrNotSent)
	}
	return Pending{c, s, ctx}, nil
}

// End is the other part of Call.
func (p Pending) End() (Frame, error) { return p.EndGrace(0) }

// EndGrace is the other part of CallGrace.
func (p Pending) EndGrace(grace time.Duration) (Frame, error) {
	defer p.conn.asking.Add(-1)
	return p.conn.await(p.ctx, p.slot, grace)
}

func (c *Conn) await(ctx context.Context, s *slot, grace time.Duration) (Frame, error) {
	if done := ctx.Done(); done == nil {
		<-s.done
	} else {
		select {
		case <-s.done:
		case <-done:
			if err := c.giveUp(ctx, s, grace); err != nil {
				return Frame{}, err
			}
		}
	}
	f, err := c.out.take(s)
	if err == nil && f.Type == TypeUnhandled {
		f.Release()
		return Frame{}, ErrUnhandled
	}
	return f, err
}

// giveUp tells the peer that nobody waits any more. It returns nil if the reply came nevertheless.
func (c *Conn) giveUp(ctx context.Context, s *slot, grace time.Duration) error {
	// Its error needs no look: with the connection everything it carried ends. A reply that crosses it is no harm, because
	// the slot is not used again before it was taken.
	id := s.id // not after abandon: the reply may have given the slot to another request by then
	_, _ = c.w.send(Header{Type: TypeCancel, Flags: FlagIgnorable, ID: id}, nil, nil, sending{urgent: true})
	err := ctx.Err()
	if grace > 0 && errors.Is(err, context.DeadlineExceeded) {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-s.done:
			return nil
		case <-t.C:
			err = fmt.Errorf("%w: %w", err, ErrLate)
		}
	}
	if c.out.abandon(s) {
		return &AbandonedError{ID: id, cause: err}
	}
	<-s.done
	return nil
}

// Notify sends a notice: a frame without a reply.
func (c *Conn) Notify(ctx context.Context, typ, flags uint8, body []byte) error {
	if uint64(len(body)) > uint64(c.peer.MaxFrame) {
		return tooLarge(len(body), c.peer.MaxFrame)
	}
	sent, err := c.w.send(Header{uint32(len(body)), typ, flags &^ FlagReply, 0}, body, nil, sending{crowd: true, cancel: ctx.Done()})
	if !sent && err == nil {
		return fmt.Errorf("%w: %w", ctx.Err(), ErrNotSent)
	}
	return err
}

// Ping asks the peer's frame layer for a sign of life.
func (c *Conn) Ping(ctx context.Context) error {
	f, err := c.Call(ctx, TypePing, nil, nil)
	f.Release()
	return err
}

// Close ends the connection, waits for the reader, whose goroutine therefore must not call it, and returns nil. What waits for a reply gets an ErrEnded error, and the
// contexts of the peer's requests end; waiting for their handlers is up to whoever started them.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	<-c.read
	return nil
}

// End ends the connection because of cause, without waiting for the reader, so that Handle and Notice may call it.
func (c *Conn) End(cause error) { c.end(cause) }

// end ends the connection because of cause. The first call counts.
func (c *Conn) end(cause error) {
	c.endOnce.Do(func() {
		c.err = fmt.Errorf("%w: %w", ErrEnded, cause)
		c.over.Store(true) // before any request gets that error: who has it may ask whether it is the connection's
		c.nc.Close()
		c.w.end(c.err)
		c.out.end(c.err)
		c.runners.end()
		c.inMu.Lock()
		in := c.in
		c.in, c.inCount, c.inBytes = nil, 0, 0
		close(c.ended)
		c.inMu.Unlock()
		for _, r := range in {
			if r != nil {
				r.ctx.end(context.Canceled)
			}
		}
	})
}

func tooLarge(size int, limit uint32) error {
	return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, limit)
}

// reply answers a request. It leaves the table of requests before the reply is sent, since the peer may use the slot
// again once it has the reply.
func (c *Conn) reply(r *Request, typ uint8, head, tail []byte) error {
	size := len(head) + len(tail)
	if uint64(size) > uint64(c.peer.MaxFrame) {
		return tooLarge(size, c.peer.MaxFrame)
	}
	r.ctx.end(context.Canceled)
	if !c.leave(r) {
		if err := c.Err(); err != nil {
			return err
		}
		panic("frame: request answered twice")
	}
	_, err := c.w.send(Header{uint32(size), typ, FlagReply, r.ID}, head, tail, sending{crowd: c.handling.Load() > 0})
	return err
}

func (c *Conn) leave(r *Request) bool {
	i := r.ID & slotIndexMask
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if i >= uint64(len(c.in)) || c.in[i] != r {
		return false
	}
	c.in[i] = nil
	c.inCount--
	c.handling.Store(int32(c.inCount))
	c.inBytes -= uint64(r.size)
	return true
}

// readAll reads until the connection ends and returns why.
func (c *Conn) readAll(r *reader) error {
	for {
		h, err := r.header()
		if err != nil {
			return peerGone(err)
		}
		if h.Length > c.opts.Limits.MaxFrame {
			return fmt.Errorf("%w: frame of %d bytes, at most %d are accepted", ErrProtocol, h.Length, c.opts.Limits.MaxFrame)
		}
		f := Frame{Type: h.Type, Flags: h.Flags, ID: h.ID}
		if h.Length > 0 {
			if f.buf = getBuffer(int(h.Length)); f.buf != nil {
				f.Body = f.buf.b
			} else {
				f.Body = make([]byte, h.Length)
			}
			if err := r.full(f.Body); err != nil {
				return peerGone(err)
			}
		}
		c.progress.Add(1)
		if err := c.take(f); err != nil {
			return err
		}
	}
}

func peerGone(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the peer is gone: %w", err)
	}
	return err
}

// take gives a received frame to whom it is for.
func (c *Conn) take(f Frame) error {
	switch {
	case f.Flags&FlagReply != 0:
		if f.ID&sideBit != c.side || !c.out.complete(f) {
			return fmt.Errorf("%w: reply to a request %#x that does not wait", ErrProtocol, f.ID)
		}
		return nil
	case f.Type == TypeCancel:
		c.cancel(f)
		return nil
	case f.Type == TypeHello:
		return fmt.Errorf("%w: second hello", ErrProtocol)
	case f.ID == 0:
		return c.notice(f)
	case f.ID&sideBit == c.side:
		return fmt.Errorf("%w: request with an id %#x of this side", ErrProtocol, f.ID)
	}
	return c.request(f)
}

func (c *Conn) cancel(f Frame) {
	i := f.ID & slotIndexMask
	c.inMu.Lock()
	var r *Request
	if i < uint64(len(c.in)) && c.in[i] != nil && c.in[i].ID == f.ID {
		r = c.in[i]
	}
	c.inMu.Unlock()
	f.Release()
	if r == nil {
		return // our reply and the cancellation have crossed
	}
	cause := context.Canceled
	if t, ok := r.ctx.Deadline(); ok && !time.Now().Before(t) {
		cause = context.DeadlineExceeded // the requester's timer was faster than ours
	}
	r.ctx.end(cause)
}

func (c *Conn) notice(f Frame) error {
	switch {
	case c.known[f.Type] && c.opts.Notice != nil:
		c.opts.Notice(f)
	case f.Flags&FlagIgnorable != 0:
		f.Release()
	default:
		return unknownType(f.Type)
	}
	return nil
}

func unknownType(t uint8) error {
	return fmt.Errorf("%w: frame of type %d, which this side does not know", ErrProtocol, t)
}

func (c *Conn) request(f Frame) error {
	r := &Request{Frame: f, conn: c, size: len(f.Body)}
	if err := c.enter(r); err != nil {
		return err
	}
	switch {
	case f.Type == TypePing:
		r.Release()
		go func() { _ = r.Reply(TypePing, nil, nil) }()
	case c.known[f.Type] && c.opts.Handle != nil:
		c.opts.Handle(r)
	case f.Flags&FlagIgnorable != 0:
		r.Release()
		go func() { _ = r.Reply(TypeUnhandled, nil, nil) }()
	default:
		return unknownType(f.Type)
	}
	return nil
}

// enter adds r to the table of requests, within the limits.
func (c *Conn) enter(r *Request) error {
	i := r.ID & slotIndexMask
	if i >= uint64(c.opts.Limits.MaxRequests) {
		return fmt.Errorf("%w: request slot %d, at most %d are accepted", ErrProtocol, i, c.opts.Limits.MaxRequests)
	}
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if c.isEnded() {
		return c.err
	}
	if c.inBytes > 0 && c.inBytes+uint64(r.size) > c.opts.Limits.MaxRequestBytes {
		return fmt.Errorf("%w: unanswered requests of more than %d bytes", ErrProtocol, c.opts.Limits.MaxRequestBytes)
	}
	for i >= uint64(len(c.in)) {
		c.in = append(c.in, nil) // requesters fill their slots in order, so this grows by one
	}
	if c.in[i] != nil {
		return fmt.Errorf("%w: request slot %d is used before its reply", ErrProtocol, i)
	}
	c.in[i] = r
	c.inCount++
	c.handling.Store(int32(c.inCount))
	c.inBytes += uint64(r.size)
	return nil
}

func (c *Conn) isEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}
