// Package kvs is the kvs role: it stores lattice values, keeps the hot ones in memory and all of them in a storage
// backend, and tells watchers and caches of changes.
//
// What a writer was told is so: under sync it survives power loss, under batched it is in memory and on disk within 10 ms
// and one sync of the store, under memory it is in memory. Where the processors or the disk are too busy for that, writers
// wait: while a write has waited for the disk for longer, no other one is acknowledged (room.go). Changes reach the store
// in order, in batches whose size follows from how long the store takes. A write to the wrong type of value, a failed
// store and a corrupt record are errors of the one who asked, not of the role.
//
// Keys are spread over shards. The core of a shard (shard.go, events.go) is pure; the shell around it does the rest:
// lane.go and flight.go bring changes to the store, load.go cold records from it, quick.go answers what needs no waiting
// and serve.go everything else, scan.go goes over ranges, sweep.go does what is due, feed.go tells caches, admin.go
// exports, imports and counts.
//
// It may import sdk/{transport,topic,lattice,proto,storage,status,hlc} and hclog; never another role.
package kvs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/hlc"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// The durabilities of Options.
const (
	DurabilityMemory  = "memory"
	DurabilityBatched = "batched"
	DurabilitySync    = "sync"
)

// Options are what a kvs role is made of. The zero value of a bound means its default.
type Options struct {
	Node    string // name of this node, unique in the cluster
	Session transport.Session
	Store   storage.Store // nil: values are in memory only. It stays the caller's, who closes it after Run
	Logger  hclog.Logger

	Durability     string // "": sync with a store, memory without
	Shards         int    // 0: one per core and at least 8
	Memory         int64  // bytes of values kept in memory; without a store, writes beyond it are refused
	MaxKey         int    // bytes
	MaxValue       int    // bytes
	WriteBuffer    int64  // bytes of changes on their way to the store; writers wait when it is full
	CacheLease     time.Duration
	TombstoneGrace time.Duration
	MaxClockSkew   time.Duration
	MaxWatches     int           // watches and waiting reads at once
	MaxCached      int           // registrations of caches at once
	StoreRetry     time.Duration // how long an unavailable store is tried again before waiting writers are told
	Drain          time.Duration // how long bringing the last changes to the store may take at shutdown
	OnReady        func()        // called once the role answers
}

