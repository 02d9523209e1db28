package kvs

import (
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/transport"
)

// quick answers a query on the goroutine that brought it, as far as that takes no waiting: most requests are one operation
// on a key that is in memory, or new. A write that is to be on disk is answered by its lane, with all others of its batch.
// So neither a goroutine nor a channel is needed for them, which cost more than the operation. Every other request goes to
// a goroutine of its own. It is called with the request entered.
func (r *Role) quick(q transport.Later, public bool) {
	var o one
	if o.parse(q.Payload()) && r.mayBeQuick(&o, public) {
		done := false
		if o.op == annav1.OpKind_GET {
			done = r.quickGet(q, &o)
		} else {
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
func (r *Role) mayBeQuick(o *one, public bool) bool {
	switch {
	case checkSpace(o.space) != nil || public && (o.space != annav1.Space_USER || o.cache != ""):
		return false
	case o.durability < 0 || o.durability > annav1.Durability_SYNC || o.op < 0 || o.op > annav1.OpKind_DELETE:
		return false
	}
	return len(o.scope) <= maxScope && len(o.key) <= r.opts.MaxKey
}

// stored appends the key as it is stored.
func (o *one) stored(b []byte) []byte { return append(appendScope(b, o.space, o.scope), o.key...) }

func (r *Role) quickGet(q transport.Later, o *one) bool {
	var buf [256]byte
	key := o.stored(buf[:0])
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
func (r *Role) quickWrite(q transport.Later, o *one) bool {
	p, err := r.accept(&annav1.Op{Kind: o.op, Value: o.value, Stamp: o.stamp, TtlNano: o.ttl, IfVersion: o.condition})
	if err != nil {
		return false
	}
	d := r.durabilityFor(o.durability)
	var buf [256]byte
	key := o.stored(buf[:0])
	c := r.cell(key)
	if !r.hasRoom(c, key, o.op, len(o.value), d) {
		return false
	}
	now := r.clock.Now()
	a := &answer{role: r, cell: c, query: q}
	c.mu.Lock()
	if _, miss := c.core.find(key); miss {
		c.mu.Unlock()
		return false
	}
	if o.op == annav1.OpKind_DELETE {
		a.version, a.seq, _, err = c.core.del(key, o.condition, now)
	} else {
		a.version, a.seq, _, err = c.core.put(key, p, now)
	}
	if r.soon(d) {
		c.core.soon(a.seq)
	}
	waits := d == annav1.Durability_SYNC && err == nil && a.seq > c.core.synced
	if waits {
		q.Keep()
		c.enlist(a)
	}
	c.leave()
	if !waits {
		a.reply(err)
		r.requests.leave()
	}
	return true
}

// answer is a write that is to be acknowledged.
type answer struct {
	role    *Role
	query   transport.Later
	cell    *cell
	version uint64
	seq     uint64
}

// ended tells that the commit that a was enlisted with has ended. If it did not hold the change, a waits for the next.
func (a *answer) ended(err error) {
	if err == nil {
		c := a.cell
		c.mu.Lock()
		if c.core.synced < a.seq {
			c.enlist(a)
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
