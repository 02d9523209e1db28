package scheduler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// request is a call on its way through the shell.
type request struct {
	spec callSpec
	inv  *essav1.Invocation
	args []byte
	run  bool
	// after is called once the call was admitted and has ended, or nil. One that joined another has nothing to tidy up.
	after func()
}

// handleCall answers a query on essa/call/{deployment}/{function}/{args}.
func (r *Role) handleCall(q transport.Query) {
	name, function, argsKey, err := topic.Default.ParseCall(q.KeyExpr())
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "scheduler: %v", err))
		return
	}
	if argsKey != "" {
		// To call it without its arguments would be worse.
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid,
			"scheduler: arguments stored under a key are not supported: query essa/call/%s/%s/- with the arguments as payload", name, function))
		return
	}
	meta, err := metaOf(q)
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	req, err := r.callRequest(q.Context(), name, function, q.Payload(), meta)
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	r.answer(q, req)
}

// metaOf reads what a client said about its call: the attachment, or the selector's parameters where a foreign client
// has no protobuf.
func metaOf(q transport.Query) (*essav1.CallMeta, error) {
	meta := &essav1.CallMeta{}
	if a := q.Attachment(); len(a) > 0 {
		if err := proto.Unmarshal(a, meta); err != nil {
			return nil, status.Errorf(status.Invalid, "scheduler: attachment is not a CallMeta: %v", err)
		}
	}
	if len(meta.Id) != 0 && len(meta.Id) != len(hlc.ID{}) {
		return nil, status.Errorf(status.Invalid, "scheduler: call id has %d bytes, want %d", len(meta.Id), len(hlc.ID{}))
	}
	for p := range strings.SplitSeq(q.Parameters(), ";") {
		k, v, _ := strings.Cut(p, "=")
		switch k {
		case "deadline_ms":
			ms, err := strconv.ParseInt(v, 10, 64)
			if err != nil || ms <= 0 {
				return nil, status.Errorf(status.Invalid, "scheduler: deadline_ms=%s is not a positive number of milliseconds", v)
			}
			ms = min(ms, maxCallTime.Milliseconds())
			meta.DeadlineUnixNano = time.Now().Add(time.Duration(ms) * time.Millisecond).UnixNano()
		case "id":
			id, err := hlc.ParseID(v)
			if err != nil {
				return nil, status.Errorf(status.Invalid, "scheduler: %v", err)
			}
			meta.Id = id[:]
		}
	}
	return meta, nil
}

// callRequest turns a client's call of a deployment into a request.
func (r *Role) callRequest(ctx context.Context, name, function string, args []byte, meta *essav1.CallMeta) (*request, error) {
	if int64(len(args)) > r.opts.MaxArgs {
		return nil, status.LimitError("args", "scheduler: arguments of %d bytes exceed the limit of %d (scheduler.call.max_args)", len(args), r.opts.MaxArgs)
	}
	d, err := r.reg.deployment(ctx, name, meta.Version)
	if err != nil {
		return nil, err
	}
	export, err := d.export(function)
	if err != nil {
		return nil, err
	}
	id := hlc.NewID()
	if len(meta.Id) > 0 {
		id = hlc.ID(meta.Id)
	}
	deadline := r.deadline(d.manifest.Limits, meta.DeadlineUnixNano)
	m := d.manifest
	return &request{
		spec: callSpec{
			id: id, kind: "call", deadline: deadline, always: m.Retry == retryAlways, remember: len(meta.Id) > 0,
			// m's name, not the client's: what is remembered of ended calls is to hold no request.
			target: target{deployment: m.Name, version: m.Version, module: m.Module, function: export, engine: m.Engine},
		},
		inv: &essav1.Invocation{
			Id: id[:], Root: id[:], Module: m.Module, Scope: deploymentScope(name), Function: export,
			DeadlineUnixNano: deadline.UnixNano(), Limits: m.Limits, Engine: m.Engine, Deployment: name, Version: m.Version,
			Env: m.Env, Isolation: m.Isolation, WarmUp: m.WarmUp, WantStats: meta.WantStats,
		},
		args: args,
	}, nil
}

// maxCallTime bounds the deadline of a call, so that no sum of times leaves the range of nanoseconds since 1970.
const maxCallTime = 30 * 24 * time.Hour

// deadline is the client's, but no later than the deployment's wall time allows; without either it is the default.
func (r *Role) deadline(l *essav1.Limits, asked int64) time.Time {
	r.mu.Lock()
	timeout := r.timeout
	r.mu.Unlock()
	now := time.Now()
	wall := min(time.Duration(l.GetWallTimeNano()), maxCallTime)
	switch {
	case asked == 0 && wall <= 0:
		return now.Add(timeout)
	case asked == 0:
		return now.Add(wall)
	}
	d := time.Unix(0, asked)
	if latest := now.Add(maxCallTime); latest.Before(d) {
		d = latest
	}
	if wall > 0 && now.Add(wall).Before(d) {
		return now.Add(wall)
	}
	return d
}

