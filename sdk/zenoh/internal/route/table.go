package route

import (
	"cmp"
	"maps"
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
)

// Kind is a kind of declared entity.
type Kind uint8

// The kinds.
const (
	Subscriber Kind = iota
	Queryable
	Token
	kinds
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Subscriber:
		return "subscriber"
	case Queryable:
		return "queryable"
	case Token:
		return "token"
	}
	return "unknown"
}

// table is what is declared of one kind. Guarded by Router.mu, as everything in this file.
type table struct {
	byKey map[string]*entry
	index keyexpr.Index[*entry]
	seq   uint64
}

// entry is one declared key. It is in the table as long as a face holds it.
type entry struct {
	kind    Kind
	key     string
	seq     uint64 // order of appearance
	holders []holder
	told    []*Face // who has it in sent, not counting what only an aggregate interest asked for
}

// holder is a face that declared a key, however many times.
type holder struct {
	face     *Face
	ids      int
	complete int // how many of them are complete queryables
}

// entity is what a face declared under one id.
type entity struct {
	key      string
	complete bool
	// stale is set for what a gateway told us under an interest that has ended since: it does not count, but the gateway
	// may still withdraw it by its id.
	stale bool
}

// sent is a declaration that a face was told.
type sent struct {
	id       uint32
	complete bool
	direct   bool // it stands for the entry of its key, so the face is in the entry's told
}

func (t *table) init() { t.byKey = map[string]*entry{} }

func (t *table) sorted() []*entry {
	return slices.SortedFunc(maps.Values(t.byKey), func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
}

// ensure returns the entry of a key. If it makes one, key must not refer to a buffer.
func (t *table) ensure(k Kind, key string) *entry {
	e := t.byKey[key]
	if e == nil {
		t.seq++
		e = &entry{kind: k, key: key, seq: t.seq}
		t.byKey[key] = e
		t.index.Add(key, e)
	}
	return e
}

// release removes an entry that nobody holds.
func (t *table) release(e *entry) {
	if len(e.holders) == 0 && len(e.told) == 0 {
		delete(t.byKey, e.key)
		t.index.Remove(e.key, e)
	}
}

// matching calls yield for each entry that intersects key, or for each at all if not restricted, until yield is false.
func (t *table) matching(key string, restricted bool, yield func(e *entry) bool) {
	if restricted {
		t.index.Intersecting(key, func(_ string, e *entry) bool { return yield(e) })
		return
	}
	for _, e := range t.byKey {
		if !yield(e) {
			return
		}
	}
}

// matches returns the entries that intersect key, or all, in order of appearance.
func (t *table) matches(key string, restricted bool) []*entry {
	var out []*entry
	t.matching(key, restricted, func(e *entry) bool {
		out = append(out, e)
		return true
	})
	slices.SortFunc(out, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

func (e *entry) hold(f *Face, complete bool) {
	c := 0
	if complete {
		c = 1
	}
	for i := range e.holders {
		if h := &e.holders[i]; h.face == f {
			h.ids++
			h.complete += c
			return
		}
	}
	e.holders = append(e.holders, holder{face: f, ids: 1, complete: c})
}

func (e *entry) unhold(f *Face, complete bool) {
	for i := range e.holders {
		h := &e.holders[i]
		if h.face != f {
			continue
		}
		h.ids--
		if complete {
			h.complete--
		}
		if h.ids == 0 {
			e.holders = slices.Delete(e.holders, i, i+1)
		}
		return
	}
}

func (e *entry) heldBy(f *Face) bool {
	return slices.ContainsFunc(e.holders, func(h holder) bool { return h.face == f })
}

// concerns reports whether d has to do with what f declares. A face's own declarations do not count for it,
// but its tokens do, and those of local sessions, which reach themselves.
func concerns(d, f *Face, k Kind) bool {
	return relays(f.rel, d.rel) && (f != d || d.rel == Local || k == Token)
}

// visible reports whether somebody declared e whom d has to do with, and whether one of those is a complete queryable.
func (e *entry) visible(d *Face) (ok, complete bool) {
	for i := range e.holders {
		if h := &e.holders[i]; concerns(d, h.face, e.kind) {
			ok = true
			complete = complete || h.complete > 0
		}
	}
	return ok, complete
}

func (e *entry) tell(f *Face) { e.told = append(e.told, f) }

func (e *entry) untell(f *Face) {
	if i := slices.Index(e.told, f); i >= 0 {
		e.told = slices.Delete(e.told, i, i+1)
	}
}

// wanted are the interests in one kind of entity.
type wanted struct {
	index keyexpr.Index[*interest]
	all   map[*interest]struct{} // those that are not restricted to a key
}

func (w *wanted) init() { w.all = map[*interest]struct{}{} }

func (w *wanted) add(i *interest) {
	if i.restricted {
		w.index.Add(i.key, i)
	} else {
		w.all[i] = struct{}{}
	}
}

func (w *wanted) remove(i *interest) {
	if i.restricted {
		w.index.Remove(i.key, i)
	} else {
		delete(w.all, i)
	}
}

// by returns the interests in key, in the order in which they were declared.
func (w *wanted) by(key string) []*interest {
	var out []*interest
	w.index.Intersecting(key, func(_ string, i *interest) bool {
		out = append(out, i)
		return true
	})
	for i := range w.all {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b *interest) int { return cmp.Compare(a.seq, b.seq) })
	return out
}
