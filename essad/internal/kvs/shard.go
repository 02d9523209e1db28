package kvs

import (
	"bytes"
	"errors"

	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// shard is the core of the role: the part of the keys that is handled on its own. It is pure: requests, loaded records
// and ticks go in with the time; results, events and batches for the store come out. Whoever calls it sees to it that one
// call is made at a time.
//
// An entry is resident (in entries) or cold (in the store alone, if anywhere). Requests for a cold key report miss; the
// shell loads the record and asks again. A resident entry whose record is zero says that the key is known to be absent.
type shard struct {
	cfg     shardConfig
	entries map[string]*entry
	ring    []*entry // of all entries, for eviction in the manner of a clock
	hand    int
	order   *ordered // all keys; only without a store
	due     dueHeap

	bytes   int64 // of resident entries
	pending int64 // of changes not yet in the store

	// Changes reach the store in order: each takes a number, and a batch covers all up to one.
	seq      uint64 // of the last change
	applied  uint64 // the store has all changes up to this one
	synced   uint64 // and these are on disk
	taken    uint64 // these have left for it, or are there
	dirty    []*entry
	inflight [][]*entry // batches on their way to the store, the oldest first
	spare    [][]*entry // their slices, to be used again
	wantSync bool       // somebody waits for a sync
	wantDisk bool       // the next batch is to be synced, though nobody waits
	strayDue [][]byte   // keys of dueSpace to delete

	watches  watchTable
	holders  holderTable
	events   []event // since the shell last took them
	counters counters
}

// shardConfig is what a shard must know of the role's options.
type shardConfig struct {
	persistent bool
	maxValue   int
	grace      uint64 // how long a tombstone is kept
	lease      uint64
	maxHolders int
	// floor returns the generation that new records of a key's scope begin with: the clock of the scope's last delete.
	floor func(key string) uint64
	// absent reports whether a cold key is certainly not in the store; added tells that a key will be.
	absent func(key []byte) bool
	added  func(key string)
}

// entry is a resident record.
type entry struct {
	key    string
	rec    lattice.Record
	seq    uint64 // of its last change
	first  uint64 // of the first change since it was put into dirty
	due    uint64 // 0: never
	stored uint64 // the time under which the store has it in dueSpace; 0: it has not
	size   int64  // as counted in shard.bytes
	listed int64  // as counted in shard.pending; 0: not in dirty
	pins   int32  // requests that wait for it
	heap   int32
	slot   int32 // in ring
	hot    bool  // used since the hand last passed
	flying int8  // batches on their way to the store that hold it
}

// entryOverhead is about what an entry costs beside its key and value.
const entryOverhead = 240

type counters struct {
	gets, puts, deletes, misses, expired, evicted uint64
}

func newShard(cfg shardConfig) *shard {
	s := &shard{cfg: cfg, entries: map[string]*entry{}}
	if !cfg.persistent {
		s.order = &ordered{}
	}
	return s
}

// find returns the entry of key; miss tells that it must be loaded first. A key that is certainly absent has no entry and
// is no miss.
func (s *shard) find(key []byte) (e *entry, miss bool) {
	e = s.entries[string(key)]
	if e != nil {
		e.hot = true
		return e, false
	}
	return nil, s.cfg.persistent && !s.cfg.absent(key)
}

// ensure returns the entry of a key that find did not report missing.
func (s *shard) ensure(key []byte, e *entry) *entry {
	if e != nil {
		return e
	}
	return s.insert(string(key), lattice.Record{})
}

func (s *shard) insert(key string, rec lattice.Record) *entry {
	e := &entry{key: key, rec: rec, slot: int32(len(s.ring)), seq: s.seq}
	s.ring = append(s.ring, e)
	s.entries[key] = e
	if s.order != nil {
		s.order.add(key)
	}
	s.resize(e)
	return e
}

func (s *shard) resize(e *entry) {
	size := int64(entryOverhead + len(e.key) + len(e.rec.Value))
	s.bytes += size - e.size
	e.size = size
}

// remove forgets a resident entry that is neither dirty nor flying.
func (s *shard) remove(e *entry) {
	s.due.set(e, 0)
	last := s.ring[len(s.ring)-1]
	s.ring[e.slot], last.slot = last, e.slot
	s.ring[len(s.ring)-1] = nil
	s.ring = s.ring[:len(s.ring)-1]
	delete(s.entries, e.key)
	if s.order != nil {
		s.order.remove(e.key)
	}
	s.bytes -= e.size
}

// dueOf is when something is to be done about a record.
func (s *shard) dueOf(r lattice.Record) uint64 {
	switch {
	case r.IsZero():
		return 0
	case len(r.Value) > 0:
		return r.Expires
	}
	return r.Generation + s.cfg.grace
}

// changed is the one place that decides what a change is: the record of e is now rec. The store, watchers and caches all
// hear of it from here.
func (s *shard) changed(e *entry, rec lattice.Record) {
	was, fresh := len(e.rec.Value) > 0, e.rec.IsZero()
	e.rec = rec
	s.seq++
	e.seq = s.seq
	s.resize(e)
	s.due.set(e, s.dueOf(rec))
	if s.cfg.persistent {
		if fresh && !rec.IsZero() {
			s.cfg.added(e.key)
		}
		s.list(e)
	}
	if len(rec.Value) > 0 || was {
		s.tell(e)
	}
}

// list puts e among what the next batch takes.
func (s *shard) list(e *entry) {
	if e.listed == 0 {
		e.first = e.seq
		s.dirty = append(s.dirty, e)
	}
	s.pending += e.size - e.listed
	e.listed = e.size
}

// current buries e's value if it has expired, erases it if its scope was deleted, and returns the record as it is at the
// time now.
func (s *shard) current(e *entry, now uint64) lattice.Record {
	if e.rec.Generation < s.cfg.floor(e.key) && !e.rec.IsZero() {
		s.changed(e, lattice.Record{})
	}
	if len(e.rec.Value) > 0 && e.rec.Expired(now) {
		s.counters.expired++
		s.changed(e, e.rec.Buried())
	}
	return e.rec
}

// get returns the record of key as it is at the time now.
func (s *shard) get(key []byte, now uint64) (rec lattice.Record, miss bool) {
	e, miss := s.find(key)
	if miss {
		s.counters.misses++
		return lattice.Record{}, true
	}
	s.counters.gets++
	if e == nil {
		return lattice.Record{}, false
	}
	return s.current(e, now), false
}

// put is a value to merge into a key.
type put struct {
	value     []byte // as lattice.Normalize returns it; plain data with stamp
	stamp     bool
	ttl       uint64 // 0: none
	condition *uint64
}

// put merges p into key at the time now, which no other change of the key had. version is the one that holds the value
// then; seq is to be applied or synced, as the caller likes, before he is told of success.
func (s *shard) put(key []byte, p put, now uint64) (version, seq uint64, miss bool, err error) {
	e, miss := s.find(key)
	if miss {
		return 0, 0, true, nil
	}
	s.counters.puts++
	var base lattice.Record
	if e != nil {
		base = s.current(e, now)
	}
	if err := checkCondition(base, p.condition); err != nil {
		return versionOf(base), 0, false, err
	}
	value := p.value
	if p.stamp {
		if value, err = stamped(base.Value, p.value, now); err != nil {
			return 0, 0, false, err
		}
	}
	rec, changed, err := s.merged(base, value, p, max(now, base.Version+1))
	if err != nil {
		return 0, 0, false, err
	}
	if !changed {
		return base.Version, e.seq, false, nil
	}
	if base.IsZero() {
		rec.Generation = s.cfg.floor(string(key))
	}
	e = s.ensure(key, e)
	s.changed(e, rec)
	return rec.Version, e.seq, false, nil
}

func versionOf(r lattice.Record) uint64 {
	if len(r.Value) == 0 {
		return 0
	}
	return r.Version
}

func checkCondition(r lattice.Record, condition *uint64) error {
	if condition == nil || *condition == versionOf(r) {
		return nil
	}
	if len(r.Value) == 0 {
		return status.Errorf(status.Conflict, "the key is absent, not at version %d", *condition)
	}
	if *condition == 0 {
		return status.Errorf(status.Conflict, "the key exists, at version %d", r.Version)
	}
	return status.Errorf(status.Conflict, "the key is at version %d, not %d", r.Version, *condition)
}

// stamped makes a last-writer-wins value of data that is newer than what is there.
func stamped(have, data []byte, now uint64) ([]byte, error) {
	ts := lattice.TimeUnixNano(int64(now))
	if len(have) > 0 {
		if tag, _ := lattice.TagOf(have); tag != lattice.TagLWW {
			return nil, typeError(tag, lattice.TagLWW)
		}
		_, newest, _, err := lattice.Normalize(have)
		if err != nil {
			return nil, status.Errorf(status.Corrupt, "kvs: a stored value cannot be read: %v", err)
		}
		if ts.Compare(newest) <= 0 {
			ts = newest.Next()
		}
	}
	return lattice.LWW{Time: ts, Data: data}.Encode(), nil
}

func typeError(have, got lattice.Tag) error {
	return status.Errorf(status.Conflict, "the key holds a value of type %s, which cannot be merged with one of type %s: delete it first", have, got)
}

// merged returns base with value merged into it, and whether that is a change.
func (s *shard) merged(base lattice.Record, value []byte, p put, now uint64) (rec lattice.Record, changed bool, err error) {
	expires := uint64(0)
	if p.ttl > 0 {
		expires = now + p.ttl
	}
	out := value
	if len(base.Value) > 0 && !p.stamp { // one with a stamp is newer than what is there
		if out, err = lattice.MergeEncoded(base.Value, value); err != nil {
			return rec, false, mergeError(base.Value, value, err)
		}
		// A value that changes nothing extends the life of what is there, unless it is outdated.
		if same(out, base.Value) && (p.ttl == 0 || outdated(base.Value, value)) {
			return base, false, nil
		}
	}
	if len(out) > s.cfg.maxValue {
		return rec, false, status.Errorf(status.Invalid, "the value would have %d bytes, at most %d are allowed", len(out), s.cfg.maxValue)
	}
	return lattice.Record{Generation: base.Generation, Version: now, Expires: expires, Value: out}, true, nil
}

func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// outdated tells whether value, of which nothing is left in have, is a last-writer-wins value that lost.
func outdated(have, value []byte) bool {
	tag, _ := lattice.TagOf(value)
	return (tag == lattice.TagLWW || tag == lattice.TagPriority) && !bytes.Equal(have, value)
}

func mergeError(have, value []byte, err error) error {
	switch {
	case errors.Is(err, lattice.ErrType):
		a, _ := lattice.TagOf(have)
		b, _ := lattice.TagOf(value)
		return typeError(a, b)
	case errors.Is(err, lattice.ErrSiblings):
		return status.Errorf(status.Conflict, "the key has more than %d concurrent versions: put a value whose clock covers what you read", lattice.MaxSiblings)
	}
	return status.Errorf(status.Corrupt, "kvs: a stored value cannot be read: %v", err)
}

// del deletes key at the time now. version is the delete's, 0 where there was nothing.
func (s *shard) del(key []byte, condition *uint64, now uint64) (version, seq uint64, miss bool, err error) {
	e, miss := s.find(key)
	if miss {
		return 0, 0, true, nil
	}
	s.counters.deletes++
	var base lattice.Record
	if e != nil {
		base = s.current(e, now)
	}
	if err := checkCondition(base, condition); err != nil {
		return versionOf(base), 0, false, err
	}
	if len(base.Value) == 0 {
		if e != nil {
			seq = e.seq
		}
		return 0, seq, false, nil
	}
	g := max(now, base.Version+1, base.Generation+1)
	s.changed(e, lattice.Record{Generation: g, Version: g})
	return g, e.seq, false, nil
}

// merge joins a record that another node or an export holds into key's.
func (s *shard) merge(key []byte, in lattice.Record, now uint64) (seq uint64, miss bool, err error) {
	e, miss := s.find(key)
	if miss {
		return 0, true, nil
	}
	var base lattice.Record
	if e != nil {
		base = s.current(e, now)
	}
	if in.Generation < s.cfg.floor(string(key)) {
		return 0, false, nil // from before the scope was deleted
	}
	rec, err := lattice.JoinRecords(base, in)
	if err != nil {
		return 0, false, status.Errorf(status.Corrupt, "kvs: records cannot be merged: %v", err)
	}
	if rec.Equal(base) {
		if e != nil {
			seq = e.seq
		}
		return seq, false, nil
	}
	e = s.ensure(key, e)
	s.changed(e, rec)
	s.current(e, now)
	return e.seq, false, nil
}

// purge makes key as if it had never been, if its record is from before the generation floor.
func (s *shard) purge(key []byte, floor uint64) (miss bool) {
	e, miss := s.find(key)
	if !miss && e != nil && e.rec.Generation < floor {
		s.erase(e)
	}
	return miss
}

// erase removes the record of e: from the store with the next batch, from memory at once where there is no store.
func (s *shard) erase(e *entry) {
	if !e.rec.IsZero() {
		s.changed(e, lattice.Record{})
	}
	if !s.cfg.persistent && e.pins == 0 {
		s.remove(e)
	}
}

// loaded takes the record of a cold key as the store had it. pins is how many requests wait for it: it stays resident
// until each has called unpin. A key that became resident meanwhile is newer than what was loaded.
func (s *shard) loaded(key string, rec lattice.Record, pins int32) {
	e := s.entries[key]
	if e == nil {
		stray := rec.Generation < s.cfg.floor(key) && !rec.IsZero()
		e = s.insert(key, rec)
		e.stored = s.dueOf(rec)
		s.due.set(e, e.stored)
		if stray {
			s.changed(e, lattice.Record{}) // its scope was deleted, and the delete did not get to it
		}
	}
	e.hot = true
	e.pins += pins
}

func (s *shard) unpin(key []byte) {
	if e := s.entries[string(key)]; e != nil && e.pins > 0 {
		e.pins--
	}
}

// tick does what is due at the time now, max of it at most, and reports whether there is more.
func (s *shard) tick(now uint64, max int) (more bool) {
	for n := 0; len(s.due) > 0 && s.due[0].due <= now; n++ {
		if n == max {
			return true
		}
		s.settle(s.due[0], now)
	}
	return false
}

// settle does what is due about e.
func (s *shard) settle(e *entry, now uint64) {
	switch {
	case e.due == 0 || e.due > now:
	case len(e.rec.Value) > 0:
		s.current(e, now)
	default:
		s.erase(e)
	}
}

// settleCold does what the store's list of due keys says about a resident key; at is the time it was listed under.
func (s *shard) settleCold(key []byte, at, now uint64) (miss bool) {
	e, miss := s.find(key)
	if miss || e == nil {
		return miss
	}
	if e.stored != at {
		s.strayDue = append(s.strayDue, appendDue(nil, at, e.key))
	}
	s.settle(e, now)
	return false
}

// evict makes clean entries cold until target bytes are resident; it looks at max entries at most.
func (s *shard) evict(target int64, max int) {
	if !s.cfg.persistent {
		return
	}
	for n := max; n > 0 && s.bytes > target && len(s.ring) > 0; n-- {
		if s.hand >= len(s.ring) {
			s.hand = 0
		}
		e := s.ring[s.hand]
		if e.hot || e.pins > 0 || e.listed != 0 || e.flying > 0 {
			e.hot = false
			s.hand++
			continue
		}
		s.counters.evicted++
		s.remove(e) // the last entry takes its slot: the hand stays
	}
}

// soon has the change seq synced though nobody waits for it: with the next batch, or, where it has left with one that was not,
// by one of its own.
func (s *shard) soon(seq uint64) {
	s.wantDisk = true
	s.wantSync = s.wantSync || seq <= s.taken && seq > s.synced
}

// wantsWrite reports whether take would return anything.
func (s *shard) wantsWrite() bool { return len(s.dirty) > 0 || len(s.strayDue) > 0 || s.wantSync }

// batch is what take took of a shard.
type batch struct {
	upTo  uint64 // all changes up to this one are in the store when it is
	bytes int64
}

// take moves changes into ops, as many as keep it within max ops and bytes, and returns what they cover. Ops refer to
// memory of arena, which grows. Each take is followed by a done, in the same order.
func (s *shard) take(ops []storage.Op, arena []byte, size *int) ([]storage.Op, []byte, batch) {
	b := batch{upTo: s.seq}
	var taken []*entry
	if last := len(s.spare) - 1; last >= 0 {
		taken, s.spare = s.spare[last], s.spare[:last]
	}
	n := 0
	for _, e := range s.dirty {
		key := len(e.key) + 9
		cost := key + e.rec.Size()
		if len(ops)+3 > storage.MaxBatchOps || len(ops) > 0 && *size+cost+2*key > batchBytes {
			b.upTo = e.first - 1
			break
		}
		if cost+2*key > storage.MaxBatchBytes && s.dueOf(e.rec) != e.stored {
			// A value so large must travel alone: when it is due goes first.
			ops, arena = s.appendDueOps(ops, arena, e)
			*size += 2 * key
			b.upTo = e.first - 1
			break
		}
		*size += cost + 2*key
		ops, arena = s.appendOps(ops, arena, e)
		b.bytes += e.listed
		e.listed = 0
		e.flying++
		taken = append(taken, e)
		n++
	}
	s.inflight = append(s.inflight, taken)
	s.taken = max(s.taken, b.upTo)
	rest := copy(s.dirty, s.dirty[n:])
	clear(s.dirty[rest:])
	s.dirty = s.dirty[:rest]
	for len(s.strayDue) > 0 && len(ops) < storage.MaxBatchOps && *size < batchBytes {
		ops = append(ops, storage.Op{Key: s.strayDue[0], Delete: true})
		*size += len(s.strayDue[0])
		s.strayDue = s.strayDue[1:]
	}
	if rest == 0 {
		s.wantSync, s.wantDisk = false, false
	}
	return ops, arena, b
}

// batchBytes keeps a batch below the store's bound, so that writers of small values do not wait long behind it.
const batchBytes = 4 << 20

// appendOps writes e's record, and when it is due where that changes.
func (s *shard) appendOps(ops []storage.Op, arena []byte, e *entry) ([]storage.Op, []byte) {
	var key []byte
	arena, key = keep(arena, func(b []byte) []byte { return append(b, e.key...) })
	if e.rec.IsZero() {
		ops = append(ops, storage.Op{Key: key, Delete: true})
	} else {
		var val []byte
		arena, val = keep(arena, e.rec.Append)
		ops = append(ops, storage.Op{Key: key, Value: val})
	}
	return s.appendDueOps(ops, arena, e)
}

func (s *shard) appendDueOps(ops []storage.Op, arena []byte, e *entry) ([]storage.Op, []byte) {
	due := s.dueOf(e.rec)
	if due == e.stored {
		return ops, arena
	}
	var key []byte
	if e.stored != 0 {
		arena, key = keep(arena, func(b []byte) []byte { return appendDue(b, e.stored, e.key) })
		ops = append(ops, storage.Op{Key: key, Delete: true})
	}
	if due != 0 {
		arena, key = keep(arena, func(b []byte) []byte { return appendDue(b, due, e.key) })
		ops = append(ops, storage.Op{Key: key})
	}
	e.stored = due
	return ops, arena
}

// keep appends to arena and returns what was appended. Where arena moves, earlier parts stay valid where they are.
func keep(arena []byte, f func([]byte) []byte) (grown, part []byte) {
	at := len(arena)
	arena = f(arena)
	return arena, arena[at:len(arena):len(arena)]
}

// done tells that what the oldest take returned is in the store.
func (s *shard) done(b batch, synced bool) {
	taken := s.inflight[0]
	for _, e := range taken {
		e.flying--
	}
	clear(taken)
	s.spare = append(s.spare, taken[:0])
	s.inflight = append(s.inflight[:0], s.inflight[1:]...)
	s.pending -= b.bytes
	s.applied = max(s.applied, b.upTo)
	if synced {
		s.synced = max(s.synced, b.upTo)
	}
}
