package kvs

import (
	"bytes"
	"runtime"
	"sync/atomic"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/transport"
)

// group is a request of several writes on its way. Clients join writes that are made at the same time, so most writes of a
// busy node come in one. They are done in order, on the goroutine that brought the request until one of them has to wait, as
// for a key that is not in memory; then on one of their own. Those that are to be on disk wait there on none.
type group struct {
	role    *Role
	query   transport.Later
	writes  operations
	d       annav1.Durability
	next    int // of writes
	results []*annav1.Result
	tails   []*tail
	tailOf  []*tail      // by write; nil: it waits for nothing
	asks    *lane        // to be asked for its next batch
	open    atomic.Int32 // things that the group waits for
}

// largeGroup is how many writes are let go to the store before the next request is read, which is done on the same goroutine: so
// the store writes the one while the next is on its way. Of fewer, one trip for several requests costs less.
const largeGroup = 16

// tail is what a group waits for at one shard: its last change there.
type tail struct {
	group *group
	cell  *cell
	seq   uint64
	over  bool // with these three the cell's lock
	err   error
}

// writeGroup does the writes of o, and reports whether they are no more than that.
func (r *Role) writeGroup(q transport.Later, o *operations) bool {
	for i := range o.ops {
		if o.ops[i].kind == annav1.OpKind_GET {
			return false
		}
	}
	n := len(o.ops)
	g := &group{role: r, query: q, writes: *o, d: r.durabilityFor(o.durability), results: make([]*annav1.Result, n), tailOf: make([]*tail, n)}
	slab := make([]annav1.Result, n)
	for i := range slab {
		g.results[i] = &slab[i]
	}
	g.open.Store(1) // until all are done
	q.Keep()
	for g.next < n && g.quick() {
		g.next++
	}
	g.ask()
	if n >= largeGroup {
		runtime.Gosched()
	}
	if g.next < n {
		go g.slow()
		return true
	}
	g.done()
	return true
}

// quick does the next write, or reports that it has to wait.
func (g *group) quick() bool {
	r, op, res := g.role, &g.writes.ops[g.next], g.results[g.next]
	p, err := g.accept(op)
	if err != nil {
		fail(res, err)
		return true
	}
	var buf [256]byte
	key := g.writes.stored(buf[:0], op)
	c := r.cell(key)
	if !r.hasRoom(c, key, op.kind, len(op.value), g.d) {
		return false
	}
	c.mu.Lock()
	version, seq, miss, err := r.change(c, key, op, p, g.d)
	if miss {
		c.mu.Unlock()
		return false
	}
	res.Version = version
	if err != nil {
		fail(res, err)
	} else {
		g.wait(c, seq)
	}
	c.leaveQuietly()
	return true
}

// accept is Role.accept, of a value that is not to keep those of the whole group in memory.
func (g *group) accept(op *operation) (put, error) {
	p, err := g.role.accept(op.message())
	if err == nil && !p.stamp {
		p.value = bytes.Clone(p.value)
	}
	return p, err
}

// wait has the group wait for the change seq of its write next to be on disk, if it is to. c is locked.
func (g *group) wait(c *cell, seq uint64) {
	if g.d != annav1.Durability_SYNC || seq <= c.core.synced {
		return
	}
	for _, t := range g.tails {
		if t.cell == c && !t.over {
			t.seq = max(t.seq, seq)
			c.covering(seq, true)
			g.tailOf[g.next] = t
			return
		}
	}
	t := &tail{group: g, cell: c, seq: seq}
	g.tails = append(g.tails, t)
	g.tailOf[g.next] = t
	g.open.Add(1)
	if c.enlist(t, seq) {
		g.asks = c.lane
	}
}

// ask tells the lane what was written since it was last told: only then, for it would take what there is at once, and leave the
// rest of the group for a batch of its own.
func (g *group) ask() {
	if g.asks != nil {
		g.asks.ask() // one request, however many shards it waits for
	}
	g.asks = nil
	for _, l := range g.role.lanes {
		l.poke(g.d == annav1.Durability_SYNC)
	}
}

// slow does what is left, and waits where that takes it.
func (g *group) slow() {
	ctx := g.query.Context()
	rest := &annav1.Request{Space: g.writes.space, Scope: g.writes.scope}
	for i := g.next; i < len(g.writes.ops); i++ {
		rest.Ops = append(rest.Ops, g.writes.ops[i].message())
	}
	release := func() {}
	if g.role.loader != nil {
		release = g.role.prefetch(ctx, rest)
	}
	for _, op := range rest.Ops {
		if !op.Stamp {
			op.Value = bytes.Clone(op.Value) // see accept
		}
		key := g.writes.stored(nil, &g.writes.ops[g.next])
		res, c, seq := g.role.write(ctx, key, op, g.d, g.results[g.next])
		g.results[g.next] = res
		if c != nil && seq > 0 {
			c.mu.Lock()
			g.wait(c, seq)
			c.leave()
			g.ask()
		}
		g.next++
	}
	release()
	g.done()
}

// ended implements enlisted.
func (t *tail) ended(err error) {
	c := t.cell
	c.mu.Lock()
	if err == nil && c.core.synced < t.seq {
		if c.enlist(t, t.seq) {
			c.lane.ask()
		}
		c.leave()
		return
	}
	t.over, t.err = true, err
	c.mu.Unlock()
	t.group.done()
}

// done ends one of the things that the group waits for, and with the last the group.
func (g *group) done() {
	if g.open.Add(-1) > 0 {
		return
	}
	raw := make([]byte, 0, 16*len(g.results))
	for i, res := range g.results {
		if t := g.tailOf[i]; t != nil && t.err != nil {
			fail(res, t.err)
		}
		raw = appendResult(raw, res)
	}
	if err := g.query.Reply(g.query.KeyExpr(), raw, transport.ReplyOptions{}); err != nil {
		g.role.log.Debug("a reply was not sent", "error", err)
	}
	g.query.Drop() // before it is counted as done: the session may close then
	g.role.requests.leave()
}
