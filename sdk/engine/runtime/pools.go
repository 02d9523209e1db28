package runtime

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// pool holds the instances that calls of one kind leave for each other, and the snapshot they are set back to. What a kind
// is: a module, the environment and arguments its initialisation saw, the export that warmed it up, and, where instances
// are reused as they are, the scope.
type pool struct {
	mod     *module
	key     string
	reused  bool
	durable bool // nothing but the module decides what its snapshot is

	scope, warmUp string // what key is made of
	env, argv     []string

	// Guarded by pools.mu.
	snap    *snap
	parked  []*resident // oldest first
	refs    int         // invocations
	used    uint64      // pools.clock when it was used last
	looked  bool        // for a snapshot on disk
	dropped bool
	fresh   string // why there will be no snapshot
}

// snap is a snapshot.
type snap struct {
	image   *snapshot.Image // nil where there is no memory
	size    int             // bytes of memory
	globals []uint64
	shift   int64 // what the guest's monotonic clock is ahead of the host's
	seeds   []int // offsets of Go's random states
	charged int64 // of the engine's budget
}

// resident is an instance that can outlive an invocation.
type resident struct {
	Keeper
	pool    *pool
	snap    *snap             // that it is set back to; nil where it is not
	mapping *snapshot.Mapping // nil where there is no memory, or it is not set back
	trimmer Trimmer           // nil where the engine's instances are none
	charge  int64             // of the engine's budget, while it is parked
	size    int               // bytes of memory, while it is parked
	high    int               // bytes up to where there are pages of its own: more, where an earlier call's memory grew
	since   time.Time         // when it was parked, where it is heavy

	seeds    rand.ChaCha8 // of the guest's random generators
	seedings int          // calls that it is good for

	older, newer *resident // parked ones, of all pools
}

// pools is all pools of an engine. Parked instances are bounded by number and by what they take; the ones parked longest
// give way, also where a call needs their memory.
type pools struct {
	budget *budget
	idle   *idle
	most   int
	bytes  int64
	kinds  int // pools of a module

	mu     sync.Mutex
	clock  uint64
	count  int
	taken  int64
	oldest *resident
	newest *resident
}

// poolKey writes what tells a call's pool from others of its module. The common case is the empty key.
func poolKey(c *engine.Call) string {
	if len(c.Env) == 0 && len(c.Argv) == 0 && c.WarmUp == "" && c.Isolation != engine.Reused {
		return ""
	}
	var b strings.Builder
	if c.Isolation == engine.Reused {
		b.WriteString("scope\x00" + c.Scope + "\x00")
	}
	b.WriteString("warm\x00" + c.WarmUp)
	for _, e := range c.Env {
		b.WriteString("\x00env\x00" + e)
	}
	for _, a := range c.Argv {
		b.WriteString("\x00arg\x00" + a)
	}
	return b.String()
}

// use returns the pool for a call, which is left with leave or park; nil where its instance must be a new one. size is what
// its memory begins with. r is a parked instance that is the call's now, or nil; so is its charge.
func (ps *pools) use(m *module, c *engine.Call) (p *pool, r *resident, size int) {
	reused := c.Isolation == engine.Reused
	switch {
	case c.Isolation == engine.Fresh || c.Run || m.cold != "" && (!reused || m.unkept):
		return nil, nil, 0
	}
	var evicted []*resident
	ps.mu.Lock()
	if p = m.recent; p == nil || !p.serves(c) {
		p, evicted = ps.find(m, c)
	}
	p.refs++
	ps.clock++
	p.used = ps.clock
	if p.snap != nil {
		size = p.snap.size
	}
	r = ps.pop(p)
	ps.mu.Unlock()
	ps.close(evicted)
	return p, r, size
}

// find returns a call's pool by its key, made where there is none. The lock is held; the instances are to be closed.
func (ps *pools) find(m *module, c *engine.Call) (p *pool, evicted []*resident) {
	key := poolKey(c)
	if p = m.pools[key]; p == nil {
		if len(m.pools) >= ps.kinds {
			evicted = ps.dropOldest(m)
		}
		p = &pool{
			mod: m, key: key, reused: c.Isolation == engine.Reused, scope: c.Scope, warmUp: c.WarmUp,
			env: slices.Clone(c.Env), argv: slices.Clone(c.Argv),
		}
		p.durable = !p.reused && len(p.env)+len(p.argv) == 0
		m.pools[key] = p
	}
	m.recent = p
	return p, evicted
}

// serves tells whether a call's pool is this one, as comparing their keys would.
func (p *pool) serves(c *engine.Call) bool {
	return p.reused == (c.Isolation == engine.Reused) && (!p.reused || p.scope == c.Scope) && p.warmUp == c.WarmUp &&
		slices.Equal(p.env, c.Env) && slices.Equal(p.argv, c.Argv)
}

// leave ends an invocation's use of a pool.
func (ps *pools) leave(p *pool) {
	ps.mu.Lock()
	p.refs--
	free := p.dropped && p.refs == 0
	ps.mu.Unlock()
	if free {
		ps.free(p)
	}
}

// dropOldest takes a module's pool that was used least recently out. The lock is held; the instances are to be closed.
func (ps *pools) dropOldest(m *module) []*resident {
	var oldest *pool
	for _, p := range m.pools {
		if oldest == nil || p.used < oldest.used {
			oldest = p
		}
	}
	return ps.drop(oldest)
}

