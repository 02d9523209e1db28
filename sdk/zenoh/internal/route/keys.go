package route

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// keyTable are the key expressions that a face has declared: read without a lock, written under Router.mu. Its pages are
// made as they are needed.
type keyTable struct {
	pages atomic.Pointer[[256]atomic.Pointer[keyPage]]
}

type keyPage [256]atomic.Pointer[keyEntry]

// keyEntry is one declared key expression, the prefix of those that use its id.
type keyEntry struct {
	prefix string
	self   atomic.Pointer[resolved] // of the prefix alone
}

func (t *keyTable) get(id uint16) *keyEntry {
	pages := t.pages.Load()
	if pages == nil {
		return nil
	}
	page := pages[id>>8].Load()
	if page == nil {
		return nil
	}
	return page[id&0xff].Load()
}

func (t *keyTable) set(id uint16, e *keyEntry) {
	pages := t.pages.Load()
	if pages == nil {
		pages = new([256]atomic.Pointer[keyPage])
		t.pages.Store(pages)
	}
	page := pages[id>>8].Load()
	if page == nil {
		page = new(keyPage)
		pages[id>>8].Store(page)
	}
	page[id&0xff].Store(e)
}

// declareKeyExpr takes a D_KEYEXPR. The same again changes nothing; another key under the same id is ignored.
func (r *Router) declareKeyExpr(f *Face, m *wire.Message) {
	id := uint16(m.Decl.ID)
	if m.Decl.ID == 0 || m.Decl.ID > 0xffff || m.Key.Scope != 0 || m.Key.Suffix == "" || len(m.Key.Suffix) > keyexpr.MaxBytes {
		r.report(f, Invalid, OpKeyExpr, m.Key.Suffix, nil) // we declare no ids that it could refer to
		return
	}
	r.mu.Lock()
	defer r.unlockAndFlush()
	if f.gone.Load() {
		return
	}
	if e := f.keys.get(id); e != nil {
		if e.prefix != m.Key.Suffix {
			r.report(f, Protocol, OpKeyExpr, m.Key.Suffix, nil)
		}
		return
	}
	if !r.account(f, 1, len(m.Key.Suffix)) {
		r.report(f, Overflow, OpKeyExpr, m.Key.Suffix, nil)
		return
	}
	f.keys.set(id, &keyEntry{prefix: strings.Clone(m.Key.Suffix)})
}

func (r *Router) undeclareKeyExpr(f *Face, m *wire.Message) {
	r.mu.Lock()
	defer r.unlockAndFlush()
	if m.Decl.ID > 0xffff {
		return
	}
	id := uint16(m.Decl.ID)
	e := f.keys.get(id)
	if e == nil {
		return
	}
	f.keys.set(id, nil)
	r.account(f, -1, -len(e.prefix))
	if f.keyIDs[e.prefix] == id {
		delete(f.keyIDs, e.prefix)
		r.bumpAll()
	}
}

// useKeyID remembers that f has declared an entity by the id of a key expression: it holds on to that id, so it may be
// used in what is sent to it.
func (r *Router) useKeyID(f *Face, w *wire.WireExpr) {
	if w.Scope == 0 || f.rel == Local {
		return
	}
	e := f.keys.get(w.Scope)
	if e == nil || f.keyIDs[e.prefix] == w.Scope {
		return
	}
	if f.keyIDs == nil {
		f.keyIDs = map[string]uint16{}
	}
	f.keyIDs[e.prefix] = w.Scope
	r.bumpAll()
}

// shorten returns the longest prefix of key that f has an id for: the id and the prefix's length, or zeros. Router.mu is
// held for reading.
func (f *Face) shorten(key string) (scope, cut uint16) {
	if len(f.keyIDs) == 0 || len(key) > keyexpr.MaxBytes {
		return 0, 0
	}
	for n := len(key); n > 0; n = strings.LastIndexByte(key[:n], '/') {
		if id := f.keyIDs[key[:n]]; id != 0 {
			return id, uint16(n)
		}
	}
	return 0, 0
}

// fullKey returns the valid key that w stands for in a message of f. It shares no memory with w.
func (r *Router) fullKey(f *Face, w *wire.WireExpr) (string, bool) {
	if w.Scope == 0 {
		if keyexpr.Valid(w.Suffix) != nil {
			return "", false
		}
		return strings.Clone(w.Suffix), true
	}
	e := f.entry(w)
	if e == nil {
		return "", false
	}
	key := e.prefix + w.Suffix
	return key, keyexpr.Valid(key) == nil
}

// entry returns what the scope of w, which is not 0, stands for, or nil.
func (f *Face) entry(w *wire.WireExpr) *keyEntry {
	if !w.Sender {
		return nil // it would be an id of ours, and we declare none
	}
	return f.keys.get(w.Scope)
}

