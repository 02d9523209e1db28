package runtime

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Instances made of one snapshot begin with the same state of every random generator that initialisation has seeded. Go's
// own, which is behind math/rand, maps and select, is given a new seed for every call. It lies somewhere in the runtime's
// memory, in the form of internal/chacha8rand.State since Go 1.22:
//
//	buf [32]uint64; seed [4]uint64; i, n, c uint32
//
// where buf is what ChaCha8 makes of seed at the counter c, and i of its n values are used. Nothing else looks like that.
//
// A program may have generators of that kind whose seed it chose, to get the same numbers every time; those must stay. So
// only a state is given a new seed whose old one comes from what the host gave the guest as random: it is a part of that,
// or of what a generator makes that was seeded with it. Where none is found nothing is changed; a guest can always see to
// itself in RestoredExport.

// RestoredExport is called, where a module exports it with type () -> (), before the function in every call whose instance
// begins with a snapshot, for the guest to renew what must not be the same in all of them: seeds, ids, times.
const RestoredExport = "__essa_restored"

const (
	stateSeed  = 32 * 8 // offsets in a state
	stateUsed  = stateSeed + 4*8
	stateCount = stateUsed + 4
	stateBlock = stateUsed + 8
	stateBytes = 304

	stateChunk = 32 // values that a block makes
	stateLast  = 28 // of the last block, whose other 4 are the next seed
	blockStep  = 4
	lastBlock  = 12

	seedBytes = 32
	maxSeeds  = 8        // states of one guest
	maxRandom = 16 << 10 // bytes that initialisation was given, of which seeds are recognised
	maxStarts = 16       // how many values of a generator are tried as the beginning of another one's seed
	maxEpochs = 256      // seeds that a generator has used up
)

// findSeeds returns where in a memory the states are whose seeds come from given.
func findSeeds(mem []byte, given [][]byte) []int {
	if len(given) == 0 {
		return nil
	}
	var list []int
	le := binary.LittleEndian
	var known *lineage
	for at := 0; at+stateBytes <= len(mem) && len(list) < maxSeeds; at += 8 {
		n := le.Uint32(mem[at+stateCount:])
		if n != stateChunk && n != stateLast {
			continue
		}
		s := mem[at:][:stateBytes]
		if !isState(s) {
			continue
		}
		if known == nil {
			known = newLineage(given)
		}
		if known.has(s[stateSeed:][:seedBytes]) {
			list = append(list, at)
		}
	}
	return list
}

// isState recognises a state, by its buffer.
func isState(s []byte) bool {
	le := binary.LittleEndian
	used, n, block := le.Uint32(s[stateUsed:]), le.Uint32(s[stateCount:]), le.Uint32(s[stateBlock:])
	if used > n || block > lastBlock || block%blockStep != 0 || (n == stateLast) != (block == lastBlock) {
		return false
	}
	g := rand.NewChaCha8([seedBytes]byte(s[stateSeed:]))
	for range block / blockStep * stateChunk {
		g.Uint64()
	}
	for i := range n {
		if g.Uint64() != le.Uint64(s[8*i:]) {
			return false
		}
	}
	return true
}

// lineage is the seeds that descend from given randomness.
type lineage struct {
	given   [][]byte
	streams [][]byte // what generators make that were seeded with it
	epochs  map[[seedBytes]byte]bool
}

func newLineage(given [][]byte) *lineage {
	l := &lineage{given: given}
	for _, g := range given {
		if len(g) != seedBytes {
			continue
		}
		c := rand.NewChaCha8([seedBytes]byte(g))
		var stream []byte
		for range 4 * stateChunk {
			stream = binary.LittleEndian.AppendUint64(stream, c.Uint64())
		}
		l.streams = append(l.streams, stream)
	}
	return l
}

func (l *lineage) has(seed []byte) bool {
	for _, list := range [][][]byte{l.given, l.streams} {
		for _, b := range list {
			if bytes.Contains(b, seed) {
				return true
			}
		}
	}
	if l.epochs == nil {
		l.follow()
	}
	return l.epochs[[seedBytes]byte(seed)]
}

// follow lists the seeds that generators come to which have used up their first one.
func (l *lineage) follow() {
	l.epochs = map[[seedBytes]byte]bool{}
	for _, g := range l.given {
		if len(g) == seedBytes {
			l.followOne(g)
		}
	}
	for _, s := range l.streams {
		for i := range maxStarts {
			l.followOne(s[8*i:][:seedBytes])
		}
	}
}

func (l *lineage) followOne(seed []byte) {
	const each = 3*stateChunk + stateLast // values that a seed makes
	c := rand.NewChaCha8([seedBytes]byte(seed))
	c.Uint64()
	for range maxEpochs {
		for range each {
			c.Uint64()
		}
		// "chacha8:", how much is used, and the seed.
		b, err := c.MarshalBinary()
		if err != nil || len(b) != 16+seedBytes {
			return
		}
		l.epochs[[seedBytes]byte(b[16:])] = true
	}
}

// reseed writes new seeds into the states: as if each had used up its last block, whose end is the next seed.
func (g *Guest) reseed(r *resident) {
	mem := r.Memory()
	from := r.seeder(g.rt.set.Random)
	le := binary.LittleEndian
	for _, at := range r.snap.seeds {
		s := mem[at:][:stateBytes]
		for n := range seedBytes / 8 {
			le.PutUint64(s[8*(stateLast+n):], from.Uint64())
		}
		le.PutUint32(s[stateUsed:], stateLast)
		le.PutUint32(s[stateCount:], stateLast)
		le.PutUint32(s[stateBlock:], lastBlock)
	}
}

// seederCalls is how many calls' seeds come from one of the host's.
const seederCalls = 256

// seeder returns what makes the seeds for a call. It is of the kind that Go itself draws its random numbers from, and what
// it gives is given once. To ask the host for each seed would cost a tenth of a call that does nothing.
func (r *resident) seeder(random func([]byte)) *rand.ChaCha8 {
	if r.seedings--; r.seedings < 0 {
		var seed [seedBytes]byte
		random(seed[:])
		r.seedings = seederCalls - 1
		r.seeds.Seed(seed)
	}
	return &r.seeds
}

// refresh makes an instance that begins with a snapshot one of its own.
func (g *Guest) refresh() error {
	r := g.res
	if r == nil {
		return nil
	}
	if r.mapping != nil || r.trimmer != nil {
		g.pin()
	}
	if r.snap == nil {
		return nil
	}
	g.shift = r.snap.shift
	if len(r.snap.seeds) > 0 {
		g.reseed(r)
	}
	if !g.mod.renews {
		return nil
	}
	return g.inst.Call(RestoredExport, nil)
}

// remember notes what initialisation is given as random.
func (g *Guest) remember(p []byte) {
	if g.initial != nil && g.pool != nil && g.given+len(p) <= maxRandom {
		g.given += len(p)
		g.seeds = append(g.seeds, append([]byte(nil), p...))
	}
}
