package route

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Defaults of Options.
const (
	DefaultQueryTimeout     = 10 * time.Second // as the Rust implementation's queries_default_timeout
	DefaultInterestTimeout  = 10 * time.Second
	DefaultMaxDeclarations  = 1 << 17
	DefaultMaxDeclaredBytes = 32 << 20
	DefaultMaxInterests     = 1 << 15
	DefaultMaxQueries       = 1 << 16
	DefaultRouteCache       = 1 << 12
	DefaultReportEvery      = 10 * time.Second
)

// Options are what a Router is made with. Zero values mean the defaults above.
type Options struct {
	ID      wire.ID
	WhatAmI wire.WhatAmI // for whoever looks at the router; relations are all that counts for routing

	// Stamp makes the router put its time on each PUT that has none and goes anywhere. Now is its
	// clock; nil means time.Now.
	Stamp bool
	Now   func() time.Time
	// Ticking is the clock by which Tick is called; nil where there is none but Tick itself. With it time-outs are not early
	// either where a Tick is late, because the whole process stood still.
	Ticking func() time.Time
	// DropFuture drops what is stamped more than MaxClockSkew ahead, where the default is to stamp it anew.
	DropFuture bool

	// Policy is asked for South faces, or for those that Guard names if it is not nil.
	Policy Policy
	Guard  func(f *Face) bool
	// Report is told of trouble that faces make, at most once in ReportEvery for each face and kind of trouble. It must
	// not call the router.
	Report      func(Report)
	ReportEvery time.Duration

	QueryTimeout    time.Duration // of a REQUEST that names none
	InterestTimeout time.Duration // how long an INTEREST waits for a gateway's answer

	// The bounds, besides those of package keyexpr. All but MaxQueries are for faces that are not Local.
	MaxDeclarations  int // declarations and key expressions of a face
	MaxDeclaredBytes int // the lengths of their keys, and of those of its interests
	MaxInterests     int // interests of a face
	MaxQueries       int // queries of a face, and to a face, that are not final
	RouteCache       int // keys whose routes are remembered, and per face the keys with prefixes or verdicts
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&o.MaxDeclarations, DefaultMaxDeclarations},
		{&o.MaxDeclaredBytes, DefaultMaxDeclaredBytes},
		{&o.MaxInterests, DefaultMaxInterests},
		{&o.MaxQueries, DefaultMaxQueries},
		{&o.RouteCache, DefaultRouteCache},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.QueryTimeout, DefaultQueryTimeout},
		{&o.InterestTimeout, DefaultInterestTimeout},
		{&o.ReportEvery, DefaultReportEvery},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Router is the routing table of one node. All methods may be called concurrently; none may be called from within
// Policy.Allow, Options.Guard or Options.Report.
type Router struct {
	o     Options
	seed  maphash.Seed
	clock clock
	cache *keyCache // keys to their routes, shared by all faces

	// A route that was computed at an older generation is computed anew.
	gen       [2]atomic.Uint64 // of subscribers, of queryables
	policyGen atomic.Uint64
	spread    atomic.Uint32 // varies the choice between equal queryables
	refused   atomic.Uint64

	now  atomic.Int64 // time of the last Tick, since the first
	step atomic.Int64 // time between the last two ticks

	faceList atomic.Pointer[[]*Face] // for the rare walks over all faces that need no lock

	// mu is the control plane's. Routes are computed under its read side; nothing is sent while it is held.
	mu      sync.RWMutex
	base    atomic.Pointer[time.Time] // first Tick
	faces   []*Face                   // in the order of attachment
	pushed  []*Face                   // those of them that are Mesh or North: told everything
	numbers numbers                   // of faces, for bit sets
	tables  [kinds]table
	wanted  [kinds]wanted
	asks    map[askKey]*ask
	askSeq  uint64
	pending map[*interest]struct{} // interests that wait for a gateway's answer
	dirty   []*Face                // faces with something new in their outbox
	mark    uint64
}

// New returns a Router without faces.
func New(o Options) *Router {
	o.setDefaults()
	r := &Router{
		o:       o,
		seed:    maphash.MakeSeed(),
		asks:    map[askKey]*ask{},
		pending: map[*interest]struct{}{},
	}
	r.cache = newKeyCache(o.RouteCache)
	r.clock.id = o.ID
	for k := range r.tables {
		r.tables[k].init()
		r.wanted[k].init()
	}
	r.faceList.Store(&[]*Face{})
	return r
}

// Attach adds a face and tells it what its relation entitles it to: a Mesh face all declarations and D_FINAL(0), a North
// face our interests and all declarations. info is the caller's.
func (r *Router) Attach(p Peer, id wire.ID, rel Relation, info any) *Face {
	f := newFace(p, id, rel, info)
	if r.o.Policy != nil {
		f.guarded = rel == South
		if r.o.Guard != nil {
			f.guarded = r.o.Guard(f)
		}
	}
	f.canceller, _ = p.(Canceller)
	r.mu.Lock()
	f.number = r.numbers.take()
	r.faces = append(r.faces, f)
	r.publishFaces()
	switch rel {
	case Local, South:
		f.markSynced()
	case North:
		f.markSynced()
		r.askAllOf(f)
	case Mesh:
	}
	if f.isPushed() {
		r.pushed = append(r.pushed, f)
		for k := range kinds {
			for _, e := range r.tables[k].sorted() {
				r.sync(f, e.kind, e.key, e, syncPlain, 0)
			}
		}
		if rel == Mesh {
			r.emit(f, outMsg{kind: wire.Declare, decl: wire.DeclFinal, hasIID: true})
		}
		r.bumpAll()
	}
	r.unlockAndFlush()
	return f
}