func (o *Options) setDefaults() {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	defInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	defInt(&o.Shards, max(8, runtime.GOMAXPROCS(0)))
	def(&o.Memory, 256<<20)
	defInt(&o.MaxKey, 4<<10)
	defInt(&o.MaxValue, 16<<20)
	def(&o.WriteBuffer, 64<<20)
	defTime(&o.CacheLease, 30*time.Second)
	defTime(&o.TombstoneGrace, time.Hour)
	defTime(&o.MaxClockSkew, time.Minute)
	defInt(&o.MaxWatches, 64<<10)
	defInt(&o.MaxCached, 1<<20)
	defTime(&o.StoreRetry, 30*time.Second)
	defTime(&o.Drain, 20*time.Second)
	if o.Durability == "" {
		o.Durability = DurabilityMemory
		if o.Store != nil {
			o.Durability = DurabilitySync
		}
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
}

func (o *Options) check() error {
	switch {
	case o.Node == "" || o.Session == nil:
		return errors.New("kvs: Options need a Node and a Session")
	case o.Shards < 1 || o.Shards > 1024:
		return fmt.Errorf("kvs: %d shards: want 1 to 1024", o.Shards)
	case o.MaxKey < 1 || o.MaxKey+maxScope+16 > storage.MaxKeyBytes:
		return fmt.Errorf("kvs: keys of up to %d bytes: a store takes %d with what is added to them", o.MaxKey, storage.MaxKeyBytes-maxScope-16)
	case o.MaxValue < 1 || o.MaxValue+64 > storage.MaxValueBytes:
		return fmt.Errorf("kvs: values of up to %d bytes: a store takes %d with what is added to them", o.MaxValue, storage.MaxValueBytes-64)
	case o.Store == nil && o.Durability != DurabilityMemory:
		return fmt.Errorf("kvs: durability %q needs a store", o.Durability)
	}
	if _, err := durabilityOf(o.Durability); err != nil {
		return err
	}
	return nil
}

func durabilityOf(s string) (annav1.Durability, error) {
	switch s {
	case DurabilityMemory:
		return annav1.Durability_MEMORY, nil
	case DurabilityBatched:
		return annav1.Durability_BATCHED, nil
	case DurabilitySync:
		return annav1.Durability_SYNC, nil
	}
	return 0, fmt.Errorf("kvs: durability %q: want memory, batched or sync", s)
}

// Role is the kvs role of one node.
type Role struct {
	opts       Options
	log        hclog.Logger
	names      topic.Names
	durability annav1.Durability
	boot       []byte // tells this start of the node from others
	clock      *hlc.Clock
	seed       maphash.Seed
	cells      []*cell
	lanes      []*lane
	loader     *loader // nil without a store
	feeds      feeds
	floors     floors
	filter     filter

	memory  atomic.Int64 // bytes resident in all shards
	pending atomic.Int64 // bytes of changes not yet in the store
	watches atomic.Int64 // watches and waiting reads
	scans   atomic.Uint64
	refused atomic.Uint64
	batches atomic.Uint64
	ops     atomic.Uint64
	closed  atomic.Pointer[status.Error] // why writes are refused; nil: they are not

	batch    func(func()) // has what is sent meanwhile travel together
	requests requests
	work     context.Context // ends when the role stops: then watches and waiting reads end
	halt     context.Context // ends Drain later: then requests end that wait for the store
}

// cell is a shard with what the shell adds to it.
type cell struct {
	mu     sync.Mutex
	core   *shard
	role   *Role
	lane   *lane
	next   *commit  // covers what is dirty now
	flying []flying // what is on its way, the oldest first
	loads  map[string]*load

	memory, pending int64 // as counted in the role
	dirty           int64 // as counted in the lane
}

// New makes a kvs role; Run starts it.
func New(o Options) (*Role, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Role{opts: o, log: o.Logger, names: topic.Default, boot: make([]byte, 8), seed: maphash.MakeSeed()}
	r.durability, _ = durabilityOf(o.Durability)
	_, _ = rand.Read(r.boot) // never fails (crypto/rand)
	r.clock = hlc.NewClock(o.MaxClockSkew)
	r.batch = func(f func()) { f() }
	if b, ok := o.Session.(transport.Batcher); ok {
		r.batch = b.Batch
	}
	r.feeds.init(r)
	r.floors.byScope = map[string]uint64{}
	r.filter.seed, r.filter.full = maphash.MakeSeed(), make(chan struct{}, 1)
	cfg := shardConfig{
		persistent: o.Store != nil,
		maxValue:   o.MaxValue,
		grace:      uint64(o.TombstoneGrace),
		lease:      uint64(o.CacheLease),
		maxHolders: max(1, o.MaxCached/o.Shards),
		floor:      r.floors.of,
		absent:     r.filter.absent,
		added:      r.filter.add,
	}
	for range o.Shards {
		r.cells = append(r.cells, &cell{core: newShard(cfg), role: r, loads: map[string]*load{}})
	}
	if o.Store != nil {
		r.loader = newLoader(o.Store)
		r.lanes = newLanes(r)
	}
	return r, nil
}

// Run serves until ctx ends; then it ends requests, brings all changes to the store and returns.
func (r *Role) Run(ctx context.Context) error {
	if err := r.floors.read(ctx, r.opts.Store, r.clock.Now(), r.opts.TombstoneGrace); err != nil {
		return fmt.Errorf("kvs: read the deleted scopes: %w", err)
	}
	if r.opts.Store != nil {
		if err := r.filter.begin(ctx, r.opts.Store); err != nil {
			return fmt.Errorf("kvs: %w", err)
		}
	}
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	halt, endAll := context.WithCancel(context.WithoutCancel(ctx))
	defer endAll()
	r.work, r.halt = work, halt
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	var background sync.WaitGroup
	for _, l := range r.lanes {
		background.Go(func() { l.run(back) })
	}
	if r.loader != nil {
		for range loaders {
			background.Go(func() { r.loader.run(back) })
		}
		background.Go(func() { r.keepFilter(back) })
	}
	background.Go(func() {
		r.resume(work) // before anything is forgotten
		r.sweep(back)
	})

	declared, err := r.declare()
	if err == nil {
		r.log.Info("ready", "shards", r.opts.Shards, "durability", r.opts.Durability, "store", r.storeName())
		if r.opts.OnReady != nil {
			r.opts.OnReady()
		}
		<-ctx.Done()
	}
	// Watches and waiting reads end now, other requests by themselves or Drain later, and then by the end of their query.
	end()
	late := time.AfterFunc(r.opts.Drain, endAll)
	defer late.Stop()
	ended := r.requests.end()
	select {
	case <-ended:
	case <-halt.Done():
		r.abandon()
		select {
		case <-ended:
		case <-time.After(endTime):
		}
	}
	for i := len(declared) - 1; i >= 0; i-- {
		_ = declared[i].Close()
	}
	for left := true; left; {
		select {
		case <-ended:
			left = false
		case <-time.After(endTime):
			r.abandon() // somebody may have enlisted after the last time; nobody new comes now
		}
	}
	stopBack()
	background.Wait()
	r.feeds.close()
	if err == nil {
		err = r.drained()
	}
	return err
}

// abandon tells all who wait for the store on no goroutine that the node stops.
func (r *Role) abandon() {
	for _, l := range r.lanes {
		l.abandon()
	}
}

// declare makes the role known. What it returns must be closed, also after an error.
func (r *Role) declare() (all []transport.Closer, err error) {
	add := func(c transport.Closer, e error) bool {
		if e != nil {
			err = fmt.Errorf("kvs: declare: %w", e)
			return false
		}
		all = append(all, c)
		return true
	}
	query := func(key string, h func(transport.Query)) bool {
		return add(r.opts.Session.Queryable(key, transport.QueryableOptions{Complete: true, Inline: true}, func(q transport.Query) {
			if r.enter(q) {
				defer r.requests.leave()
				h(q)
			}
		}))
	}
	request := func(key string, public bool) bool {
		return add(r.opts.Session.Queryable(key, transport.QueryableOptions{Complete: true, Inline: true, Quick: true}, func(q transport.Query) {
			if !r.enter(q) {
				return
			}
			if later, ok := q.(transport.Later); ok {
				r.quick(later, public)
				return
			}
			defer r.requests.leave()
			r.serve(q, public)
		}))
	}
	_ = request(r.names.Node(r.opts.Node, topic.KeyRequest, topic.AnyThread), false) &&
		request(r.names.AnyRequest(), false) &&
		request(r.names.ClientRequest(), true) &&
		query(r.names.Admin("kvs", "stats"), r.serveStats) &&
		query(r.names.Admin("kvs", "export"), r.serveExport) &&
		query(r.names.Admin("kvs", "import"), r.serveImport) &&
		add(r.opts.Session.Token(r.names.Alive("kvs", r.opts.Node)))
	return all, err
}

// enter begins a request, or refuses it.
func (r *Role) enter(q transport.Query) bool {
	if r.requests.enter() {
		return true
	}
	_ = transport.ReplyStatus(q, errStopping)
	return false
}

// requests counts those being answered. A request may come from within the answer to another.
type requests struct {
	mu    sync.Mutex
	n     int
	ended chan struct{} // closed when none is left after the end; nil until the end
}

// enter reports whether the request may go on; then it calls leave at its end.
func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		return false
	}
	q.n++
	return true
}

