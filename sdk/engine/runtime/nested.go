package runtime

import (
	"context"
	"math"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// future is a nested call. A guest may make very many at once, so it has no more to it than it must: the engine.Call is made
// when somebody runs it, and the channel where somebody has to wait.
type future struct {
	parent  *Guest
	name    string
	args    []byte
	allowed int64 // fuel

	state futureState // guarded by slots.mu
	paid  bool        // the parent's goroutine has seen to its fuel

	// Guarded by parent.mu; what follows over does not change once it is set.
	over         bool
	forgot       bool
	newer, older *future // the others in parent.open
	guest        *Guest
	done         chan struct{} // closed when it is over; nil where nobody waits
	result       *engine.Result
	err          error
	fuel         int64 // what it used
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

// engineCall makes the call that f is.
func (f *future) engineCall() *engine.Call {
	c := f.parent.call
	lim := c.Limits
	if c.Run && lim.WallTime == 0 {
		lim.WallTime = -1 // as long as the run
	}
	lim.Fuel = f.allowed
	return &engine.Call{
		ID: hlc.NewID(), Root: c.Root, Module: c.Module, Scope: c.Scope, Function: f.name, Args: f.args, Env: c.Env,
		Deadline: c.Deadline, Depth: c.Depth + 1, Limits: lim, Isolation: c.Isolation, WarmUp: c.WarmUp,
	}
}

// doomed returns the reason for the end of the invocation or of the one from outside that all this is for. To end a tree of
// calls takes a while from its root to its leaves, which are to begin no more of it meanwhile.
func (g *Guest) doomed() error {
	if g.root != nil {
		if cause := g.root.why(); cause != nil {
			return cause
		}
	}
	return g.why()
}

// adopt makes f a nested call of g, which is ended with it.
func (g *Guest) adopt(f *future) error {
	if cause := g.doomed(); cause != nil {
		return &abi.End{Err: cause}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return &abi.End{Err: g.cause}
	}
	g.calls = true
	if f.older = g.open; f.older != nil {
		f.older.newer = f
	}
	g.open = f
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
			if f.guest != nil {
				f.guest.loose = true
			}
			f.finish(nil, rt.bug("a nested call", p))
		}
	}()
	f.finish(f.run(rt, w))
}

func (f *future) run(rt *Runtime, w *worker) (*engine.Result, error) {
	p, now := f.parent, time.Now()
	if d := p.call.Deadline; !d.IsZero() && !now.Before(d) {
		rt.watch.fire() // which is late where guests keep Go's processors busy
	}
	if cause := p.doomed(); cause != nil {
		return nil, cause
	}
	// The parent waits for its nested calls, so its module stays.
	g := rt.newGuest()
	if err := g.set(p.base, f.engineCall(), p.mod); err != nil {
		rt.recycle(g)
		return nil, err
	}
	if cause := p.begin(f, g); cause != nil {
		g.discard()
		return nil, cause
	}
	if !g.reserve(rt.budget.reserveNested) {
		g.unready()
		if !g.reserve(rt.budget.reserveNested) {
			return f.outside(g, w)
		}
	}
	g.parent, g.root = p, p.outermost()
	res, err := g.run(w, now)
	f.fuel = g.stats.Fuel // of a call that failed as well
	if err != nil {
		p.mu.Lock()
		p.wrote.merge(g.wrote.list(), g.wrote.frontier) // what it wrote before that is there
		p.mu.Unlock()
	}
	return res, err
}

// outside has the executor find room elsewhere for a call that there is no memory for here.
func (f *future) outside(g *Guest, w *worker) (*engine.Result, error) {
	defer g.release()
	g.w = w
	c := *g.call
	c.Fresh = f.parent.knows()
	f.parent.mu.Lock()
	f.parent.stats.Nested--
	f.parent.mu.Unlock()
	var (
		res *engine.Result
		err error
	)
	if end := g.pause(func(ctx context.Context) { res, err = g.rt.border.Call(ctx, g.origin(), &c) }); end != nil {
		return nil, g.orCause(end)
	}
	if err != nil {
		// What it wrote before it failed came with no result, and its caller is to see that, too: nothing that was read up
		// to now is served any more.
		g.near().passed(math.MaxUint64)
		return nil, err
	}
	g.see(res.Writes)
	if res.Frontier > 0 {
		g.near().passed(res.Frontier)
	}
	f.fuel = res.Stats.Fuel
	return res, nil
}

