package kvs

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// maxOps bounds the operations of a request.
const maxOps = 4096

// serve answers a request. Members of the mesh reach everything; clients, the public, the space of users' keys only.
func (r *Role) serve(q transport.Query, public bool) {
	req := &annav1.Request{}
	if err := proto.Unmarshal(q.Payload(), req); err != nil {
		r.refuse(q, status.Errorf(status.Invalid, "kvs: this is not a request: %v", err))
		return
	}
	rep, err := r.answer(q, req, public)
	if err != nil {
		r.refuse(q, err)
		return
	}
	if rep == nil {
		return // it has answered
	}
	raw, err := proto.Marshal(rep)
	if err != nil {
		r.refuse(q, status.Errorf(status.Internal, "kvs: encode a reply: %v", err))
		return
	}
	if err := q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{}); err != nil {
		r.log.Debug("a reply was not sent", "error", err)
	}
}

func (r *Role) refuse(q transport.Query, err error) {
	r.refused.Add(1)
	if err := transport.ReplyStatus(q, err); err != nil {
		r.log.Debug("an error was not sent", "error", err)
	}
}

func (r *Role) answer(q transport.Query, req *annav1.Request, public bool) (*annav1.Reply, error) {
	if err := r.check(req, public); err != nil {
		return nil, err
	}
	switch {
	case req.Scan != nil:
		return r.scan(q.Context(), req.Space, req.Scope, req.Scan)
	case req.Watch != nil:
		return nil, r.serveWatch(q, req)
	case req.DropScope:
		return &annav1.Reply{}, r.dropScope(q.Context(), req.Space, req.Scope)
	}
	return r.do(q.Context(), req), nil
}

// check refuses what no shard should see.
func (r *Role) check(req *annav1.Request, public bool) error {
	if err := checkSpace(req.Space); err != nil {
		return err
	}
	if public && (req.Space != annav1.Space_USER || req.Cache != "") {
		return status.Errorf(status.Denied, "kvs: clients reach the space of users' keys only")
	}
	if req.Durability < 0 || req.Durability > annav1.Durability_SYNC {
		return status.Errorf(status.Invalid, "kvs: %d is no durability", req.Durability)
	}
	if len(req.Scope) > maxScope {
		return status.Errorf(status.Invalid, "kvs: the scope has %d bytes, at most %d are allowed", len(req.Scope), maxScope)
	}
	if len(req.Ops) > maxOps {
		return status.Errorf(status.Invalid, "kvs: %d operations in one request, at most %d are allowed", len(req.Ops), maxOps)
	}
	kinds := 0
	for _, has := range []bool{len(req.Ops) > 0, req.Scan != nil, req.Watch != nil, req.DropScope} {
		if has {
			kinds++
		}
	}
	if kinds > 1 {
		return status.Errorf(status.Invalid, "kvs: a request is operations, a scan, a watch or the deletion of a scope, not several of these")
	}
	if w := req.Watch; w != nil {
		return r.checkKey(w.Key)
	}
	if s := req.Scan; s != nil {
		if err := r.checkKey(s.Prefix); err != nil {
			return err
		}
		return r.checkKey(s.After)
	}
	return nil
}

func (r *Role) checkKey(key []byte) error {
	if len(key) > r.opts.MaxKey {
		return status.Errorf(status.Invalid, "the key has %d bytes, at most %d are allowed", len(key), r.opts.MaxKey)
	}
	return nil
}

// written is a change that a request made, as far as durability has to know it.
type written struct {
	result *annav1.Result
	cell   *cell
	seq    uint64
}

// do does the operations of a request in order, and waits for the durability of all of them at once.
func (r *Role) do(ctx context.Context, req *annav1.Request) *annav1.Reply {
	rep, slab := newReply(len(req.Ops))
	if r.loader != nil && len(req.Ops) > 1 {
		defer r.prefetch(ctx, req)()
	}
	var fd *feed
	if req.Cache != "" {
		fd = r.feeds.get(req.Cache)
	}
	durability := r.durabilityFor(req.Durability)
	var buf [256]byte
	scope := appendScope(buf[:0], req.Space, req.Scope)
	var first [4]written
	changes := first[:0]
	for i, op := range req.Ops {
		key := append(scope[:len(scope):cap(scope)], op.Key...)
		if err := r.checkKey(op.Key); err != nil {
			rep.Results[i] = failed(err)
			continue
		}
		switch op.Kind {
		case annav1.OpKind_GET:
			if req.Wait {
				rep.Results[i] = r.getWait(ctx, key, fd, &slab[i])
			} else {
				rep.Results[i] = r.get(ctx, key, fd, &slab[i])
			}
		case annav1.OpKind_PUT, annav1.OpKind_DELETE:
			res, c, seq := r.write(ctx, key, op, durability, &slab[i])
			rep.Results[i] = res
			if durability == annav1.Durability_SYNC && res.Code == "" && seq > 0 {
				changes = append(changes, written{res, c, seq})
			}
		default:
			rep.Results[i] = failed(status.Errorf(status.Invalid, "kvs: operation %d is unknown here", op.Kind))
		}
	}
	for _, w := range changes {
		if err := w.cell.await(ctx, w.seq, true); err != nil {
			fail(w.result, err)
		}
	}
	return rep
}

