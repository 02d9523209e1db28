package scheduler

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// core decides where calls go. It is pure: a message (submit, finished, abandon, executor news) goes in, decisions come
// out. It knows no session, clock or goroutine; the shell gives it the time and carries out what it decides. It is not
// safe for concurrent use: the shell holds one lock around it, and no decision takes longer than a few map look-ups.
type core struct {
	opts  coreOptions
	rand  *rand.Rand
	execs map[string]*executorView
	order []*executorView // the same, for choosing two at random
	calls map[hlc.ID]*call
	queue fifo
	done  completed
	stats Stats
	// stopping: nothing new is taken. Nested calls are not new: those in flight may need them to end.
	stopping bool
}

type coreOptions struct {
	Attempts       int           // dispatches of one root call at most
	Queue          int           // calls waiting for an executor at most
	Completed      int           // ended calls remembered at most
	CompletedBytes int64         // and their values together
	CompletedFor   time.Duration // and for how long
	HotModules     int           // module names remembered per executor
}

// executorView is what the scheduler knows of an executor.
type executorView struct {
	id       string
	engines  map[string]hot // by name
	first    string         // the engine of calls that name none
	capacity int            // calls it takes before it answers overloaded
	inFlight int            // dispatched from here and not ended
	// quarantine is whose calls it refuses; so do we then, whichever executor is asked.
	quarantine map[offender]*essav1.Quarantine
	// fullUntil is set when it answered overloaded: others may be sending to it too.
	fullUntil time.Time
}

// hot are the modules that an engine has compiled: what one has is of no use to another.
type hot map[string]bool

// ready returns the modules that are ready where t's calls go.
func (e *executorView) ready(t target) hot { return e.engines[cmp.Or(t.engine, e.first)] }

func (e *executorView) room(now time.Time) bool {
	return e.inFlight < e.capacity && !now.Before(e.fullUntil)
}

// call is a root call, a run or a nested call on its way.
type call struct {
	spec     callSpec
	state    callState
	executor string
	on       *executorView // where it is running; it may have been lost since
	tried    string        // executor of the attempt before
	attempts int
	started  time.Time
	wake     chan decision // the shell's: where a waiting call gets its next decision; buffered
	joined   []chan outcome
}

type callState uint8

const (
	queued callState = iota
	running
	retrying
)

func (s callState) String() string { return [...]string{"queued", "running", "retrying"}[s] }

// callSpec is what placing a call needs to know of it.
type callSpec struct {
	id       hlc.ID
	kind     string // call, run, async, nested
	target   target
	deadline time.Time // zero: none
	always   bool      // retry even if it may have had effects
	exclude  string    // an executor that cannot take it
	remember bool      // the client gave the id, so it may send again
}

type target struct {
	deployment string
	version    string
	module     string
	function   string
	engine     string
}

// same tells whether a request for t with an id that o has is o, sent again. The version of a deployment may differ: which
// one is active may have changed between the two.
func (t target) same(o target) bool {
	return t.deployment == o.deployment && t.function == o.function && (t.deployment != "" || t.module == o.module)
}

// offender is whose calls are refused together: a version of a deployment, or a module that is run without one.
type offender struct{ deployment, version, module string }

func (t target) offender() offender {
	if t.deployment == "" {
		return offender{module: t.module}
	}
	return offender{deployment: t.deployment, version: t.version}
}

// outcome is how a call ended.
type outcome struct {
	value      []byte
	attachment []byte
	err        error
	again      bool // to those who joined: it never ran and its own asker is gone, so submit it anew
}

func (o outcome) size() int64 { return int64(len(o.value) + len(o.attachment)) }

// decision is what the shell is to do about one call.
type decision struct {
	do       verb
	executor string       // dispatch
	attempt  int          // dispatch
	wait     chan outcome // join
	joined   *call        // join: what to leave by
	out      outcome      // end
}

type verb uint8

const (
	dispatch verb = iota // send it to executor
	hold                 // wait for the next decision on call.wake
	join                 // the same id is on its way: wait for its outcome
	end                  // answer with out
)

