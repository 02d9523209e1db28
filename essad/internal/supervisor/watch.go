package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
)

// supervised is one plugin over all its processes.
type supervised struct {
	program
	sup *Supervisor
	log hclog.Logger
	// connect makes an engine or a store of a started process.
	connect func(context.Context, *instance, plugin.DialOptions) error
	// finish ends what connect made in good order.
	finish func(*instance) error
	// killed is told of the calls because of which a process is killed.
	killed func(LateCall)
	// cancelMatters: a request that was cancelled and goes on nevertheless is ill health.
	cancelMatters bool

	quit   context.CancelFunc // ends run
	ending context.Context
	done   chan struct{} // closed when run has returned

	mu       sync.Mutex
	st       PluginStatus
	in       *instance     // nil where there is none that takes requests
	live     *instance     // nil where there is none at all
	changed  chan struct{} // closed and replaced with every change
	final    error         // of a plugin that has failed or was stopped
	stopping error         // result of stop
}

func (s *Supervisor) supervise(p program) *supervised {
	sp := &supervised{
		program: p, sup: s, log: s.log.With("plugin", p.name), done: make(chan struct{}), changed: make(chan struct{}),
		st: PluginStatus{
			Name: p.block, Kind: p.kind.String(), Shard: p.shard, Shards: p.shards, State: Starting, Since: time.Now(),
		},
	}
	sp.ending, sp.quit = context.WithCancel(context.Background())
	return sp
}

// begin starts the first process, whose failure is the caller's, and then watches.
func (p *supervised) begin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ending, cancel)() // stopped while starting
	in, err := p.sup.launch(ctx, p)
	if err != nil {
		p.set(Failed, func() { p.final, p.st.LastError = err, err.Error() })
		p.quit()
		close(p.done)
		return err
	}
	p.publish(in)
	go p.run(in)
	return nil
}

func (p *supervised) dial(ctx context.Context, in *instance, nc net.Conn) error {
	return p.connect(ctx, in, plugin.DialOptions{
		Client: in.client, Conn: nc, Name: p.name, Settings: p.settings, Logger: p.log,
	})
}

// run watches over one process after the other.
func (p *supervised) run(in *instance) {
	defer close(p.done)
	failures := 0
	for {
		ended := p.watch(in)
		lived := time.Since(in.started)
		p.withdraw(in, ended)
		if p.ending.Err() != nil {
			return
		}
		if lived >= p.sup.opts.StableAfter {
			failures = 0
		}
		for in = nil; in == nil; {
			if !p.pause(failures) {
				return
			}
			failures++
			p.set(Starting, func() { p.st.Restarts++ })
			var err error
			if in, err = p.sup.launch(p.ending, p); err != nil && !p.failedStart(err) {
				return
			}
		}
		p.publish(in)
	}
}

// failedStart reports whether another start may help.
func (p *supervised) failedStart(err error) bool {
	if p.ending.Err() != nil {
		return false
	}
	p.log.Error("a plugin did not start", "error", err)
	switch status.Of(err) {
	case status.Invalid, status.Corrupt, status.Conflict:
		p.set(Failed, func() { p.final, p.st.LastError = err, err.Error() })
		return false
	}
	p.set(BackingOff, func() { p.st.LastError = err.Error() })
	return true
}

// firstBackoff is the pause before the second restart in a row; the first has none, each further one twice the last.
const firstBackoff = 50 * time.Millisecond

// pause waits before another start. It reports false where the plugin is to be stopped instead.
func (p *supervised) pause(failures int) bool {
	if failures == 0 {
		return p.ending.Err() == nil
	}
	d := min(firstBackoff<<min(failures-1, 20), p.sup.opts.MaxBackoff)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ending.Done():
		return false
	}
}

// publish makes in the instance that takes requests.
func (p *supervised) publish(in *instance) {
	p.set(Ready, func() {
		p.in, p.live = in, in
		a := in.conn.About()
		p.st.PID, p.st.Started = in.process.pid(), in.started
		p.st.Plugin, p.st.Version = a.Name, a.Version
		p.st.Capabilities = slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.Capabilities, in.capabilities))))
	})
	p.log.Info("plugin is ready", "kind", p.kind, "pid", in.process.pid(), "version", in.conn.About().Version,
		"in", time.Since(in.started).Round(100*time.Microsecond))
}

