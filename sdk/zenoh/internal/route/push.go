package route

import (
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// target is a face that a key leads to, with the id that the face itself has for the beginning of the key.
type target struct {
	face       *Face
	scope, cut uint16
}

// expr writes key as the target is sent it: with its own id, or whole.
func (t *target) expr(w *wire.WireExpr, key string) {
	if t.scope == 0 {
		*w = wire.WireExpr{Sender: true, Suffix: key}
		return
	}
	*w = wire.WireExpr{Scope: t.scope, Suffix: key[t.cut:]}
}

// reaches reports whether what comes from f goes to t.
func (t *target) reaches(f *Face) bool {
	return relays(f.rel, t.face.rel) && (t.face != f || f.rel == Local)
}

// subRoute is where a PUSH goes, whoever it is from. It is immutable.
type subRoute struct {
	gen     uint64
	targets []target
}

// subscribers returns where a PUSH of that key goes.
func (r *Router) subscribers(k *keyRoutes) *subRoute {
	if s := k.subs.Load(); s != nil && s.gen == r.gen[Subscriber].Load() {
		return s
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := &subRoute{gen: r.gen[Subscriber].Load()}
	seen := newBits(r.numbers.next)
	r.tables[Subscriber].index.Intersecting(k.key, func(_ string, e *entry) bool {
		for i := range e.holders {
			if f := e.holders[i].face; seen.add(f.number) {
				s.targets = append(s.targets, f.target(k.key))
			}
		}
		return true
	})
	for _, f := range r.pushed {
		if !f.knows(Subscriber, k.key) && seen.add(f.number) {
			s.targets = append(s.targets, f.target(k.key))
		}
	}
	slices.SortFunc(s.targets, func(a, b target) int { return a.face.number - b.face.number })
	s.targets = slices.Clip(s.targets)
	k.subs.Store(s)
	return s
}

func (f *Face) target(key string) target {
	scope, cut := f.shorten(key)
	return target{face: f, scope: scope, cut: cut}
}

// knows reports whether the tables have all that a Mesh or North face would get of key; if not it is sent everything.
func (f *Face) knows(k Kind, key string) bool {
	if f.rel == Mesh {
		return f.sync.Load()
	}
	return f.covered(k, key, true)
}

// bits is a set of face numbers.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

// add reports whether n was not there.
func (b bits) add(n int) bool {
	w, m := n/64, uint64(1)<<(n%64)
	was := b[w]&m != 0
	b[w] |= m
	return !was
}

// push takes a PUSH.
func (r *Router) push(f *Face, m *wire.Message, done <-chan struct{}) {
	k, s := r.resolve(f, &m.Key)
	if k == nil {
		r.report(f, Invalid, OpPush, m.Key.Suffix, nil)
		return
	}
	if f.guarded {
		if err := r.allowData(f, s, 0); err != nil {
			r.report(f, Refused, OpPush, k.key, err)
			return
		}
	}
	f.stats.pushesIn.Add(1)
	route := r.subscribers(k)
	saved := m.Key
	stamped := false
	for i := range route.targets {
		t := &route.targets[i]
		if !t.reaches(f) {
			continue
		}
		if r.o.Stamp && !stamped {
			if stamped = true; !r.clock.stamp(m, r.o.Now(), r.o.DropFuture) {
				f.stats.future.Add(1)
				break
			}
		}
		m.NodeID = 0
		t.expr(&m.Key, k.key)
		if t.face.peer.Send(m, done) {
			t.face.stats.pushesOut.Add(1)
		} else {
			t.face.stats.pushesLost.Add(1)
		}
	}
	m.Key = saved
}
