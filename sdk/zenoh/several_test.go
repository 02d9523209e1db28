package zenoh

import (
	"context"
	"testing"
	"time"
)

// TestQueriesOfOneRequest has several queryables of one session answer the same requests: for the race detector.
func TestQueriesOfOneRequest(t *testing.T) {
	server, err := Open(t.Context(), Config{Mode: ModePeer, Listen: []Listen{{Endpoint: "tcp/127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	client, err := Open(t.Context(), Config{Mode: ModeClient, Connect: server.Locators()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	answer := Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), []byte("x"), nil) }}
	for _, o := range []QueryableOptions{{}, {}, {Inline: true}, {Quick: true}} {
		if _, err := server.DeclareQueryable(MustKeyExpr("several"), answer, &o); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 100 {
		for _, s := range []*Session{client, server} {
			o := &GetOptions{Target: QueryTargetAll, Consolidation: ConsolidationModeNone}
			if r, err := s.Collect(ctx, MustKeyExpr("several"), "", 0, o); err != nil || len(r) != 4 {
				t.Fatalf("%d replies, want 4: %v", len(r), err)
			}
		}
	}
}
