package route

import (
	"cmp"
	"maps"
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// entityOptions are the options that ask for entities, by kind.
var entityOptions = [kinds]wire.InterestOptions{wire.InterestSubscribers, wire.InterestQueryables, wire.InterestTokens}

const allEntities = wire.InterestSubscribers | wire.InterestQueryables | wire.InterestTokens

// interest is an INTEREST of a Local or South face, or a watch of a local session.
type interest struct {
	face       *Face
	id         uint32
	key        string
	restricted bool
	opts       wire.InterestOptions // those of entities
	aggregate  bool
	mode       wire.InterestMode
	seq        uint64
	ask        *ask
	waiting    int                 // gateways that have not answered
	deadline   int64               // when it stops waiting
	told       map[string]struct{} // Current: the tokens that it was answered with, while it waits
	watch      *watch
}

type aggKey struct {
	kind Kind
	key  string
}

func (i *interest) wants(k Kind) bool { return i.opts&entityOptions[k] != 0 }

// aggregates reports whether i asks for one declaration of exactly its key in place of those that match it.
func (i *interest) aggregates(k Kind) bool { return i.aggregate && i.restricted && k != Token }

// interest takes an INTEREST.
func (r *Router) interest(f *Face, m *wire.Message) {
	if f.rel == North {
		r.report(f, Protocol, OpInterest, m.Key.Suffix, nil) // a gateway is told everything, and asks for nothing
		return
	}
	if m.Mode == wire.InterestFinal {
		r.mu.Lock()
		defer r.unlockAndFlush()
		if i := f.interests[m.InterestID]; i != nil {
			r.dropInterest(i)
		}
		return
	}
	i := &interest{
		face:       f,
		id:         m.InterestID,
		restricted: m.Options&wire.InterestRestricted != 0,
		opts:       m.Options & allEntities,
		aggregate:  m.Options&wire.InterestAggregate != 0 && f.rel != Mesh, // peers get none, as in the Rust router
		mode:       m.Mode,
	}
	key := "**" // what the policy is asked for where all is asked for
	if i.restricted {
		var ok bool
		if key, ok = r.fullKey(f, &m.Key); !ok {
			r.report(f, Invalid, OpInterest, m.Key.Suffix, nil)
			return
		}
		i.key = key
	}
	if err := r.allow(f, OpInterest, key); err != nil {
		r.report(f, Refused, OpInterest, key, err)
		r.refuseInterest(i)
		return
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	switch {
	case f.gone.Load():
	case f.rel == Mesh:
		r.answerPeer(i)
	case f.interests[i.id] != nil:
		r.report(f, Protocol, OpInterest, key, nil) // a live id must not be used again
	case f.rel != Local && (len(f.interests) >= r.o.MaxInterests || f.bytes+len(i.key) > r.o.MaxDeclaredBytes):
		r.report(f, Overflow, OpInterest, key, nil)
	default:
		r.addInterest(i)
	}
}

// refuseInterest ends what would otherwise wait for a time-out, a query for tokens. An interest of a publisher or querier
// is left unanswered: a D_FINAL would mean that nobody listens, and no answer means nothing.
func (r *Router) refuseInterest(i *interest) {
	if i.opts != wire.InterestTokens {
		return
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	r.emitFinal(i)
}

// answerPeer answers an INTEREST of a mesh peer, which was told everything already: the same again, with its id.
func (r *Router) answerPeer(i *interest) {
	if i.mode != wire.InterestFuture {
		for k := range kinds {
			if !i.wants(k) {
				continue
			}
			for _, e := range r.tables[k].matches(i.key, i.restricted) {
				if ok, _ := e.visible(i.face); ok {
					r.sync(i.face, k, e.key, e, syncAnswer, i.id)
				}
			}
		}
	}
	r.emitFinal(i)
}

// addInterest stores an interest, asks the gateway, and answers with what is known.
func (r *Router) addInterest(i *interest) {
	f := i.face
	if f.interests == nil {
		f.interests = map[uint32]*interest{}
	}
	f.interests[i.id] = i
	f.bytes += len(i.key)
	r.startInterest(i)
	if i.mode == wire.InterestFuture {
		// The Rust router answers with a D_FINAL at once. To a publisher that would say that nobody listens.
		if i.opts&^wire.InterestTokens == 0 {
			r.emitFinal(i)
		}
		return
	}
	for k := range kinds {
		if !i.wants(k) {
			continue
		}
		if i.mode == wire.InterestCurrentFuture && i.aggregates(k) {
			r.sync(f, k, i.key, nil, syncWhole, i.id)
			continue
		}
		for _, e := range r.tables[k].matches(i.key, i.restricted) {
			r.answer(i, e)
		}
	}
	if i.waiting == 0 {
		r.finishInterest(i)
	}
}

// startInterest makes an interest count.
func (r *Router) startInterest(i *interest) {
	r.askSeq++
	i.seq = r.askSeq
	if i.mode != wire.InterestCurrent {
		for k := range kinds {
			if !i.wants(k) {
				continue
			}
			r.wanted[k].add(i)
			if i.aggregates(k) {
				if i.face.aggs == nil {
					i.face.aggs = map[aggKey]int{}
				}
				i.face.aggs[aggKey{k, i.key}]++
			}
		}
	}
	r.joinAsk(i)
	if i.waiting > 0 {
		i.deadline = r.deadline(r.o.InterestTimeout)
		r.pending[i] = struct{}{}
	}
}

// answer tells i of an entry that exists.
func (r *Router) answer(i *interest, e *entry) {
	ok, complete := e.visible(i.face)
	switch {
	case !ok:
	case i.mode == wire.InterestCurrentFuture:
		r.sync(i.face, e.kind, e.key, e, syncAnswer, i.id)
	default: // once, so under no id
		if i.waiting > 0 && e.kind == Token {
			if i.told == nil {
				i.told = map[string]struct{}{}
			}
			i.told[e.key] = struct{}{}
		}
		r.emit(i.face, outMsg{
			kind: wire.Declare, decl: declKinds[e.kind], key: e.key, complete: complete, hasIID: true, iid: i.id,
		})
	}
}

// emitFinal says that the current part of i has been answered.
func (r *Router) emitFinal(i *interest) {
	r.emit(i.face, outMsg{kind: wire.Declare, decl: wire.DeclFinal, hasIID: true, iid: i.id})
}

// finishInterest ends the current part of i, and i if that is all of it.
func (r *Router) finishInterest(i *interest) {
	delete(r.pending, i)
	i.waiting, i.told = 0, nil
	if i.watch != nil {
		return
	}
	if i.mode != wire.InterestFuture {
		r.emitFinal(i)
	}
	if i.mode == wire.InterestCurrent {
		r.removeInterest(i)
	}
}

func (r *Router) removeInterest(i *interest) {
	if i.watch != nil {
		delete(i.face.watches, i)
		return
	}
	delete(i.face.interests, i.id)
	i.face.bytes -= len(i.key)
}

// dropInterest forgets an interest. What its face was told remains, and is withdrawn in its time; but not what it was told
// in answer to an aggregate interest alone, for that would not be kept true.
func (r *Router) dropInterest(i *interest) {
	r.removeInterest(i)
	delete(r.pending, i)
	if i.mode != wire.InterestCurrent {
		for k := range kinds {
			if !i.wants(k) {
				continue
			}
			r.wanted[k].remove(i)
			if !i.aggregates(k) {
				continue
			}
			a := aggKey{k, i.key}
			if i.face.aggs[a]--; i.face.aggs[a] == 0 {
				delete(i.face.aggs, a)
			}
			r.sync(i.face, k, i.key, nil, syncPlain, 0)
		}
	}
	r.leaveAsk(i)
}

// dropInterests forgets all that f asked for.
func (r *Router) dropInterests(f *Face) {
	for _, m := range []map[*interest]struct{}{f.watches, interestSet(f.interests)} {
		for _, i := range sortedInterests(m) {
			r.dropInterest(i)
		}
	}
}

func interestSet(m map[uint32]*interest) map[*interest]struct{} {
	s := make(map[*interest]struct{}, len(m))
	for _, i := range m {
		s[i] = struct{}{}
	}
	return s
}

// sortedInterests returns the interests in the order in which they were declared.
func sortedInterests(m map[*interest]struct{}) []*interest {
	if len(m) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b *interest) int { return cmp.Compare(a.seq, b.seq) })
}

func sortedIDs[V any](m map[uint32]V) []uint32 { return slices.Sorted(maps.Keys(m)) }
