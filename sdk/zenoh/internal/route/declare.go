package route

import (
	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// declare takes a DECLARE.
func (r *Router) declare(f *Face, m *wire.Message) {
	switch m.Decl.Kind {
	case wire.DeclKeyExpr:
		r.declareKeyExpr(f, m)
	case wire.UndeclKeyExpr:
		r.undeclareKeyExpr(f, m)
	case wire.DeclSubscriber:
		r.declareEntity(f, m, Subscriber)
	case wire.DeclQueryable:
		r.declareEntity(f, m, Queryable)
	case wire.DeclToken:
		r.declareEntity(f, m, Token)
	case wire.UndeclSubscriber:
		r.undeclareEntity(f, m, Subscriber)
	case wire.UndeclQueryable:
		r.undeclareEntity(f, m, Queryable)
	case wire.UndeclToken:
		r.undeclareEntity(f, m, Token)
	case wire.DeclFinal:
		r.declareFinal(f, m)
	}
}

var entityOps = [kinds]Op{Subscriber: OpSubscribe, Queryable: OpQueryable, Token: OpToken}

func (r *Router) declareEntity(f *Face, m *wire.Message, k Kind) {
	key, ok := r.fullKey(f, &m.Key)
	if !ok {
		r.report(f, Invalid, entityOps[k], m.Key.Suffix, nil)
		return
	}
	if err := r.allow(f, entityOps[k], key); err != nil {
		r.report(f, Refused, entityOps[k], key, err)
		return
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	if f.gone.Load() {
		return
	}
	var a *ask
	if f.rel == North && m.HasInterest {
		if a = f.asks[m.InterestID]; a == nil { // it is late
			if m.Decl.ID == 0 || !f.asksFor(k, key) {
				return
			}
			a = &ask{} // another ask covers it; but it is no news
		}
		if a.mode == wire.InterestCurrent {
			if k == Token {
				r.currentToken(a, key)
			}
			return
		}
	}
	if k != Token {
		r.useKeyID(f, &m.Key)
	}
	r.addEntity(f, k, m.Decl.ID, key, k == Queryable && m.Decl.Complete, a)
}

// addEntity records a declaration and tells others. It is the answer to a if a is not nil.
func (r *Router) addEntity(f *Face, k Kind, id uint32, key string, complete bool, a *ask) {
	old, known := f.has[k][id]
	if known && !old.stale && old.key == key && old.complete == complete {
		if a != nil && k == Token {
			r.history(a, r.tables[k].byKey[key])
		}
		return
	}
	if !known && !r.account(f, 1, len(key)) || known && !r.account(f, 0, len(key)-len(old.key)) {
		r.report(f, Overflow, entityOps[k], key, nil)
		return
	}
	if f.has[k] == nil {
		f.has[k] = map[uint32]entity{}
	}
	e := r.tables[k].ensure(k, key)
	f.has[k][id] = entity{key: e.key, complete: complete}
	e.hold(f, complete)
	if known && !old.stale && old.key == key {
		e.unhold(f, old.complete)
	}
	r.bump(k)
	if k == Token && a != nil && !a.renewed(f) {
		r.history(a, e) // it is not new: who did not ask for what is there already is not told
	} else {
		r.changed(e, f)
	}
	if known && !old.stale && old.key != key {
		r.dropHolding(f, k, old)
	}
}

// account adds to what f has declared, unless that would be too much.
func (r *Router) account(f *Face, n, bytes int) bool {
	if f.rel != Local && (n > 0 && f.declared+n > r.o.MaxDeclarations || bytes > 0 && f.bytes+bytes > r.o.MaxDeclaredBytes) {
		return false
	}
	f.declared += n
	f.bytes += bytes
	return true
}

func (r *Router) undeclareEntity(f *Face, m *wire.Message, k Kind) {
	key := ""
	if m.Decl.HasKey && (m.Key.Scope != 0 || m.Key.Suffix != "") {
		key, _ = r.fullKey(f, &m.Key)
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	x, ok := f.has[k][m.Decl.ID]
	if ok {
		r.dropEntity(f, k, m.Decl.ID, x)
		return
	}
	if f.rel != North || k != Token || key == "" {
		return
	}
	// A token that we were never told of is gone, or all of that key.
	if e := r.tables[k].byKey[key]; e != nil && e.heldBy(f) {
		for id, x := range f.has[k] {
			if x.key == key && !x.stale {
				r.dropEntity(f, k, id, x)
			}
		}
		return
	}
	r.tokenGone(key)
}

// dropEntity removes a declaration of f.
func (r *Router) dropEntity(f *Face, k Kind, id uint32, x entity) {
	delete(f.has[k], id)
	r.account(f, -1, -len(x.key))
	if !x.stale {
		r.dropHolding(f, k, x)
		return
	}
	if k == Token && r.tables[k].byKey[x.key] == nil {
		r.tokenGone(x.key)
	}
}

// dropHolding tells the others that one declaration of f does not count any more.
func (r *Router) dropHolding(f *Face, k Kind, x entity) {
	e := r.tables[k].byKey[x.key]
	if e == nil {
		return
	}
	e.unhold(f, x.complete)
	r.bump(k)
	r.changed(e, nil)
	r.tables[k].release(e)
}

// dropDeclarations removes all that f has declared.
func (r *Router) dropDeclarations(f *Face) {
	for k := range kinds {
		for _, id := range sortedIDs(f.has[k]) {
			x := f.has[k][id]
			delete(f.has[k], id)
			if !x.stale {
				r.dropHolding(f, k, x)
			}
		}
	}
	f.keyIDs = nil
}

// forgetSent removes what f was told from the tables.
func (r *Router) forgetSent(f *Face) {
	for k := range kinds {
		for key, s := range f.sent[k] {
			if e := r.tables[k].byKey[key]; e != nil && s.direct {
				e.untell(f)
			}
		}
		f.sent[k] = nil
	}
}

// How sync was asked to tell a face.
const (
	syncPlain  = iota
	syncAsked  // an interest of the face that is not aggregate matches the key
	syncAnswer // so it does, and the face is to be told again, in answer to it
	syncWhole  // an aggregate interest does, which is to be answered
)

// changed tells all faces concerned that the holders of e have changed. by is who declared it, nil if somebody has
// withdrawn it: what is left then is no news for those who were not told of it.
func (r *Router) changed(e *entry, by *Face) {
	r.pushedTold(e)
	r.mark++
	heard := r.mark
	for _, i := range r.wanted[e.kind].by(e.key) {
		switch {
		case i.watch != nil:
			r.syncWatch(i)
		case i.aggregates(e.kind):
			r.sync(i.face, e.kind, i.key, nil, syncPlain, 0)
		case by != nil:
			if concerns(i.face, by, e.kind) {
				r.sync(i.face, e.kind, e.key, e, syncAsked, 0)
			}
		case e.kind == Token && len(e.holders) == 0 && i.face.sent[Token][e.key] == nil && i.face.mark != heard:
			i.face.mark = heard
			r.emitGone(i.face, e.key)
		case r.sync(i.face, e.kind, e.key, e, syncPlain, 0):
			i.face.mark = heard // it need not hear it twice
		}
	}
	r.toldAgain(e)
}

// pushedTold tells those faces that are told everything.
func (r *Router) pushedTold(e *entry) {
	for _, f := range r.pushed {
		r.sync(f, e.kind, e.key, e, syncPlain, 0)
	}
}

// toldAgain tells those who were told of e already, whether or not they still ask.
func (r *Router) toldAgain(e *entry) {
	for j := len(e.told) - 1; j >= 0; j-- { // sync removes at most this one
		r.sync(e.told[j], e.kind, e.key, e, syncPlain, 0)
	}
}

// sync tells d what has changed for it about key: D_x where it has to know of the key and does not, again where the
// queryable's completeness is another, U_x where it does not have to any more. e is the entry of key, nil if not at hand;
// iid is what is answered. It reports whether it withdrew.
func (r *Router) sync(d *Face, k Kind, key string, e *entry, how int, iid uint32) (withdrawn bool) {
	if e == nil {
		e = r.tables[k].byKey[key]
	}
	s := d.sent[k][key]
	direct, complete := false, false
	if e != nil && (d.isPushed() || how == syncAsked || how == syncAnswer || s != nil && s.direct) {
		direct, complete = e.visible(d)
	}
	want := direct
	if d.aggs[aggKey{k, key}] > 0 {
		any, c := r.aggregate(d, k, key)
		want, complete = want || any, complete || c
	}
	if !want {
		if s == nil {
			return false
		}
		delete(d.sent[k], key)
		if s.direct && e != nil {
			e.untell(d)
		}
		r.emit(d, outMsg{kind: wire.Declare, decl: undeclKinds[k], id: s.id, hasKey: k != Subscriber})
		return true
	}
	fresh := s == nil
	if fresh {
		s = &sent{id: d.newEntityID()}
		if d.sent[k] == nil {
			d.sent[k] = map[string]*sent{}
		}
		d.sent[k][key] = s
	}
	if s.direct != direct {
		s.direct = direct
		if direct {
			e.tell(d)
		} else if e != nil {
			e.untell(d)
		}
	}
	if fresh || s.complete != complete || how >= syncAnswer {
		s.complete = complete
		o := outMsg{kind: wire.Declare, decl: declKinds[k], id: s.id, key: key, complete: complete}
		if how >= syncAnswer {
			o.hasIID, o.iid = true, iid
		}
		r.emit(d, o)
	}
	return false
}

var (
	declKinds   = [kinds]wire.DeclKind{wire.DeclSubscriber, wire.DeclQueryable, wire.DeclToken}
	undeclKinds = [kinds]wire.DeclKind{wire.UndeclSubscriber, wire.UndeclQueryable, wire.UndeclToken}
)

// aggregate reports whether anything that d has to do with intersects key, and whether a complete queryable includes it.
func (r *Router) aggregate(d *Face, k Kind, key string) (ok, complete bool) {
	r.tables[k].matching(key, true, func(e *entry) bool {
		v, c := e.visible(d)
		ok = ok || v
		complete = complete || c && keyexpr.Includes(e.key, key)
		return !ok || k == Queryable && !complete
	})
	return ok, complete
}

// tokenGone tells those who ask for tokens, and were not told of this one, that it is gone.
func (r *Router) tokenGone(key string) {
	r.mark++
	for _, i := range r.wanted[Token].by(key) {
		if i.face.mark != r.mark && i.face.sent[Token][key] == nil {
			i.face.mark = r.mark
			r.emitGone(i.face, key)
		}
	}
}

// emitGone is the one-shot U_TOKEN by key.
func (r *Router) emitGone(f *Face, key string) {
	r.emit(f, outMsg{kind: wire.Declare, decl: wire.UndeclToken, hasKey: true, key: key})
}

// declareFinal takes a D_FINAL.
func (r *Router) declareFinal(f *Face, m *wire.Message) {
	r.mu.Lock()
	defer r.unlockAndFlush()
	if f.gone.Load() {
		return
	}
	switch {
	case f.rel == North && m.HasInterest:
		r.askAnswered(f, m.InterestID)
	case f.rel == Mesh && (!m.HasInterest || m.InterestID == 0) && !f.sync.Load():
		f.markSynced()
		r.bumpAll()
	}
}
