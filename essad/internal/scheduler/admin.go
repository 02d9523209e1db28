package scheduler

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// handleAdmin answers the administrative requests, essa/admin/scheduler/{verb}.
func (r *Role) handleAdmin(q transport.Query) {
	_, verb, err := topic.Default.ParseAdmin(q.KeyExpr())
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "scheduler: %v", err))
		return
	}
	out, err := r.administer(q.Context(), verb, q.Payload())
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	raw, err := proto.Marshal(out)
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Internal, "scheduler: encode the reply to %s: %v", verb, err))
		return
	}
	_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
}

func (r *Role) administer(ctx context.Context, verb string, payload []byte) (proto.Message, error) {
	switch verb {
	case "deploy":
		return with(payload, func(in *essav1.DeployRequest) (proto.Message, error) { return r.deploy(ctx, in.Manifest) })
	case "undeploy":
		return with(payload, func(in *essav1.NameRequest) (proto.Message, error) {
			return &essav1.DeployReply{}, r.undeploy(ctx, in.Name)
		})
	case "rollback":
		return with(payload, func(in *essav1.NameRequest) (proto.Message, error) { return r.rollback(ctx, in) })
	case "deployments":
		ds, err := r.reg.deployments(ctx)
		return &essav1.DeploymentsReply{Deployments: ds}, err
	case "modules":
		ms, err := r.listModules(ctx)
		return &essav1.ModulesReply{Modules: ms}, err
	case "gc":
		return with(payload, func(in *essav1.GCRequest) (proto.Message, error) { return r.collect(ctx, in) })
	case "module-has":
		return with(payload, func(in *essav1.ModuleHasRequest) (proto.Message, error) {
			found, err := client.HasModule(ctx, r.kvs, in.Sha256)
			return &essav1.ModuleHasReply{Found: found}, err
		})
	case "module-put":
		return with(payload, func(in *essav1.ModulePutRequest) (proto.Message, error) {
			return &essav1.ModuleHasReply{Found: in.Commit}, r.putChunk(ctx, in)
		})
	case "ps":
		return &essav1.PSReply{Processes: r.processes()}, nil
	case "call-async":
		return with(payload, func(in *essav1.AsyncRequest) (proto.Message, error) { return r.callAsync(ctx, in) })
	case "result":
		return with(payload, func(in *essav1.ResultRequest) (proto.Message, error) { return r.result(ctx, in) })
	}
	return nil, status.Errorf(status.NotFound, "scheduler: there is no administrative request %q", verb)
}

// with decodes a request and hands it to f.
func with[M any, P interface {
	*M
	proto.Message
}](payload []byte, f func(P) (proto.Message, error)) (proto.Message, error) {
	in := P(new(M))
	if err := proto.Unmarshal(payload, in); err != nil {
		return nil, status.Errorf(status.Invalid, "scheduler: not a %T: %v", in, err)
	}
	return f(in)
}

// deploy stores a version of a deployment and makes it active. An executor looks at the module first, so that one that
// cannot run is refused here and not at its first call.
func (r *Role) deploy(ctx context.Context, m *essav1.Manifest) (proto.Message, error) {
	if m == nil {
		return nil, status.Errorf(status.Invalid, "scheduler: a deployment needs a manifest")
	}
	if err := checkName(m.Name); err != nil {
		return nil, err
	}
	if m.Retry == "" {
		m.Retry = retrySafe
	}
	if m.Retry != retrySafe && m.Retry != retryAlways {
		return nil, status.Errorf(status.Invalid, "retry %q: want safe or always", m.Retry)
	}
	slices.Sort(m.Env)
	info, err := r.inspect(ctx, m)
	if err != nil {
		return nil, err
	}
	m.Functions, m.Kind, m.ModuleSize, m.CreatedUnixNano = info.Functions, info.Kind, info.ModuleSize, time.Now().UnixNano()
	if m.Version, err = versionOf(m); err != nil {
		return nil, err
	}
	p, err := r.reg.pointer(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	if p != nil && !p.Deleted && p.Version == m.Version {
		return &essav1.DeployReply{Manifest: m, Unchanged: true}, nil
	}
	if err := r.reg.save(ctx, m.Name+"/"+m.Version, m); err != nil {
		return nil, err
	}
	if err := r.reg.activate(ctx, m.Name, m.Version); err != nil {
		return nil, err
	}
	r.log.Info("deployed", "name", m.Name, "version", m.Version, "module", m.Module)
	return &essav1.DeployReply{Manifest: m}, nil
}

// inspect has an executor prepare the module, and returns what it found.
func (r *Role) inspect(ctx context.Context, m *essav1.Manifest) (*essav1.Manifest, error) {
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, status.Errorf(status.Internal, "scheduler: encode a manifest: %v", err)
	}
	executor, err := r.anyExecutor(m.Engine)
	if err != nil {
		return nil, err
	}
	s, err := transport.Ask(ctx, r.opts.Session, transport.Selector{KeyExpr: topic.Default.ExecutorPrepare(executor)},
		transport.GetOptions{Payload: raw, Timeout: -1})
	if err != nil {
		return nil, err
	}
	info := &essav1.Manifest{}
	if err := proto.Unmarshal(s.Payload, info); err != nil {
		return nil, status.Errorf(status.Internal, "scheduler: the executor's answer cannot be read: %v", err)
	}
	return info, nil
}

func (r *Role) anyExecutor(engine string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.core.order {
		if engine == "" || e.engines[engine] {
			return e.id, nil
		}
	}
	if len(r.core.order) == 0 {
		return "", status.Safe(status.Errorf(status.Unavailable, "no executor is here to look at the module: try again when one is"))
	}
	return "", status.Errorf(status.NotFound, "no executor has an engine named %q", engine)
}

