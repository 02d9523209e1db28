package zenoh

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Somebody who dials at the very moment at which a node begins to listen is held to the endpoint that he has dialled, like everybody
// later.
func TestDialledWhileOpening(t *testing.T) {
	for range 10 {
		path := "unixsock-stream/" + filepath.Join(t.TempDir(), "s")
		peer := openTest(t, Config{Connect: []string{path}, RetryMin: time.Millisecond, RetryMax: time.Millisecond})
		var mesh atomic.Int64
		listen := []Listen{{Endpoint: path, Relation: RelationSouth}}
		for range 100 {
			listen = append(listen, Listen{Endpoint: "tcp/127.0.0.1:0"})
		}
		hub, err := OpenNode(t.Context(), Config{Mode: ModeRouter, Listen: listen, Events: func(e Event) {
			if e.Up && e.Transport.Relation == RelationMesh {
				mesh.Add(1)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); hub.refused.Load() == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if hub.refused.Load() == 0 || mesh.Load() != 0 {
			t.Errorf("a peer at an endpoint for clients was refused %d times and let into the mesh %d times", hub.refused.Load(), mesh.Load())
		}
		_ = hub.Close()
		_ = peer.Close()
	}
}
