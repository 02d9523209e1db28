// Package scheduler is the scheduler role: it takes calls and runs from anybody on the fabric, sends each to an
// executor, retries what may be retried, and keeps the register of modules and deployments.
//
// Several schedulers run side by side; they share the register, which lives in the KVS, and nothing else. The core
// (core.go) decides where a call goes and what follows from its end; it is pure. This file and calls.go are the shell
// around it; registry.go and admin.go keep deployments.
//
// Calls go to executors over the fabric, but for the one in the scheduler's own process, which is handed them by a function
// call (Options.Local).
//
// It may import sdk/{transport,topic,lattice,proto,client,ring,status,hlc} and hclog; never another role.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Options are what a scheduler is made of.
type Options struct {
	ID      string
	Session transport.Session
	Logger  hclog.Logger

	Timeout        time.Duration // of a call whose client and deployment name none
	Attempts       int           // dispatches of one call at most
	Queue          int           // calls waiting for an executor at most
	Completed      int           // ended calls remembered by id
	CompletedBytes int64         // and their values together
	CompletedFor   time.Duration // and for how long
	MaxArgs        int64         // bytes of a call's arguments
	MaxModule      int64         // bytes of a module
	ResultTTL      time.Duration // how long an asynchronous result is kept
	Async          int           // asynchronous calls running at once
	HotModules     int           // modules remembered per executor
	Drain          time.Duration // how long calls in flight may take at shutdown
	OnReady        func()        // called once the scheduler takes calls

	// Local is the executor with the scheduler's own ID where that is in this process, or nil.
	Local Executor
}

// Executor is one that is reached without the fabric.
type Executor interface {
	// Execute does what an executor does for a query with inv as its attachment and args as its payload.
	Execute(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error)
}

// Stats count what a scheduler did since its start.
type Stats struct {
	Calls, Failed, Retried uint64
	Quarantined            uint64 // refused because of a quarantine, and not among Calls
}

// Role is the scheduler role.
type Role struct {
	opts Options
	log  hclog.Logger
	kvs  *client.KVS
	reg  *registry

	mu      sync.Mutex // around core and what follows
	core    *core
	timer   *time.Timer   // ticks while calls wait
	timeout time.Duration // Options.Timeout, until a reload
	alive   map[string]bool
	pending map[hlc.ID]bool // asynchronous calls of this scheduler whose result is not stored yet

	self  string // this scheduler in this life: ID/random
	async sync.WaitGroup
	work  context.Context
}

// New makes a scheduler; Run starts it.
func New(o Options) (*Role, error) {
	if o.ID == "" || o.Session == nil {
		return nil, errors.New("scheduler: Options need an ID and a Session")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	kvs, err := client.NewKVS(o.Session, client.Internal)
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	r := &Role{
		opts: o, log: o.Logger, kvs: kvs, reg: newRegistry(kvs), timeout: o.Timeout,
		core: newCore(coreOptions{
			Attempts: o.Attempts, Queue: o.Queue, Completed: o.Completed, CompletedBytes: o.CompletedBytes,
			CompletedFor: o.CompletedFor, HotModules: o.HotModules,
		}, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		alive: map[string]bool{}, pending: map[hlc.ID]bool{},
		self: o.ID + "/" + hlc.NewID().String(),
	}
	return r, nil
}

// Run serves until ctx ends; then it takes no more calls, gives those in flight Options.Drain to end, and returns.
func (r *Role) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r.work = work
	decls, err := r.declare(work)
	undeclare := func() {
		for i := len(decls) - 1; i >= 0; i-- {
			_ = decls[i].Close()
		}
		decls = nil
	}
	defer undeclare()
	if err != nil {
		return err
	}
	if r.opts.OnReady != nil {
		r.opts.OnReady()
	}
	r.async.Add(1)
	go func() {
		defer r.async.Done()
		r.reg.follow(work)
	}()
	<-ctx.Done()
	// First the token, the newest declaration, so that nobody chooses this scheduler; then new calls are refused, and the
	// ones inside have time to end. Nested calls and questions are answered all the while.
	_ = decls[len(decls)-1].Close()
	r.mu.Lock()
	r.core.stopping = true
	r.mu.Unlock()
	r.drain(work)
	undeclare() // cancels what is left and waits for it: only then is nobody left to start something
	stop()
	r.async.Wait()
	return nil
}

func (r *Role) declare(ctx context.Context) (decls []transport.Closer, err error) {
	s, names := r.opts.Session, topic.Default
	add := func(what string, c transport.Closer, err error) error {
		if err != nil {
			return fmt.Errorf("scheduler: declare %s: %w", what, err)
		}
		decls = append(decls, c)
		return nil
	}
	c, err := s.Subscribe(names.ExecutorReport("*"), transport.SubscribeOptions{}, r.onReport)
	if err := add("executor reports", c, err); err != nil {
		return decls, err
	}
	c, err = s.SubscribeLiveliness(names.Alive("executor", "*"), true, func(sm transport.Sample) { r.onAlive(ctx, sm) })
	if err := add("executor liveliness", c, err); err != nil {
		return decls, err
	}
	inline := transport.QueryableOptions{Complete: true, Inline: true}
	for _, d := range []struct {
		key string
		h   func(transport.Query)
	}{
		{names.Calls(), r.handleCall},
		{names.RunModule(), r.handleRun},
		{names.Nested("*"), r.handleNested},
		{names.Admin("scheduler", "*"), r.handleAdmin},
	} {
		c, err := s.Queryable(d.key, inline, d.h)
		if err := add(d.key, c, err); err != nil {
			return decls, err
		}
	}
	c, err = s.Token(names.Alive("scheduler", r.opts.ID))
	return decls, add("liveliness", c, err)
}

// drain waits for the calls in flight, at most Options.Drain.
func (r *Role) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Drain)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		n := len(r.core.calls)
		r.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.log.Warn("calls did not end in time and are cancelled", "calls", n, "waited", r.opts.Drain)
			return
		case <-tick.C:
		}
	}
}

