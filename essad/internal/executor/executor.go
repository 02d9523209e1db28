// Package executor is the executor role: it runs calls in engines, which are separate processes, and stands between them
// and the cluster.
//
// A scheduler's query becomes one invocation of one engine; what the engine asks back (state, nested calls it has no room
// for, output, input) goes through border.go. The core keeps account of the calls; it alone knows whether a call may have
// had effects, and so whether a failure is safe to retry.
//
// It may import sdk/{transport,topic,lattice,proto,engine,client,ring,status,hlc} and hclog; never another role.
package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Options are what an executor is made of.
type Options struct {
	ID      string
	Session transport.Session
	Logger  hclog.Logger
	// Engines starts the engines and gives each the border to call back through.
	Engines func(ctx context.Context, b engine.Border) ([]Engine, error)

	Capacity   int           // invocations from schedulers at once; beyond it: overloaded
	Limits     engine.Limits // where a call names none
	LogRing    int64         // bytes of output kept per deployment
	OutputWait time.Duration // how long a slow reader may hold up a run's output before some is lost
	Drain      time.Duration // how long calls in flight may take at shutdown
	OnReady    func()        // called once the executor takes calls
}

// Engine is one engine under the name the configuration gives it.
type Engine struct {
	Name   string
	Engine engine.Engine
	State  func() string // for status; nil where nobody watches it
}

// Role is the executor role.
type Role struct {
	opts    Options
	log     hclog.Logger
	kvs     *client.KVS
	core    *core
	logs    *logs
	engines atomic.Pointer[[]*engineState]
	feed    transport.Closer // changes of cached keys

	limitsMu sync.RWMutex
	limits   engine.Limits

	changed chan struct{} // the report is out of date
	modules recent
	fuel    atomic.Int64 // used by root calls

	work     context.Context // ends after the drain
	prepares sync.WaitGroup
}

type engineState struct {
	Engine
	info engine.Info

	mu        sync.Mutex
	preparing map[string]*preparation
}

// New makes an executor; Run starts it.
func New(o Options) (*Role, error) {
	if o.ID == "" || o.Session == nil || o.Engines == nil {
		return nil, errors.New("executor: Options need an ID, a Session and Engines")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Role{
		opts: o, log: o.Logger, limits: o.Limits, core: newCore(o.Capacity), logs: newLogs(o.LogRing),
		changed: make(chan struct{}, 1),
	}, nil
}

// Run serves until ctx ends; then it takes no more calls, gives those in flight Options.Drain to end, and returns.
func (r *Role) Run(ctx context.Context) error {
	// The work outlives ctx by the drain.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.work = work
	defer func() { // after the doors are closed: nobody begins to prepare a module then
		stop()
		r.prepares.Wait()
	}()
	if err := r.start(work); err != nil {
		return err
	}
	s, names := r.opts.Session, topic.Default
	var decls []transport.Closer
	undeclare := func() {
		for i := len(decls) - 1; i >= 0; i-- {
			_ = decls[i].Close()
		}
		decls = nil
	}
	defer undeclare()
	decls = append(decls, r.feed)
	inline := transport.QueryableOptions{Complete: true, Inline: true}
	for _, d := range []struct {
		key string
		h   func(transport.Query)
	}{
		{names.ExecutorFunctions(r.opts.ID), r.handleFunction},
		{names.ExecutorRun(r.opts.ID), r.handleRun},
		{names.ExecutorInfo(r.opts.ID), r.handleInfo},
		{names.ExecutorLogs(r.opts.ID), r.handleLogs},
		{names.ExecutorPrepare(r.opts.ID), r.handlePrepare},
	} {
		c, err := s.Queryable(d.key, inline, d.h)
		if err != nil {
			return fmt.Errorf("executor: declare %s: %w", d.key, err)
		}
		decls = append(decls, c)
	}
	alive, err := s.Token(names.Alive("executor", r.opts.ID))
	if err != nil {
		return fmt.Errorf("executor: %w", err)
	}
	defer alive.Close()
	if r.opts.OnReady != nil {
		r.opts.OnReady()
	}

	err = r.report(ctx)
	_ = alive.Close() // schedulers stop choosing this executor
	r.drain(work)
	return err
}

func (r *Role) start(ctx context.Context) error {
	kvs, err := client.NewKVS(r.opts.Session, client.Internal)
	if err != nil {
		return fmt.Errorf("executor: %w", err)
	}
	// Before the engines start: their first read may already fill a cache.
	if r.kvs, r.feed, err = kvs.Cached(r.opts.ID, func(u []client.CacheUpdate) { r.updateCaches(ctx, u) }); err != nil {
		return fmt.Errorf("executor: follow cached keys: %w", err)
	}
	defer func() {
		if r.engines.Load() == nil {
			_ = r.feed.Close()
		}
	}()
	engines, err := r.opts.Engines(ctx, &border{role: r})
	if err != nil {
		return fmt.Errorf("executor: %w", err)
	}
	if len(engines) == 0 {
		return errors.New("executor: no engine is configured (add a block: engine \"wazero\" {})")
	}
	var states []*engineState
	for _, e := range engines {
		info, err := e.Engine.Info(ctx)
		if err != nil {
			return fmt.Errorf("executor: engine %q: %w", e.Name, err)
		}
		states = append(states, &engineState{Engine: e, info: info, preparing: map[string]*preparation{}})
	}
	r.engines.Store(&states)
	return nil
}

// enginesNow returns the engines; there are none before they have started.
func (r *Role) enginesNow() []*engineState {
	if p := r.engines.Load(); p != nil {
		return *p
	}
	return nil
}

// drain waits for the calls in flight, at most Options.Drain.
func (r *Role) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Drain)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.core.inFlight() > 0 {
		select {
		case <-ctx.Done():
			r.log.Warn("calls did not end in time and are cancelled", "calls", r.core.inFlight(), "waited", r.opts.Drain)
			return
		case <-tick.C:
		}
	}
}

// engineNamed returns the engine a call asks for, the first one if it asks for none.
func (r *Role) engineNamed(name string) (*engineState, error) {
	engines := r.enginesNow()
	if name == "" {
		return engines[0], nil
	}
	for _, e := range engines {
		if e.Name == name {
			return e, nil
		}
	}
	return nil, errNoEngine(name)
}

// updateCaches passes on to the engines what has changed of what they may have cached.
func (r *Role) updateCaches(ctx context.Context, in []client.CacheUpdate) {
	out := make([]engine.CacheUpdate, 0, len(in))
	for _, u := range in {
		if u.Key != nil && u.Space != client.DataSpace {
			continue
		}
		out = append(out, engine.CacheUpdate{
			Scope: u.Scope, Key: u.Key, Drop: u.Drop,
			Value: engine.Value{Data: u.Value.Data, Version: u.Value.Version, Lease: u.Value.Lease},
		})
	}
	for _, e := range r.enginesNow() {
		if err := e.Engine.Engine.Update(ctx, out); err != nil {
			// An engine that cannot be told is gone, and its cache with it; what starts in its place starts empty.
			r.log.Debug("engine did not take a cache update", "engine", e.Name, "error", err)
		}
	}
}

// SetLimits changes what calls get that name nothing themselves.
func (r *Role) SetLimits(l engine.Limits) {
	r.limitsMu.Lock()
	defer r.limitsMu.Unlock()
	r.limits = l
}
