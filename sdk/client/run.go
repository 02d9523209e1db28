package client

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// RunOptions say what to run and where its input and output go.
type RunOptions struct {
	Module     string // SHA-256 of an uploaded module
	Deployment string // or a deployment, whose state the run shares
	Argv       []string
	Env        []string // "K=V"
	Stdin      io.Reader
	Stdout     io.Writer // nil: discarded
	Stderr     io.Writer
	KeepState  bool // keep what an anonymous run put
	Engine     string
	Limits     *essav1.Limits
}

// RunResult tells how a run ended.
type RunResult struct {
	ID       hlc.ID
	ExitCode uint32
	Lost     uint64 // messages of output that were lost because this side was too slow
	Stats    *essav1.Stats
}

// Run runs a module's main and copies its output until it ends. A run that ends by its own exit code is no error, whatever
// the code.
func (c *Client) Run(ctx context.Context, o RunOptions) (*RunResult, error) {
	id := hlc.NewID()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &outputCopy{stdout: o.Stdout, stderr: o.Stderr, wake: make(chan struct{}, 1), stop: cancel}
	sub, err := c.session.Subscribe(c.names.RunOut(id.String()), transport.SubscribeOptions{Queue: 256}, out.take)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	if o.Stdin != nil {
		in, err := c.session.Queryable(c.names.RunIn(id.String()), transport.QueryableOptions{Complete: true},
			(&inputCopy{from: o.Stdin}).answer)
		if err != nil {
			return nil, err
		}
		// Not waited for: a read of a terminal cannot be interrupted.
		defer func() { go in.Close() }()
	}
	att, err := proto.Marshal(&essav1.RunMeta{
		Id: id[:], Module: o.Module, Argv: o.Argv, Env: o.Env, Stdin: o.Stdin != nil, KeepState: o.KeepState,
		Deployment: o.Deployment, Limits: o.Limits, Engine: o.Engine,
	})
	if err != nil {
		return nil, status.Errorf(status.Internal, "client: encode a run: %v", err)
	}
	s, err := transport.Ask(ctx, c.session, transport.Selector{KeyExpr: c.names.RunModule()},
		transport.GetOptions{Attachment: att, Timeout: -1})
	if err != nil {
		// What the module wrote before it failed is often the reason; it may still be on its way.
		out.settle(ctx, settleAfterError)
		return nil, out.orFailed(runError(err))
	}
	var end essav1.Outcome
	if err := proto.Unmarshal(s.Attachment, &end); err != nil {
		return nil, status.Errorf(status.Internal, "client: the reply has no Outcome: %v", err)
	}
	out.waitFor(ctx, end.Executor, end.OutputChunks)
	if err := out.orFailed(nil); err != nil {
		return nil, err
	}
	return &RunResult{ID: id, ExitCode: end.ExitCode, Lost: out.lost(), Stats: end.Stats}, nil
}

func runError(err error) error {
	if status.Of(err) == status.Cancelled {
		return status.Errorf(status.Cancelled, "the run was cancelled")
	}
	return noScheduler(err)
}

const (
	settleAfterError = 50 * time.Millisecond // quiet for so long means that all output has arrived
	settleTimeout    = 10 * time.Second      // output that has not arrived so long after the end is lost
)

// outputCopy writes a run's output where it belongs and keeps count of it, for the run's end may overtake it.
type outputCopy struct {
	stdout, stderr io.Writer
	wake           chan struct{}
	stop           context.CancelFunc // ends the run

	mu      sync.Mutex
	next    map[string]uint64 // by executor
	missing uint64
	failed  error // the first write that failed; nothing is written after it
}

func (c *outputCopy) take(s transport.Sample) {
	var m essav1.RunOutput
	if proto.Unmarshal(s.Payload, &m) != nil {
		return
	}
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

// inputCopy answers requests for standard input, one after the other.
type inputCopy struct {
	mu   sync.Mutex
	from io.Reader
	done bool
}

const maxInput = 256 << 10

func (c *inputCopy) answer(q transport.Query) {
	var req essav1.RunInput
	if err := proto.Unmarshal(q.Payload(), &req); err != nil || req.Max <= 0 {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "client: not a request for input"))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var buf []byte
	if !c.done {
		buf = make([]byte, min(int(req.Max), maxInput))
		n, err := c.from.Read(buf)
		for n == 0 && err == nil {
			n, err = c.from.Read(buf)
		}
		buf, c.done = buf[:n], err != nil
	}
	_ = q.Reply(q.KeyExpr(), buf, transport.ReplyOptions{})
}
