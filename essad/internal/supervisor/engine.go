package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/plugin"
)

const (
	defaultKillAfter  = 10 * time.Millisecond
	defaultEngineWait = 10 * time.Second
	defaultStoreWait  = 30 * time.Second
)

// Engine is an engine in a supervised process. It is an engine.Engine.
type Engine struct {
	p    *supervised
	wait time.Duration
}

var _ engine.Engine = (*Engine)(nil)

func newEngine(s *Supervisor, spec EngineSpec) *Engine {
	name := spec.Name
	if spec.Shards > 1 {
		name = fmt.Sprintf("%s/%d", name, spec.Shard)
	}
	e := &Engine{wait: orDefault(spec.MaxWait, defaultEngineWait), p: s.supervise(program{
		kind: plugin.EngineKind, name: name, block: spec.Name, shard: spec.Shard, shards: max(spec.Shards, 1),
		plugin: cmp.Or(spec.Plugin, spec.Name), path: spec.Path, sha256: spec.SHA256, settings: spec.Settings, env: spec.Env,
	})}
	e.p.cancelMatters, e.p.killed = true, spec.Killed
	e.p.connect = func(ctx context.Context, in *instance, o plugin.DialOptions) (err error) {
		o.Border = spec.Border
		o.Grace = max(orDefault(spec.KillAfter, defaultKillAfter), 0)
		in.grace = o.Grace
		o.Late = func(c LateCall) {
			select {
			case in.late <- c:
			default: // maxLate others are being looked at
			}
		}
		if in.engine, err = plugin.DialEngine(ctx, o); err != nil {
			return err
		}
		in.conn = &in.engine.Process
		info, err := in.engine.Info(ctx)
		in.capabilities = info.Capabilities
		return err
	}
	e.p.finish = func(in *instance) error { return in.engine.Close() }
	return e
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Ready reports whether there is a process that takes calls.
func (e *Engine) Ready() bool { return e.p.ready() != nil }

// Progress counts what the process that takes calls has sent: where it stands still the process may, too.
func (e *Engine) Progress() uint64 {
	if in := e.p.ready(); in != nil {
		return in.conn.Progress()
	}
	return 0
}

// State is what the process does.
func (e *Engine) State() State { return e.p.status().State }

// acquire returns the engine of the process that takes calls.
func (e *Engine) acquire(ctx context.Context) (*instance, error) {
	if in := e.p.ready(); in != nil {
		return in, nil
	}
	if e.wait < 0 {
		return e.p.acquire(ctx, nil)
	}
	t := time.NewTimer(e.wait)
	defer t.Stop()
	return e.p.acquire(ctx, t.C)
}

// Info implements engine.Engine.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	in, err := e.acquire(ctx)
	if err != nil {
		return engine.Info{}, err
	}
	i, err := in.engine.Info(ctx)
	return i, e.p.lost(in, err)
}

// Prepare implements engine.Engine.
func (e *Engine) Prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	in, err := e.acquire(ctx)
	if err != nil {
		return engine.ModuleInfo{}, err
	}
	i, err := in.engine.Prepare(ctx, m, open)
	return i, e.p.lost(in, err)
}

// Invoke implements engine.Engine.
func (e *Engine) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	in, err := e.acquire(ctx)
	if err != nil {
		return nil, err
	}
	r, err := in.engine.Invoke(ctx, c)
	if err != nil {
		return nil, e.p.lost(in, err)
	}
	return r, nil
}

// Update implements engine.Engine. An engine without a process has no cache that could be stale: there is nothing to do. One
// that takes no more calls has, as long as those under way are not done.
func (e *Engine) Update(ctx context.Context, u []engine.CacheUpdate) error {
	in := e.p.process()
	if in == nil {
		return nil
	}
	if err := in.engine.Update(ctx, u); err != nil && in.conn.Err() == nil {
		return err
	}
	return nil
}

// Kill ends the engine's process at once because of reason; the next one is started. Calls under way end as Unavailable.
// It is for whoever knows that a guest is beyond reach.
func (e *Engine) Kill(reason string) { e.p.kill("killed: " + reason) }

// Close stops the engine.
func (e *Engine) Close() error { return e.p.close() }
