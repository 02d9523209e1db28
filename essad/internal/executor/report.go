package executor

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/engine"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// reportEvery is how often a changed report is published at most; schedulers count their own calls meanwhile.
const reportEvery = 500 * time.Millisecond

func (r *Role) reportSoon() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// report tells schedulers which modules are ready here, and in which engine, when that changes.
func (r *Role) report(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
		}
		raw, err := proto.Marshal(r.Info())
		if err != nil {
			return status.Errorf(status.Internal, "executor: encode the report: %v", err)
		}
		_ = r.opts.Session.Put(ctx, topic.Default.ExecutorReport(r.opts.ID), raw, transport.PutOptions{})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reportEvery):
		}
	}
}

// Info is the executor's report of itself.
func (r *Role) Info() *essav1.ExecutorInfo {
	info := &essav1.ExecutorInfo{
		Id: r.opts.ID, Slots: int32(r.opts.Capacity), Queue: int32(r.opts.Capacity),
		InFlight: int32(r.core.inFlight()), Fuel: r.fuel.Load(),
	}
	for i, e := range r.enginesNow() {
		info.Engines = append(info.Engines, e.report(i == 0))
	}
	r.core.report(time.Now(), info)
	return info
}

func (e *engineState) report(isDefault bool) *essav1.EngineInfo {
	i := &essav1.EngineInfo{
		Name: e.name, Engine: e.info.Name, Version: e.info.Version, Capabilities: e.info.Capabilities,
		Shards: int32(len(e.shards)), State: e.shards[0].State(), Default: isDefault,
		Modules: e.modules.list(),
	}
	for _, s := range e.shards {
		if s.Ready() {
			i.Ready++
			i.State = s.State()
		}
	}
	return i
}

// report adds what is held against whom.
func (c *core) report(now time.Time, info *essav1.ExecutorInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info.Quarantine = c.quarantine.list(now)
	info.Strikes, info.Refused = c.quarantine.strikes, c.quarantine.refused
}

// killed hears that a process was killed because of one of its calls.
func (r *Role) killed(s *shard, k Kill) {
	q := r.core.strike(time.Now(), s, k)
	name := []any{"call", k.Call.ID, "engine", s.engine.name, "shard", s.index}
	switch {
	case q == nil:
		r.log.Warn("an engine was killed; the late call may be innocent and does not count", name...)
	case int(q.Strikes) > r.opts.Quarantine.Strikes && q.UntilUnixNano != 0:
		r.log.Debug("an engine was killed because of a call that began before its quarantine", name...)
		r.reportSoon()
	case q.UntilUnixNano == 0:
		r.log.Warn("an engine was killed because of a call; another such call leads to quarantine", append(name,
			"deployment", q.Deployment, "version", q.Version, "module", q.Module, "function", q.Function, "strikes", q.Strikes)...)
	default:
		r.log.Error("quarantine: calls are refused, because those before them made engines be killed", append(name,
			"deployment", q.Deployment, "version", q.Version, "module", q.Module, "function", q.Function, "strikes", q.Strikes,
			"until", time.Unix(0, q.UntilUnixNano))...)
		r.reportSoon()
	}
}

// handleLift ends a quarantine.
func (r *Role) handleLift(q transport.Query) {
	var req essav1.NameRequest
	if err := proto.Unmarshal(q.Payload(), &req); err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "executor: not a NameRequest: %v", err))
		return
	}
	r.core.mu.Lock()
	lifted := r.core.quarantine.lift(req.Name)
	r.core.mu.Unlock()
	for _, l := range lifted {
		r.log.Info("quarantine lifted", "deployment", l.Deployment, "version", l.Version, "module", l.Module, "strikes", l.Strikes)
	}
	r.reportSoon()
	answer(q, topic.Default.ExecutorLift(r.opts.ID), &essav1.LiftReply{Lifted: lifted})
}

func (r *Role) handleInfo(q transport.Query) {
	answer(q, topic.Default.ExecutorInfo(r.opts.ID), r.Info())
}

func (r *Role) handleLogs(q transport.Query) {
	var req essav1.LogsRequest
	if err := proto.Unmarshal(q.Payload(), &req); err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "executor: not a LogsRequest: %v", err))
		return
	}
	answer(q, topic.Default.ExecutorLogs(r.opts.ID), r.logs.tail(req.Deployment, req.MaxBytes))
}

// handlePrepare looks at a module for a scheduler that is about to deploy it: the answer is what the engine found out.
func (r *Role) handlePrepare(q transport.Query) {
	var m essav1.Manifest
	if err := proto.Unmarshal(q.Payload(), &m); err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Invalid, "executor: not a Manifest: %v", err))
		return
	}
	if err := checkModule(m.Module); err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	if _, err := r.limits.apply(m.Limits, false); err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	e, err := r.engineNamed(m.Engine)
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	out, err := r.inspect(q.Context(), e, &m)
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	answer(q, topic.Default.ExecutorPrepare(r.opts.ID), out)
}

// inspect prepares a module where the calls of its deployment will go, so that the first one finds it there.
func (r *Role) inspect(ctx context.Context, e *engineState, m *essav1.Manifest) (*essav1.Manifest, error) {
	s := homeOf(e.shards, culprit{deployment: m.Name, module: m.Module}.affinity())
	p, err := r.prepare(ctx, s, m.Module)
	if err != nil {
		return nil, err
	}
	if m.WarmUp != "" { // it is prepared by now, so this only looks whether it has the export
		_, err := s.Prepare(ctx, engine.Module{SHA256: m.Module, Size: p.size, WarmUp: m.WarmUp}, r.opener(ctx, m.Module))
		if err != nil {
			return nil, err
		}
	}
	return &essav1.Manifest{
		Module: m.Module, ModuleSize: p.size, Functions: p.info.Functions, Kind: p.info.Kind.String(), Fresh: p.info.Fresh,
	}, nil
}

// answer replies under this executor's own key, so that replies of several executors to one query stay apart.
func answer(q transport.Query, key string, m proto.Message) {
	raw, err := proto.Marshal(m)
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Internal, "executor: encode a reply: %v", err))
		return
	}
	_ = q.Reply(key, raw, transport.ReplyOptions{})
}

// recent remembers the names of the modules used last, newest first.
type recent struct {
	mu    sync.Mutex
	names []string
}

const maxRecent = 1024

func (s *recent) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.names, name); i >= 0 {
		s.names = slices.Delete(s.names, i, i+1)
	}
	s.names = slices.Insert(s.names, 0, name)
	if len(s.names) > maxRecent {
		s.names = s.names[:maxRecent]
	}
}

func (s *recent) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}
