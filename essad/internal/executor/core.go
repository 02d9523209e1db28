package executor

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// core keeps account of the calls in this executor: how many, which ids, in which process of an engine, which root call
// they belong to, whether that root has had effects, and whose calls are refused. It starts nothing and sends nothing; its
// lock is held for a few map operations at a time.
type core struct {
	capacity int
	workers  int // calls that a shard runs at the same moment: one that has as many is full

	mu         sync.Mutex
	calls      map[hlc.ID]*inFlight
	roots      map[hlc.ID]*root
	admitted   uint64
	late       late
	quarantine quarantine
}

// inFlight is one invocation that a scheduler has sent here, or that another shard had no room for.
type inFlight struct {
	call  *engine.Call
	shard *shard
	root  *root
	who   culprit
	seq   uint64 // in the order of admission
	// progress of the process at that time: of two calls with the same it gave no sign of life between them.
	progress uint64
}

// root is what all invocations of one root call share here.
type root struct {
	refs    int
	effects atomic.Bool // something may have been changed outside of the engine
	engine  string      // what the call asked for; its nested calls elsewhere get it too
	who     culprit     // likewise
	output  output
}

// output numbers what a root call writes.
type output struct {
	mu         sync.Mutex
	run        hlc.ID // zero: not a run
	deployment string
	seq        uint64
}

func newCore(capacity, workers int, q QuarantineLimits) *core {
	return &core{
		capacity: capacity, workers: max(workers, 1), calls: map[hlc.ID]*inFlight{}, roots: map[hlc.ID]*root{},
		quarantine: newQuarantine(q),
	}
}

// admit takes a call in and places it, or refuses it without a trace.
func (c *core) admit(now time.Time, call *engine.Call, e *engineState, inv *essav1.Invocation) (*inFlight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls) >= c.capacity {
		return nil, status.Safe(status.Errorf(status.Overloaded,
			"executor has %d calls in flight (executor.capacity): try again later", len(c.calls)))
	}
	if c.calls[call.ID] != nil {
		return nil, status.Errorf(status.Conflict, "call %s is already running here", call.ID)
	}
	who := culpritOf(inv)
	if err := c.quarantine.check(now, who); err != nil {
		return nil, err
	}
	r := c.roots[call.Root]
	if r == nil {
		r = &root{engine: inv.Engine, who: who, output: output{deployment: inv.Deployment}}
		if call.Run || inv.RunOutput {
			r.output.run = call.Root
		}
		c.roots[call.Root] = r
	}
	return c.enter(call, place(e.shards, who.affinity(), c.workers), r), nil
}

func (c *core) enter(call *engine.Call, s *shard, r *root) *inFlight {
	c.admitted++
	r.refs++
	s.inFlight++
	f := &inFlight{call: call, shard: s, root: r, who: r.who, seq: c.admitted, progress: s.Progress()}
	c.calls[call.ID] = f
	return f
}

// admitNested takes in a nested call that its own shard has no room for, where another shard of the engine has nothing to
// do at all. There it waits for nobody: what a nested call waits for must not be what its ancestors hold.
func (c *core) admitNested(call *engine.Call, from *shard) *inFlight {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.roots[call.Root]
	if r == nil || c.calls[call.ID] != nil {
		return nil
	}
	for _, s := range from.engine.shards {
		if s != from && s.inFlight == 0 && s.Ready() {
			return c.enter(call, s, r)
		}
	}
	return nil
}

// end forgets a call, except that one that was given up is remembered for a moment: it may come out that it has not ended
// at all.
func (c *core) end(f *inFlight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, f.call.ID)
	f.shard.inFlight--
	if f.root.refs--; f.root.refs == 0 {
		delete(c.roots, f.call.Root)
	}
	if cl := status.Of(err); cl == status.Deadline || cl == status.Cancelled {
		c.late.add(f)
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

// strike counts a call because of which a process was killed, against those whose call it was. It returns nil where that is
// unknown or the call may be innocent: where the process stands still since before it was sent, an older call may be what
// keeps it. That one is not past its deadline, and does not count.
func (c *core) strike(now time.Time, s *shard, k Kill) *essav1.Quarantine {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.calls[k.Call.ID]
	if f == nil {
		f = c.late.find(k.Call.ID)
	}
	if f == nil || f.call != k.Call {
		return nil
	}
	if k.Silent {
		for _, other := range c.calls {
			if other.shard == s && other.seq < f.seq && other.progress == f.progress {
				return nil
			}
		}
	}
	return c.quarantine.strike(now, f)
}

// late remembers the calls that were given up last. Whether such a call was killed for it is known within a few
// times executor.stop_grace, and few are late at once.
type late struct {
	ring [256]*inFlight
	next int
}

func (l *late) add(f *inFlight) {
	l.ring[l.next] = f
	l.next = (l.next + 1) % len(l.ring)
}

func (l *late) find(id hlc.ID) *inFlight {
	for _, f := range l.ring {
		if f != nil && f.call.ID == id {
			return f
		}
	}
	return nil
}

// place chooses a shard. What has the same affinity goes to the same one, its home, where its code and its state are at
// hand; while that one is full, or being replaced, to the one that has least to do.
func place(shards []*shard, affinity string, workers int) *shard {
	if len(shards) == 1 {
		return shards[0]
	}
	home := homeOf(shards, affinity)
	if home.inFlight < workers && home.Ready() {
		return home
	}
	best := home
	// The order begins at the home, so that equals are not all sent to the first.
	for i := range shards {
		s := shards[(home.index+i)%len(shards)]
		if s.Ready() && (!best.Ready() || s.inFlight < best.inFlight) {
			best = s
		}
	}
	return best
}

// homeOf hashes by highest random weight.
func homeOf(shards []*shard, affinity string) *shard {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(affinity) {
		h = (h ^ uint64(affinity[i])) * 1099511628211
	}
	best, most := shards[0], uint64(0)
	for _, s := range shards {
		if w := mix(h + uint64(s.index)*0x9e3779b97f4a7c15); w >= most {
			best, most = s, w
		}
	}
	return best
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