func (r *Role) undeploy(ctx context.Context, name string) error {
	p, err := r.reg.pointer(ctx, name)
	if err != nil {
		return err
	}
	if p == nil || p.Deleted {
		return status.Errorf(status.NotFound, "there is no deployment %q (essad deployments lists them)", name)
	}
	p.Deleted = true
	if err := r.reg.save(ctx, name, p); err != nil {
		return err
	}
	r.reg.drop(name)
	r.log.Info("undeployed", "name", name)
	return nil
}

func (r *Role) rollback(ctx context.Context, in *essav1.NameRequest) (proto.Message, error) {
	p, err := r.reg.pointer(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, status.Errorf(status.NotFound, "there is no deployment %q (essad deployments lists them)", in.Name)
	}
	version := in.Version
	switch {
	case version != "" && !slices.Contains(p.History, version):
		return nil, status.Errorf(status.NotFound, "deployment %q has no version %q; it has %v", in.Name, version, p.History)
	case version == "" && p.Deleted:
		version = p.Version // undone: what was active before it was undeployed
	case version == "" && len(p.History) < 2:
		return nil, status.Errorf(status.Conflict, "deployment %q has no version before %s", in.Name, p.Version)
	case version == "":
		version = p.History[1]
	}
	m, err := r.reg.manifest(ctx, in.Name, version)
	if err != nil {
		return nil, err
	}
	if err := r.reg.activate(ctx, in.Name, version); err != nil {
		return nil, err
	}
	r.log.Info("rolled back", "name", in.Name, "version", version)
	return &essav1.DeployReply{Manifest: m}, nil
}

const (
	resultScope   = "results"
	resultRunning = "running"
)

// callAsync starts a call whose result is fetched later. What it answers is durable: the result, or the fact that there
// is none yet, survives this scheduler as far as the KVS does; the call itself does not.
func (r *Role) callAsync(ctx context.Context, in *essav1.AsyncRequest) (proto.Message, error) {
	if in.Meta == nil {
		in.Meta = &essav1.CallMeta{}
	}
	req, err := r.callRequest(ctx, in.Deployment, in.Function, in.Args, in.Meta)
	if err != nil {
		return nil, err
	}
	select {
	case r.asyncIn <- struct{}{}:
	default:
		return nil, status.Errorf(status.Overloaded, "%d asynchronous calls are in flight (scheduler.async.queue): try again later", cap(r.asyncIn))
	}
	id := req.spec.id
	req.spec.kind = "async"
	if err := r.saveResult(ctx, id, &essav1.ResultReply{State: resultRunning}); err != nil {
		<-r.asyncIn
		return nil, err
	}
	r.async.Add(1)
	go func() {
		defer r.async.Done()
		defer func() { <-r.asyncIn }()
		r.finishAsync(req)
	}()
	return &essav1.AsyncReply{Id: id[:]}, nil
}

func (r *Role) finishAsync(req *request) {
	out := r.execute(r.work, req)
	res := &essav1.ResultReply{State: "done", Value: out.value}
	if out.err != nil {
		res = &essav1.ResultReply{State: "failed", ErrorCode: status.Code(out.err), ErrorText: out.err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.work), adminTimeout)
	defer cancel()
	if err := r.saveResult(ctx, req.spec.id, res); err != nil {
		r.log.Error("result of an asynchronous call was not stored", "call", req.spec.id, "error", err)
	}
}

// adminTimeout bounds what a scheduler does on its own account.
const adminTimeout = 30 * time.Second

func (r *Role) saveResult(ctx context.Context, id hlc.ID, res *essav1.ResultReply) error {
	raw, err := proto.Marshal(res)
	if err != nil {
		return status.Errorf(status.Internal, "encode a result: %v", err)
	}
	_, err = r.kvs.Set(ctx, client.RegistrySpace, resultScope, []byte(id.String()), raw, client.PutOptions{TTL: r.opts.ResultTTL})
	return err
}

// result returns what came of an asynchronous call, waiting for its end for at most as long as asked.
func (r *Role) result(ctx context.Context, in *essav1.ResultRequest) (proto.Message, error) {
	if len(in.Id) != len(hlc.ID{}) {
		return nil, status.Errorf(status.Invalid, "scheduler: a call id has 16 bytes")
	}
	key := []byte(hlc.ID(in.Id).String())
	res, err := r.storedResult(ctx, key)
	if err != nil || res.State != resultRunning || in.WaitNano <= 0 {
		return res, err
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(in.WaitNano))
	defer cancel()
	err = r.kvs.Watch(wait, client.RegistrySpace, resultScope, client.WatchOptions{Key: key, Initial: true}, func(i client.Item) {
		raw, err := client.PlainData(i.Value)
		if now := (&essav1.ResultReply{}); err == nil && proto.Unmarshal(raw, now) == nil && now.State != resultRunning {
			res = now
			cancel()
		}
	})
	return res, err
}

func (r *Role) storedResult(ctx context.Context, key []byte) (*essav1.ResultReply, error) {
	raw, _, err := r.kvs.Data(ctx, client.RegistrySpace, resultScope, key)
	if status.Of(err) == status.NotFound {
		return nil, status.Errorf(status.NotFound,
			"there is no result of call %s: it was never made, or its result is no longer kept (scheduler.async.result_ttl)", key)
	}
	if err != nil {
		return nil, err
	}
	res := &essav1.ResultReply{}
	return res, unmarshal(raw, res)
}
