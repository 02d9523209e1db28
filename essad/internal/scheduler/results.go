package scheduler

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
)

// The states of an asynchronous call's result.
const (
	resultScope   = "results"
	resultRunning = "running"
	resultDone    = "done"
	resultFailed  = "failed"
)

// callAsync starts a call whose result is fetched later. What it answers is durable: the result, or the fact that there
// is none yet, survives this scheduler as far as the KVS does; the call itself does not. Until it ends, the stored result
// names who runs it, so that a call whose scheduler has died is not taken for one that still runs.
func (r *Role) callAsync(ctx context.Context, in *essav1.AsyncRequest) (proto.Message, error) {
	if in.Meta == nil {
		in.Meta = &essav1.CallMeta{}
	}
	if n := len(in.Meta.Id); n != 0 && n != len(hlc.ID{}) {
		return nil, status.Errorf(status.Invalid, "scheduler: call id has %d bytes, want %d", n, len(hlc.ID{}))
	}
	req, err := r.callRequest(ctx, in.Deployment, in.Function, in.Args, in.Meta)
	if err != nil {
		return nil, err
	}
	id := req.spec.id
	req.spec.kind = "async"
	if req.spec.remember {
		// Sent again: what is stored already must not be replaced by the news that it has begun.
		if _, err := r.storedResult(ctx, id); err == nil {
			return &essav1.AsyncReply{Id: id[:]}, nil
		} else if status.Of(err) != status.NotFound {
			return nil, err
		}
	}
	if err := r.beginAsync(id); err != nil {
		return nil, err
	}
	if err := r.saveResult(ctx, req, &essav1.ResultReply{State: resultRunning, Scheduler: r.self}); err != nil {
		r.endAsync(id)
		return nil, err
	}
	go func() {
		defer r.endAsync(id)
		r.finishAsync(req)
	}()
	return &essav1.AsyncReply{Id: id[:]}, nil
}

// beginAsync makes room for an asynchronous call.
func (r *Role) beginAsync(id hlc.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.core.stopping:
		return errStopping
	case r.pending[id]:
		return taken(id)
	case len(r.pending) >= r.opts.Async:
		return status.Errorf(status.Overloaded, "%d asynchronous calls are in flight (scheduler.async.queue): try again later", len(r.pending))
	}
	r.pending[id] = true
	r.async.Add(1)
	return nil
}

func (r *Role) endAsync(id hlc.ID) {
	r.mu.Lock()
	delete(r.pending, id)
	r.mu.Unlock()
	r.async.Done()
}

func (r *Role) finishAsync(req *request) {
	out := r.execute(r.work, req)
	res := &essav1.ResultReply{State: resultDone, Value: out.value}
	if out.err != nil {
		res = failed(out.err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.work), adminTimeout)
	defer cancel()
	err := r.saveResult(ctx, req, res)
	if err != nil && out.err == nil {
		// A result that does not fit into the store is told of, rather than left to look as if it never came.
		err = r.saveResult(ctx, req, failed(status.Errorf(status.Of(err), "the call has ended, but its result was not stored: %w", err)))
	}
	if err != nil {
		r.log.Error("result of an asynchronous call was not stored", "call", req.spec.id, "error", err)
	}
}

func failed(err error) *essav1.ResultReply {
	return &essav1.ResultReply{State: resultFailed, ErrorCode: status.Code(err), ErrorText: err.Error()}
}

// adminTimeout bounds what a scheduler does on its own account.
const adminTimeout = 30 * time.Second

// saveResult stores the state of an asynchronous call. It is kept for Options.ResultTTL after the call has ended, which it
// will have by its deadline.
func (r *Role) saveResult(ctx context.Context, req *request, res *essav1.ResultReply) error {
	raw, err := proto.Marshal(res)
	if err != nil {
		return status.Errorf(status.Internal, "encode a result: %v", err)
	}
	ttl := r.opts.ResultTTL
	if res.State == resultRunning {
		ttl += max(0, time.Until(req.spec.deadline))
	}
	_, err = r.kvs.Set(ctx, client.RegistrySpace, resultScope, resultKey(req.spec.id), raw, client.PutOptions{TTL: ttl})
	return err
}

func resultKey(id hlc.ID) []byte { return []byte(id.String()) }

// result returns what came of an asynchronous call, waiting for its end for at most as long as asked.
func (r *Role) result(ctx context.Context, in *essav1.ResultRequest) (proto.Message, error) {
	if len(in.Id) != len(hlc.ID{}) {
		return nil, status.Errorf(status.Invalid, "scheduler: a call id has 16 bytes")
	}
	id := hlc.ID(in.Id)
	res, err := r.settledResult(ctx, id)
	if err != nil || res.State != resultRunning || in.WaitNano <= 0 {
		return res, err
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(in.WaitNano))
	defer cancel()
	err = r.kvs.Watch(wait, client.RegistrySpace, resultScope, client.WatchOptions{Key: resultKey(id), Initial: true}, func(i client.Item) {
		raw, err := client.PlainData(i.Value)
		if now := (&essav1.ResultReply{}); err == nil && proto.Unmarshal(raw, now) == nil && now.State != resultRunning {
			res = now
			cancel()
		}
	})
	if err != nil || res.State != resultRunning {
		return res, err
	}
	return r.settledResult(ctx, id) // who runs it may have died meanwhile
}

// settledResult is the stored result, or that of a call whose scheduler has ended before it.
func (r *Role) settledResult(ctx context.Context, id hlc.ID) (*essav1.ResultReply, error) {
	res, err := r.storedResult(ctx, id)
	if err != nil || res.State != resultRunning || r.runs(ctx, id, res.Scheduler) {
		return res, err
	}
	// It may have ended between the two looks; it stores its result before it is forgotten.
	res, err = r.storedResult(ctx, id)
	if err != nil || res.State != resultRunning {
		return res, err
	}
	return failed(status.Errorf(status.Unavailable,
		"the scheduler that ran call %s has ended, and the call with it; it may have run in part", id)), nil
}

// runs tells whether the call can still be running at the scheduler that its result names. Of another scheduler it is only
// known whether one of that name lives.
func (r *Role) runs(ctx context.Context, id hlc.ID, scheduler string) bool {
	name, _, _ := strings.Cut(scheduler, "/")
	if name == r.opts.ID {
		r.mu.Lock()
		defer r.mu.Unlock()
		return scheduler == r.self && r.pending[id]
	}
	alive := false
	err := r.opts.Session.GetLiveliness(ctx, topic.Default.Alive("scheduler", name), func(string) { alive = true })
	return alive || err != nil
}

func (r *Role) storedResult(ctx context.Context, id hlc.ID) (*essav1.ResultReply, error) {
	raw, _, err := r.kvs.Data(ctx, client.RegistrySpace, resultScope, resultKey(id))
	if status.Of(err) == status.NotFound {
		return nil, status.Errorf(status.NotFound,
			"there is no result of call %s: it was never made, or its result is no longer kept (scheduler.async.result_ttl)", id)
	}
	if err != nil {
		return nil, err
	}
	res := &essav1.ResultReply{}
	return res, unmarshal(raw, res)
}
