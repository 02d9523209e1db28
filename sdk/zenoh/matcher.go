package zenoh

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
)

const (
	// matchSlots is how many keys a matcher remembers the matches of; a power of two.
	matchSlots = 256
	// maxCachedKey bounds the length of those keys.
	maxCachedKey = 1024
)

// matcher finds what a session has declared whose key expression intersects a key. For a key that was looked up before it
// takes no lock and allocates nothing.
type matcher[T comparable] struct {
	table atomic.Pointer[matches[T]] // replaced by every change

	mu    sync.Mutex // serialises changes, and guards index
	index keyexpr.Index[T]
}

// matches are the answers since the last change.
type matches[T comparable] struct {
	seed  maphash.Seed
	slots [matchSlots]atomic.Pointer[match[T]]
}

// match is the answer for one key. The key is its own copy.
type match[T comparable] struct {
	key  string
	list []T
}

func (m *matcher[T]) add(key string, v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Add(key, v)
	m.table.Store(nil)
}

func (m *matcher[T]) remove(key string, v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Remove(key, v)
	m.table.Store(nil)
}

// find returns what matches key, with a copy of the key that may be kept.
func (m *matcher[T]) find(key string) match[T] {
	t := m.table.Load()
	var h uint64
	if t != nil {
		h = maphash.String(t.seed, key) % matchSlots
		if x := t.slots[h].Load(); x != nil && x.key == key {
			return *x
		}
	}
	return m.look(key)
}

func (m *matcher[T]) look(key string) match[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table.Load()
	if t == nil {
		t = &matches[T]{seed: maphash.MakeSeed()}
		m.table.Store(t)
	}
	x := match[T]{key: string([]byte(key))}
	m.index.Intersecting(key, func(_ string, v T) bool {
		x.list = append(x.list, v)
		return true
	})
	if len(key) <= maxCachedKey {
		t.slots[maphash.String(t.seed, key)%matchSlots].Store(&x)
	}
	return x
}
