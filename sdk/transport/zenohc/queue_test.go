//go:build zenohc

package zenohc

import (
	"sync/atomic"
	"testing"
	"time"

	native "github.com/eclipse-zenoh/zenoh-go/zenoh"
)

// What a full queue does not take is counted: at once where it may not wait, and after its patience where it may. A closed one loses
// nothing that anybody would miss.
func TestQueueCountsWhatIsLost(t *testing.T) {
	var dropped, taken atomic.Uint64
	release := make(chan struct{})
	q := &queue{}
	q.init(1, 20*time.Millisecond, &dropped, func(native.Sample) {
		<-release
		taken.Add(1)
	})
	q.put(native.Sample{}, false)
	wait(t, "the handler", func() bool { return q.Len() == 0 })
	q.put(native.Sample{}, false)
	q.put(native.Sample{}, false)
	q.put(native.Sample{}, true)
	if n := dropped.Load(); n != 2 {
		t.Errorf("%d lost, want 2", n)
	}
	close(release)
	wait(t, "the rest", func() bool { return taken.Load() == 2 })
	q.Stop()
	q.Join()
	q.put(native.Sample{}, true)
	if n := dropped.Load(); n != 2 {
		t.Errorf("%d lost, want 2", n)
	}
}
