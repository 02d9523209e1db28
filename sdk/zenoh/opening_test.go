package zenoh

import (
	"path/filepath"
	"testing"
	"time"
)

// Those who dial at the very moment at which a node begins to listen are treated like everybody later: they hear of each other.
func TestDialledWhileOpening(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		unix := func(name string) []Listen {
			return []Listen{{Endpoint: "unixsock-stream/" + filepath.Join(dir, name)}}
		}
		hub := unix("hub")
		peer := func(name string) *Session {
			return openTest(t, Config{
				Listen: unix(name), Connect: []string{hub[0].Endpoint}, RetryMin: time.Millisecond, RetryMax: time.Millisecond,
				Scouting: Scouting{Gossip: true},
			})
		}
		a, b := peer("a"), peer("b")
		for range 100 { // so that it takes a while
			hub = append(hub, Listen{Endpoint: "tcp/127.0.0.1:0"})
		}
		n := openTest(t, Config{Mode: ModeRouter, Listen: hub, Scouting: Scouting{Gossip: true}})
		for deadline := time.Now().Add(patience); len(a.PeersZID()) < 2 || len(b.PeersZID()) < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("two peers of a hub are linked to %v and %v", a.PeersZID(), b.PeersZID())
			}
		}
		for _, s := range []*Session{a, b, n} {
			_ = s.Close()
		}
	}
}