// handleNested answers an executor whose engine has no room for a nested call.
func (r *Role) handleNested(q transport.Query) {
	from, err := topic.Default.ParseNested(q.KeyExpr())
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "scheduler: %v", err))
		return
	}
	inv := &essav1.Invocation{}
	if err := proto.Unmarshal(q.Attachment(), inv); err != nil || len(inv.Id) != len(hlc.ID{}) {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "scheduler: a nested call needs an Invocation with an id"))
		return
	}
	req := &request{inv: inv, args: q.Payload(), spec: callSpec{
		id: hlc.ID(inv.Id), kind: "nested", exclude: from,
		target: target{deployment: inv.Deployment, version: inv.Version, module: inv.Module, function: inv.Function, engine: inv.Engine},
	}}
	if inv.DeadlineUnixNano != 0 {
		req.spec.deadline = time.Unix(0, inv.DeadlineUnixNano)
	}
	r.answer(q, req)
}

// handleRun answers a query on essa/run-module: it ends when the run does.
func (r *Role) handleRun(q transport.Query) {
	var meta essav1.RunMeta
	if err := proto.Unmarshal(q.Attachment(), &meta); err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "scheduler: attachment is not a RunMeta: %v", err))
		return
	}
	req, err := r.runRequest(q.Context(), &meta, q.Payload())
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	r.answer(q, req)
}

func (r *Role) runRequest(ctx context.Context, meta *essav1.RunMeta, wasm []byte) (*request, error) {
	id := hlc.NewID()
	switch len(meta.Id) {
	case 0:
	case len(id):
		id = hlc.ID(meta.Id)
	default:
		return nil, status.Errorf(status.Invalid, "scheduler: run id has %d bytes, want %d", len(meta.Id), len(id))
	}
	if err := errors.Join(checkEnv(meta.Env), checkArgv(meta.Argv)); err != nil {
		return nil, err
	}
	req := &request{run: true, inv: &essav1.Invocation{
		Id: id[:], Root: id[:], Module: meta.Module, Scope: runScope(id), Limits: meta.Limits, Engine: meta.Engine,
		Argv: meta.Argv, Env: meta.Env, Stdin: meta.Stdin, WantStats: true,
	}}
	if meta.Deployment != "" {
		if err := r.runDeployment(ctx, req.inv, meta); err != nil {
			return nil, err
		}
	} else if err := r.runModule(ctx, req, meta, wasm); err != nil {
		return nil, err
	}
	req.spec = callSpec{
		id: id, kind: "run", remember: len(meta.Id) > 0,
		target: target{deployment: req.inv.Deployment, version: req.inv.Version, module: req.inv.Module, engine: req.inv.Engine},
	}
	return req, nil
}

// runDeployment makes inv a run of a deployment's module, with its state and its limits. The run's environment comes after
// the deployment's, and the run may name another engine.
func (r *Role) runDeployment(ctx context.Context, inv *essav1.Invocation, meta *essav1.RunMeta) error {
	d, err := r.reg.deployment(ctx, meta.Deployment, "")
	if err != nil {
		return err
	}
	m := d.manifest
	inv.Module, inv.Scope, inv.Deployment, inv.Version = m.Module, deploymentScope(m.Name), m.Name, m.Version
	inv.Limits, inv.Env = m.Limits, append(slices.Clone(m.Env), meta.Env...)
	inv.Isolation, inv.WarmUp = m.Isolation, m.WarmUp
	if inv.Engine == "" {
		inv.Engine = m.Engine
	}
	return nil
}

// runModule makes req an anonymous run of a module that is stored or comes with it. Its state goes with it.
func (r *Role) runModule(ctx context.Context, req *request, meta *essav1.RunMeta, wasm []byte) error {
	if len(wasm) > 0 {
		sum := sha256.Sum256(wasm)
		req.inv.Module = hex.EncodeToString(sum[:])
		if err := r.storeModule(ctx, req.inv.Module, wasm); err != nil {
			return err
		}
	} else if err := checkSHA(meta.Module); err != nil {
		return err
	}
	if !meta.KeepState {
		scope := req.inv.Scope
		req.after = func() { r.dropScope(scope) }
	}
	return nil
}

// dropTimeout bounds the removal of a run's state; stopping waits for it.
const dropTimeout = 10 * time.Second

func deploymentScope(name string) string { return "d/" + name }

func runScope(id hlc.ID) string { return "r/" + id.String() }

// dropScope removes a run's state. It happens after the answer, and outlives the client.
func (r *Role) dropScope(scope string) {
	r.async.Add(1)
	go func() {
		defer r.async.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.work), dropTimeout)
		defer cancel()
		if err := r.kvs.DeleteScope(ctx, client.DataSpace, scope); err != nil {
			r.log.Warn("state of a run was not removed", "scope", scope, "error", err)
		}
	}()
}

// answer carries a request to its end and replies.
func (r *Role) answer(q transport.Query, req *request) {
	out := r.execute(q.Context(), req)
	if out.err != nil {
		_ = transport.ReplyStatus(q, out.err)
		return
	}
	_ = q.Reply(q.KeyExpr(), out.value, transport.ReplyOptions{Attachment: out.attachment})
}

