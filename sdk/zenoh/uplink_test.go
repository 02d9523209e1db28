package zenoh

import (
	"context"
	"slices"
	"testing"
	"time"
)

// A hub with an uplink is a client of its gateway and a gateway of its clients: these reach what the gateway's other clients
// have, and the other way round.
func TestUplink(t *testing.T) {
	hub := func(c Config) *Session {
		c.Mode, c.Listen = ModeRouter, []Listen{{Endpoint: "tcp/127.0.0.1:0", Relation: RelationSouth}}
		return openTest(t, c)
	}
	client := func(of *Session) *Session {
		return openTest(t, Config{Mode: ModeClient, Connect: of.Locators()})
	}
	top := hub(Config{})
	left, right := hub(Config{Uplink: true, Connect: top.Locators()}), hub(Config{Uplink: true, Connect: top.Locators()})
	a, b := client(left), client(right)
	for what, s := range map[string]*Session{"a hub": right, "its client": b} {
		key := MustKeyExpr("up/" + s.ID().String())
		if _, err := s.DeclareQueryable(key, Closure[*Query]{Call: func(q *Query) {
			_ = q.Reply(key, q.Payload(), nil)
		}}, &QueryableOptions{Complete: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Liveliness().DeclareToken(key); err != nil {
			t.Fatal(err)
		}
		for _, from := range []*Session{a, left, top} {
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				replies, err := from.Collect(t.Context(), key, "", 0, &GetOptions{Payload: []byte(what)})
				if err != nil {
					t.Fatal(err)
				}
				if len(replies) == 1 && string(replies[0].Sample.Payload) == what {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is not reached: %v", what, replies)
				}
			}
			if keys := tokens(t, from, "up/*"); !slices.Contains(keys, key.String()) {
				t.Errorf("the token of %s is not among %v", what, keys)
			}
		}
	}
	if _, err := Open(t.Context(), Config{Mode: ModePeer, Uplink: true, Connect: top.Locators()}); err == nil {
		t.Error("a peer has no uplink")
	}
	if _, err := Open(t.Context(), Config{Mode: ModeRouter, Uplink: true}); err == nil {
		t.Error("an uplink needs somebody to connect to")
	}
}

func tokens(t *testing.T, s *Session, key string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var keys []string
	if err := s.Liveliness().Get(ctx, MustKeyExpr(key), func(k KeyExpr) { keys = append(keys, k.String()) }, nil); err != nil {
		t.Fatal(err)
	}
	return keys
}