// withdraw ends an instance in the way its end asks for.
func (p *supervised) withdraw(in *instance, why error) {
	if errors.Is(why, errDrain) || p.ending.Err() != nil {
		p.set(Draining, func() { p.in = nil })
		p.settle(in)
		err := p.finish(in)
		if err != nil {
			p.log.Error("close a plugin", "error", err)
		}
		p.mu.Lock()
		p.stopping = err
		p.mu.Unlock()
	}
	p.sup.bury(in)
	p.mu.Lock()
	p.live = nil
	p.mu.Unlock()
	if errors.Is(why, errDrain) || p.ending.Err() != nil {
		p.set(BackingOff, func() { p.st.PID, p.st.Started = 0, time.Time{} })
		return
	}
	// Only now, with the process waited for, is it known how it ended.
	text := in.process.epitaph()
	p.log.Error("plugin ended", "how", text, "pid", in.process.pid(), "lived", time.Since(in.started).Round(time.Millisecond))
	p.set(BackingOff, func() { p.in, p.st.PID, p.st.Started, p.st.LastError = nil, 0, time.Time{}, text })
}

// settle waits until nothing is under way any more, within bounds.
func (p *supervised) settle(in *instance) {
	ctx, cancel := context.WithTimeout(context.Background(), p.sup.opts.DrainTimeout)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for in.conn.Unanswered() > 0 {
		select {
		case <-tick.C:
		case <-in.conn.Done():
			return
		case <-ctx.Done():
			p.log.Warn("requests did not end before their plugin", "requests", in.conn.Unanswered())
			return
		}
	}
}

var (
	errDrain = errors.New("the plugin asks for its end")
	errStop  = errors.New("stopped")
)

// watch returns when in should take no more requests, and why.
func (p *supervised) watch(in *instance) error {
	tick := time.NewTicker(p.sup.opts.HealthEvery)
	defer tick.Stop()
	h := health{in: in, opts: &p.sup.opts, log: p.log, cancelMatters: p.cancelMatters, alive: time.Now(), last: time.Now()}
	for {
		select {
		case <-p.ending.Done():
			return errStop
		case <-in.conn.Done():
			return in.conn.Err()
		case <-in.process.exited:
			return errors.New("the process ended")
		case <-in.conn.Draining():
			return errDrain
		case c := <-in.late:
			p.judge(in, c)
		case now := <-tick.C:
			if ill := h.check(now); ill != "" {
				in.process.kill(ill)
			}
		}
	}
}

// health judges a plugin by what it sends. Only one that has something to do and sends nothing is asked for a sign of life.
type health struct {
	in            *instance
	opts          *Options
	log           hclog.Logger
	cancelMatters bool

	last     time.Time // check was called
	given    uint64    // request that was given up first, of those that go on
	had      fairTime  // since it was seen
	progress uint64
	alive    time.Time
	pinging  bool
	answered chan error
}

// check returns what is wrong, or "".
func (h *health) check(now time.Time) string {
	// Where nobody came here for twice as long as usual, the machine or this process stood still, and the plugin may have done
	// so too: it is no part of its time.
	if still := now.Sub(h.last) - h.opts.HealthEvery; still > h.opts.HealthEvery {
		h.alive, h.had.still = h.alive.Add(still), h.had.still+still
	}
	h.last = now
	if h.cancelMatters && h.goesOn(now) {
		return fmt.Sprintf("killed: a cancelled call went on for %v", now.Sub(h.had.start).Round(time.Millisecond))
	}
	if h.pinging {
		select {
		case err := <-h.answered:
			h.pinging = false
			if err == nil {
				h.alive = now
			}
		default:
		}
	}
	progress := h.in.conn.Progress()
	if progress != h.progress || (!h.pinging && h.in.conn.Unanswered() == 0) {
		h.progress, h.alive = progress, now
		return ""
	}
	if silent := now.Sub(h.alive); silent > h.opts.HealthTimeout {
		return fmt.Sprintf("killed: no sign of life for %v", silent.Round(time.Millisecond))
	}
	if !h.pinging {
		h.ping()
	}
	return ""
}

// goesOn reports whether a call that was given up goes on although the process had the time to end it.
func (h *health) goesOn(now time.Time) bool {
	id := h.in.conn.Overdue()
	if id != h.given {
		h.given = id
		if id != 0 {
			h.had = startFairTime(h.in.process.pid())
		}
	}
	if id == 0 || !h.had.passed(h.opts.CancelTimeout) {
		return false
	}
	went := []any{"for", now.Sub(h.had.start).Round(time.Millisecond)}
	if h.in.engine != nil {
		if g, known := h.in.engine.Cancelled(id); known {
			went = append(went, "call", g.Call, "scope", g.Scope, "module", g.Module, "function", g.Function)
		}
	}
	h.log.Warn("a cancelled call goes on", went...)
	return true
}

