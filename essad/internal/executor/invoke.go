package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

func (r *Role) handleFunction(q transport.Query) { r.handle(q, false) }

func (r *Role) handleRun(q transport.Query) { r.handle(q, true) }

// handle answers one query of a scheduler.
func (r *Role) handle(q transport.Query, run bool) {
	var inv essav1.Invocation
	if err := proto.Unmarshal(q.Attachment(), &inv); err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "executor: attachment is not an Invocation: %v", err))
		return
	}
	value, outcome, err := r.Execute(q.Context(), &inv, q.Payload(), run)
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	_ = q.Reply(q.KeyExpr(), value, transport.ReplyOptions{Attachment: outcome})
}

// Execute carries out one invocation, as it does for a query: admit, invoke, and say in an encoded Outcome what came of it. A
// scheduler in the same process calls it. It neither changes nor keeps inv.
func (r *Role) Execute(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error) {
	if r.ended.Load() {
		return nil, nil, status.Safe(status.Errorf(status.Unavailable, "executor %q has ended", r.opts.ID))
	}
	res, f, err := r.execute(ctx, inv, args, run)
	if err != nil {
		return nil, nil, err
	}
	if outcome, err = proto.Marshal(r.outcome(inv, f, res)); err != nil {
		return nil, nil, status.Errorf(status.Internal, "executor: encode the outcome: %v", err)
	}
	return res.Value, outcome, nil
}

// engineDeadline is a context whose deadline the engine is not told: it has the call's own.
type engineDeadline struct{ context.Context }

