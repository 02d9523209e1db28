package mailbox

import "sync"

const (
	// keptRing is the room that an empty mailbox keeps.
	keptRing = 64
	// pooledRing is the room that busy mailboxes take from their Rings, and give back when they are empty.
	pooledRing = 1024
)

// Rings are the memory that busy mailboxes take turns with. The zero value is ready, and nil has none.
type Rings[T any] struct{ pool sync.Pool }

// take returns a ring that is larger than n, and empty.
func (r *Rings[T]) take(n int) []T {
	switch {
	case n < 8:
		return make([]T, 8)
	case n < keptRing:
		return make([]T, keptRing)
	case n < pooledRing && r != nil:
		if p, ok := r.pool.Get().(*[pooledRing]T); ok {
			return p[:]
		}
		return make([]T, pooledRing)
	}
	return make([]T, 2*n)
}

// free takes a ring back, which is empty.
func (r *Rings[T]) free(ring []T) {
	if r != nil && len(ring) == pooledRing {
		r.pool.Put((*[pooledRing]T)(ring))
	}
}
