package runtime

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// putState writes the state of a generator that has made so many numbers, as Go's runtime keeps it.
func putState(mem []byte, seed [seedBytes]byte, drawn int) {
	const each = 3*stateChunk + stateLast
	c := rand.NewChaCha8(seed)
	for range drawn / each * each {
		c.Uint64()
	}
	if drawn >= each { // the seed that the last epoch ended with
		c.Uint64()
		b, err := c.MarshalBinary()
		if err != nil {
			panic(err)
		}
		seed = [seedBytes]byte(b[16:])
	}
	drawn %= each
	block, used, n := drawn/stateChunk, drawn%stateChunk, stateChunk
	if block == 3 {
		n = stateLast
	}
	le := binary.LittleEndian
	c = rand.NewChaCha8(seed)
	for range block * stateChunk {
		c.Uint64()
	}
	for i := range n {
		le.PutUint64(mem[8*i:], c.Uint64())
	}
	copy(mem[stateSeed:], seed[:])
	le.PutUint32(mem[stateUsed:], uint32(used))
	le.PutUint32(mem[stateCount:], uint32(n))
	le.PutUint32(mem[stateBlock:], uint32(block*blockStep))
}

// TestFindSeeds: the states that descend from what the host gave are found wherever they lie and however much of them is used
// up; others, and what only looks like one, are not.
func TestFindSeeds(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	given := [][]byte{random(32), random(8), random(100)}
	root := [seedBytes]byte(given[0])
	c := rand.NewChaCha8(root)
	for range 5 {
		c.Uint64()
	}
	var child [seedBytes]byte // made of numbers of the root's
	for i := range 4 {
		binary.LittleEndian.PutUint64(child[8*i:], c.Uint64())
	}
	for _, drawn := range []int{0, 1, 31, 32, 100, 123, 124, 125, 1000, 12_345} {
		mem := random(1 << 17)
		clear(mem[40_000:60_000])
		want := []int{8, 5000 * 8, 1<<17 - stateBytes}
		putState(mem[want[0]:], root, drawn)
		putState(mem[want[1]:], child, drawn)
		putState(mem[want[2]:], [seedBytes]byte(given[2][24:]), drawn%100) // a part of a longer read, not used up
		putState(mem[70_000:], [seedBytes]byte{1, 2, 3}, drawn)            // the program's own
		putState(mem[80_000:], root, drawn)
		mem[80_000]++ // not what the seed makes
		if got := findSeeds(mem, given); !slices.Equal(got, want) {
			t.Errorf("after %d numbers the states at %v are found, and they are at %v", drawn, got, want)
		}
		if got := findSeeds(mem, nil); got != nil {
			t.Errorf("without randomness states are found at %v", got)
		}
	}
	if got := findSeeds(make([]byte, 1000), given); got != nil {
		t.Errorf("states among zeros: %v", got)
	}
	if got := findSeeds(nil, given); got != nil {
		t.Errorf("states in nothing: %v", got)
	}
	mem := make([]byte, 64<<10)
	for i := range 3 * maxSeeds {
		putState(mem[i*stateBytes:], root, i)
	}
	if got := findSeeds(mem, given); len(got) != maxSeeds {
		t.Errorf("%d states are found", len(got))
	}
}
