package runtime

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/lattice"
)

// nearCache holds what guests have read, by scope and key. It never serves a value older than one it was told of: by an
// update of the executor, by what a call of this engine wrote, or by the versions that came with a result. Absence is
// not cached.
//
// It is bounded in bytes and in keys. What goes first is chosen by SIEVE: one queue, a mark on every entry that was read
// since the hand passed, and the hand takes the first without a mark. Reading an entry writes nothing but that mark.
type nearCache struct {
	clock   func() time.Time
	maxKeys int
	maxSize int64
	seq     atomic.Uint64 // counts loads begun

	scopesMu sync.RWMutex
	scopes   map[string]*scope

	// mu guards the queue. It is taken while a scope's lock is not held, or after it.
	mu   sync.Mutex
	head *entry // newest
	tail *entry
	hand *entry
	keys int
	size int64
}

// scope is what is cached of one scope.
type scope struct {
	cache *nearCache
	name  string

	mu       sync.RWMutex
	entries  map[string]*entry
	flights  map[string]*flight
	refs     int    // calls that use it; guarded by cache.scopesMu
	frontier uint64 // values of older versions must have been loaded after frontierSeq
	after    uint64 // frontierSeq
}

// entry is a cached value. All but the mark and the queue's links is immutable.
type entry struct {
	scope   *scope
	value   abi.Value
	version uint64
	newest  uint64 // newest timestamp in it, its version included
	expires time.Time
	seq     uint64

	read       atomic.Bool
	prev, next *entry
	queued     bool
}

// flight is a key that is being loaded: what the loaded value must not be older than to be cached.
type flight struct {
	loads   int
	least   uint64
	dropped uint64 // loads that began up to this one must not be cached
}

// entryOverhead is what an entry costs beside its key and value.
const entryOverhead = 192

func (e *entry) bytes() int64 { return int64(len(e.value.Key)+len(e.value.Data)) + entryOverhead }

func newNearCache(keys int, size int64, clock func() time.Time) *nearCache {
	return &nearCache{clock: clock, maxKeys: keys, maxSize: size, scopes: map[string]*scope{}}
}

// use returns the scope of a name; unuse gives it back. A scope without calls and entries is forgotten.
func (c *nearCache) use(name string) *scope {
	c.scopesMu.Lock()
	defer c.scopesMu.Unlock()
	s := c.scopes[name]
	if s == nil {
		s = &scope{cache: c, name: name, entries: map[string]*entry{}, flights: map[string]*flight{}}
		c.scopes[name] = s
	}
	s.refs++
	return s
}

func (c *nearCache) unuse(s *scope) {
	c.scopesMu.Lock()
	defer c.scopesMu.Unlock()
	s.refs--
	c.forget(s)
}

