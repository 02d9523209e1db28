package client

import (
	"context"
	"io"

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
	out := newOutputCopy(o.Stdout, o.Stderr, cancel)
	sub, err := c.session.Subscribe(c.names.RunOut(id.String()), transport.SubscribeOptions{Queue: 256}, out.take)
	if err != nil {
		return nil, err
	}
	go out.run()
	defer func() {
		// Whoever ended the run does not wait for a reader that has stalled, nor for somebody to press a key.
		out.end(ctx)
		_ = sub.Close()
	}()
	if o.Stdin != nil {
		in, err := c.session.Queryable(c.names.RunIn(id.String()), transport.QueryableOptions{Complete: true},
			newInputCopy(o.Stdin).answer)
		if err != nil {
			return nil, err
		}
		defer in.Close()
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