func newCore(o coreOptions, r *rand.Rand) *core {
	return &core{
		opts: o, rand: r,
		execs: map[string]*executorView{}, calls: map[hlc.ID]*call{},
		done: completed{byID: map[hlc.ID]*ended{}},
	}
}

// submit admits a call. The returned call is what later messages about it name; it is nil where the decision is final.
func (c *core) submit(now time.Time, s callSpec) (*call, decision) {
	if cl := c.calls[s.id]; cl != nil {
		if !s.remember || !cl.spec.remember || !s.target.same(cl.spec.target) {
			return nil, decision{do: end, out: outcome{err: taken(s.id)}}
		}
		ch := make(chan outcome, 1)
		cl.joined = append(cl.joined, ch)
		return nil, decision{do: join, wait: ch, joined: cl}
	}
	if s.remember {
		if e := c.done.find(s.id, now); e != nil {
			return nil, decision{do: end, out: e.answer(s)}
		}
	}
	if c.stopping && s.kind != "nested" {
		return nil, decision{do: end, out: outcome{err: errStopping}}
	}
	if err := c.quarantined(now, s.target); err != nil {
		c.stats.Quarantined++
		return nil, decision{do: end, out: outcome{err: err}}
	}
	cl := &call{spec: s, started: now}
	c.stats.Calls++
	if e := c.choose(now, cl); e != nil {
		c.calls[s.id] = cl
		return cl, c.dispatchTo(cl, e)
	}
	if err := c.refuse(s); err != nil {
		c.stats.Failed++
		return nil, decision{do: end, out: outcome{err: err}}
	}
	c.calls[s.id] = cl
	return cl, c.enqueue(cl)
}

func taken(id hlc.ID) error {
	return status.Errorf(status.Conflict, "the id %s belongs to another call or run: give each an id of its own", id)
}

var errStopping = status.Safe(status.Errorf(status.Unavailable, "this scheduler is stopping and takes no more calls: send it again"))

// refuse says why a call that no executor has room for cannot wait either; nil means that it can.
func (c *core) refuse(s callSpec) error {
	if s.kind == "nested" {
		// Its ancestors hold what it would wait for.
		return status.Errorf(status.Overloaded, "nested call of %s: no other executor has room", s.target.function)
	}
	if err := c.noEngine(s.target.engine); err != nil {
		return err
	}
	if c.queue.len() >= c.opts.Queue {
		return status.Errorf(status.Overloaded,
			"%d calls already wait for an executor (scheduler.call.queue): try again later", c.queue.len())
	}
	return nil
}

// noEngine is the error of a call whose engine none of the executors that are here has. While none is here, all may come.
func (c *core) noEngine(name string) error {
	if name == "" || len(c.order) == 0 {
		return nil
	}
	have := map[string]hot{}
	for _, e := range c.order {
		if e.engines[name] != nil {
			return nil
		}
		maps.Copy(have, e.engines)
	}
	return status.Errorf(status.NotFound, "no executor has an engine named %q; there are: %s", name,
		strings.Join(slices.Sorted(maps.Keys(have)), ", "))
}

// quarantined is the error of a call that an executor is known to refuse.
func (c *core) quarantined(now time.Time, t target) error {
	for _, e := range c.order {
		if len(e.quarantine) == 0 {
			continue
		}
		if q := e.quarantine[t.offender()]; q != nil && now.UnixNano() < q.UntilUnixNano {
			return client.QuarantineError(q)
		}
	}
	return nil
}

// executorQuarantine takes over whom an executor refuses.
func (c *core) executorQuarantine(id string, all []*essav1.Quarantine) {
	e := c.execs[id]
	if e == nil {
		return
	}
	e.quarantine = make(map[offender]*essav1.Quarantine, len(all))
	for _, q := range all {
		e.quarantine[target{deployment: q.Deployment, version: q.Version, module: q.Module}.offender()] = q
	}
}