// forget drops a scope that holds nothing. scopesMu is held.
func (c *nearCache) forget(s *scope) {
	if s.refs > 0 {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 {
		delete(c.scopes, s.name)
	}
}

// get returns what is cached under key. It allocates nothing.
func (s *scope) get(key []byte) *entry {
	s.mu.RLock()
	e := s.entries[string(key)]
	stale := e != nil && e.version < s.frontier && e.seq <= s.after
	s.mu.RUnlock()
	if e == nil || stale || s.cache.clock().After(e.expires) {
		return nil
	}
	if !e.read.Load() {
		e.read.Store(true)
	}
	return e
}

// begin tells that key is being loaded; end must follow with what it returned.
func (s *scope) begin(key string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[key]
	if f == nil {
		f = &flight{}
		s.flights[key] = f
	}
	f.loads++
	return s.cache.seq.Add(1)
}

// end caches a loaded value, unless it became too old meanwhile. A load that failed has no value.
func (s *scope) end(key string, seq uint64, v *engine.Value) *entry {
	var e *entry
	if v != nil {
		e = &entry{scope: s, value: abi.Value{Key: key, Data: v.Data}, version: v.Version, newest: newestIn(v), seq: seq}
		e.expires = s.cache.clock().Add(v.Lease)
	}
	s.mu.Lock()
	f := s.flights[key]
	if f.loads--; f.loads == 0 {
		delete(s.flights, key)
	}
	keep := e != nil && v.Lease > 0 && e.version >= f.least && seq > f.dropped && e.bytes() <= s.cache.maxSize
	old := s.entries[key]
	if keep && old != nil && (old.version > e.version || old.version == e.version && old.seq > seq) {
		keep = false
	}
	if e != nil { // somebody has seen it, so nobody is to see what is older
		f.least = max(f.least, e.version)
	}
	switch {
	case keep:
		s.entries[key] = e
		s.cache.enter(e, old)
	case e != nil && old != nil && old.version < e.version:
		s.remove(old)
	}
	s.mu.Unlock()
	if keep {
		s.cache.evict()
	}
	return e
}

// newestIn returns the newest timestamp of a value: a guest's clock must not read earlier.
func newestIn(v *engine.Value) uint64 {
	newest := v.Version
	if _, t, timed, err := lattice.Normalize(v.Data); err == nil && timed {
		if ns := t.UnixNano(); ns > 0 {
			newest = max(newest, uint64(ns))
		}
	}
	return newest
}

// wrote tells that a key has a version now: what is older is not served any more.
func (s *scope) wrote(key string, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil && e.version < version {
		s.remove(e)
	}
	if f := s.flights[key]; f != nil {
		f.least = max(f.least, version)
	}
}

// passed tells that any key may have a version up to this one.
func (s *scope) passed(frontier uint64) {
	if frontier == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frontier = max(s.frontier, frontier)
	s.after = s.cache.seq.Load()
}

// remove forgets an entry. The scope's lock is held.
func (s *scope) remove(e *entry) {
	delete(s.entries, e.value.Key)
	s.cache.leave(e)
}

// update does what the executor tells.
func (c *nearCache) update(u *engine.CacheUpdate) {
	c.scopesMu.Lock()
	defer c.scopesMu.Unlock()
	if u.Drop && u.Key == nil && u.Scope == "" {
		for _, s := range c.scopes {
			s.clear()
			c.forget(s)
		}
		return
	}
	s := c.scopes[u.Scope]
	switch {
	case s == nil:
		return
	case u.Drop && u.Key == nil:
		s.clear()
	case u.Drop:
		s.drop(string(u.Key))
	default:
		s.replace(string(u.Key), &u.Value)
		return
	}
	c.forget(s)
}

func (s *scope) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		s.remove(e)
	}
	for _, f := range s.flights {
		f.dropped = s.cache.seq.Load()
	}
}

func (s *scope) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		s.remove(e)
	}
	if f := s.flights[key]; f != nil {
		f.dropped = s.cache.seq.Load()
	}
}

// replace puts a newer value in the place of an older one. What nobody has read is not cached for its own sake.
func (s *scope) replace(key string, v *engine.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[key]; f != nil {
		f.least = max(f.least, v.Version)
	}
	old := s.entries[key]
	if old == nil || old.version > v.Version {
		return
	}
	if v.Lease <= 0 {
		s.remove(old)
		return
	}
	e := &entry{
		scope: s, value: abi.Value{Key: old.value.Key, Data: v.Data}, version: v.Version, newest: newestIn(v),
		seq: s.cache.seq.Add(1), expires: s.cache.clock().Add(v.Lease),
	}
	s.entries[key] = e
	s.cache.enter(e, old)
}

// enter puts an entry in the queue, in front, and takes out the one it replaces. The scope's lock is held.
func (c *nearCache) enter(e, old *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old != nil {
		c.unlink(old)
	}
	e.queued, e.next = true, c.head
	if c.head != nil {
		c.head.prev = e
	}
	c.head = e
	if c.tail == nil {
		c.tail = e
	}
	c.keys++
	c.size += e.bytes()
}

func (c *nearCache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlink(e)
}

// unlink takes an entry out of the queue. The lock is held.
func (c *nearCache) unlink(e *entry) {
	if !e.queued {
		return
	}
	if c.hand == e {
		c.hand = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		c.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		c.tail = e.prev
	}
	e.queued, e.prev, e.next = false, nil, nil
	c.keys--
	c.size -= e.bytes()
}

// evict makes the cache fit its bounds. No lock is held.
func (c *nearCache) evict() {
	for {
		e := c.victim()
		if e == nil {
			return
		}
		s := e.scope
		s.mu.Lock()
		if s.entries[e.value.Key] == e {
			delete(s.entries, e.value.Key)
		}
		s.mu.Unlock()
	}
}

// victim takes the next entry to go out of the queue, or returns nil where the cache fits.
func (c *nearCache) victim() *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys <= c.maxKeys && c.size <= c.maxSize {
		return nil
	}
	e := c.hand
	if e == nil {
		e = c.tail
	}
	for e.read.Swap(false) {
		if e = e.prev; e == nil {
			e = c.tail
		}
	}
	c.hand = e.prev
	c.unlink(e)
	return e
}
