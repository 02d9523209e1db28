package kvs

import (
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/transport"
)

// quick answers a query on the goroutine that brought it, as far as that takes no waiting: most requests are of operations
// on keys that are in memory, or new. A write that is to be on disk is answered by its lane, with all others of its batch.
// So neither a goroutine nor a channel is needed for them, which cost more than the operation. Every other request goes to
// a goroutine of its own. It is called with the request entered.
func (r *Role) quick(q transport.Later, public bool) {
	var o operations
	if o.parse(q.Payload()) && r.mayBeQuick(&o, public) {
		done := false
		switch {
		case len(o.ops) > 1:
			done = r.writeGroup(q, &o)
		case o.ops[0].kind == annav1.OpKind_GET:
			done = r.quickGet(q, &o)
		default:
			done = r.quickWrite(q, &o)
		}
		if done {
			return
		}
	}
	q.Keep()
	go func() {
		defer r.requests.leave()
		defer q.Drop()
		r.serve(q, public)
	}()
}

// mayBeQuick leaves everything that is to be refused to the slow way, which says why.
func (r *Role) mayBeQuick(o *operations, public bool) bool {
	switch {
	case checkSpace(o.space) != nil || public && (o.space != annav1.Space_USER || o.cache != ""):
		return false
	case o.durability < 0 || o.durability > annav1.Durability_SYNC || len(o.scope) > maxScope:
		return false
	}
	for i := range o.ops {
		if op := &o.ops[i]; op.kind < 0 || op.kind > annav1.OpKind_DELETE || len(op.key) > r.opts.MaxKey {
			return false
		}
	}
	return true
}

// stored appends the key of op as it is stored.
func (o *operations) stored(b []byte, op *operation) []byte {
	return append(appendScope(b, o.space, o.scope), op.key...)
}

// message is o as the slow way takes it.
func (o *operation) message() *annav1.Op {
	return &annav1.Op{Kind: o.kind, Key: o.key, Value: o.value, Stamp: o.stamp, TtlNano: o.ttl, IfVersion: o.condition}
}

func (r *Role) quickGet(q transport.Later, o *operations) bool {
	var buf [256]byte
	key := o.stored(buf[:0], &o.ops[0])
	var fd *feed
	if o.cache != "" {
		fd = r.feeds.get(o.cache)
	}
	c := r.cell(key)
	c.mu.Lock()
	if _, miss := c.core.find(key); miss {
		c.mu.Unlock()
		return false
	}
	now := r.clock.Peek()
	rec, _ := c.core.get(key, now)
	var lease uint64
	if fd != nil && len(rec.Value) > 0 {
		lease = c.core.register(key, fd, now)
	}
	c.leave()
	var res annav1.Result
	r.replyWith(q, found(&res, rec, lease, now))
	r.requests.leave()
	return true
}

// quickWrite does a PUT or DELETE, unless it had to wait for anything but the disk.
func (r *Role) quickWrite(q transport.Later, o *operations) bool {
	p, err := r.accept(o.ops[0].message())
	if err != nil {
		return false
	}
	d := r.durabilityFor(o.durability)
	var buf [256]byte
	key := o.stored(buf[:0], &o.ops[0])
	c := r.cell(key)
	if !r.hasRoom(c, key, o.ops[0].kind, len(o.ops[0].value), d) {
		return false
	}
	a := &answer{role: r, cell: c, query: q}
	c.mu.Lock()
	var miss bool
	if a.version, a.seq, miss, err = r.change(c, key, &o.ops[0], p, d); miss {
		c.mu.Unlock()
		return false
	}
	waits := d == annav1.Durability_SYNC && err == nil && a.seq > c.core.synced
	if waits {
		q.Keep()
		a.enlist()
	}
	c.leave()
	if !waits {
		a.reply(err)
		r.requests.leave()
	}
	return true
}

// change does a write, and returns the version and the number of the change that it is part of; 0: none. Where it reports a miss
// the key has to be loaded first, and nothing was done. c is locked.
func (r *Role) change(c *cell, key []byte, op *operation, p put, d annav1.Durability) (version, seq uint64, miss bool, err error) {
	if op.kind == annav1.OpKind_DELETE {
		version, seq, miss, err = c.core.del(key, op.condition, r.clock.Now())
	} else {
		version, seq, miss, err = c.core.put(key, p, r.clock.Now())
	}
	if !miss && r.soon(d) {
		c.core.soon(seq)
	}
	return version, seq, miss, err
}

// answer is a write that is to be acknowledged.
type answer struct {
	role    *Role
	query   transport.Later
	cell    *cell
	version uint64
	seq     uint64
}

// enlist has a answered when its change is on disk. Its cell is locked.
func (a *answer) enlist() {
	if a.cell.enlist(a, a.seq) {
		a.cell.lane.ask()
	}
}

// ended tells that the commit that a was enlisted with has ended. If it did not hold the change, a waits for the next.
func (a *answer) ended(err error) {
	if err == nil {
		c := a.cell
		c.mu.Lock()
		if c.core.synced < a.seq {
			a.enlist()
			c.leave()
			return
		}
		c.mu.Unlock()
	}
	a.reply(err)
	a.query.Drop() // before it is counted as done: the session may close then
	a.role.requests.leave()
}

// reply says that the write is done, or why not.
func (a *answer) reply(err error) {
	res := annav1.Result{Version: a.version}
	if err != nil {
		fail(&res, err)
	}
	a.role.replyWith(a.query, &res)
}

func (r *Role) replyWith(q transport.Query, res *annav1.Result) {
	if err := q.Reply(q.KeyExpr(), appendResult(nil, res), transport.ReplyOptions{}); err != nil {
		r.log.Debug("a reply was not sent", "error", err)
	}
}
