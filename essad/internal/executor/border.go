package executor

import (
	"bytes"
	"context"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// border is what one process of an engine asks of this executor.
type border struct {
	role  *Role
	shard *shard
}

var _ engine.Border = (*border)(nil)

func (b *border) Load(ctx context.Context, o *engine.Origin, key []byte, wait bool) (engine.Value, error) {
	b.shard.holds.add(o.Scope) // before the value is on its way: a change of it must not miss the cache it enters
	v, err := b.role.kvs.Load(ctx, client.DataSpace, o.Scope, key, wait)
	return engine.Value{Data: v.Data, Version: v.Version, Lease: v.Lease}, err
}

func (b *border) Merge(ctx context.Context, o *engine.Origin, key, value []byte) (uint64, error) {
	// Marked before it is sent: a put whose acknowledgement is lost may have been applied.
	b.effect(o)
	b.shard.holds.add(o.Scope)
	return b.role.kvs.Merge(ctx, client.DataSpace, o.Scope, key, value)
}

func (b *border) effect(o *engine.Origin) {
	if r := b.role.core.rootOf(o.Root); r != nil {
		r.effects.Store(true)
	}
}

// Call takes a nested call that the process has no room for: to one beside it that is idle, or to a scheduler, which knows
// the other executors. There it runs in whatever engine its root's deployment names, or that executor prefers.
func (b *border) Call(ctx context.Context, o *engine.Origin, c *engine.Call) (_ *engine.Result, err error) {
	b.effect(o)
	if f := b.role.core.admitNested(c, b.shard); f != nil {
		defer func() { b.role.core.end(f, err) }()
		return b.role.invoke(ctx, f.shard, c)
	}
	inv := &essav1.Invocation{
		Id: c.ID[:], Root: c.Root[:], Module: c.Module, Scope: c.Scope, Function: c.Function,
		Depth: int32(c.Depth), Limits: limitsOf(c.Limits), Env: c.Env, Isolation: c.Isolation.String(), WarmUp: c.WarmUp,
	}
	if !c.Deadline.IsZero() {
		inv.DeadlineUnixNano = c.Deadline.UnixNano()
	}
	for _, kv := range c.Fresh {
		inv.Fresh = append(inv.Fresh, &essav1.KeyVersion{Key: []byte(kv.Key), Version: kv.Version})
	}
	if r := b.role.core.rootOf(o.Root); r != nil {
		inv.Deployment, inv.Version, inv.Engine, inv.RunOutput = r.who.deployment, r.who.version, r.engine, !r.output.run.IsZero()
	}
	att, err := proto.Marshal(inv)
	if err != nil {
		return nil, status.Errorf(status.Internal, "executor: encode a nested call: %v", err)
	}
	sel := transport.Selector{KeyExpr: topic.Default.Nested(b.role.opts.ID)}
	sample, err := transport.Ask(ctx, b.role.opts.Session, sel, transport.GetOptions{Payload: c.Args, Attachment: att, Timeout: -1})
	if err != nil {
		return nil, err
	}
	return resultOf(sample)
}

func resultOf(s transport.Sample) (*engine.Result, error) {
	var out essav1.Outcome
	if err := proto.Unmarshal(s.Attachment, &out); err != nil {
		return nil, status.Errorf(status.Internal, "executor: the reply to a nested call has no Outcome: %v", err)
	}
	res := &engine.Result{Value: s.Payload, HasValue: out.HasValue, ExitCode: out.ExitCode, Frontier: out.Frontier}
	res.Stats.Fuel = out.Fuel
	for _, kv := range out.Writes {
		res.Writes = append(res.Writes, engine.KeyVersion{Key: string(kv.Key), Version: kv.Version})
	}
	return res, nil
}

func limitsOf(l engine.Limits) *essav1.Limits {
	return &essav1.Limits{
		Memory: l.Memory, WallTimeNano: int64(l.WallTime), CallDepth: int32(l.CallDepth), HostCalls: l.HostCalls,
		Args: l.Args, Result: l.Result, Log: l.Log, LogLine: l.LogLine, Handles: int32(l.Handles), Stack: l.Stack, Fuel: l.Fuel,
	}
}

// Output sends what a run writes to whoever follows the run, and what a deployment writes to its log.
func (b *border) Output(ctx context.Context, o *engine.Origin, s engine.Stream, p []byte) error {
	r := b.role.core.rootOf(o.Root)
	if r == nil {
		return nil // the call has just ended: nobody is left to read
	}
	if r.output.deployment != "" {
		for line := range bytes.SplitAfterSeq(p, []byte("\n")) {
			if len(line) > 0 {
				b.log(ctx, r.output.deployment, o, s, line)
			}
		}
	}
	if !r.output.run.IsZero() {
		// Somebody may have read it: to run the module again would print it twice.
		r.effects.Store(true)
		return b.role.publish(ctx, &r.output, s, p)
	}
	return nil
}

func (b *border) log(ctx context.Context, deployment string, o *engine.Origin, s engine.Stream, p []byte) {
	rec := &essav1.LogRecord{
		TimeUnixNano: time.Now().UnixNano(), Deployment: deployment, Call: append([]byte(nil), o.Root[:]...),
		Stream: uint32(s), Line: append([]byte(nil), p...), Executor: b.role.opts.ID,
	}
	b.role.logs.add(rec)
	if raw, err := proto.Marshal(rec); err == nil {
		// Followers of a log get what they can take: Drop, so that none of them slows a function down.
		_ = b.role.opts.Session.Put(ctx, topic.Default.Log(deployment), raw, transport.PutOptions{})
	}
}

// publish sends one message of a run's output. A slow reader slows the run down, for at most OutputWait a message.
func (r *Role) publish(ctx context.Context, out *output, s engine.Stream, p []byte) error {
	out.mu.Lock() // one at a time, so that the numbers arrive in order
	defer out.mu.Unlock()
	raw, err := proto.Marshal(&essav1.RunOutput{Seq: out.seq, Stream: uint32(s), Data: p, Executor: r.opts.ID})
	if err != nil {
		return status.Errorf(status.Internal, "executor: encode output: %v", err)
	}
	out.seq++
	ctx, cancel := context.WithTimeout(ctx, r.opts.OutputWait)
	defer cancel()
	err = r.opts.Session.Put(ctx, topic.Default.RunOut(out.run.String()), raw, transport.PutOptions{Congestion: transport.Block})
	if status.Of(err) == status.Deadline {
		r.log.Warn("output of a run is lost: its reader is too slow", "run", out.run, "seq", out.seq-1)
		return nil
	}
	return err
}

func (o *output) count() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seq
}

// Input asks whoever started the run for the next bytes of its standard input. They are gone then: a second run would miss
// them.
func (b *border) Input(ctx context.Context, o *engine.Origin, limit int) ([]byte, error) {
	b.effect(o)
	raw, err := proto.Marshal(&essav1.RunInput{Max: int32(limit)})
	if err != nil {
		return nil, status.Errorf(status.Internal, "executor: encode a request for input: %v", err)
	}
	sel := transport.Selector{KeyExpr: topic.Default.RunIn(o.Root.String())}
	s, err := transport.Ask(ctx, b.role.opts.Session, sel, transport.GetOptions{Payload: raw, Timeout: -1})
	if err != nil {
		return nil, err
	}
	if len(s.Payload) == 0 {
		return nil, io.EOF
	}
	return s.Payload, nil
}
