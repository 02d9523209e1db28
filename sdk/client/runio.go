package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

const (
	settleAfterError = 50 * time.Millisecond // quiet for so long means that all output has arrived
	settleTimeout    = 10 * time.Second      // output that has not arrived so long after the end is lost
)

// outputCopy writes a run's output where it belongs and keeps count of it, for the run's end may overtake it.
type outputCopy struct {
	stdout, stderr io.Writer
	items          chan *essav1.RunOutput
	wake           chan struct{}
	ended          chan struct{}      // closed when nobody waits for output any more
	idle           chan struct{}      // closed when run has returned
	stop           context.CancelFunc // ends the run

	mu      sync.Mutex
	next    map[string]uint64 // by executor
	missing uint64
	failed  error // the first write that failed; nothing is written after it
}

func newOutputCopy(stdout, stderr io.Writer, stop context.CancelFunc) *outputCopy {
	return &outputCopy{
		stdout: stdout, stderr: stderr, stop: stop, items: make(chan *essav1.RunOutput),
		wake: make(chan struct{}, 1), ended: make(chan struct{}), idle: make(chan struct{}),
	}
}

// take is called for each message. It waits for the one before, which is what slows a run down.
func (c *outputCopy) take(s transport.Sample) {
	m := &essav1.RunOutput{}
	if proto.Unmarshal(s.Payload, m) != nil {
		return
	}
	select {
	case c.items <- m:
	case <-c.ended:
	}
}

// run writes on a goroutine of its own, so that a write that never returns holds up nobody but itself.
func (c *outputCopy) run() {
	defer close(c.idle)
	for {
		select {
		case m := <-c.items:
			c.write(m)
		case <-c.ended:
			return
		}
	}
}

// end lets go of what has not been written. It waits for the write under way, unless ctx has ended.
func (c *outputCopy) end(ctx context.Context) {
	close(c.ended)
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
}

func (c *outputCopy) write(m *essav1.RunOutput) {
	w := c.stdout
	if m.Stream == 2 {
		w = c.stderr
	}
	if w != nil && c.orFailed(nil) == nil {
		if _, err := w.Write(m.Data); err != nil {
			c.fail(err)
		}
	}
	c.mu.Lock()
	if c.next == nil {
		c.next = map[string]uint64{}
	}
	if n := c.next[m.Executor]; m.Seq > n {
		c.missing += m.Seq - n
	}
	c.next[m.Executor] = m.Seq + 1
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// fail ends a run whose output can be written nowhere.
func (c *outputCopy) fail(err error) {
	c.mu.Lock()
	c.failed = status.Errorf(status.Unavailable, "write the output of the run: %w", err)
	c.mu.Unlock()
	c.stop()
}

// orFailed returns the error of a write that failed, or else err.
func (c *outputCopy) orFailed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	return err
}

// waitFor waits until n messages of an executor have come, or until nothing has come for settleTimeout.
func (c *outputCopy) waitFor(ctx context.Context, executor string, n uint64) {
	for {
		c.mu.Lock()
		have := c.next[executor]
		c.mu.Unlock()
		if have >= n || !c.quiet(ctx, settleTimeout) {
			if have < n {
				c.mu.Lock()
				c.missing += n - have
				c.mu.Unlock()
			}
			return
		}
	}
}

// settle waits until nothing has come for d.
func (c *outputCopy) settle(ctx context.Context, d time.Duration) {
	for c.quiet(ctx, d) {
	}
}

// quiet waits for the next message and reports whether one came within d.
func (c *outputCopy) quiet(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.wake:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (c *outputCopy) lost() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missing
}

// inputCopy answers requests for standard input, one after the other. A read goes on when the request that began it is given
// up, for nothing can interrupt one of a terminal; what it brings is for the next request.
type inputCopy struct {
	from io.Reader
	turn chan struct{} // holds the one request that is answered
	got  chan input    // what the read under way brings

	reading bool
	rest    input
}

type input struct {
	data []byte
	err  error
}

func newInputCopy(r io.Reader) *inputCopy {
	return &inputCopy{from: r, turn: make(chan struct{}, 1), got: make(chan input, 1)}
}

const maxInput = 256 << 10

func (c *inputCopy) answer(q transport.Query) {
	var req essav1.RunInput
	if err := proto.Unmarshal(q.Payload(), &req); err != nil || req.Max <= 0 {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "client: not a request for input"))
		return
	}
	select {
	case c.turn <- struct{}{}:
	case <-q.Context().Done():
		return
	}
	defer func() { <-c.turn }()
	if len(c.rest.data) == 0 && c.rest.err == nil && !c.fill(q.Context(), min(int(req.Max), maxInput)) {
		return
	}
	if len(c.rest.data) == 0 && !errors.Is(c.rest.err, io.EOF) {
		// Not an end: the module must not take half of its input for the whole.
		_ = transport.ReplyStatus(q, status.Errorf(status.Unavailable, "read the input of the run: %w", c.rest.err))
		return
	}
	data := c.rest.data[:min(len(c.rest.data), int(req.Max))]
	if q.Reply(q.KeyExpr(), data, transport.ReplyOptions{}) == nil {
		c.rest.data = c.rest.data[len(data):]
	}
}

// fill waits for the read under way, or for one of at most n bytes, and reports whether it came before ctx ended.
func (c *inputCopy) fill(ctx context.Context, n int) bool {
	if !c.reading {
		c.reading = true
		go func() {
			buf := make([]byte, n)
			k, err := c.from.Read(buf)
			for k == 0 && err == nil {
				k, err = c.from.Read(buf)
			}
			c.got <- input{buf[:k], err}
		}()
	}
	select {
	case c.rest = <-c.got:
		c.reading = false
		return true
	case <-ctx.Done():
		return false
	}
}