// onAlive follows the executors: a new one is asked what it is, a lost one is forgotten.
func (r *Role) onAlive(ctx context.Context, s transport.Sample) {
	_, id, err := topic.Default.ParseAlive(s.Key)
	if err != nil {
		return
	}
	gone := s.Kind == transport.Delete
	r.mu.Lock()
	if gone {
		delete(r.alive, id)
		r.core.executorLost(id)
	} else {
		r.alive[id] = true
	}
	r.mu.Unlock()
	if gone {
		r.log.Info("executor is gone", "executor", id)
		return
	}
	sample, err := transport.Ask(ctx, r.opts.Session, transport.Selector{KeyExpr: topic.Default.ExecutorInfo(id)},
		transport.GetOptions{Timeout: 5 * time.Second})
	if err != nil {
		r.log.Warn("executor does not say what it is", "executor", id, "error", err)
		return
	}
	r.onReport(sample)
	r.log.Info("executor is here", "executor", id)
}

func (r *Role) onReport(s transport.Sample) {
	var info essav1.ExecutorInfo
	if err := proto.Unmarshal(s.Payload, &info); err != nil || info.Id == "" {
		r.log.Warn("executor report cannot be read", "key", s.Key, "error", err)
		return
	}
	var engines []string
	ready := make(map[string][]string, len(info.Engines))
	for _, e := range info.Engines {
		engines = append(engines, e.Name)
		ready[e.Name] = e.Modules
	}
	r.mu.Lock()
	var wakes []wakeUp
	if r.alive[info.Id] { // a report that comes after its executor's end must not bring it back: nobody would forget it
		wakes = r.core.executorInfo(time.Now(), info.Id, engines, int(info.Slots), ready)
		r.core.executorQuarantine(info.Id, info.Quarantine)
	}
	r.mu.Unlock()
	deliver(wakes)
}

// tick gives waiting calls another chance: an executor that was full may have room without our hearing of it.
func (r *Role) tick() {
	r.mu.Lock()
	wakes := r.core.drain(time.Now())
	if r.core.queue.len() > 0 {
		r.timer.Reset(tickEvery)
	} else {
		r.timer = nil
	}
	r.mu.Unlock()
	deliver(wakes)
}

// tickEvery is how often waiting calls are looked at again.
const tickEvery = 5 * time.Millisecond

func deliver(wakes []wakeUp) {
	for _, w := range wakes {
		w.call.wake <- w.d // buffered, and each hold gets one answer
	}
}

// Status is what `essad status` shows of this scheduler.
func (r *Role) Status() *essav1.SchedulerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := &essav1.SchedulerStatus{
		InFlight: int32(len(r.core.calls)), Queued: int32(r.core.queue.len()), Calls: r.core.stats.Calls,
		Failed: r.core.stats.Failed, Retried: r.core.stats.Retried, Quarantined: r.core.stats.Quarantined,
	}
	for _, e := range r.core.order {
		st.Executors = append(st.Executors, e.id)
	}
	return st
}

func (r *Role) processes() []*essav1.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*essav1.Process, 0, len(r.core.calls))
	for id, c := range r.core.calls {
		out = append(out, processOf(id, c))
	}
	return out
}

func processOf(id hlc.ID, c *call) *essav1.Process {
	t := c.spec.target
	return &essav1.Process{
		Id: append([]byte(nil), id[:]...), Kind: c.spec.kind, Deployment: t.deployment, Module: t.module, Function: t.function,
		Executor: c.executor, State: c.state.String(), StartedUnixNano: c.started.UnixNano(), Attempts: int32(c.attempts),
	}
}

// SetCallDefaults changes what calls get that name nothing themselves.
func (r *Role) SetCallDefaults(timeout time.Duration, attempts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timeout = timeout
	r.core.opts.Attempts = attempts
}
