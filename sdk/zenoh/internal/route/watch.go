package route

import (
	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Matching reports whether something is declared, as far as the router knows, that a PUSH (kind Subscriber) or REQUEST
// (kind Queryable) of f with that key would reach. With complete only complete queryables count that include the key, as
// for the target AllComplete.
func (r *Router) Matching(f *Face, k Kind, key string, complete bool) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.matching(f, k, key, complete)
}

func (r *Router) matching(f *Face, k Kind, key string, complete bool) (found bool) {
	r.tables[k].matching(key, true, func(e *entry) bool {
		ok, c := e.visible(f)
		found = ok && (!complete || c && keyexpr.Includes(e.key, key))
		return !found
	})
	return found
}

// watch is a matching listener.
type watch struct {
	complete bool
	matching bool
	f        func(matching bool)
}

// Watch calls fn whenever what Matching reports for a local face changes, in order and one at a time, first within Watch if
// it is true already. Like a publisher's INTEREST it makes our gateway tell what it knows. fn must not wait, and may
// run for the last time while the returned function, which ends it, is under way.
func (r *Router) Watch(f *Face, k Kind, key string, complete bool, fn func(matching bool)) (cancel func()) {
	i := &interest{
		face: f, key: key, restricted: true, opts: entityOptions[k], mode: wire.InterestCurrentFuture,
		watch: &watch{complete: complete, f: fn},
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	if f.gone.Load() {
		return func() {}
	}
	if f.watches == nil {
		f.watches = map[*interest]struct{}{}
	}
	f.watches[i] = struct{}{}
	r.startInterest(i)
	r.syncWatch(i)
	return func() {
		r.mu.Lock()
		defer r.unlockAndFlush()
		if _, ok := f.watches[i]; ok {
			r.dropInterest(i)
		}
	}
}

// syncWatch calls back if there is a change.
func (r *Router) syncWatch(i *interest) {
	w := i.watch
	k := Subscriber
	if i.wants(Queryable) {
		k = Queryable
	}
	if m := r.matching(i.face, k, i.key, w.complete); m != w.matching {
		w.matching = m
		r.emit(i.face, outMsg{call: func() { w.f(m) }})
	}
}