func (h *health) ping() {
	h.pinging = true
	answered := make(chan error, 1)
	h.answered = answered
	h.in.pings.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), h.opts.HealthTimeout)
		defer cancel()
		answered <- h.in.conn.Ping(ctx)
	})
}

// stop ends the plugin for good. Its processes are killed when ctx ends.
func (p *supervised) stop(ctx context.Context) error {
	p.quit()
	defer context.AfterFunc(ctx, func() { p.kill("not stopped in time") })()
	<-p.done
	p.mu.Lock()
	failed := p.final != nil
	err := p.stopping
	p.mu.Unlock()
	if !failed {
		p.set(Stopped, func() {
			p.final = status.Safe(status.Errorf(status.Unavailable, "%s plugin %q was stopped", p.kind, p.name))
		})
	}
	return err
}

// close stops the plugin and forgets it.
func (p *supervised) close() error {
	o := &p.sup.opts
	ctx, cancel := context.WithTimeout(context.Background(), o.DrainTimeout+o.StopTimeout+storeFlush)
	defer cancel()
	err := p.stop(ctx)
	p.sup.remove(p)
	return err
}

// storeFlush is what a store may take to flush, in the time that close allows.
const storeFlush = 60 * time.Second

// kill ends the process there is, if any.
func (p *supervised) kill(reason string) {
	if in := p.process(); in != nil {
		in.process.kill(reason)
	}
}

// process returns the instance there is, whether it takes requests or not.
func (p *supervised) process() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

// set changes the state, and what f changes besides, and tells who waits for it.
func (p *supervised) set(s State, f func()) {
	p.mu.Lock()
	f()
	if p.st.State != s {
		p.st.State, p.st.Since = s, time.Now()
	}
	st := p.st
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if observe := p.sup.opts.Observe; observe != nil {
		observe(st)
	}
}

func (p *supervised) setPath(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.Path = path
}

func (p *supervised) status() PluginStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st
}

// left reports whether in takes requests no more, so that its Unavailable may be another's success.
func (p *supervised) left(in *instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in != in || in.conn.Err() != nil
}

// ready returns the instance that takes requests, or nil.
func (p *supervised) ready() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == nil || p.in.conn.Err() != nil || p.ending.Err() != nil {
		return nil
	}
	return p.in
}

// acquire returns the instance that takes requests. Where there is none it waits for one: until ctx or late ends, which is
// nil for a caller that does not wait.
func (p *supervised) acquire(ctx context.Context, late <-chan time.Time) (*instance, error) {
	for {
		p.mu.Lock()
		in, changed, final, st := p.in, p.changed, p.final, p.st
		p.mu.Unlock()
		switch {
		case p.ending.Err() != nil && final == nil:
			return nil, p.unavailable("is being stopped")
		case final != nil:
			return nil, final
		case in != nil && in.conn.Err() == nil:
			return in, nil
		}
		why := "is " + st.State.String()
		if in != nil {
			why = "has just ended"
		}
		if st.LastError != "" {
			why += " (last: " + st.LastError + ")"
		}
		if late == nil {
			return nil, p.unavailable(why)
		}
		select {
		case <-changed:
		case <-late:
			return nil, p.unavailable(why)
		case <-ctx.Done():
			return nil, status.Safe(status.Errorf(status.Of(ctx.Err()), "%s plugin %q %s: %w", p.kind, p.name, why, ctx.Err()))
		}
	}
}

// unavailable is the error of a request that was not sent.
func (p *supervised) unavailable(why string) error {
	return status.Safe(status.Errorf(status.Unavailable, "%s plugin %q %s", p.kind, p.name, why))
}

// lost makes the error of a request whose process ended under it say how.
func (p *supervised) lost(in *instance, err error) error {
	if err == nil || status.Of(err) != status.Unavailable || in.conn.Err() == nil {
		return err
	}
	why := in.process.killReason()
	if why == "" {
		return err
	}
	e := status.Errorf(status.Unavailable, "%w (%s)", err, why)
	e.Detail = status.DetailOf(err)
	return e
}