func (engineDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

func (r *Role) execute(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (*engine.Result, *inFlight, error) {
	call, err := r.callOf(inv, args, run)
	if err != nil {
		return nil, nil, err
	}
	e, err := r.engineNamed(inv.Engine)
	if err != nil {
		return nil, nil, err
	}
	f, err := r.core.admit(time.Now(), call, e, inv)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if run && inv.Deployment == "" {
			f.shard.holds.remove(call.Scope)
		}
		r.core.end(f, err)
	}()
	// No timer here: the engine keeps the deadline, and ctx ends when the scheduler stops waiting.
	res, err := r.invoke(engineDeadline{ctx}, f.shard, call)
	if err != nil {
		return nil, f, r.verdict(f, err)
	}
	return res, f, nil
}

// invoke calls the engine, preparing the module first where this engine process does not have it yet.
func (r *Role) invoke(ctx context.Context, s *shard, call *engine.Call) (*engine.Result, error) {
	const prepares = 3 // each further one means that the engine process was replaced in between
	for i := 0; ; i++ {
		res, err := s.Invoke(ctx, call)
		if i == prepares || status.Of(err) != status.NotFound || status.DetailOf(err) != "module" {
			return res, err
		}
		if _, err := r.prepare(ctx, s, call.Module); err != nil {
			return nil, err
		}
	}
}

// verdict adds to an error whether the call may have had effects.
func (r *Role) verdict(f *inFlight, err error) error {
	if status.Of(err) != status.Unavailable {
		return err
	}
	if f.root.effects.Load() {
		return status.Errorf(status.Unavailable, "%w; the call may have run in part and has had effects", err)
	}
	return status.Safe(err)
}

func (r *Role) callOf(inv *essav1.Invocation, args []byte, run bool) (*engine.Call, error) {
	id, err1 := idOf(inv.Id)
	root, err2 := idOf(inv.Root)
	if err1 != nil || err2 != nil {
		return nil, status.Errorf(status.Invalid, "executor: a call needs an id and a root of 16 bytes")
	}
	if err := checkModule(inv.Module); err != nil {
		return nil, err
	}
	isolation, err := engine.ParseIsolation(inv.Isolation)
	if err != nil {
		return nil, err
	}
	limits, err := r.limitsFor(inv, run)
	if err != nil {
		return nil, err
	}
	c := &engine.Call{
		ID: id, Root: root, Module: inv.Module, Scope: inv.Scope, Run: run, Function: inv.Function, Args: args,
		Argv: inv.Argv, Env: inv.Env, Stdin: inv.Stdin, Depth: int(inv.Depth), Limits: limits,
		Isolation: isolation, WarmUp: inv.WarmUp,
	}
	if inv.DeadlineUnixNano != 0 {
		c.Deadline = time.Unix(0, inv.DeadlineUnixNano)
	}
	for _, kv := range inv.Fresh {
		c.Fresh = append(c.Fresh, engine.KeyVersion{Key: string(kv.Key), Version: kv.Version})
	}
	return c, nil
}

func checkModule(sha string) error {
	if b, err := hex.DecodeString(sha); err != nil || len(b) != sha256.Size {
		return status.Errorf(status.Invalid, "executor: module %.80q is not a SHA-256 in hexadecimal", sha)
	}
	return nil
}

func idOf(b []byte) (hlc.ID, error) {
	if len(b) != len(hlc.ID{}) {
		return hlc.ID{}, io.ErrUnexpectedEOF
	}
	return hlc.ID(b), nil
}

func (r *Role) outcome(inv *essav1.Invocation, f *inFlight, res *engine.Result) *essav1.Outcome {
	if inv.Depth == 0 { // what nested calls used is in their callers'
		r.fuel.Add(res.Stats.Fuel)
	}
	o := &essav1.Outcome{
		HasValue: res.HasValue, ExitCode: res.ExitCode, Frontier: res.Frontier,
		OutputChunks: f.root.output.count(), Executor: r.opts.ID, Fuel: res.Stats.Fuel,
	}
	for _, kv := range res.Writes {
		o.Writes = append(o.Writes, &essav1.KeyVersion{Key: []byte(kv.Key), Version: kv.Version})
	}
	if inv.WantStats {
		o.Stats = &essav1.Stats{
			QueuedNano: int64(res.Stats.Queued), GuestNano: int64(res.Stats.Guest), HostCalls: res.Stats.HostCalls,
			Memory: res.Stats.Memory, Nested: int32(res.Stats.Nested), Executor: r.opts.ID, Engine: f.shard.engine.name,
			Fuel: res.Stats.Fuel,
		}
	}
	return o
}

// preparation is a module on its way into an engine; who comes second waits for the first.
type preparation struct {
	done chan struct{}
	info *engine.ModuleInfo
	size int64
	err  error
}

// prepare brings a module into a process of an engine, once however many calls wait for it. It goes on when the call that asked first
// gives up: the others need it, and so will the next. It ends with the role.
func (r *Role) prepare(ctx context.Context, s *shard, sha string) (*preparation, error) {
	s.mu.Lock()
	p := s.preparing[sha]
	if p == nil {
		p = &preparation{done: make(chan struct{})}
		s.preparing[sha] = p
		r.prepares.Add(1)
		go func() {
			defer r.prepares.Done()
			r.runPreparation(r.work, s, sha, p)
		}()
	}
	s.mu.Unlock()
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, status.Wrap(status.Of(ctx.Err()), ctx.Err())
	}
}

// prepareTimeout bounds fetching and compiling one module.
const prepareTimeout = 5 * time.Minute

func (r *Role) runPreparation(ctx context.Context, s *shard, sha string, p *preparation) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	start := time.Now()
	p.err = r.loadInto(ctx, s, sha, p)
	if p.err == nil {
		r.log.Debug("module is ready", "module", sha, "engine", s.engine.name, "shard", s.index, "took", time.Since(start))
		s.engine.modules.add(sha)
		r.reportSoon()
	}
	s.mu.Lock()
	delete(s.preparing, sha)
	s.mu.Unlock()
	close(p.done)
}

func (r *Role) loadInto(ctx context.Context, s *shard, sha string, p *preparation) error {
	var err error
	if p.size, err = client.ModuleSize(ctx, r.kvs, sha); err != nil {
		return err
	}
	info, err := s.Prepare(ctx, engine.Module{SHA256: sha, Size: p.size}, r.opener(ctx, sha))
	p.info = &info
	return err
}

func (r *Role) opener(ctx context.Context, sha string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return client.OpenModule(ctx, r.kvs, sha) }
}
