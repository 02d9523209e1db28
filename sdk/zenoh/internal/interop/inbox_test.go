package interop

import (
	"sync"
	"testing"
	"time"
)

// inbox keeps what an entity has got until the test looks.
type inbox struct {
	mu    sync.Mutex
	items []item
	news  chan struct{} // of capacity one
}

func newInbox() *inbox { return &inbox{news: make(chan struct{}, 1)} }

func (b *inbox) add(x item) {
	b.mu.Lock()
	b.items = append(b.items, x)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// next returns the oldest item, and waits for it.
func (b *inbox) next(t *testing.T) item {
	t.Helper()
	return b.find(t, func(item) bool { return true })
}

// find takes items out until one is as wanted, and returns that.
func (b *inbox) find(t *testing.T, want func(item) bool) item {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var seen []item
	for {
		b.mu.Lock()
		for len(b.items) > 0 {
			x := b.items[0]
			b.items = b.items[1:]
			if want(x) {
				b.mu.Unlock()
				return x
			}
			seen = append(seen, x)
		}
		b.mu.Unlock()
		select {
		case <-b.news:
		case <-deadline.C:
			t.Fatalf("nothing came; before: %v", seen)
		}
	}
}

// drain takes out everything that is there.
func (b *inbox) drain() []item {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.items
	b.items = nil
	return all
}

// until calls f until it is true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; !f(); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s", what)
		}
		time.Sleep(wait)
	}
}