// execute submits a request to the core and does what it decides until the call has ended.
func (r *Role) execute(ctx context.Context, req *request) outcome {
	if !req.spec.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = transport.WithDeadline(ctx, req.spec.deadline)
		defer cancel()
	}
	cl, d := r.submit(req)
	for {
		switch d.do {
		case end:
			if cl != nil && req.after != nil {
				req.after()
			}
			return d.out
		case join:
			select {
			case out := <-d.wait:
				if !out.again {
					return out
				}
				cl, d = r.submit(req)
			case <-ctx.Done():
				r.mu.Lock()
				r.core.leave(d.joined, d.wait)
				r.mu.Unlock()
				return outcome{err: r.gaveUp(ctx, req)}
			}
		case hold:
			select {
			case d = <-cl.wake:
			case <-ctx.Done():
				d = r.leaveQueue(ctx, cl, req)
			}
		case dispatch:
			d = r.attempt(ctx, cl, req, d)
		}
	}
}

func (r *Role) submit(req *request) (*call, decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cl, d := r.core.submit(time.Now(), req.spec)
	if d.do == hold {
		r.armTick()
	}
	return cl, d
}

func (r *Role) armTick() {
	if r.timer == nil {
		r.timer = time.AfterFunc(tickEvery, r.tick)
	}
}

// leaveQueue takes a call out of the queue whose asker no longer waits. If the core has placed it in this very moment, the
// decision about it is on its way to cl.wake, where nobody looks any more.
func (r *Role) leaveQueue(ctx context.Context, cl *call, req *request) decision {
	err := r.gaveUp(ctx, req)
	r.mu.Lock()
	wakes := r.core.abandon(time.Now(), cl, err)
	r.mu.Unlock()
	deliver(wakes)
	return decision{do: end, out: outcome{err: err}}
}

func (r *Role) gaveUp(ctx context.Context, req *request) error {
	if status.Of(ctx.Err()) == status.Deadline {
		return status.Errorf(status.Deadline, "call %s of %s did not end before its deadline", req.spec.id, req.spec.name())
	}
	r.mu.Lock()
	stopping := r.core.stopping
	r.mu.Unlock()
	if stopping {
		return status.Errorf(status.Unavailable,
			"call %s of %s did not end before its scheduler stopped; it may have run in part", req.spec.id, req.spec.name())
	}
	return status.Errorf(status.Cancelled, "call %s of %s was cancelled", req.spec.id, req.spec.name())
}

func (s callSpec) name() string {
	switch {
	case s.target.deployment != "" && s.target.function != "":
		return s.target.deployment + "/" + s.target.function
	case s.target.function != "":
		return s.target.function
	}
	return s.kind
}

// attempt sends a call to the executor that was chosen and tells the core how it ended.
func (r *Role) attempt(ctx context.Context, cl *call, req *request, d decision) decision {
	out := r.send(ctx, req, d.executor)
	r.mu.Lock()
	next, wakes := r.core.finished(time.Now(), cl, out)
	if next.do == hold {
		r.armTick()
	}
	r.mu.Unlock()
	deliver(wakes)
	if next.do != end && out.err != nil {
		r.log.Info("call is tried again", "call", req.spec.id, "executor", d.executor, "attempt", d.attempt, "error", out.err)
	}
	return next
}

func (r *Role) send(ctx context.Context, req *request, executor string) outcome {
	value, attachment, err := r.carry(ctx, req, executor)
	if c := status.Of(err); c == status.Deadline || c == status.Cancelled {
		if ctx.Err() != nil {
			err = r.gaveUp(ctx, req)
		}
	}
	return outcome{value: value, attachment: attachment, err: err}
}

// carry takes a call to its executor. Into the same process it goes by a function call: to encode, route and decode what is at
// hand took a fifth of a busy daemon's time.
func (r *Role) carry(ctx context.Context, req *request, executor string) (value, attachment []byte, err error) {
	if r.opts.Local != nil && executor == r.opts.ID {
		return r.opts.Local.Execute(ctx, req.inv, req.args, req.run)
	}
	att, err := proto.Marshal(req.inv)
	if err != nil {
		return nil, nil, status.Errorf(status.Internal, "scheduler: encode a call: %v", err)
	}
	key := topic.Default.RunFunction(executor, req.inv.Module, req.inv.Function, "")
	if req.run {
		key = topic.Default.ExecutorRun(executor)
	}
	s, err := transport.Ask(ctx, r.opts.Session, transport.Selector{KeyExpr: key},
		transport.GetOptions{Payload: req.args, Attachment: att, Timeout: -1})
	if errors.Is(err, transport.ErrNobody) {
		// It was here when it was chosen, so it has been lost since, and nobody knows what it did of the call.
		err = status.Errorf(status.Unavailable, "executor %q was lost; call %s of %s may have run in part", executor, req.spec.id, req.spec.name())
	}
	return s.Payload, s.Attachment, err
}
