package client

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// pipe joins writes that are made at the same time into requests of several operations. A write of its own request costs
// each process on its way more than the operation does, and the store an own fsync unless it meets others there.
//
// A write that is alone goes at once, as a request of its own. While pipeDepth requests of its lane are under way, those
// that come gather, and their share (see share) leaves together when one of these has ended. So nothing waits for company that may not come, and
// how many share a request follows from how long one takes.
type pipe struct {
	mu    sync.Mutex
	lanes map[laneKey]*pipeLane // only those with a request under way
}

// laneKey is what writes of one request have in common.
type laneKey struct {
	space      Space
	scope      string
	durability Durability
}

type pipeLane struct {
	pipe    *pipe
	kvs     *KVS
	key     laneKey
	flying  int // requests under way or about to leave
	under   int // writes of those that have left
	waiting []*joined
}

const (
	// pipeDepth requests of a lane may be under way: while the node brings the writes of one to disk, the writers of the
	// other are told and make their next ones.
	pipeDepth = 2
	// pipeBytes and pipeOps bound what is joined: with them a request is one frame of the fabric. A larger write goes alone
	// and at once, for it would only keep the others waiting.
	pipeBytes = 56 << 10
	pipeOps   = 256
	// pipeYields is how often a request about to leave lets other goroutines run, as long as that brings more writes:
	// those whose writes have just been acknowledged are about to make their next ones.
	pipeYields = 4
	// pipeTold writers are told before they get to run. They make their next writes at once, while the others are told. Were
	// all told first, a second processor would be woken to take half of them, and on a machine whose cores are busy it takes a
	// core from the node or the store, which have the writes of the other request to do.
	pipeTold = 4
	// pipeShare writes are not shared out to several requests, see share.
	pipeShare = 16
)

// joined is a write that waits to be sent, or to be answered.
type joined struct {
	ctx  context.Context
	op   Op
	size int
	in   *request // that it left with; nil: it waits
	done chan outcome
}

type outcome struct {
	result Result
	err    error
}

// request is what left together.
type request struct {
	writes []*joined
	left   int // of them, who still wait
	cancel context.CancelFunc
}

var joinedPool = sync.Pool{New: func() any { return &joined{done: make(chan outcome, 1)} }}

// write does one write, maybe with others.
func (k *KVS) write(ctx context.Context, space Space, scope string, d Durability, op Op) (Result, error) {
	size := op.size()
	if k.pipe == nil || size > pipeBytes/2 || ctx.Err() != nil {
		return k.one(ctx, space, scope, d, false, op)
	}
	l, first := k.pipe.enter(k, laneKey{space, scope, d})
	if first {
		defer l.leave()
		return k.one(ctx, space, scope, d, false, op)
	}
	j := joinedPool.Get().(*joined)
	j.ctx, j.op, j.size = ctx, op, size
	l.waiting = append(l.waiting, j)
	starts := l.flying < pipeDepth
	if starts {
		l.flying++
	}
	l.pipe.mu.Unlock()
	if starts {
		go l.run()
	}
	return l.await(j)
}

// enter finds the lane of key. The first one to come does its write as it is; for all others the pipe is locked on return.
func (p *pipe) enter(k *KVS, key laneKey) (l *pipeLane, first bool) {
	p.mu.Lock()
	l = p.lanes[key]
	if l != nil {
		return l, false
	}
	l = &pipeLane{pipe: p, kvs: k, key: key, flying: 1}
	p.lanes[key] = l
	p.mu.Unlock()
	return l, true
}

// leave ends a write that went alone.
func (l *pipeLane) leave() {
	l.pipe.mu.Lock()
	if len(l.waiting) > 0 {
		l.pipe.mu.Unlock()
		go l.run()
		return
	}
	l.retire()
	l.pipe.mu.Unlock()
}

// retire gives up a place. The pipe is locked.
func (l *pipeLane) retire() {
	if l.flying--; l.flying == 0 {
		delete(l.pipe.lanes, l.key)
	}
}

