package kvs

import (
	"strings"

	"github.com/essa-project/essad/sdk/lattice"
)

// listener is told of changes: a watch, a waiting read or an executor's cache. The core only passes it on in events.
type listener interface {
	tell(ev event)
}

// event says that key changed to rec, for one listener.
type event struct {
	to    listener
	key   string
	rec   lattice.Record
	seq   uint64 // orders the events of a key
	until uint64 // caches: their lease ends then
}

// watchTable holds the watches of a shard: of single keys, and of prefixes by their scope.
type watchTable struct {
	keys     map[string][]listener
	prefixes map[string][]prefixWatch
}

type prefixWatch struct {
	prefix string // stored key
	to     listener
}

func (t *watchTable) addKey(key string, to listener) {
	if t.keys == nil {
		t.keys = map[string][]listener{}
	}
	t.keys[key] = append(t.keys[key], to)
}

func (t *watchTable) removeKey(key string, to listener) {
	ls := t.keys[key]
	for i, l := range ls {
		if l == to {
			ls[i] = ls[len(ls)-1]
			ls[len(ls)-1] = nil
			ls = ls[:len(ls)-1]
			break
		}
	}
	if len(ls) == 0 {
		delete(t.keys, key)
		return
	}
	t.keys[key] = ls
}

func (t *watchTable) addPrefix(prefix string, to listener) {
	if t.prefixes == nil {
		t.prefixes = map[string][]prefixWatch{}
	}
	scope := scopePart(prefix)
	t.prefixes[scope] = append(t.prefixes[scope], prefixWatch{prefix, to})
}

func (t *watchTable) removePrefix(prefix string, to listener) {
	scope := scopePart(prefix)
	ws := t.prefixes[scope]
	for i, w := range ws {
		if w.to == to {
			ws[i] = ws[len(ws)-1]
			ws[len(ws)-1] = prefixWatch{}
			ws = ws[:len(ws)-1]
			break
		}
	}
	if len(ws) == 0 {
		delete(t.prefixes, scope)
		return
	}
	t.prefixes[scope] = ws
}

// holderTable holds which caches have which keys, each until its lease ends. All leases are equally long, so they end in
// the order in which they began.
type holderTable struct {
	keys   map[string][]holder
	leases []lease
	first  int // of leases: those before it have ended
	count  int
}

type holder struct {
	to    listener
	until uint64
}

type lease struct {
	key   string
	until uint64
}

// maxPush is the largest value sent to a cache that has an older one; of a larger one it is told to drop what it has.
const maxPush = 4 << 10

// register notes that a cache will hold key, and returns how long it is told of changes; 0: not at all.
func (s *shard) register(key []byte, to listener, now uint64) (leaseTime uint64) {
	t := &s.holders
	until := now + s.cfg.lease
	hs := t.keys[string(key)]
	for i := range hs {
		if hs[i].to == to {
			// Renewed in time: the old lease's end finds the new one.
			if until > hs[i].until+s.cfg.lease/8 {
				hs[i].until = until
				t.leases = append(t.leases, lease{string(key), until})
			}
			return hs[i].until - now
		}
	}
	if t.count >= s.cfg.maxHolders || len(t.leases)-t.first >= 8*s.cfg.maxHolders {
		return 0
	}
	if t.keys == nil {
		t.keys = map[string][]holder{}
	}
	k := string(key)
	t.keys[k] = append(hs, holder{to, until})
	t.leases = append(t.leases, lease{k, until})
	t.count++
	return s.cfg.lease
}

// endLeases forgets holders whose lease has ended, max of them at most.
func (s *shard) endLeases(now uint64, max int) {
	t := &s.holders
	for ; max > 0 && t.first < len(t.leases) && t.leases[t.first].until <= now; max-- {
		key := t.leases[t.first].key
		t.leases[t.first] = lease{}
		t.first++
		hs := t.keys[key]
		kept := hs[:0]
		for _, h := range hs {
			if h.until > now {
				kept = append(kept, h)
			}
		}
		clear(hs[len(kept):])
		s.holders.set(key, hs, kept)
	}
	if t.first > 1024 && t.first > len(t.leases)/2 {
		t.leases = append(t.leases[:0:0], t.leases[t.first:]...)
		t.first = 0
	}
}

func (t *holderTable) set(key string, had, kept []holder) {
	t.count -= len(had) - len(kept)
	if len(kept) == 0 {
		delete(t.keys, key)
		return
	}
	t.keys[key] = kept
}

// tell makes the events of a change of e.
func (s *shard) tell(e *entry) {
	if len(s.watches.keys) > 0 {
		for _, to := range s.watches.keys[e.key] {
			s.events = append(s.events, event{to: to, key: e.key, rec: e.rec, seq: e.seq})
		}
	}
	if len(s.watches.prefixes) > 0 {
		for _, w := range s.watches.prefixes[scopePart(e.key)] {
			if strings.HasPrefix(e.key, w.prefix) {
				s.events = append(s.events, event{to: w.to, key: e.key, rec: e.rec, seq: e.seq})
			}
		}
	}
	if s.holders.count == 0 {
		return
	}
	if hs := s.holders.keys[e.key]; len(hs) > 0 {
		for _, h := range hs {
			s.events = append(s.events, event{to: h.to, key: e.key, rec: e.rec, seq: e.seq, until: h.until})
		}
		if n := len(e.rec.Value); n == 0 || n > maxPush {
			s.holders.set(e.key, hs, nil) // they drop it, and register when they read it again
		}
	}
}