// durabilityFor is what a request that asks for d gets.
func (r *Role) durabilityFor(d annav1.Durability) annav1.Durability {
	if d == annav1.Durability_DEFAULT || r.opts.Store == nil {
		return r.durability
	}
	return d
}

// newReply makes a reply for n results, and the results, in few allocations; mostly n is 1.
func newReply(n int) (*annav1.Reply, []annav1.Result) {
	if n == 1 {
		var one struct {
			rep     annav1.Reply
			results [1]*annav1.Result
			slab    [1]annav1.Result
		}
		one.rep.Results = one.results[:]
		return &one.rep, one.slab[:]
	}
	return &annav1.Reply{Results: make([]*annav1.Result, n)}, make([]annav1.Result, n)
}

func fail(res *annav1.Result, err error) {
	res.Code, res.Text = status.Code(err), err.Error()
}

func failed(err error) *annav1.Result {
	res := &annav1.Result{}
	fail(res, err)
	return res
}

var notFound = failed(status.Errorf(status.NotFound, "the key does not exist"))

// get reads key into res. Where fd is not nil, that cache is told of changes from now on.
func (r *Role) get(ctx context.Context, key []byte, fd *feed, res *annav1.Result) *annav1.Result {
	now := r.clock.Peek()
	var (
		rec   lattice.Record
		lease uint64
	)
	_, err := r.with(ctx, key, func(s *shard) (miss bool) {
		if rec, miss = s.get(key, now); miss || fd == nil || len(rec.Value) == 0 {
			return miss
		}
		lease = s.register(key, fd, now)
		return false
	})
	if err != nil {
		return failed(err)
	}
	return found(res, rec, lease, now)
}

// found makes res say what was read.
func found(res *annav1.Result, rec lattice.Record, lease, now uint64) *annav1.Result {
	if len(rec.Value) == 0 {
		return notFound
	}
	if rec.Expires != 0 {
		lease = min(lease, rec.Expires-now)
	}
	res.Value, res.Version, res.LeaseNano, res.ExpiresUnixNano = rec.Value, rec.Version, lease, rec.Expires
	return res
}

// waiter is a waiting read: it is woken by any change of its key.
type waiter chan struct{}

func (w waiter) tell(event) {
	select {
	case w <- struct{}{}:
	default:
	}
}

// getWait reads key, and waits for it where it is absent.
func (r *Role) getWait(ctx context.Context, key []byte, fd *feed, into *annav1.Result) *annav1.Result {
	res := r.get(ctx, key, fd, into)
	if res != notFound {
		return res
	}
	if err := r.admit(); err != nil {
		return failed(err)
	}
	defer r.watches.Add(-1)
	w := make(waiter, 1)
	defer r.watchKey(key, w)()
	for {
		if res = r.get(ctx, key, fd, into); res != notFound {
			return res
		}
		select {
		case <-w:
		case <-ctx.Done():
			return failed(status.Errorf(status.Of(ctx.Err()), "kvs: the key did not appear: %w", ctx.Err()))
		case <-r.work.Done():
			return failed(errStopping)
		}
	}
}

// write does a PUT or DELETE and returns the change it is part of; 0: none.
func (r *Role) write(ctx context.Context, key []byte, op *annav1.Op, d annav1.Durability, res *annav1.Result) (*annav1.Result, *cell, uint64) {
	p, err := r.accept(op)
	if err != nil {
		return failed(err), nil, 0
	}
	if err := r.admitWrite(ctx, key, op, d); err != nil {
		return failed(err), nil, 0
	}
	now := r.clock.Now()
	var (
		version, seq uint64
		opErr        error
	)
	c, err := r.with(ctx, key, func(s *shard) (miss bool) {
		if op.Kind == annav1.OpKind_DELETE {
			version, seq, miss, opErr = s.del(key, op.IfVersion, now)
		} else {
			version, seq, miss, opErr = s.put(key, p, now)
		}
		if !miss && r.soon(d) {
			s.soon(seq)
		}
		return miss
	})
	if err != nil {
		return failed(err), nil, 0
	}
	res.Version = version
	if opErr != nil {
		fail(res, opErr)
		return res, nil, 0
	}
	return res, c, seq
}