// await waits for what becomes of j. Where its context ends first, nobody else is kept from waiting on.
func (l *pipeLane) await(j *joined) (Result, error) {
	select {
	case o := <-j.done:
		j.ctx, j.op, j.in = nil, Op{}, nil
		joinedPool.Put(j)
		return o.result, o.err
	case <-j.ctx.Done():
	}
	err := j.ctx.Err()
	l.pipe.mu.Lock()
	defer l.pipe.mu.Unlock()
	if j.in == nil {
		l.drop(j)
		return Result{}, status.Errorf(status.Of(err), "client: the write was not sent: %w", err)
	}
	if j.in.left--; j.in.left == 0 {
		j.in.cancel()
	}
	return Result{}, status.Errorf(status.Of(err), "client: the write was not acknowledged, and may have been done: %w", err)
}

// drop takes j, which has not left, out of those that wait.
func (l *pipeLane) drop(j *joined) {
	for i, w := range l.waiting {
		if w == j {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return
		}
	}
}

// run sends what waits until nothing does. It has a place among those under way.
func (l *pipeLane) run() {
	for {
		l.gather()
		l.pipe.mu.Lock()
		r, ctx := l.take()
		if r == nil {
			l.retire()
			l.pipe.mu.Unlock()
			return
		}
		another := len(l.waiting) > 0 && l.flying < pipeDepth
		if another {
			l.flying++
		}
		l.pipe.mu.Unlock()
		if another {
			go l.run()
		}
		l.send(ctx, r)
	}
}

// send does the writes of r and tells those who wait.
func (l *pipeLane) send(ctx context.Context, r *request) {
	defer r.cancel()
	ops := make([]Op, len(r.writes))
	for i, j := range r.writes {
		ops[i] = j.op
	}
	results := make([]Result, len(ops))
	err := l.kvs.do(ctx, l.key.space, l.key.scope, l.key.durability, false, ops, results)
	l.pipe.mu.Lock()
	l.under -= len(r.writes)
	l.pipe.mu.Unlock()
	for i, j := range r.writes {
		o := outcome{err: err}
		if err == nil {
			o.result, o.err = results[i], results[i].Err
		}
		j.done <- o
		if i%pipeTold == pipeTold-1 {
			runtime.Gosched()
		}
	}
}

// gather lets those run that are about to write.
func (l *pipeLane) gather() {
	for have, n := -1, 0; n < pipeYields; n++ {
		l.pipe.mu.Lock()
		now := len(l.waiting)
		l.pipe.mu.Unlock()
		if now == have {
			return
		}
		have = now
		runtime.Gosched()
	}
}

// share is how many of those that wait the next request takes at most: its part of all writers there are. So the requests under
// way are of about the same size, and the node works on one while the disk works on another; where one took all, the writers
// of the others were few, and soon in it as well. The pipe is locked.
func (l *pipeLane) share() int {
	return min(pipeOps, max(pipeShare, (l.under+len(l.waiting)+pipeDepth-1)/pipeDepth))
}

// take takes the next request; nil: nothing waits. The pipe is locked.
func (l *pipeLane) take() (*request, context.Context) {
	if len(l.waiting) == 0 {
		return nil, nil
	}
	r := &request{}
	n, size := 0, 0
	most := l.share()
	var latest time.Time
	bounded := true
	for n < len(l.waiting) && n < most {
		j := l.waiting[n]
		if size += j.size; n > 0 && size > pipeBytes {
			break
		}
		if end, ok := j.ctx.Deadline(); !ok {
			bounded = false
		} else if end.After(latest) {
			latest = end
		}
		j.in = r
		n++
	}
	r.writes = append(r.writes, l.waiting[:n]...)
	r.left = n
	l.under += n
	rest := copy(l.waiting, l.waiting[n:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	ctx := context.Background()
	if bounded {
		ctx, r.cancel = context.WithDeadline(ctx, latest)
	} else {
		ctx, r.cancel = context.WithCancel(ctx)
	}
	return r, ctx
}