func (q *requests) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n--; q.n == 0 && q.ended != nil {
		close(q.ended)
	}
}

// end refuses further requests; the channel is closed when those there are have ended.
func (q *requests) end() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = make(chan struct{})
	if q.n == 0 {
		close(q.ended)
	}
	return q.ended
}

// endTime is how long requests get to tell their askers that the node stops.
const endTime = time.Second

var errStopping = status.Safe(status.Errorf(status.Unavailable, "kvs: the node is stopping"))

// drained reports changes that did not reach the store.
func (r *Role) drained() error {
	n := r.pending.Load()
	if n == 0 {
		return nil
	}
	if why := r.closed.Load(); why != nil {
		return status.Errorf(status.Unavailable, "kvs: %d bytes of changes did not reach the store before the end: %w", n, why)
	}
	return status.Errorf(status.Unavailable, "kvs: %d bytes of changes did not reach the store before the end", n)
}

func (r *Role) storeName() string {
	if r.opts.Store == nil {
		return ""
	}
	return r.opts.Store.Info().Name
}

func (r *Role) cell(key []byte) *cell {
	return r.cells[maphash.Bytes(r.seed, key)%uint64(len(r.cells))]
}

// leave unlocks c, passes on what its core has to say, and tells the lane if there is something to write.
func (c *cell) leave() {
	write, hurry := c.lane != nil && c.core.wantsWrite(), c.core.wantSync
	c.leaveQuietly()
	if write {
		c.lane.poke(hurry)
	}
}

// leaveQuietly is leave for those who tell the lane themselves.
func (c *cell) leaveQuietly() {
	s := c.core
	events := s.events
	s.events = nil
	if d := s.bytes - c.memory; d != 0 {
		c.memory = s.bytes
		if c.role.memory.Add(d) > c.role.opts.Memory && s.bytes > c.role.share() {
			s.evict(c.role.share(), evictSteps)
			c.role.memory.Add(s.bytes - c.memory)
			c.memory = s.bytes
		}
	}
	if d := s.pending - c.pending; d != 0 {
		c.pending = s.pending
		c.role.pending.Add(d)
	}
	if c.lane != nil {
		c.countDirty()
	}
	c.mu.Unlock()
	for i := range events {
		events[i].to.tell(events[i])
	}
}

func (c *cell) countDirty() {
	if d := int64(len(c.core.dirty)) - c.dirty; d != 0 {
		c.dirty += d
		c.lane.count(d)
	}
}

// evictSteps bounds the entries looked at in one go, so that no request waits long for eviction.
const evictSteps = 256

// share is the part of the memory bound that one shard may use when the bound is reached.
func (r *Role) share() int64 { return r.opts.Memory / int64(len(r.cells)) }
