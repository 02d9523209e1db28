package runtime

import (
	"context"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/status"
)

// future is a nested call.
type future struct {
	parent   *Guest
	call     *engine.Call
	argBytes int

	state futureState // guarded by slots.mu
	done  chan struct{}

	// Guarded by parent.mu until done is closed.
	guest  *Guest
	result *engine.Result
	err    error
	fuel   int64 // what it used
	forgot bool

	paid bool // the parent's goroutine has seen to its fuel
}

type futureState uint8

const (
	queued futureState = iota
	claimed
)

// futureBytes is what a nested call takes beside its arguments, until it has ended.
const futureBytes = 512

// hold accounts for bytes of arguments and results; it returns false where there were too many.
func (g *Guest) hold(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held+int64(n) > g.lim.Memory {
		return false
	}
	g.held += int64(n)
	return true
}

// adopt makes f a nested call of g, which is ended with it.
func (g *Guest) adopt(f *future) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return &abi.End{Err: g.cause}
	}
	if g.open == nil {
		g.open = make(map[*future]struct{})
	}
	g.open[f] = struct{}{}
	g.stats.Nested++
	return nil
}

// begin makes c, which runs f, one that is ended with g. It returns the cause where g has been ended already.
func (g *Guest) begin(f *future, c *Guest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return g.cause
	}
	f.guest = c
	if g.runs == nil {
		g.runs = make(map[*Guest]struct{})
	}
	g.runs[c] = struct{}{}
	return nil
}

// runNested runs a claimed nested call on a worker that holds a slot.
func (rt *Runtime) runNested(f *future, w *worker) {
	defer func() {
		if p := recover(); p != nil {
			f.finish(nil, rt.bug("a nested call", p))
		}
	}()
	f.finish(f.run(rt, w))
}

func (f *future) run(rt *Runtime, w *worker) (*engine.Result, error) {
	p := f.parent
	if cause := p.why(); cause != nil {
		return nil, cause
	}
	// The parent waits for its nested calls, so its module stays.
	g, err := rt.newGuest(p.base, f.call, p.mod, p)
	if err != nil {
		return nil, err
	}
	if cause := p.begin(f, g); cause != nil {
		g.discard()
		return nil, cause
	}
	if !rt.budget.reserveNested(g.need) {
		return f.outside(g, w)
	}
	g.reserved.Store(g.need)
	res, err := g.run(w)
	f.fuel = g.stats.Fuel // of a call that failed as well
	return res, err
}

// outside has the executor find room elsewhere for a call that there is no memory for here.
func (f *future) outside(g *Guest, w *worker) (*engine.Result, error) {
	defer g.release()
	g.w = w
	c := *f.call
	f.parent.mu.Lock()
	c.Fresh = f.parent.wrote.list()
	if n := f.parent.wrote.frontier; n > 0 {
		c.Fresh = append(c.Fresh, engine.KeyVersion{Version: n})
	}
	f.parent.stats.Nested--
	f.parent.mu.Unlock()
	var (
		res *engine.Result
		err error
	)
	if end := g.pause(func(ctx context.Context) { res, err = g.rt.border.Call(ctx, &g.origin, &c) }); end != nil {
		return nil, g.orCause(end)
	}
	if err != nil {
		return nil, err
	}
	for _, v := range res.Writes {
		g.scope.wrote(v.Key, v.Version)
	}
	g.scope.passed(res.Frontier)
	f.fuel = res.Stats.Fuel
	return res, nil
}

// finish tells how the call ended.
func (f *future) finish(res *engine.Result, err error) {
	p := f.parent
	p.mu.Lock()
	delete(p.open, f)
	delete(p.runs, f.guest)
	p.stats.Fuel += f.fuel
	p.held -= int64(f.argBytes)
	if res != nil {
		p.wrote.merge(res)
		switch {
		case f.forgot:
			res.Value = nil
		case p.held+int64(len(res.Value)) > p.lim.Memory:
			res, err = nil, status.LimitError("memory", "the results of nested calls need more than the caller's limit of %d bytes",
				p.lim.Memory)
		default:
			p.held += int64(len(res.Value))
		}
	}
	f.result, f.err, f.guest, f.call = res, err, nil, nil
	p.mu.Unlock()
	close(f.done)
}

// Wait implements abi.Future. A call that nobody has begun is run here, on the slot of the guest that waits for it.
func (f *future) Wait() ([]byte, bool, error) {
	p := f.parent
	select {
	case <-f.done:
	default:
		if err := f.await(); err != nil {
			return nil, false, err
		}
	}
	if err := p.alive(); err != nil {
		return nil, false, err
	}
	if err := p.payFor(f); err != nil {
		return nil, false, err
	}
	if f.err != nil {
		return nil, false, f.err
	}
	return f.result.Value, f.result.HasValue, nil
}

func (f *future) await() error {
	p := f.parent
	p.unpin()
	if p.w.inline < maxInline && p.rt.slots.claim(f) {
		p.w.inline++
		p.rt.runNested(f, p.w)
		p.w.inline--
		if p.w.has {
			return nil
		}
		// The call ended while it waited for a slot; whoever waits for it has to have one.
		return p.pause(func(context.Context) {})
	}
	return p.pause(func(ctx context.Context) {
		select {
		case <-f.done:
		case <-ctx.Done():
		}
	})
}

// Forget implements abi.Future.
func (f *future) Forget() {
	p := f.parent
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.result != nil && !f.forgot {
		p.held -= int64(len(f.result.Value))
		f.result.Value = nil
	}
	f.forgot = true
}

// finishNested waits for the nested calls nobody has waited for. The guest has ended, so there will be no more of them, and
// where it was ended they are.
func (g *Guest) finishNested() {
	g.mu.Lock()
	if len(g.open) == 0 {
		g.mu.Unlock()
		return
	}
	left := make([]*future, 0, len(g.open))
	for f := range g.open {
		left = append(left, f)
	}
	g.mu.Unlock()
	if g.ended.Load() {
		left = g.rt.slots.drop(left)
	}
	for _, f := range left {
		f.Forget()
		if !g.w.has {
			g.w.has = g.rt.slots.resume(g.context().Done())
		}
		if g.rt.slots.claim(f) {
			g.rt.runNested(f, g.w) // without a slot only where it was ended, and then no guest runs
			continue
		}
		if g.w.has {
			g.w.has = false
			g.rt.slots.release()
		}
		<-f.done
	}
}
