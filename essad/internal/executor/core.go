package executor

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// core keeps account of the calls in this executor: how many, which ids, which root call they belong to, and whether
// that root has had effects. It starts nothing and sends nothing; its lock is held for a few map operations at a time.
type core struct {
	capacity int

	mu    sync.Mutex
	calls map[hlc.ID]*inFlight
	roots map[hlc.ID]*root
}

// inFlight is one invocation that a scheduler has sent here.
type inFlight struct {
	call   *engine.Call
	engine *engineState
	root   *root
}

// root is what all invocations of one root call share here.
type root struct {
	refs    int
	effects atomic.Bool // something may have been changed outside of the engine
	engine  string      // what the call asked for; its nested calls elsewhere get it too
	output  output
}

// output numbers what a root call writes.
type output struct {
	mu         sync.Mutex
	run        hlc.ID // zero: not a run
	deployment string
	seq        uint64
}

func newCore(capacity int) *core {
	return &core{capacity: capacity, calls: map[hlc.ID]*inFlight{}, roots: map[hlc.ID]*root{}}
}

// admit takes a call in, or refuses it without a trace.
func (c *core) admit(call *engine.Call, e *engineState, inv *essav1.Invocation) (*inFlight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls) >= c.capacity {
		return nil, status.Safe(status.Errorf(status.Overloaded,
			"executor has %d calls in flight (executor.capacity): try again later", len(c.calls)))
	}
	if c.calls[call.ID] != nil {
		return nil, status.Errorf(status.Conflict, "call %s is already running here", call.ID)
	}
	r := c.roots[call.Root]
	if r == nil {
		r = &root{engine: inv.Engine, output: output{deployment: inv.Deployment}}
		if call.Run || inv.RunOutput {
			r.output.run = call.Root
		}
		c.roots[call.Root] = r
	}
	r.refs++
	f := &inFlight{call: call, engine: e, root: r}
	c.calls[call.ID] = f
	return f, nil
}

// end forgets a call.
func (c *core) end(f *inFlight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, f.call.ID)
	if f.root.refs--; f.root.refs == 0 {
		delete(c.roots, f.call.Root)
	}
}

// rootOf returns what is known of a root call, nil if nothing of it runs here any more.
func (c *core) rootOf(id hlc.ID) *root {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roots[id]
}

func (c *core) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}
