package zenoh

import (
	"sync"
	"testing"
)

// TestTasksThatCollide has more goroutines than there are slots: each finds its own task or none, also for the race detector.
func TestTasksThatCollide(t *testing.T) {
	var ts tasks
	var all sync.WaitGroup
	for range 4 * taskSlots {
		all.Go(func() {
			var x task
			for range 100 {
				entered := ts.begin(&x)
				if mine := ts.mine(); entered && mine != &x || !entered && mine != nil {
					t.Error("a goroutine found the task of another one")
					return
				}
				if entered {
					ts.end(&x)
				}
			}
		})
	}
	all.Wait()
}
