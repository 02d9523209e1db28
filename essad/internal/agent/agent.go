// Package agent makes running roles out of a configuration: the one place where roles, plugins and the fabric meet.
//
// It starts things in the order in which they need each other (folders, plugins, fabric, kvs, executor, scheduler; then
// clients are let in), reports readiness when all of them are ready, and stops them in reverse. It copies each configured value into
// the plain Options of the role that owns it; roles never see the configuration.
//
// It may import every package of essad/internal but cli and sim, config, and sdk/*; nobody but cli imports it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/essad/internal/executor"
	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/essad/internal/routing"
	"github.com/essa-project/essad/essad/internal/scheduler"
	"github.com/essa-project/essad/essad/internal/supervisor"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/transport"
)

// Version is the version of this program; the build sets it.
var Version = "0.1.0-dev"

// Agent is one daemon.
type Agent struct {
	cfg     *config.Config
	log     hclog.Logger
	started time.Time

	fabric  *fabric
	plugins *supervisor.Supervisor
	folders *folders
	stack   []running // in the order of starting
	failed  chan error
	ready   atomic.Bool

	kvs       *kvs.Role
	executor  *executor.Role
	scheduler *scheduler.Role
	routing   *routing.Role
}

// running is something started, and how to stop it.
type running struct {
	name string
	stop func(ctx context.Context) error
}

// New makes an agent; Run starts it.
func New(cfg *config.Config, log hclog.Logger) *Agent {
	return &Agent{cfg: cfg, log: log, failed: make(chan error, 8)}
}

// floor is memory that is never touched, and so takes none, but counts as live: with a heap of a few megabytes the daemon
// would otherwise collect it dozens of times a second under load.
var (
	floor     []byte //nolint:unused // it works by being there
	heapFloor sync.Once
)

const heapFloorBytes = 32 << 20

// Run starts everything, calls ready, and serves until ctx ends or a part fails; then it stops everything in reverse.
func (a *Agent) Run(ctx context.Context, ready func()) (err error) {
	a.started = time.Now()
	heapFloor.Do(func() { floor = make([]byte, heapFloorBytes) })
	defer func() {
		a.ready.Store(false)
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
		err = errors.Join(err, a.stop())
	}()
	if err := a.start(ctx); err != nil {
		return err
	}
	a.ready.Store(true)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	a.log.Info("ready", "node", a.cfg.Node.Name, "roles", strings.Join(a.roles(), ","), "socket", a.cfg.Node.Socket,
		"took", time.Since(a.started).Round(time.Millisecond))
	if ready != nil {
		ready()
	}
	select {
	case <-ctx.Done():
		a.log.Info("stopping", "timeout", a.cfg.Node.ShutdownTimeout.Std())
		return nil
	case err := <-a.failed:
		return err
	}
}

func (a *Agent) start(ctx context.Context) error {
	steps := []struct {
		on   bool
		name string
		do   func(context.Context) error
	}{
		{true, "folders", a.openFolders},
		{true, "plugins", a.startPlugins},
		{true, "fabric", a.startFabric},
		{a.cfg.Routing != nil, "routing", a.startRouting},
		{a.cfg.KVS != nil, "kvs", a.startKVS},
		{a.cfg.Executor != nil, "executor", a.startExecutor},
		{a.cfg.Scheduler != nil, "scheduler", a.startScheduler},
		{true, "node", a.startNode},
		{a.cfg.Metrics.Listen != "", "gateway", a.startGateway},
		{true, "clients", a.letClientsIn},
	}
	for _, s := range steps {
		if !s.on {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	return nil
}

// stop ends what was started, in reverse, within the shutdown timeout.
func (a *Agent) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Node.ShutdownTimeout.Std())
	defer cancel()
	var errs []error
	for i := len(a.stack) - 1; i >= 0; i-- {
		s := a.stack[i]
		start := time.Now()
		if err := s.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
		a.log.Debug("stopped", "part", s.name, "took", time.Since(start).Round(time.Millisecond))
	}
	a.stack = nil
	return errors.Join(errs...)
}

func (a *Agent) push(name string, stop func(context.Context) error) {
	a.stack = append(a.stack, running{name, stop})
}

// role is what all roles have in common.
type role interface {
	Run(ctx context.Context) error
}

// startRole runs a role until it is stopped, and waits until it is ready. ready is the channel its OnReady closes.
func (a *Agent) startRole(ctx context.Context, name string, r role, ready <-chan struct{}, session transport.Session) error {
	rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- r.Run(rctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		_ = session.Close()
		if err == nil {
			err = errors.New("ended before it was ready")
		}
		return err
	case <-ctx.Done():
		cancel()
		_ = <-done // what it says of a start that was cancelled is of no use
		_ = session.Close()
		return ctx.Err()
	}
	var once sync.Once
	var end error
	ended := make(chan struct{})
	go func() {
		end = <-done
		close(ended)
		if rctx.Err() == nil {
			a.failed <- fmt.Errorf("%s ended by itself: %w", name, end)
		}
	}()
	a.push(name, func(ctx context.Context) error {
		once.Do(cancel)
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("did not end in time: %w", ctx.Err())
		}
		return errors.Join(end, session.Close())
	})
	return nil
}

func (a *Agent) roles() []string {
	var out []string
	for _, r := range []struct {
		on   bool
		name string
	}{
		{a.cfg.Routing != nil, "routing"},
		{a.cfg.KVS != nil, "kvs"},
		{a.cfg.Scheduler != nil, "scheduler"},
		{a.cfg.Executor != nil, "executor"},
	} {
		if r.on {
			out = append(out, r.name)
		}
	}
	return out
}

func (a *Agent) startPlugins(context.Context) error {
	s, err := supervisor.New(supervisor.Options{
		Logger: a.log.Named("plugin"), PluginDir: a.pluginDirs(), RuntimeDir: a.folders.plugins,
	})
	if err != nil {
		return err
	}
	a.plugins = s
	a.push("plugins", s.Close)
	return nil
}

// openStore starts the storage plugin that the kvs role is configured to use; nil means memory only.
func (a *Agent) openStore(ctx context.Context) (storage.Store, error) {
	name := a.cfg.KVS.Store
	if name == "" {
		return nil, nil
	}
	p := a.cfg.Stores[name]
	settings := pluginSettings(p.Settings)
	if _, given := settings["path"]; !given {
		settings["path"] = a.folders.store(name)
	}
	return a.plugins.Store(ctx, supervisor.StoreSpec{
		Name: name, Plugin: p.Plugin, Path: p.Path, SHA256: p.SHA256, Settings: settings, Env: environ(p.Env),
	})
}

// pluginSettings gives a plugin its settings as text: the plugin knows their types.
func pluginSettings(in map[string]any) map[string]string {
	out := make(map[string]string, len(in)+1)
	for k, v := range in {
		out[k] = fmt.Sprint(v)
	}
	return out
}

func environ(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

func hostPID() int32 { return int32(os.Getpid()) }