// Detach removes a face: nothing is sent to it any more, its queries are forgotten, those that it has not answered are
// final without it, and all that it declared is withdrawn from the others. Detaching twice is harmless.
func (r *Router) Detach(f *Face) {
	r.mu.Lock()
	if f.gone.Swap(true) {
		r.mu.Unlock()
		return
	}
	close(f.done)
	f.markSynced()
	r.faces = slices.DeleteFunc(r.faces, func(x *Face) bool { return x == f })
	r.pushed = slices.DeleteFunc(r.pushed, func(x *Face) bool { return x == f })
	r.publishFaces()
	r.dropInterests(f)
	r.forgetSent(f)
	r.dropAsksAt(f)
	r.dropDeclarations(f)
	r.numbers.free(f.number)
	if f.isPushed() { // it was a target for what it did not declare, too
		r.bumpAll()
	}
	r.unlockAndFlush()
	r.dropQueries(f)
	r.cache.forgetStale(r)
}

// Handle takes one message from f. m and what it refers to may be reused when Handle returns, and its Key, RequestID, QoS,
// NodeID and time stamps may be changed in between (the Key is restored). It may wait, as Peer.Send does, where m is not
// droppable and a destination has no room; it stops waiting when f is detached.
func (r *Router) Handle(f *Face, m *wire.Message) { r.HandleUntil(f, m, f.done) }

// HandleUntil is Handle that waits no longer than until done is closed.
func (r *Router) HandleUntil(f *Face, m *wire.Message, done <-chan struct{}) {
	if f.gone.Load() {
		return
	}
	switch m.Kind {
	case wire.Push:
		r.push(f, m, done)
	case wire.Request:
		r.request(f, m, done)
	case wire.Response:
		r.response(f, m, done)
	case wire.ResponseFinal:
		r.responseFinal(f, m, done)
	case wire.Declare:
		r.declare(f, m)
	case wire.Interest:
		r.interest(f, m)
	case wire.OAM: // not routing's
	}
}

// Tick tells the time: queries and interests that have waited too long end. It is to be called several times a second;
// time-outs are late by up to two intervals and never early. It may wait as Handle does.
func (r *Router) Tick(now time.Time) {
	r.mu.Lock()
	r.base.CompareAndSwap(nil, &now)
	t := max(int64(now.Sub(*r.base.Load())), r.now.Load())
	r.step.Store(t - r.now.Load())
	r.now.Store(t)
	for _, i := range sortedInterests(r.pending) {
		if i.deadline <= t {
			r.stopWaiting(i)
			r.finishInterest(i)
		}
	}
	r.unlockAndFlush()
	r.expireQueries(t)
}

// deadline is the time, as r.now counts it, that is after d from now in any case.
func (r *Router) deadline(d time.Duration) int64 {
	now := r.now.Load() + r.step.Load()
	if base := r.base.Load(); base != nil && r.o.Ticking != nil {
		now = max(now, int64(r.o.Ticking().Sub(*base)))
	}
	return now + int64(d)
}

// PolicyChanged makes the router ask Options.Policy anew for keys that it remembers a verdict on. What was accepted before
// stays declared.
func (r *Router) PolicyChanged() { r.policyGen.Add(1) }

func (r *Router) publishFaces() {
	l := slices.Clone(r.faces)
	r.faceList.Store(&l)
}

func (r *Router) bump(k Kind) {
	if k != Token {
		r.gen[k].Add(1)
	}
}

func (r *Router) bumpAll() {
	r.bump(Subscriber)
	r.bump(Queryable)
}

// emit puts a message into f's outbox. r.mu is held.
func (r *Router) emit(f *Face, m outMsg) {
	if f.gone.Load() {
		return
	}
	f.out.add(m)
	if !f.dirty {
		f.dirty = true
		r.dirty = append(r.dirty, f)
	}
}

// unlockAndFlush releases r.mu and sends what the operation has put into outboxes.
func (r *Router) unlockAndFlush() {
	dirty := r.dirty
	r.dirty = nil
	for _, f := range dirty {
		f.dirty = false
	}
	r.mu.Unlock()
	for _, f := range dirty {
		f.drain()
	}
}

// numbers hands out the lowest free small numbers.
type numbers struct {
	next int
	pool []int
}

func (n *numbers) take() int {
	if len(n.pool) > 0 {
		x := n.pool[len(n.pool)-1]
		n.pool = n.pool[:len(n.pool)-1]
		return x
	}
	n.next++
	return n.next - 1
}

func (n *numbers) free(x int) { n.pool = append(n.pool, x) }
