package plugin

import (
	"hash/maphash"
	"sync/atomic"
)

// maxName is the length up to which a name is remembered.
const maxName = 256

// names remembers the names of modules, scopes and functions that have come over a connection: nearly every call brings
// the same few, and a string for each of them was a third of a call's allocations. Two names that meet in a place take
// turns, so that it needs no lock and strange names cost no more than before.
type names struct {
	seed  maphash.Seed
	known [256]atomic.Pointer[string]
}

func newNames() *names { return &names{seed: maphash.MakeSeed()} }

// get returns the string of b. A nil names remembers nothing.
func (n *names) get(b []byte) string {
	if n == nil || len(b) > maxName {
		return string(b)
	}
	place := &n.known[maphash.Bytes(n.seed, b)%uint64(len(n.known))]
	if s := place.Load(); s != nil && *s == string(b) {
		return *s
	}
	s := string(b)
	place.Store(&s)
	return s
}