// maxCachedKey is the length of the longest key that is remembered.
const maxCachedKey = 1 << 10

// keyRoutes is a key with where it leads.
type keyRoutes struct {
	key  string // refers to no buffer
	subs atomic.Pointer[subRoute]
	qbls atomic.Pointer[qblRoute]
}

// keyCache remembers keys with their routes, for all faces. Each key has two places; what comes takes the second where both
// are taken.
type keyCache struct {
	slots []atomic.Pointer[keyRoutes]
}

func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

func newKeyCache(n int) *keyCache {
	return &keyCache{slots: make([]atomic.Pointer[keyRoutes], powerOfTwo(max(n, 2)))}
}

// routes returns the routes of a key, nil if it is not valid. key may refer to a buffer.
func (r *Router) routes(key string) *keyRoutes {
	c := r.cache
	h := int(maphash.String(r.seed, key)) & (len(c.slots) - 1)
	a := c.slots[h].Load()
	if a != nil && a.key == key {
		return a
	}
	b := c.slots[h^1].Load()
	if b != nil && b.key == key {
		return b
	}
	if keyexpr.Valid(key) != nil {
		return nil
	}
	k := &keyRoutes{key: strings.Clone(key)}
	if len(key) > maxCachedKey {
		return k
	}
	if a == nil {
		c.slots[h].Store(k)
	} else {
		c.slots[h^1].Store(k)
	}
	return k
}

// forgetStale drops the routes that are computed anew anyway, so that they do not hold on to faces that are gone.
func (c *keyCache) forgetStale(r *Router) {
	for i := range c.slots {
		k := c.slots[i].Load()
		if k == nil {
			continue
		}
		if s := k.subs.Load(); s != nil && s.gen != r.gen[Subscriber].Load() {
			k.subs.CompareAndSwap(s, nil)
		}
		if q := k.qbls.Load(); q != nil && q.gen != r.gen[Queryable].Load() {
			k.qbls.CompareAndSwap(q, nil)
		}
	}
}

// resolved is a key as one face writes it, with what was decided for that face.
type resolved struct {
	entry    *keyEntry // nil for scope 0
	suffix   string
	routes   *keyRoutes
	verdicts [2]atomic.Pointer[verdict] // on PUSH and on REQUEST
}

// faceCache remembers what a face's keys resolve to: those with a prefix, and all where there are verdicts to remember.
type faceCache struct {
	slots  []atomic.Pointer[resolved]
	misses atomic.Int32 // that found their place taken
}

const faceCacheMin = 64

// resolve returns the routes of a message's key, nil if it has an unknown scope or is not valid, and the face's own record
// of it, which is nil where neither a prefix nor a verdict has to be remembered.
func (r *Router) resolve(f *Face, w *wire.WireExpr) (*keyRoutes, *resolved) {
	var e *keyEntry
	if w.Scope == 0 {
		if !f.guarded {
			return r.routes(w.Suffix), nil
		}
	} else {
		if e = f.entry(w); e == nil {
			return nil, nil
		}
		if w.Suffix == "" {
			if s := e.self.Load(); s != nil {
				return s.routes, s
			}
			k := r.routes(e.prefix)
			if k == nil {
				return nil, nil
			}
			s := &resolved{entry: e, routes: k}
			e.self.Store(s)
			return k, s
		}
	}
	return r.resolveCached(f, e, w.Suffix, int(w.Scope))
}

func (r *Router) resolveCached(f *Face, e *keyEntry, suffix string, scope int) (*keyRoutes, *resolved) {
	c := f.seen.Load()
	if c == nil {
		c = &faceCache{slots: make([]atomic.Pointer[resolved], min(faceCacheMin, len(r.cache.slots)))}
		f.seen.Store(c)
	}
	slot := &c.slots[(int(maphash.String(r.seed, suffix))+scope)&(len(c.slots)-1)]
	old := slot.Load()
	if old != nil && old.entry == e && old.suffix == suffix {
		return old.routes, old
	}
	key := suffix
	if e != nil {
		key = e.prefix + suffix
	}
	k := r.routes(key)
	if k == nil {
		return nil, nil
	}
	s := &resolved{entry: e, suffix: k.key[len(k.key)-len(suffix):], routes: k}
	if len(key) > maxCachedKey {
		return k, s
	}
	slot.Store(s)
	if old != nil && int(c.misses.Add(1)) > len(c.slots) && len(c.slots) < len(r.cache.slots) {
		f.seen.Store(&faceCache{slots: make([]atomic.Pointer[resolved], min(4*len(c.slots), len(r.cache.slots)))})
	}
	return k, s
}
