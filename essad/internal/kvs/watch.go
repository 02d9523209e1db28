package kvs

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// watch gathers the changes one watcher is still to be told. Changes of a key are told as one, the last.
type watch struct {
	wake chan struct{}

	mu      sync.Mutex
	pending map[string]event
	order   []string
	behind  bool // there were too many
}

// watchPending bounds the keys one watcher is still to be told of.
const watchPending = 1 << 14

func newWatch() *watch { return &watch{wake: make(chan struct{}, 1), pending: map[string]event{}} }

func (w *watch) tell(ev event) {
	w.mu.Lock()
	have, ok := w.pending[ev.key]
	switch {
	case w.behind:
	case !ok && len(w.order) >= watchPending:
		w.behind, w.order = true, nil
		clear(w.pending)
	case !ok:
		w.order = append(w.order, ev.key)
		w.pending[ev.key] = ev
	case ev.seq > have.seq:
		w.pending[ev.key] = ev
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what came since the last time, at most max of it.
func (w *watch) take(max int) (evs []event, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(max, len(w.order))
	for _, key := range w.order[:n] {
		evs = append(evs, w.pending[key])
		delete(w.pending, key)
	}
	w.order = append(w.order[:0], w.order[n:]...)
	return evs, w.behind
}

// admit counts a watch or waiting read, and refuses it where there are too many.
func (r *Role) admit() error {
	if r.watches.Add(1) > int64(r.opts.MaxWatches) {
		r.watches.Add(-1)
		r.refused.Add(1)
		return status.Safe(status.Errorf(status.Overloaded, "kvs: there are %d watches and waiting reads, no more are taken", r.opts.MaxWatches))
	}
	return nil
}

// watchKey has w told of changes of key until the function it returns is called.
func (r *Role) watchKey(key []byte, w listener) (stop func()) {
	c, k := r.cell(key), string(key)
	c.mu.Lock()
	c.core.watches.addKey(k, w)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.core.watches.removeKey(k, w)
		c.mu.Unlock()
	}
}

// watchPrefix has w told of changes of all keys that begin with prefix.
func (r *Role) watchPrefix(prefix []byte, w listener) (stop func()) {
	p := string(prefix)
	for _, c := range r.cells {
		c.mu.Lock()
		c.core.watches.addPrefix(p, w)
		c.mu.Unlock()
	}
	return func() {
		for _, c := range r.cells {
			c.mu.Lock()
			c.core.watches.removePrefix(p, w)
			c.mu.Unlock()
		}
	}
}

// serveWatch answers q with changes until it is no longer asked.
func (r *Role) serveWatch(q transport.Query, req *annav1.Request) error {
	if err := r.admit(); err != nil {
		return err
	}
	defer r.watches.Add(-1)
	o := req.Watch
	key := append(appendScope(nil, req.Space, req.Scope), o.Key...)
	w := newWatch()
	if o.Prefix {
		defer r.watchPrefix(key, w)()
	} else {
		defer r.watchKey(key, w)()
	}
	ctx := q.Context()
	if o.Initial {
		if err := r.watchInitial(ctx, q, req, key); err != nil {
			return err
		}
	}
	for {
		evs, behind := w.take(watchBatch)
		if behind {
			return status.Errorf(status.Overloaded, "kvs: the watcher is too slow, more than %d keys have changed meanwhile: watch again, beginning with what is there", watchPending)
		}
		if len(evs) == 0 {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return nil
			case <-r.work.Done():
				return errStopping
			}
		}
		if err := r.replyItems(q, watchItems(evs, o.KeysOnly)); err != nil {
			return err
		}
	}
}

// watchBatch is how many changes travel in one reply.
const watchBatch = 256

func watchItems(evs []event, keysOnly bool) []*annav1.Item {
	items := make([]*annav1.Item, len(evs))
	for i, ev := range evs {
		_, _, name, _ := splitKey(ev.key)
		it := &annav1.Item{Key: []byte(name), Version: ev.rec.Version, Deleted: len(ev.rec.Value) == 0, ExpiresUnixNano: ev.rec.Expires}
		if !keysOnly {
			it.Value = ev.rec.Value
		}
		items[i] = it
	}
	return items
}

// watchInitial sends what is there. Changes meanwhile wait in the watch, so what it sends may be told twice, never less.
func (r *Role) watchInitial(ctx context.Context, q transport.Query, req *annav1.Request, key []byte) error {
	o := req.Watch
	if !o.Prefix {
		res := r.get(ctx, key, nil, &annav1.Result{})
		if res.Code == status.NotFound.String() {
			return nil
		}
		if res.Code != "" {
			return status.FromCode(res.Code, res.Text)
		}
		it := &annav1.Item{Key: o.Key, Version: res.Version, ExpiresUnixNano: res.ExpiresUnixNano}
		if !o.KeysOnly {
			it.Value = res.Value
		}
		return r.replyItems(q, []*annav1.Item{it})
	}
	scan := &annav1.Scan{Prefix: o.Key, KeysOnly: o.KeysOnly}
	for {
		rep, err := r.scan(ctx, req.Space, req.Scope, scan)
		if err != nil {
			return err
		}
		if len(rep.Items) > 0 {
			if err := r.replyItems(q, rep.Items); err != nil {
				return err
			}
			scan.After = rep.Items[len(rep.Items)-1].Key
		}
		if !rep.More {
			return nil
		}
	}
}

func (r *Role) replyItems(q transport.Query, items []*annav1.Item) error {
	raw, err := proto.Marshal(&annav1.Reply{Items: items, More: true})
	if err != nil {
		return status.Errorf(status.Internal, "kvs: encode a reply: %v", err)
	}
	return q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
}