// lift forgets what executors were told to forget.
func (c *core) lift(lifted []*essav1.Quarantine) {
	for _, q := range lifted {
		for _, e := range c.order {
			delete(e.quarantine, target{deployment: q.Deployment, version: q.Version, module: q.Module}.offender())
		}
	}
}

func (c *core) enqueue(cl *call) decision {
	if cl.wake == nil {
		cl.wake = make(chan decision, 1)
	}
	c.queue.push(cl)
	return decision{do: hold}
}

func (c *core) dispatchTo(cl *call, e *executorView) decision {
	e.inFlight++
	if t := cl.spec.target; t.module != "" {
		if ready := e.ready(t); ready != nil && len(ready) < c.opts.HotModules {
			ready[t.module] = true
		}
	}
	cl.state, cl.executor, cl.on = running, e.id, e
	cl.attempts++
	return decision{do: dispatch, executor: e.id, attempt: cl.attempts}
}

// choose picks an executor with room by the power of two choices on calls in flight; one that has the module ready wins
// over one that has not, and one that was not just tried over one that was.
func (c *core) choose(now time.Time, cl *call) *executorView {
	var a, b *executorView
	n := len(c.order)
	if n == 0 {
		return nil
	}
	// Walk from a random start: the first two that can take it are two random ones.
	for i, at := 0, c.rand.IntN(n); i < n && b == nil; i, at = i+1, at+1 {
		e := c.order[at%n]
		if !c.canTake(now, e, cl) {
			continue
		}
		if a == nil {
			a = e
		} else {
			b = e
		}
	}
	if a == nil || b == nil {
		return a
	}
	if c.score(b, cl) < c.score(a, cl) {
		return b
	}
	return a
}

func (c *core) canTake(now time.Time, e *executorView, cl *call) bool {
	t := cl.spec.target
	return e.room(now) && e.id != cl.spec.exclude && (t.engine == "" || e.engines[t.engine] != nil)
}

// score: lower is better. A missing module costs as much as a deep queue, for compiling it takes far longer than a call.
func (c *core) score(e *executorView, cl *call) int {
	s := e.inFlight
	if t := cl.spec.target; !e.ready(t)[t.module] {
		s += 64
	}
	if e.id == cl.tried {
		s += 1 << 16
	}
	return s
}

// finished tells how one attempt of cl ended, and returns what to do about cl and about calls that now have room.
func (c *core) finished(now time.Time, cl *call, out outcome) (decision, []wakeUp) {
	if e := cl.on; e != nil {
		cl.on = nil
		e.inFlight--
		if status.Of(out.err) == status.Overloaded {
			e.fullUntil = now.Add(10 * time.Millisecond)
		}
		if status.Of(out.err) == status.Unavailable {
			delete(e.ready(cl.spec.target), cl.spec.target.module)
		}
	}
	if out.err != nil && c.mayRetry(now, cl, out.err) {
		c.stats.Retried++
		cl.tried, cl.state = cl.executor, retrying
		if e := c.choose(now, cl); e != nil {
			return c.dispatchTo(cl, e), c.drain(now)
		}
		if c.refuse(cl.spec) == nil {
			return c.enqueue(cl), c.drain(now)
		}
	}
	c.finish(now, cl, out)
	return decision{do: end, out: out}, c.drain(now)
}

// mayRetry follows the rule: only within the attempts and the deadline, and only where the call cannot have had effects
// or its deployment says that this does not matter.
func (c *core) mayRetry(now time.Time, cl *call, err error) bool {
	if !cl.spec.deadline.IsZero() && !now.Before(cl.spec.deadline) {
		return false
	}
	safe := status.DetailOf(err) == status.DetailSafe
	switch status.Of(err) {
	case status.Overloaded:
		if safe {
			cl.attempts-- // nothing was tried: the executor refused at its door
		}
		return safe
	case status.Unavailable:
		return cl.attempts < c.opts.Attempts && cl.spec.kind != "nested" && (safe || cl.spec.always)
	}
	return false
}

