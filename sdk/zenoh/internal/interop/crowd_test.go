package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// What an idle session costs a hub at most, in bytes of heap and stacks. That of TLS has both ends' state of it.
const (
	maxIdleSession    = 64 << 10
	maxIdleTLSSession = 96 << 10
)

// TestIdleSessions has as many clients at one hub as it allows by default. Each has declared something, has sent and received, and
// is then silent. The figure has both ends of each connection in it, though there is nothing but a socket at the clients'.
func TestIdleSessions(t *testing.T) {
	const sessions = 1000
	c := config(zenoh.ModeRouter)
	c.Listen, c.Lease = []zenoh.Listen{{Endpoint: anyPort}}, time.Hour
	hub := open(t, c)
	got := hub.subscribe(t, "crowd/said/*")
	crowd, per := idleCrowd(t, hub, got, sessions, maxIdleSession, func() *raw { return dialRaw(t, hub.Locators()[0]) })
	t.Logf("%d bytes for each of %d idle sessions", per, sessions)

	dialTooMany(t, hub)
	for _, r := range crowd {
		_ = r.Close()
	}
	until(t, "all have left", func() bool { return len(hub.Transports()) == 0 })
	if left := hub.alive(t, "crowd/**"); len(left) != 0 {
		t.Errorf("%d tokens are left", len(left))
	}
}

// TestIdleSessionsOverTLS is the same over TLS, which keeps keys and a buffer at each end.
func TestIdleSessionsOverTLS(t *testing.T) {
	const sessions = 200
	a := newAuthority(t)
	pool, ca := x509.NewCertPool(), a.ca
	pem, err := os.ReadFile(ca)
	must(t, err)
	pool.AppendCertsFromPEM(pem)
	client := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	c := config(zenoh.ModeRouter)
	c.Listen, c.Lease = []zenoh.Listen{{Endpoint: overTLS(anyPort)}}, time.Hour
	c.TLS, _ = a.ends(t, false)
	hub := open(t, c)
	got := hub.subscribe(t, "crowd/said/*")
	_, per := idleCrowd(t, hub, got, sessions, maxIdleTLSSession, func() *raw {
		r := dialTCP(t, strings.Replace(hub.Locators()[0], "tls/", "tcp/", 1))
		r.secure(t, client)
		return r.open(t)
	})
	t.Logf("%d bytes for each of %d idle sessions over TLS, both ends together", per, sessions)
}

// idleCrowd makes clients of a hub that have declared something, have sent and received, and are then silent; it returns what each of
// them costs, which is below limit.
func idleCrowd(t *testing.T, hub *ours, got *entity, sessions, limit int, dial func() *raw) (crowd []*raw, per int) {
	t.Helper()
	before := heap()
	crowd = make([]*raw, sessions)
	for i := range crowd {
		r := dial()
		r.say(declare(wire.DeclSubscriber, 1, "crowd/all"), declare(wire.DeclSubscriber, 2, fmt.Sprintf("crowd/%d/**", i)),
			declare(wire.DeclToken, 3, fmt.Sprintf("crowd/%d/token", i)), interest(4, wire.InterestFuture, 0x0a, "crowd/nobody/*"))
		r.say(put(fmt.Sprintf("crowd/said/%d", i), make([]byte, 20_000)))
		crowd[i] = r
	}
	for range crowd {
		got.next(t)
	}
	hub.put(t, "crowd/all", body{20_000, 1}, reliably)
	for _, r := range crowd {
		for len(r.receive(t)) < 20_000 { // the OpenAck comes first
			continue
		}
		r.in = nil
	}
	if n := len(hub.Transports()); n != sessions {
		t.Fatalf("%d sessions, want %d", n, sessions)
	}
	if raced {
		limit *= 2
	}
	until(t, fmt.Sprintf("less than %d bytes for each", limit), func() bool {
		per = (heap() - before) / sessions
		return per < limit
	})
	return crowd, per
}

// dialTooMany is one session more than a hub has.
func dialTooMany(t *testing.T, hub *ours) {
	t.Helper()
	c := config(zenoh.ModeClient)
	c.Connect, c.ConnectTimeout = hub.Locators(), 0
	if _, err := tryOpen(t, c); err == nil {
		t.Error("one session more than MaxSessions was taken")
	}
}

// TestStalledReader has a session subscribe to what everybody gets, and read nothing. Who publishes with Block waits for it only
// until it is cut off; others never do.
func TestStalledReader(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.WaitBlock, c.QueueBytes = time.Second, 256<<10 })
	heard := w.b.subscribe(t, "stalled/**")
	settle(t, w.a, w.b)
	stalled := dialRaw(t, w.at())
	stalled.say(declare(wire.DeclSubscriber, 1, "stalled/**"), declare(wire.DeclToken, 2, "token/stalled"))
	until(t, "it is there", func() bool { return len(w.hub.alive(t, "token/*")) == 1 })

	publisher := ourDialler(t, zenoh.ModeClient, w.at())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		payload := make([]byte, 8<<10)
		for ctx.Err() == nil {
			o := &zenoh.PutOptions{CongestionControl: zenoh.CongestionControlBlock}
			if publisher.Put(ctx, ke("stalled/x"), payload, o) == nil {
				sent.Add(1)
			}
		}
	}()
	// The witness works while the stalled one is there and full.
	trips := 0
	until(t, "the stalled one is cut off", func() bool {
		w.works(t)
		trips++
		return len(w.hub.alive(t, "token/*")) == 0
	})
	if trips < 2 {
		t.Errorf("the witness made %d round trips meanwhile", trips)
	}
	at := sent.Load()
	until(t, "the publisher goes on", func() bool { return sent.Load() > at+100 })
	cancel()
	<-done
	publisher.put(t, "stalled/end", body{1, 1}, reliably)
	count := int64(0)
	for x := heard.next(t); x.Key != "stalled/end"; x = heard.next(t) {
		count++
	}
	if n := sent.Load(); count < n || count > n+1 { // the last one may be both sent and given up
		t.Errorf("%d samples arrived, %d were sent", count, n)
	}
	stalled.lost(t)
	w.works(t)
}

// TestStalledDrop is the same with samples that may be dropped: nobody waits for anybody, and the stalled one keeps its link
// but loses samples.
func TestStalledDrop(t *testing.T) {
	w := newWitness(t, func(c *zenoh.Config) { c.QueueBytes = 256 << 10 })
	stalled := dialRaw(t, w.at())
	stalled.say(declare(wire.DeclSubscriber, 1, "stalled/**"), declare(wire.DeclToken, 2, "token/stalled"))
	until(t, "it is there", func() bool { return len(w.hub.alive(t, "token/*")) == 1 })
	payload := bytes.Repeat([]byte{1}, 8<<10)
	for w.hub.Node().Dropped() == 0 {
		must(t, w.hub.Put(t.Context(), ke("stalled/x"), payload, nil))
	}
	w.works(t)
	if len(w.hub.alive(t, "token/*")) != 1 {
		t.Error("a session lost its link for what may be dropped")
	}
}
