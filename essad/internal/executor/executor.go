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
	Engines []Engine // the first one runs the calls that name none

	Workers    int              // calls that a process of an engine runs at the same moment
	Quarantine QuarantineLimits // of those who make engines be killed
	Capacity   int              // invocations from schedulers at once; beyond it: overloaded
	Limits     engine.Limits    // where a call names none
	MaxLimits  engine.Limits    // that a call may name; 0 is as much as it likes. See SetLimits
	LogRing    int64            // bytes of output kept per deployment
	OutputWait time.Duration    // how long a slow reader may hold up a run's output before some is lost
	Drain      time.Duration    // how long calls in flight may take at shutdown
	OnReady    func()           // called once the executor takes calls
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

	limits limits

	changed chan struct{} // the report is out of date
	fuel    atomic.Int64  // used by root calls

	ended    atomic.Bool
	work     context.Context // ends after the drain
	prepares sync.WaitGroup
}

// New makes an executor; Run starts it.
func New(o Options) (*Role, error) {
	if o.ID == "" || o.Session == nil {
		return nil, errors.New("executor: Options need an ID and a Session")
	}
	if len(o.Engines) == 0 {
		return nil, errors.New("executor: no engine is configured (add a block: engine \"wazero\" {})")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	o.Quarantine.Executor = o.ID
	r := &Role{
		opts: o, log: o.Logger, core: newCore(o.Capacity, o.Workers, o.Quarantine), logs: newLogs(o.LogRing),
		changed: make(chan struct{}, 1),
	}
	r.SetLimits(o.Limits, o.MaxLimits)
	return r, nil
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
		{names.ExecutorLift(r.opts.ID), r.handleLift},
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
	r.ended.Store(true)
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
	states, err := r.startEngines(ctx)
	if err != nil {
		return fmt.Errorf("executor: %w", err)
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