// knows lists what a call must see that g makes and that leaves the engine: what g and those above it have written, and what
// those that came from elsewhere were told to see. Within the engine all of them look through the same cache.
func (g *Guest) knows() []engine.KeyVersion {
	var all writes
	for ; g != nil; g = g.parent {
		for _, v := range g.call.Fresh {
			all.see(v)
		}
		g.mu.Lock()
		all.merge(g.wrote.list(), g.wrote.frontier)
		g.mu.Unlock()
	}
	list := all.list()
	if all.frontier > 0 {
		list = append(list, engine.KeyVersion{Version: all.frontier})
	}
	return list
}

// finish tells how the call ended.
func (f *future) finish(res *engine.Result, err error) {
	p := f.parent
	p.mu.Lock()
	p.close(f)
	delete(p.runs, f.guest)
	guest, known := f.guest, p.cause != nil // to who ends the parent
	p.stats.Fuel += f.fuel
	p.held -= int64(len(f.args) + futureBytes)
	if res != nil {
		p.wrote.merge(res.Writes, res.Frontier)
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
	f.result, f.err, f.guest, f.args, f.over = res, err, nil, nil, true
	if f.done != nil {
		close(f.done)
	}
	if p.settled++; p.idle != nil && p.settled == p.awaited {
		close(p.idle)
	}
	p.mu.Unlock()
	if guest != nil && !known {
		guest.rt.recycle(guest)
	}
}

// closed is the channel of whatever is over.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// ended returns a channel that is closed when f is over.
func (f *future) ended() <-chan struct{} {
	f.parent.mu.Lock()
	defer f.parent.mu.Unlock()
	switch {
	case f.over:
		return closed
	case f.done == nil:
		f.done = make(chan struct{})
	}
	return f.done
}

func (f *future) isOver() bool {
	f.parent.mu.Lock()
	defer f.parent.mu.Unlock()
	return f.over
}

// close takes f from the open ones. The lock is held.
func (g *Guest) close(f *future) {
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		g.open = f.older
	}
	if f.older != nil {
		f.older.newer = f.newer
	}
	f.newer, f.older = nil, nil
}

// Wait implements abi.Future. A call that nobody has begun is run here, on the slot of the guest that waits for it.
func (f *future) Wait() ([]byte, bool, error) {
	p := f.parent
	if !f.isOver() {
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
	if err := p.settle(); err != nil {
		return err
	}
	p.unpin()
	held, err := p.holdStack()
	if err != nil {
		return err
	}
	mine := p.w.inline < maxInline && p.rt.slots.claim(f)
	if mine {
		p.w.inline++
		p.rt.runNested(f, p.w)
		p.w.inline--
	}
	p.dropStack(held)
	if mine {
		if p.w.has {
			return nil
		}
		// The call ended while it waited for a slot; whoever waits for it has to have one.
		return p.pause(func(context.Context) {})
	}
	return p.pause(func(ctx context.Context) {
		select {
		case <-f.ended():
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
// where it was ended they are: those that nobody has begun are forgotten all at once, as there may be very many.
func (g *Guest) finishNested() {
	if !g.calls {
		return
	}
	for !g.ended.Load() {
		f := g.newestOpen()
		if f == nil {
			return
		}
		f.Forget()
		if !g.w.has {
			g.w.has = g.rt.slots.resume(g.context().Done())
		}
		if g.w.has && g.rt.slots.claim(f) {
			g.rt.runNested(f, g.w)
			continue
		}
		g.leaveSlot()
		select {
		case <-f.ended():
		case <-g.context().Done():
		}
	}
	if g.newestOpen() == nil {
		return
	}
	if idle := g.idleAfter(g.rt.slots.drop(g)); idle != nil {
		g.leaveSlot()
		<-idle
	}
}

// newestOpen returns a nested call that has not ended.
func (g *Guest) newestOpen() *future {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// idleAfter returns what is closed when so many nested calls have ended, or nil where they have.
func (g *Guest) idleAfter(begun int) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.settled == begun {
		return nil
	}
	g.awaited, g.idle = begun, make(chan struct{})
	return g.idle
}

func (g *Guest) leaveSlot() {
	if g.w.has {
		g.w.has = false
		g.rt.slots.release()
	}
}
