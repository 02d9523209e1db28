package enginetest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// endCallers make endCalls calls each, as far as endTime has room for them: one half is ended at any moment.
const (
	endCallers = 4
	endCalls   = 4000
	endTime    = time.Second
)

// testEnds: who ends a call, by its deadline or by its context, ends no other, however late that comes. Calls of nothing and
// calls with nested ones are ended from before they begin to after they have ended, beside others that nobody ends.
func testEnds(t *testing.T, open Open) {
	x := start(t, open, Options{})
	tree := append(binary.LittleEndian.AppendUint32(nil, 2), binary.LittleEndian.AppendUint32(nil, 2)...)
	x.mustInvoke(t, x.function("tree", tree))
	until := time.Now().Add(endTime)
	var ended, made atomic.Int64
	var wait sync.WaitGroup
	for n := range endCallers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 5))
			for i := 0; i < endCalls && time.Now().Before(until) && !t.Failed(); i++ {
				c := x.function("echo", []byte("hello"))
				if i%3 == 0 {
					c = x.function("tree", tree)
				}
				made.Add(1)
				if n%2 == 0 {
					if _, err := x.engine.Invoke(context.Background(), c); err != nil {
						t.Errorf("a call that nobody ends: %v", err)
					}
					continue
				}
				ctx, cancel := context.WithCancel(context.Background())
				after := time.Duration(r.Int64N(int64(100 * time.Microsecond)))
				if i%2 == 0 {
					c.Deadline = time.Now().Add(after)
				} else {
					time.AfterFunc(after, cancel)
				}
				_, err := x.engine.Invoke(ctx, c)
				cancel()
				switch status.Of(err) {
				case status.Deadline, status.Cancelled:
					ended.Add(1)
				default:
					if err != nil {
						t.Errorf("a call that is ended: %v", err)
					}
				}
			}
		})
	}
	wait.Wait()
	if ended.Load() == 0 || ended.Load() == made.Load() {
		t.Errorf("%d of %d calls were ended", ended.Load(), made.Load())
	}
	x.working(t)
}
