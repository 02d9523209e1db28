//go:build zenohc

package zenohc

import (
	"sync/atomic"
	"testing"
	"time"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"
)

func newQueue(limit int, patience time.Duration, dropped *atomic.Uint64, h func(native.Sample)) *queue {
	q := &queue{}
	q.init(limit, patience, dropped, h)
	return q
}

// Who waits in vain gives up, and nobody waits after that until the handler takes a sample again.
func TestQueueStalls(t *testing.T) {
	var dropped, taken atomic.Uint64
	release := make(chan struct{})
	q := newQueue(2, 20*time.Millisecond, &dropped, func(native.Sample) {
		<-release
		taken.Add(1)
	})
	for range 3 { // one with the handler, two waiting
		q.put(native.Sample{}, true)
		wait(t, "the handler", func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.n < 2 || q.head > 0
		})
	}
	q.put(native.Sample{}, true)
	q.put(native.Sample{}, false)
	if n := dropped.Load(); n != 2 {
		t.Errorf("%d lost, want 2", n)
	}
	q.mu.Lock()
	q.patience = time.Hour
	stalled := q.stalled
	q.mu.Unlock()
	if !stalled {
		t.Error("the queue does not know that its handler is stuck")
	}
	q.put(native.Sample{}, true) // does not wait for an hour
	close(release)
	wait(t, "the rest", func() bool { return taken.Load() == 3 })
	if n := dropped.Load(); n != 3 {
		t.Errorf("%d lost, want 3", n)
	}
	q.stop()
	q.join()
}

func TestQueueWaits(t *testing.T) {
	var dropped, taken atomic.Uint64
	q := newQueue(1, time.Hour, &dropped, func(native.Sample) {
		time.Sleep(time.Millisecond)
		taken.Add(1)
	})
	done := make(chan struct{})
	for range 4 {
		go func() {
			for range 20 {
				q.put(native.Sample{}, true)
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	wait(t, "all of them", func() bool { return taken.Load() == 80 })
	if n := dropped.Load(); n != 0 {
		t.Errorf("%d lost", n)
	}
	q.stop()
	q.join()
}

// Closing wakes those who wait.
func TestQueueStops(t *testing.T) {
	var dropped atomic.Uint64
	release, done := make(chan struct{}), make(chan struct{})
	q := newQueue(1, time.Hour, &dropped, func(native.Sample) { <-release })
	for range 8 {
		go func() {
			q.put(native.Sample{}, true)
			done <- struct{}{}
		}()
	}
	wait(t, "those who wait", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.waiting >= 6
	})
	q.stop()
	for range 8 {
		<-done
	}
	close(release)
	q.join()
	if n := dropped.Load(); n != 0 {
		t.Errorf("%d are counted as lost by a closed queue", n)
	}
}