// abandon ends a call whose asker has gone or whose deadline passed while it waited. It may have been placed in this very
// moment; then its slot goes to others, and nothing was sent.
func (c *core) abandon(now time.Time, cl *call, err error) []wakeUp {
	if c.calls[cl.spec.id] != cl {
		return nil
	}
	e := cl.on
	if e == nil {
		c.queue.remove(cl)
		c.finish(now, cl, outcome{err: err})
		return nil
	}
	cl.on = nil
	cl.attempts--
	e.inFlight--
	c.finish(now, cl, outcome{err: err})
	return c.drain(now)
}

// leave takes back a join whose asker has gone.
func (c *core) leave(cl *call, ch chan outcome) {
	if i := slices.Index(cl.joined, ch); i >= 0 {
		cl.joined = slices.Delete(cl.joined, i, i+1)
	}
}

func (c *core) finish(now time.Time, cl *call, out outcome) {
	delete(c.calls, cl.spec.id)
	if out.err != nil {
		c.stats.Failed++
	}
	for _, ch := range cl.joined {
		ch <- cl.forJoined(out) // buffered, and sent to once
	}
	cl.joined = nil
	// A cancelled call has no result to repeat: sent again, it is to run.
	if cl.spec.remember && status.Of(out.err) != status.Cancelled {
		c.done.add(now, cl.spec.id, cl.spec.target, out, c.opts)
	}
}

// forJoined is what an outcome means to those who sent the call again. That the first asker is gone is not their doing, and
// most often the reason why they sent again.
func (cl *call) forJoined(out outcome) outcome {
	switch {
	case status.Of(out.err) != status.Cancelled:
		return out
	case cl.attempts == 0 || cl.spec.always:
		return outcome{again: true}
	}
	return outcome{err: status.Errorf(status.Unavailable,
		"call %s was given up by whoever sent it first while it ran; it may have run in part", cl.spec.id)}
}

// wakeUp is a decision for a call that has been waiting.
type wakeUp struct {
	call *call
	d    decision
}

// drain places waiting calls, oldest first, while there is room. A call that nobody present can take does not hold up
// the ones behind it.
func (c *core) drain(now time.Time) []wakeUp {
	if c.queue.len() == 0 {
		return nil
	}
	var out []wakeUp
	c.queue.each(func(cl *call) (taken, goOn bool) {
		if e := c.choose(now, cl); e != nil {
			out = append(out, wakeUp{cl, c.dispatchTo(cl, e)})
			return true, true
		}
		if err := c.noEngine(cl.spec.target.engine); err != nil { // it came before any executor did
			o := outcome{err: err}
			c.finish(now, cl, o)
			out = append(out, wakeUp{cl, decision{do: end, out: o}})
			return true, true
		}
		return false, c.anyRoom(now)
	})
	return out
}

func (c *core) anyRoom(now time.Time) bool {
	for _, e := range c.order {
		if e.room(now) {
			return true
		}
	}
	return false
}

// executorInfo takes an executor's report; the first one makes it known. Calls that name no engine go to the first; ready are
// the modules that each has ready.
func (c *core) executorInfo(now time.Time, id string, engines []string, capacity int, ready map[string][]string) []wakeUp {
	e := c.execs[id]
	if e == nil {
		e = &executorView{id: id}
		c.execs[id] = e
		c.order = append(c.order, e)
	}
	e.engines, e.first = map[string]hot{}, ""
	if len(engines) > 0 {
		e.first = engines[0]
	}
	for _, n := range engines {
		e.engines[n] = hot{}
		for _, m := range ready[n][:min(len(ready[n]), c.opts.HotModules)] {
			e.engines[n][m] = true
		}
	}
	e.capacity = capacity
	return c.drain(now)
}

// executorLost forgets an executor. Its calls end by themselves: the fabric fails their queries.
func (c *core) executorLost(id string) {
	delete(c.execs, id)
	for i, e := range c.order {
		if e.id == id {
			c.order = append(c.order[:i], c.order[i+1:]...)
			return
		}
	}
}
