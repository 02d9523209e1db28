package zenoh

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestTooManyDeclarations has a client, and a fellow peer, declare more than a node allows: the client is cut off.
func TestTooManyDeclarations(t *testing.T) {
	hub, err := Open(t.Context(), Config{Mode: ModeRouter, Listen: []Listen{{Endpoint: "tcp/127.0.0.1:0"}}, MaxDeclarations: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	answer := Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), nil, nil) }}
	if _, err := hub.DeclareQueryable(MustKeyExpr("read"), answer, nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range []Mode{ModePeer, ModeClient} {
		s, err := Open(t.Context(), Config{Mode: m, Connect: hub.Locators(), NoReconnect: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for i := range 200 {
			_, err := s.Liveliness().DeclareToken(MustKeyExpr(fmt.Sprintf("many/%v/%d", m, i)))
			if err != nil && !errors.Is(err, ErrDisconnected) {
				t.Fatal(err)
			}
		}
		if m == ModePeer {
			// The hub has read what was before the query.
			if r, err := s.Collect(t.Context(), MustKeyExpr("read"), "", 0, nil); err != nil || len(r) != 1 || s.Err() != nil {
				t.Fatalf("the peer was cut off: %v, %v", err, s.Err())
			}
			continue
		}
		select {
		case <-s.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("the client was not cut off")
		}
	}
}
