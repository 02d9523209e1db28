package route

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Peer is where messages for a face go: a link's transport, or a session of this process.
//
// Send must not keep m, nor what it refers to unless m.Owned (the suffix of the key of a PUSH or REQUEST may be kept), nor
// change it. It must not call Detach of its own face and then wait for anything that Handle does. It returns false if the
// message was not taken: a droppable one without room, or any after the remote is lost. A message with wire.Block may wait
// for room until done is closed. A Local face is sent full keys only.
type Peer interface {
	Send(m *wire.Message, done <-chan struct{}) bool
}

// Canceller is what a Peer implements to hear that nobody waits any more for its answer to the REQUEST with this id: the
// source is gone, has cancelled it, or it timed out. Answers to it are dropped.
type Canceller interface {
	CancelQuery(rid uint32)
}

// Relation says what a face is to us.
type Relation uint8

// The relations.
const (
	Local Relation = iota // a session of this process
	South                 // a client, or whoever takes us for its gateway
	Mesh                  // a peer among peers
	North                 // our gateway
)

// String returns the relation in lower case.
func (r Relation) String() string {
	switch r {
	case Local:
		return "local"
	case South:
		return "south"
	case Mesh:
		return "mesh"
	case North:
		return "north"
	}
	return "unknown"
}

// relays reports whether what comes from a face of relation a may go to one of relation b.
func relays(a, b Relation) bool { return a <= South || b <= South }

// Face is one remote or one local session, from Attach to Detach.
type Face struct {
	peer      Peer
	canceller Canceller // nil if the peer is none
	id        wire.ID
	rel       Relation
	info      any
	number    int
	guarded   bool // Policy is asked

	gone   atomic.Bool
	done   chan struct{}
	synced chan struct{}
	sync   atomic.Bool // synced is closed

	stats   counters
	trouble [problems]trouble
	pend    pendTable    // queries sent to this face
	asked   atomic.Int32 // queries of this face that are not final
	keys    keyTable     // ids that the face declared
	seen    atomic.Pointer[faceCache]

	out outbox

	// The rest is guarded by Router.mu.
	dirty     bool
	mark      uint64
	keyIDs    map[string]uint16 // the face's key expressions by what they stand for
	bytes     int               // lengths of declared keys
	declared  int
	has       [kinds]map[uint32]entity // what the face declared
	sent      [kinds]map[string]*sent  // what it was told
	nextID    uint32
	interests map[uint32]*interest
	watches   map[*interest]struct{}
	aggs      map[aggKey]int // aggregate interests

	// Of a North face: what we asked of it.
	asks        map[uint32]*ask
	asksBy      [kinds]keyexpr.Index[*ask]
	asksAll     [kinds]int // those that are not restricted
	answeredAll [kinds]int // and of them those that it has answered
	nextAsk     uint32
}

func newFace(p Peer, id wire.ID, rel Relation, info any) *Face {
	f := &Face{peer: p, id: id, rel: rel, info: info, done: make(chan struct{}), synced: make(chan struct{})}
	f.out.face = f
	return f
}

// ID is the remote's id.
func (f *Face) ID() wire.ID { return f.id }

// Relation is what Attach was told.
func (f *Face) Relation() Relation { return f.rel }

// Info is what Attach was told.
func (f *Face) Info() any { return f.info }

// Done is closed by Detach.
func (f *Face) Done() <-chan struct{} { return f.done }

// Synced is closed once the declarations that a Mesh face starts with are known, and when it is detached. Other faces
// have none to wait for.
func (f *Face) Synced() <-chan struct{} { return f.synced }

// isPushed reports whether the face is told everything unasked.
func (f *Face) isPushed() bool { return f.rel >= Mesh }

// markSynced closes synced, once. Router.mu is held.
func (f *Face) markSynced() {
	if !f.sync.Swap(true) {
		close(f.synced)
	}
}

// newEntityID returns an id for something that the face is told.
func (f *Face) newEntityID() uint32 {
	f.nextID++
	if f.nextID == 0 { // 0 is no entity
		f.nextID = 1
	}
	return f.nextID
}

// outMsg is a control message on its way to a face, or a call in its place.
type outMsg struct {
	key      string
	call     func()
	id       uint32 // the entity's, or the interest's own
	iid      uint32 // the interest that is answered
	kind     wire.Kind
	decl     wire.DeclKind
	mode     wire.InterestMode
	opts     wire.InterestOptions
	hasIID   bool
	hasKey   bool
	complete bool
}

// fill makes m the message.
func (o *outMsg) fill(m *wire.Message) {
	*m = wire.Message{Kind: o.kind, QoS: wire.ControlQoS, Reliable: true, Owned: true}
	if o.key != "" { // an undeclaration's key is there and null where the id says it all
		m.Key = wire.WireExpr{Sender: true, Suffix: o.key}
	}
	if o.kind == wire.Interest {
		m.InterestID, m.Mode, m.Options = o.id, o.mode, o.opts
		return
	}
	m.InterestID, m.HasInterest = o.iid, o.hasIID
	m.Decl = wire.Declaration{Kind: o.decl, ID: o.id, Complete: o.complete, HasKey: o.hasKey}
}

// outboxWait is how many messages an outbox may hold before those who add to it wait for whoever sends them.
const outboxWait = 4096

// outbox keeps the order of what a face is told: messages are added under Router.mu and sent outside of it by whoever
// comes first, one at a time.
type outbox struct {
	face  *Face
	mu    sync.Mutex
	queue []outMsg
	spare []outMsg
	free  *sync.Cond // signalled when the queue was taken; made when somebody waits
	busy  bool
	m     *wire.Message // of whoever is busy
}

func (o *outbox) add(m outMsg) {
	o.mu.Lock()
	o.queue = append(o.queue, m)
	o.mu.Unlock()
}

// drain sends what is in the outbox. If somebody does already it leaves the work to them: a peer that is called may itself
// change what the face has to be told. Only where a remote has fallen far behind it waits, which is what makes the sources
// of declarations as slow as it.
func (f *Face) drain() {
	o := &f.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy {
		for f.rel != Local && len(o.queue) > outboxWait && o.busy {
			if o.free == nil {
				o.free = sync.NewCond(&o.mu)
			}
			o.free.Wait()
		}
		if o.busy {
			return
		}
	}
	o.busy = true
	if o.m == nil {
		o.m = new(wire.Message)
	}
	for len(o.queue) > 0 {
		q := o.queue
		o.queue, o.spare = o.spare[:0], nil
		if o.free != nil {
			o.free.Broadcast()
		}
		o.mu.Unlock()
		f.sendAll(q, o.m)
		clear(q)
		o.mu.Lock()
		o.spare = q[:0]
	}
	o.busy = false
	o.queue, o.spare, o.m = nil, nil, nil // an idle face costs nothing
	if o.free != nil {
		o.free.Broadcast()
	}
}

func (f *Face) sendAll(q []outMsg, m *wire.Message) {
	for i := range q {
		if f.gone.Load() {
			return
		}
		if q[i].call != nil {
			q[i].call()
			continue
		}
		q[i].fill(m)
		f.peer.Send(m, f.done)
	}
}
