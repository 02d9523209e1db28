package zenoh

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

var errNothingAllowed = errors.New("nothing is allowed")

// TestPolicyFromTheFirstMoment has somebody dial who tries before the endpoint is open: its policy must hold for them, too.
func TestPolicyFromTheFirstMoment(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "tcp/" + l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	opened := make(chan error, 1)
	var client *Session
	go func() {
		var err error
		client, err = Open(ctx, Config{
			Mode: ModeClient, Connect: []string{at}, ConnectTimeout: 20 * time.Second, RetryMin: time.Microsecond, RetryMax: time.Microsecond,
		})
		opened <- err
	}()
	hub, err := Open(ctx, Config{Mode: ModeRouter, Listen: []Listen{{
		Endpoint: at, Policy: func(*Transport, Op, string) error { return errNothingAllowed },
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	r, err := client.Collect(ctx, MustKeyExpr("a"), "", 0, nil)
	if err != nil || len(r) != 1 || r[0].Err == nil || string(r[0].Err.Payload) != errNothingAllowed.Error() {
		t.Fatalf("a query was answered with %v, %v; want a refusal", r, err)
	}
}
