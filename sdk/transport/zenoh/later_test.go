package zenoh

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// Queries that their handler keeps are answered after it has returned, all at once, and a Quick handler meets the next one
// before the last one is answered. That holds from the same node and from another.
func TestLater(t *testing.T) {
	at := "unixsock-stream/" + filepath.Join(t.TempDir(), "hub")
	n, err := zenoh.OpenNode(context.Background(), zenoh.Config{Mode: zenoh.ModeRouter, Listen: listen(at)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	inside := func() *Session {
		s, err := n.Session()
		if err != nil {
			t.Fatal(err)
		}
		return Wrap(s)
	}
	server := inside()
	const askers = 8
	var mu sync.Mutex
	var kept []transport.Later
	_, err = server.Queryable("later", transport.QueryableOptions{Complete: true, Quick: true}, func(q transport.Query) {
		later := q.(transport.Later)
		later.Keep()
		mu.Lock()
		defer mu.Unlock()
		if kept = append(kept, later); len(kept) < askers {
			return
		}
		all := kept
		kept = nil
		go server.Batch(func() {
			for _, q := range all {
				if err := q.Reply("later", q.Payload(), transport.ReplyOptions{}); err != nil {
					t.Error(err)
				}
				q.Drop()
				q.Drop()
				if q.Reply("later", nil, transport.ReplyOptions{}) == nil {
					t.Error("a final query was answered")
				}
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, asker := range map[string]*Session{
		"same node": inside(), "client": open(t, zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{at}}),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for i := range askers {
				wg.Go(func() {
					r, err := transport.Ask(ctx, asker, transport.Selector{KeyExpr: "later"}, transport.GetOptions{Payload: []byte{byte(i)}})
					if err != nil || len(r.Payload) != 1 || r.Payload[0] != byte(i) {
						t.Errorf("%d got %v, %v", i, r.Payload, err)
					}
				})
			}
			wg.Wait()
		})
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}
