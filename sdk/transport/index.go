package transport

import (
	"sync"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
)

// index finds the declarations whose key expression intersects a key, also while others come and go.
type index[T comparable] struct {
	mu   sync.RWMutex
	tree keyexpr.Index[T]
}

func (x *index[T]) add(expr string, v T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tree.Add(expr, v)
}

func (x *index[T]) remove(expr string, v T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tree.Remove(expr, v)
}

// match appends to out what intersects key, which may be any text. known tells that key was declared by somebody and so is
// valid.
func (x *index[T]) match(key string, out []T) (found []T, known bool) {
	if len(key) > MaxKeyBytes {
		return out, false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.tree.Intersecting(key, func(expr string, v T) bool {
		known = known || expr == key
		out = append(out, v)
		return true
	})
	return out, known
}
