package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
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
			if err := checkSHA(in.Sha256); err != nil {
				return nil, err
			}
			found, err := client.HasModule(ctx, r.kvs, in.Sha256)
			return &essav1.ModuleHasReply{Found: found}, err
		})
	case "module-put":
		return with(payload, func(in *essav1.ModulePutRequest) (proto.Message, error) {
			return &essav1.ModuleHasReply{Found: in.Commit}, r.putChunk(ctx, in)
		})
	case "quarantine-lift":
		return with(payload, func(in *essav1.NameRequest) (proto.Message, error) { return r.lift(ctx, in) })
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
	if err := errors.Join(checkName(m.Name), checkSHA(m.Module), checkEnv(m.Env), checkIsolation(m)); err != nil {
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
	m.Functions, m.Kind, m.ModuleSize, m.Fresh = info.Functions, info.Kind, info.ModuleSize, info.Fresh
	m.CreatedUnixNano = time.Now().UnixNano()
	if m.Version, err = versionOf(m); err != nil {
		return nil, err
	}
	p, _, err := r.reg.pointer(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	if p != nil && !p.Deleted && p.Version == m.Version {
		return &essav1.DeployReply{Manifest: m, Unchanged: true}, nil
	}
	if err := r.reg.save(ctx, m.Name+"/"+m.Version, m, client.PutOptions{}); err != nil {
		return nil, err
	}
	if err := r.reg.activate(ctx, m.Name, m.Version); err != nil {
		return nil, err
	}
	// Now that the version is named, a collection spares its module; one that was under way has taken it before, or will see
	// the name and give it back (collect).
	if _, err := client.ModuleSize(ctx, r.kvs, m.Module); err != nil {
		return nil, fmt.Errorf("deployed, but the module cannot be found any more (a collection may be under way): deploy it again: %w", err)
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
		if engine == "" || e.engines[engine] != nil {
			return e.id, nil
		}
	}
	if len(r.core.order) == 0 {
		return "", status.Safe(status.Errorf(status.Unavailable, "no executor is here to look at the module: try again when one is"))
	}
	return "", r.core.noEngine(engine)
}

// lift has all executors end a quarantine. What is refused here follows at once and not with their next reports, so that a
// call right after it is taken.
func (r *Role) lift(ctx context.Context, in *essav1.NameRequest) (proto.Message, error) {
	raw, err := proto.Marshal(in)
	if err != nil {
		return nil, status.Errorf(status.Internal, "scheduler: encode a request: %v", err)
	}
	out := &essav1.LiftReply{}
	var failed error
	err = r.opts.Session.Get(ctx, transport.Selector{KeyExpr: topic.Default.ExecutorLift("*")},
		transport.GetOptions{Payload: raw, Target: transport.All, Consolidation: transport.None},
		func(reply transport.Reply) {
			one := &essav1.LiftReply{}
			if reply.Err != nil {
				failed = reply.Err.AsError()
			} else if failed == nil {
				failed = unmarshal(reply.Sample.Payload, one)
			}
			out.Lifted = append(out.Lifted, one.Lifted...)
		})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	if len(out.Lifted) == 0 {
		return nil, status.Errorf(status.NotFound, "nothing is held against %q (essad quarantine lists who is in quarantine)", in.Name)
	}
	r.mu.Lock()
	r.core.lift(out.Lifted)
	r.mu.Unlock()
	return out, nil
}

func (r *Role) undeploy(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := r.reg.change(ctx, name, func(p *essav1.Pointer) (*essav1.Pointer, error) {
		if p == nil || p.Deleted {
			return nil, noDeployment(name)
		}
		p.Deleted = true
		return p, nil
	})
	if err == nil {
		r.log.Info("undeployed", "name", name)
	}
	return err
}

func (r *Role) rollback(ctx context.Context, in *essav1.NameRequest) (proto.Message, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	var m *essav1.Manifest
	err := r.reg.change(ctx, in.Name, func(p *essav1.Pointer) (*essav1.Pointer, error) {
		version, err := rollbackTo(p, in)
		if err != nil {
			return nil, err
		}
		if m, err = r.reg.manifest(ctx, in.Name, version); err != nil {
			return nil, err
		}
		if _, err := client.ModuleSize(ctx, r.kvs, m.Module); err != nil {
			return nil, fmt.Errorf("version %s of %q: %w", version, in.Name, err) // collected since it was undeployed
		}
		return pointTo(p, version), nil
	})
	if err != nil {
		return nil, err
	}
	r.log.Info("rolled back", "name", in.Name, "version", m.Version)
	return &essav1.DeployReply{Manifest: m}, nil
}

// rollbackTo finds the version that a rollback means.
func rollbackTo(p *essav1.Pointer, in *essav1.NameRequest) (string, error) {
	switch {
	case p == nil:
		return "", noDeployment(in.Name)
	case in.Version != "" && !slices.Contains(p.History, in.Version):
		return "", noVersion(in.Name, in.Version, p.History)
	case in.Version != "":
		return in.Version, nil
	case p.Deleted:
		return p.Version, nil // undone: what was active before it was undeployed
	case len(p.History) < 2:
		return "", status.Errorf(status.Conflict, "deployment %q has no version before %s", in.Name, p.Version)
	}
	return p.History[1], nil
}