// drop takes a pool out. The lock is held; the instances are to be closed. The snapshot is freed by who leaves it last.
func (ps *pools) drop(p *pool) []*resident {
	delete(p.mod.pools, p.key)
	if p.mod.recent == p {
		p.mod.recent = nil
	}
	list := p.parked
	for _, r := range list {
		ps.unlink(r)
	}
	p.parked, p.dropped = nil, true
	if p.refs == 0 {
		ps.free(p)
	}
	return list
}

// free frees the snapshot. Instances that lie over it stay what they are, but cannot be set back.
func (ps *pools) free(p *pool) {
	if s := p.snap; s != nil {
		s.close()
		ps.budget.release(s.charged)
	}
}

func (s *snap) close() {
	if s.image != nil {
		_ = s.image.Close() // it was only read
	}
}

// take returns the instance that was parked last, which is the likeliest to be in the processor's caches; nil where there
// is none. Its charge is the caller's.
func (ps *pools) take(p *pool) *resident {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.pop(p)
}

// pop is take while the lock is held.
func (ps *pools) pop(p *pool) *resident {
	n := len(p.parked)
	if n == 0 {
		return nil
	}
	r := p.parked[n-1]
	p.parked[n-1] = nil
	p.parked = p.parked[:n-1]
	ps.unlink(r)
	return r
}

// park keeps an instance for the next call. Its charge is reserved. Where there are too many the oldest ones are closed.
// With leaves it ends the use of its pool as well.
func (ps *pools) park(r *resident, leaves bool) {
	var evicted []*resident
	free := false
	ps.mu.Lock()
	if leaves {
		r.pool.refs--
		free = r.pool.dropped && r.pool.refs == 0
	}
	if r.pool.dropped || r.charge > ps.bytes || ps.most == 0 {
		evicted = append(evicted, r)
	} else {
		r.pool.parked = append(r.pool.parked, r)
		ps.link(r)
		for ps.count > ps.most || ps.taken > ps.bytes {
			evicted = append(evicted, ps.evict())
		}
	}
	ps.mu.Unlock()
	ps.close(evicted)
	if free {
		ps.free(r.pool)
	}
}

// shed closes the instances parked longest until n bytes of the budget are free that were not, or none is left. It returns
// whether it closed any. Its caller may hold the lock of slots.
func (ps *pools) shed(n int64) bool {
	var evicted []*resident
	ps.mu.Lock()
	for n > 0 && ps.oldest != nil {
		r := ps.evict()
		n -= r.charge
		evicted = append(evicted, r)
	}
	ps.mu.Unlock()
	ps.close(evicted)
	return len(evicted) > 0
}

// kept returns what parked instances take of the budget. Its caller may hold the lock of slots.
func (ps *pools) kept() int64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.taken
}

// evict takes out the instance parked longest, which is the first of its pool. The lock is held.
func (ps *pools) evict() *resident {
	r := ps.oldest
	ps.unlink(r)
	r.pool.remove(r)
	return r
}

// remove takes a parked instance out of its pool. pools.mu is held.
func (p *pool) remove(r *resident) {
	i := slices.Index(p.parked, r)
	if i == 0 { // nearly always
		p.parked[0] = nil
		p.parked = p.parked[1:]
		return
	}
	p.parked = slices.Delete(p.parked, i, i+1)
}

func (ps *pools) close(list []*resident) {
	for _, r := range list {
		ps.closeOne(r)
		r.pool.mod.stir(ps.idle)
	}
}

func (ps *pools) closeOne(r *resident) {
	r.Close()
	ps.budget.release(r.charge)
}

// link makes r the newest. The lock is held.
func (ps *pools) link(r *resident) {
	r.older = ps.newest
	if ps.newest != nil {
		ps.newest.newer = r
	} else {
		ps.oldest = r
	}
	ps.newest = r
	if r.pool.mod.heavy() {
		r.since = time.Now()
		ps.idle.arm()
	}
	ps.count++
	ps.taken += r.charge
}

// unlink takes r out. The lock is held.
func (ps *pools) unlink(r *resident) {
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		ps.oldest = r.newer
	}
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		ps.newest = r.older
	}
	r.older, r.newer = nil, nil
	ps.count--
	ps.taken -= r.charge
}

// forget closes all that is kept of a module, which no invocation uses.
func (ps *pools) forget(m *module) {
	var all []*resident
	ps.mu.Lock()
	for _, p := range m.pools {
		all = append(all, ps.drop(p)...)
	}
	ps.mu.Unlock()
	ps.close(all)
}

// publish makes s the snapshot of a pool, unless it has one or will have none.
func (ps *pools) publish(p *pool, s *snap) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p.snap != nil || p.fresh != "" || p.dropped {
		return false
	}
	p.snap = s
	return true
}

// giveUp has all instances of a pool made anew. It returns false where that was known.
func (ps *pools) giveUp(p *pool, why string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p.fresh != "" {
		return false
	}
	p.fresh = why
	return true
}

// state returns the snapshot of a pool, and why there will be none. look tells that the caller is the one to look for it
// on disk.
func (ps *pools) state(p *pool) (s *snap, fresh string, look bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	look = p.snap == nil && p.fresh == "" && !p.looked && p.durable
	p.looked = p.looked || look
	return p.snap, p.fresh, look
}