// admitWrite waits for room in the write buffer, or refuses where memory is all there is and used up.
func (r *Role) admitWrite(ctx context.Context, key []byte, op *annav1.Op, d annav1.Durability) error {
	if r.opts.Store != nil {
		return r.room(ctx, r.cell(key), d == annav1.Durability_BATCHED)
	}
	if !r.fits(key, op.Kind, len(op.Value)) {
		r.refused.Add(1)
		return status.Safe(status.Errorf(status.Overloaded, "kvs: the memory for values is full, %d of %d bytes, and there is no store", r.memory.Load(), r.opts.Memory))
	}
	return nil
}

// fits reports whether memory takes a write where it is all there is.
func (r *Role) fits(key []byte, op annav1.OpKind, size int) bool {
	return op != annav1.OpKind_PUT || r.memory.Load()+int64(len(key)+size+entryOverhead) <= r.opts.Memory
}

// hasRoom reports whether admitWrite would neither wait nor refuse.
func (r *Role) hasRoom(c *cell, key []byte, op annav1.OpKind, size int, d annav1.Durability) bool {
	if r.opts.Store == nil {
		return r.fits(key, op, size)
	}
	return r.roomNow(c, d == annav1.Durability_BATCHED)
}

// accept checks the value of an operation and brings it into normal form.
func (r *Role) accept(op *annav1.Op) (put, error) {
	if op.Kind == annav1.OpKind_DELETE {
		return put{}, nil
	}
	if op.TtlNano < 0 {
		return put{}, status.Errorf(status.Invalid, "the time to live is %s: want a positive one, or none", time.Duration(op.TtlNano))
	}
	if len(op.Value) > r.opts.MaxValue {
		return put{}, status.Errorf(status.Invalid, "the value has %d bytes, at most %d are allowed", len(op.Value), r.opts.MaxValue)
	}
	p := put{value: op.Value, stamp: op.Stamp, ttl: uint64(op.TtlNano), condition: op.IfVersion}
	if op.Stamp {
		return p, nil
	}
	value, newest, timed, err := lattice.Normalize(op.Value)
	if err != nil {
		return put{}, status.Errorf(status.Invalid, "this is not the encoding of a lattice value: %v", err)
	}
	if ns := newest.UnixNano(); timed && ns > 0 && r.clock.Check(uint64(ns)) != nil {
		return put{}, status.Errorf(status.Invalid, "the value's timestamp %s is more than %s ahead of this node's clock", newest, r.opts.MaxClockSkew)
	}
	p.value = value
	return p, nil
}

// prefetch has all cold keys of a request read at once, and keeps them in memory until the function it returns is called.
// A key that cannot be read fails its operation, not this.
func (r *Role) prefetch(ctx context.Context, req *annav1.Request) (release func()) {
	var loads []*load
	key := appendScope(nil, req.Space, req.Scope)
	scope := len(key)
	for _, op := range req.Ops {
		key = append(key[:scope], op.Key...)
		if ld := r.cell(key).load(key); ld != nil {
			loads = append(loads, ld)
		}
	}
	return hold(ctx, loads)
}

// warm is prefetch for stored keys.
func (r *Role) warm(ctx context.Context, keys [][]byte) (release func()) {
	var loads []*load
	for _, key := range keys {
		if ld := r.cell(key).load(key); ld != nil {
			loads = append(loads, ld)
		}
	}
	return hold(ctx, loads)
}

// load queues a load of key, nil if it is in memory or too much waits.
func (c *cell) load(key []byte) *load {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, miss := c.core.find(key); !miss {
		return nil
	}
	ld, err := c.want(key)
	if err != nil {
		return nil
	}
	return ld
}

// hold waits for loads and keeps what they read in memory until the function it returns is called.
func hold(ctx context.Context, loads []*load) (release func()) {
	if len(loads) == 0 {
		return func() {}
	}
	var pinned []*load
	for _, ld := range loads {
		if ld.wait(ctx) == nil {
			pinned = append(pinned, ld)
		}
	}
	return func() {
		for _, ld := range pinned {
			ld.cell.mu.Lock()
			ld.cell.core.unpin([]byte(ld.key))
			ld.cell.mu.Unlock()
		}
	}
}
