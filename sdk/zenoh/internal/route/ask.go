package route

import (
	"cmp"
	"maps"
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// ask is an interest that we declare at our gateways, for all the interests of local sessions and clients that are the
// same. What a gateway declares in answer is mirrored in the tables like any other face's declarations, so an interest
// whose ask has been answered is answered from there. (The alternative, one interest in everything, would hold the whole
// network's declarations in every daemon.)
//
// An interest in what is there now alone is passed on as such, each on its own, unless an ask that includes it has been
// answered.
type ask struct {
	askKey
	seq    uint64
	askers []*interest
	at     []askedAt
}

type askKey struct {
	key        string
	restricted bool
	opts       wire.InterestOptions
	mode       wire.InterestMode
}

// askedAt is an ask's state at one gateway.
type askedAt struct {
	gateway *Face
	id      uint32
	final   bool
	renewed bool // asked again, of a gateway that came later: what it knows already is news to us
	waiters []*interest
}

func (a *ask) state(f *Face) *askedAt {
	for j := range a.at {
		if a.at[j].gateway == f {
			return &a.at[j]
		}
	}
	return nil
}

func (a *ask) renewed(f *Face) bool {
	s := a.state(f)
	return s != nil && s.renewed
}

// joinAsk makes the gateways know of i, and counts those for whose answer it has to wait.
func (r *Router) joinAsk(i *interest) {
	if i.opts == 0 {
		return
	}
	k := askKey{i.key, i.restricted, i.opts, i.mode}
	if i.mode == wire.InterestCurrent {
		r.askCurrent(i, k)
		return
	}
	a := r.asks[k]
	if a == nil {
		a = r.newAsk(k)
		r.asks[k] = a
		for _, g := range r.pushed {
			if g.rel == North {
				r.askAt(a, g, false)
			}
		}
	}
	i.ask = a
	a.askers = append(a.askers, i)
	if i.mode != wire.InterestCurrentFuture {
		return
	}
	for j := range a.at {
		if s := &a.at[j]; !s.final {
			s.waiters = append(s.waiters, i)
			i.waiting++
		}
	}
}

func (r *Router) newAsk(k askKey) *ask {
	r.askSeq++
	return &ask{askKey: k, seq: r.askSeq}
}

// askCurrent asks the gateways which tokens there are now. Routers do not answer that for other kinds.
func (r *Router) askCurrent(i *interest, k askKey) {
	if k.opts &= wire.InterestTokens; k.opts == 0 {
		return
	}
	for _, g := range r.pushed {
		if g.rel != North || g.covered(Token, k.key, k.restricted) {
			continue
		}
		if i.ask == nil {
			i.ask = r.newAsk(k)
			i.ask.askers = []*interest{i}
		}
		r.askAt(i.ask, g, false)
		s := i.ask.state(g)
		s.waiters = append(s.waiters, i)
		i.waiting++
	}
}

// askAt sends an ask to a gateway.
func (r *Router) askAt(a *ask, g *Face, renewed bool) {
	g.nextAsk++
	id := g.nextAsk
	g.rememberAsk(id, a)
	a.at = append(a.at, askedAt{gateway: g, id: id, renewed: renewed})
	mode := a.mode
	if renewed && a.opts&wire.InterestTokens != 0 {
		mode = wire.InterestCurrentFuture
	}
	o := outMsg{kind: wire.Interest, id: id, mode: mode, opts: a.opts | wire.InterestKeyExprs, key: a.key}
	if a.restricted {
		o.opts |= wire.InterestRestricted
	}
	r.emit(g, o)
}

// askAllOf sends all asks to a gateway that is new.
func (r *Router) askAllOf(g *Face) {
	for _, a := range slices.SortedFunc(maps.Values(r.asks), func(a, b *ask) int { return cmp.Compare(a.seq, b.seq) }) {
		r.askAt(a, g, true)
	}
}

// stopWaiting makes i wait for no gateway any more. An interest in what is there now was asked for that alone.
func (r *Router) stopWaiting(i *interest) {
	if i.ask == nil {
		return
	}
	for j := range i.ask.at {
		s := &i.ask.at[j]
		s.waiters = without(s.waiters, i)
		if i.mode == wire.InterestCurrent {
			delete(s.gateway.asks, s.id)
		}
	}
}

// leaveAsk takes i off its ask, which ends with the last one.
func (r *Router) leaveAsk(i *interest) {
	r.stopWaiting(i)
	a := i.ask
	i.ask = nil
	if a == nil || i.mode == wire.InterestCurrent {
		return
	}
	if a.askers = without(a.askers, i); len(a.askers) > 0 {
		return
	}
	delete(r.asks, a.askKey)
	for j := range a.at {
		g, id := a.at[j].gateway, a.at[j].id
		g.forgetAsk(id, a)
		r.emit(g, outMsg{kind: wire.Interest, id: id, mode: wire.InterestFinal})
		r.pruneMirror(g, a)
	}
	if len(a.at) > 0 {
		r.bumpAll()
	}
}

// pruneMirror makes those of g's declarations stale that no ask covers any more: g may or may not withdraw them in time.
func (r *Router) pruneMirror(g *Face, a *ask) {
	for k := range kinds {
		if a.opts&entityOptions[k] == 0 || !r.orphans(g, k, a) {
			continue
		}
		for _, id := range sortedIDs(g.has[k]) {
			x := g.has[k][id]
			if x.stale || a.restricted && !keyexpr.Intersects(a.key, x.key) || g.asksFor(k, x.key) {
				continue
			}
			g.has[k][id] = entity{key: x.key, complete: x.complete, stale: true}
			r.dropHolding(g, k, x)
		}
	}
}

// orphans reports whether there is anything to prune, which most often there is not.
func (r *Router) orphans(g *Face, k Kind, a *ask) (found bool) {
	r.tables[k].matching(a.key, a.restricted, func(e *entry) bool {
		found = e.heldBy(g) && !g.asksFor(k, e.key)
		return !found
	})
	return found
}

// asksFor reports whether the gateway f would tell us what becomes of key.
func (f *Face) asksFor(k Kind, key string) bool {
	if f.asksAll[k] > 0 {
		return true
	}
	found := false
	f.asksBy[k].Intersecting(key, func(string, *ask) bool {
		found = true
		return false
	})
	return found
}

// covered reports whether all that the gateway f knows of key, or of everything, is in our tables: an ask that includes it
// has been answered.
func (f *Face) covered(k Kind, key string, restricted bool) bool {
	if f.answeredAll[k] > 0 {
		return true
	}
	found := false
	if restricted {
		f.asksBy[k].Including(key, func(_ string, a *ask) bool {
			found = a.answered(f)
			return !found
		})
	}
	return found
}

// answered reports whether the gateway has told us all that is there already.
func (a *ask) answered(f *Face) bool {
	s := a.state(f)
	return s != nil && s.final && (a.mode == wire.InterestCurrentFuture || s.renewed && a.opts&wire.InterestTokens != 0)
}

// rememberAsk and forgetAsk keep what asksFor and covered look at. Asks for what is there now are none of it.
func (f *Face) rememberAsk(id uint32, a *ask) {
	if f.asks == nil {
		f.asks = map[uint32]*ask{}
	}
	f.asks[id] = a
	if a.mode == wire.InterestCurrent {
		return
	}
	for k := range kinds {
		switch {
		case a.opts&entityOptions[k] == 0:
		case a.restricted:
			f.asksBy[k].Add(a.key, a)
		default:
			f.asksAll[k]++
		}
	}
}

func (f *Face) forgetAsk(id uint32, a *ask) {
	delete(f.asks, id)
	if a.mode == wire.InterestCurrent {
		return
	}
	for k := range kinds {
		switch {
		case a.opts&entityOptions[k] == 0:
		case a.restricted:
			f.asksBy[k].Remove(a.key, a)
		default:
			f.asksAll[k]--
			if a.answered(f) {
				f.answeredAll[k]--
			}
		}
	}
}

// askAnswered takes a gateway's D_FINAL.
func (r *Router) askAnswered(g *Face, id uint32) {
	a := g.asks[id]
	if a == nil {
		return
	}
	s := a.state(g)
	if s.final {
		return
	}
	s.final = true
	waiters := s.waiters
	s.waiters = nil
	if a.mode == wire.InterestCurrent {
		g.forgetAsk(id, a)
	} else {
		if !a.restricted && a.answered(g) {
			for k := range kinds {
				if a.opts&entityOptions[k] != 0 {
					g.answeredAll[k]++
				}
			}
		}
		r.bumpAll()
	}
	r.release(waiters)
}

// release tells interests that one of the gateways they wait for has answered, or is gone.
func (r *Router) release(waiters []*interest) {
	for _, i := range waiters {
		if i.waiting--; i.waiting == 0 {
			r.finishInterest(i)
		}
	}
}

// dropAsksAt forgets what was asked of a gateway that is gone.
func (r *Router) dropAsksAt(g *Face) {
	for _, id := range sortedIDs(g.asks) {
		a := g.asks[id]
		s := a.state(g)
		waiters := s.waiters
		a.at = slices.DeleteFunc(a.at, func(x askedAt) bool { return x.gateway == g })
		r.release(waiters)
	}
	g.asks = nil
}

// currentToken passes a gateway's answer to a query for tokens on to who asked.
func (r *Router) currentToken(a *ask, key string) {
	for _, i := range a.askers {
		if _, dup := i.told[key]; dup || i.waiting == 0 {
			continue
		}
		if len(i.told) >= r.o.MaxDeclarations {
			r.report(i.face, Overflow, OpInterest, key, nil)
			continue
		}
		if i.told == nil {
			i.told = map[string]struct{}{}
		}
		i.told[key] = struct{}{}
		r.emit(i.face, outMsg{kind: wire.Declare, decl: wire.DeclToken, key: key, hasIID: true, iid: i.id})
	}
}

// history tells those who asked for the tokens that are there of one that a gateway has.
func (r *Router) history(a *ask, e *entry) {
	for _, i := range a.askers {
		switch {
		case i.watch != nil:
		case i.waiting > 0:
			r.sync(i.face, e.kind, e.key, e, syncAnswer, i.id)
		default:
			r.sync(i.face, e.kind, e.key, e, syncAsked, 0)
		}
	}
}

// without removes i from a list.
func without(l []*interest, i *interest) []*interest {
	return slices.DeleteFunc(l, func(x *interest) bool { return x == i })
}
