package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"time"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/essad/internal/executor"
	"github.com/essa-project/essad/essad/internal/gateway"
	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/essad/internal/routing"
	"github.com/essa-project/essad/essad/internal/scheduler"
	"github.com/essa-project/essad/essad/internal/supervisor"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
	"github.com/hashicorp/go-hclog"
)

func (a *Agent) startRouting(ctx context.Context) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	r, err := routing.New(routing.Options{
		ID: a.cfg.Node.Name, Session: s, Logger: a.log.Named("routing"), OnReady: func() { close(ready) },
	})
	if err != nil {
		return err
	}
	a.routing = r
	return a.startRole(ctx, "routing", r, ready, s)
}

func (a *Agent) startKVS(ctx context.Context) error {
	c := a.cfg.KVS
	store, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	if store != nil {
		a.push("store", func(context.Context) error { return store.Close() })
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	r, err := kvs.New(kvs.Options{
		Node: a.cfg.Node.Name, Session: s, Store: store, Logger: a.log.Named("kvs"), OnReady: func() { close(ready) },
		Shards: c.Shards, Durability: c.Durability, Memory: int64(c.Memory),
		MaxKey: int(c.MaxKey), MaxValue: int(c.MaxValue), WriteBuffer: int64(c.WriteBuffer),
		CacheLease: c.CacheLease.Std(), TombstoneGrace: c.TombstoneGrace.Std(), MaxClockSkew: c.MaxClockSkew.Std(),
		MaxWatches: c.MaxWatches, MaxCached: c.MaxCached, StoreRetry: c.StoreRetry.Std(), Drain: a.cfg.Node.ShutdownTimeout.Std() / 2,
	})
	if err != nil {
		return err
	}
	a.kvs = r
	return a.startRole(ctx, "kvs", r, ready, s)
}

func (a *Agent) startExecutor(ctx context.Context) error {
	c := a.cfg.Executor
	s, err := a.open()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	r, err := executor.New(executor.Options{
		ID: a.cfg.Node.Name, Session: s, Logger: a.log.Named("executor"), OnReady: func() { close(ready) },
		Engines: a.engines(), Workers: cmp.Or(c.Workers, runtime.GOMAXPROCS(0)),
		Quarantine: executor.QuarantineLimits{
			Strikes: c.Quarantine.Strikes, For: c.Quarantine.For.Std(), Entries: c.Quarantine.Entries,
		},
		Capacity: c.Capacity, Limits: limits(c.Limits), MaxLimits: maxLimits(c.MaxLimits), LogRing: int64(c.Logs.Ring),
		OutputWait: c.OutputWait.Std(), Drain: c.Drain.Std(),
	})
	if err != nil {
		return err
	}
	a.executor = r
	return a.startRole(ctx, "executor", r, ready, s)
}

func limits(l config.ExecutorLimits) engine.Limits {
	return engine.Limits{
		Memory: int64(l.Memory), WallTime: l.WallTime.Std(), CallDepth: l.CallDepth, HostCalls: l.HostCalls,
		Args: int64(l.Args), Result: int64(l.Result), Log: int64(l.Log), LogLine: int64(l.LogLine),
		Handles: l.Handles, Stack: l.Stack, Fuel: l.Fuel,
	}
}

func maxLimits(l config.ExecutorMaxLimits) engine.Limits {
	return engine.Limits{
		Memory: int64(l.Memory), WallTime: l.WallTime.Std(), CallDepth: l.CallDepth, HostCalls: l.HostCalls,
		Args: int64(l.Args), Result: int64(l.Result), Log: int64(l.Log), LogLine: int64(l.LogLine),
		Handles: l.Handles, Stack: l.Stack, Fuel: l.Fuel,
	}
}

// engines lists the engines that the executor uses, the preferred one first.
func (a *Agent) engines() []executor.Engine {
	c := a.cfg.Executor
	var out []executor.Engine
	for _, name := range c.Engines {
		p := a.cfg.Engines[name]
		start := func(ctx context.Context, shard int, b engine.Border, killed func(executor.Kill)) (executor.Process, error) {
			e, err := a.plugins.Engine(ctx, supervisor.EngineSpec{
				Name: name, Shard: shard, Shards: p.Shards, Plugin: p.Plugin, Path: p.Path, SHA256: p.SHA256, Env: environ(p.Env),
				Settings: engineSettings(c, p, a.folders.engineCache(cmp.Or(p.Plugin, name))), KillAfter: c.StopGrace.Std(),
				Border: b, Killed: func(l supervisor.LateCall) { killed(executor.Kill{Call: l.Call, Silent: l.Silent}) },
			})
			if err != nil {
				return nil, err
			}
			return engineProcess{e}, nil
		}
		out = append(out, executor.Engine{Name: name, Shards: p.Shards, Start: start})
	}
	return out
}

// engineProcess is a supervised engine as the executor has it.
type engineProcess struct{ *supervisor.Engine }

func (p engineProcess) State() string { return p.Engine.State().String() }

func (a *Agent) startScheduler(ctx context.Context) error {
	c := a.cfg.Scheduler
	drain := a.cfg.Node.ShutdownTimeout.Std() / 2
	if a.cfg.Executor != nil { // its calls are what is waited for
		drain = min(drain, a.cfg.Executor.Drain.Std())
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	o := scheduler.Options{
		ID: a.cfg.Node.Name, Session: s, Logger: a.log.Named("scheduler"), OnReady: func() { close(ready) },
		Timeout: c.Call.Timeout.Std(), Attempts: c.Call.Attempts, Queue: c.Call.Queue, MaxArgs: int64(c.Call.MaxArgs), MaxModule: int64(c.MaxModule),
		Completed: c.Completed.Calls, CompletedBytes: int64(c.Completed.Bytes), CompletedFor: c.Completed.For.Std(),
		Async: c.Async.Queue, ResultTTL: c.Async.ResultTTL.Std(), HotModules: c.HotModules,
		Drain: drain,
	}
	if a.executor != nil {
		o.Local = a.executor
	}
	r, err := scheduler.New(o)
	if err != nil {
		return err
	}
	a.scheduler = r
	return a.startRole(ctx, "scheduler", r, ready, s)
}

// startGateway serves figures over HTTP, where that is configured.
func (a *Agent) startGateway(context.Context) error {
	g, err := gateway.Listen(gateway.Options{Listen: a.cfg.Metrics.Listen, Status: a.status, Ready: a.ready.Load})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- g.Run() }()
	a.push("gateway", func(ctx context.Context) error { return errors.Join(g.Close(ctx), <-done) })
	return nil
}

// setGroup lets a group use the socket; without a name the daemon's own group has it already.
func setGroup(path, name string) error {
	if name == "" {
		return nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return status.Errorf(status.Invalid, "node.socket_group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return status.Errorf(status.Invalid, "node.socket_group: group %q has no number: %w", name, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return status.Errorf(status.Denied, "give the socket to group %q: %w", name, err)
	}
	return nil
}

// Reload takes over what of a new configuration can change in a running daemon, and says what cannot.
func (a *Agent) Reload(next *config.Config) {
	if !a.ready.Load() { // the roles are being made, or ended
		a.log.Warn("configuration was not reloaded: the daemon is starting or stopping; try again when it is ready")
		return
	}
	start := time.Now()
	for _, c := range config.Diff(a.cfg, next) {
		if !c.Live {
			a.log.Warn("changed key needs a restart", "key", c.Path, "running", c.Old, "configured", c.New)
		}
	}
	a.log.SetLevel(hclog.LevelFromString(next.Log.Level))
	if a.executor != nil && next.Executor != nil {
		a.executor.SetLimits(limits(next.Executor.Limits), maxLimits(next.Executor.MaxLimits))
	}
	if a.scheduler != nil && next.Scheduler != nil {
		a.scheduler.SetCallDefaults(next.Scheduler.Call.Timeout.Std(), next.Scheduler.Call.Attempts)
	}
	a.log.Info("configuration reloaded", "took", time.Since(start).Round(time.Millisecond))
}

// engineSettings are what the executor's configuration says of its engines, under the names that sdk/engine/runtime gives
// them, and over them what the engine's own block says. Shards share what is said of the engine, except for the folder:
// several processes, and several engines of one plugin, use that together.
func engineSettings(c *config.Executor, p config.Engine, cacheDir string) map[string]string {
	n := config.ByteSize(max(p.Shards, 1))
	out := map[string]string{
		"cache_dir": cacheDir, "workers": strconv.Itoa(c.Workers), "queue": strconv.Itoa(c.Capacity),
		"memory": (c.Memory / n).String(), "module_cache": c.ModuleCache.String(), "cache_bytes": (c.Cache.Bytes / n).String(),
	}
	maps.Copy(out, pluginSettings(p.Settings))
	return out
}
