package zenoh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/internal/link"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// impatient makes c dial again soon.
func impatient(c Config) Config {
	c.RetryMin, c.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	return c
}

// A peer whose fellow is lost and comes back declares everything again; tokens are seen to go and to come.
func TestReconnect(t *testing.T) {
	for _, mode := range []Mode{ModePeer, ModeClient} {
		t.Run(mode.String(), func(t *testing.T) {
			endpoint := "tcp/" + freePort(t)
			gateway := Config{Mode: ModeRouter, Listen: listenOn(endpoint)}
			a := openTest(t, gateway)
			b := openTest(t, impatient(Config{Mode: mode, Connect: []string{endpoint}}))
			var got list[Sample]
			_, err := b.DeclareSubscriber(key("again/**"), Closure[Sample]{Call: got.take}, nil)
			must(t, err)
			_, err = b.DeclareQueryable(key("again"), Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), nil, nil) }}, nil)
			must(t, err)
			_, err = b.Liveliness().DeclareToken(key("again/b"))
			must(t, err)
			var live list[Sample]
			_, err = b.Liveliness().DeclareSubscriber(key("again/a"), Closure[Sample]{Call: live.take}, &LivelinessSubscriberOptions{History: true})
			must(t, err)
			for round := range 3 {
				_, err = a.Liveliness().DeclareToken(key("again/a"))
				must(t, err)
				eventually(t, "the token of the one that comes back", func() bool { return live.len() == 2*round+1 })
				eventually(t, "the other's token", func() bool { return len(alive(t, a, "again/b")) == 1 })
				must(t, a.Put(context.Background(), key("again/x"), nil, &PutOptions{CongestionControl: CongestionControlBlock}))
				eventually(t, "the sample", func() bool { return got.len() == round+1 })
				all, err := a.Collect(context.Background(), key("again"), "", 0, nil)
				if err != nil || len(all) != 1 {
					t.Fatalf("%d replies, %v", len(all), err)
				}
				a.Node().Abort()
				if err := a.Put(context.Background(), key("x"), nil, nil); !errors.Is(err, ErrDisconnected) {
					t.Errorf("a put on an aborted node: %v", err)
				}
				eventually(t, "the loss of the token", func() bool { return live.len() == 2*round+2 })
				a = openTest(t, gateway)
			}
			for i, x := range live.get() {
				if (x.Kind == SampleKindPut) != (i%2 == 0) {
					t.Errorf("event %d is a %v", i, x.Kind)
				}
			}
		})
	}
}

func TestNoReconnect(t *testing.T) {
	hub := openTest(t, Config{Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0")})
	c := openTest(t, Config{Mode: ModeClient, Connect: hub.Locators(), NoReconnect: true})
	_, err := hub.DeclareQueryable(key("stuck"), Closure[*Query]{Call: func(q *Query) {
		go hub.Node().Abort()
		<-q.Context().Done()
	}}, nil)
	must(t, err)
	if _, err := c.Collect(context.Background(), key("stuck"), "", 0, nil); err != nil && !errors.Is(err, ErrDisconnected) {
		t.Errorf("the query: %v", err) // it may also be final without the one that is lost
	}
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("the session does not end")
	}
	if err := c.Err(); !errors.Is(err, ErrDisconnected) {
		t.Errorf("the session ended with %v", err)
	}
}

func TestClientNeedsAGateway(t *testing.T) {
	nobody := "tcp/" + freePort(t)
	for _, timeout := range []time.Duration{0, 200 * time.Millisecond} {
		s, err := Open(context.Background(), impatient(Config{Mode: ModeClient, Connect: []string{nobody}, ConnectTimeout: timeout}))
		if err == nil {
			_ = s.Close()
			t.Errorf("time-out %v: it opened", timeout)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if s, err := Open(ctx, impatient(Config{Mode: ModeClient, Connect: []string{nobody}, ConnectTimeout: -1})); err == nil {
		_ = s.Close()
		t.Error("it opened")
	}
	// It takes the first one that answers, and waits for one that comes late.
	endpoint := "tcp/" + freePort(t)
	opened := make(chan *Session)
	go func() {
		s, err := Open(context.Background(), impatient(Config{
			Mode: ModeClient, Connect: []string{nobody, endpoint}, ConnectTimeout: patience,
		}))
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	hub := openTest(t, Config{Mode: ModeRouter, Listen: listenOn(endpoint)})
	s := <-opened
	if s == nil {
		return
	}
	defer s.Close()
	if ids := s.RoutersZID(); len(ids) != 1 || ids[0] != hub.ZID() {
		t.Errorf("routers: %v", ids)
	}
}

// syncBuffer is a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestHubRefusesRouters(t *testing.T) {
	var log syncBuffer
	hub := openTest(t, Config{
		Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0"), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	m := link.NewManager(link.Options{ID: wire.NewID(), WhatAmI: wire.Router}, nil)
	defer m.Close(context.Background())
	e, err := link.ParseEndpoint(hub.Locators()[0])
	must(t, err)
	if _, err := m.Dial(context.Background(), e, wire.ID{}); err == nil {
		t.Fatal("a router was let in")
	}
	eventually(t, "a message that tells what to do", func() bool { return strings.Contains(log.String(), "mode: client") })
	if n := len(hub.Transports()); n != 0 {
		t.Errorf("%d transports", n)
	}
}

func TestListenForClientsOnly(t *testing.T) {
	hub := openTest(t, Config{Mode: ModeRouter, Listen: []Listen{
		{Endpoint: "tcp/127.0.0.1:0"}, {Endpoint: "tcp/127.0.0.1:0", Relation: RelationSouth},
	}})
	all := hub.Locators()
	p := openTest(t, Config{Connect: all[:1]})
	eventually(t, "the peer", func() bool { return len(hub.Transports()) == 1 }) // which may know of the link a little earlier
	if x := hub.Transports(); len(x) != 1 || x[0].Relation != RelationMesh || x[0].ZID != p.ZID() || x[0].Presented != wire.Peer {
		t.Errorf("a peer is %+v", x)
	}
	c := openTest(t, Config{Mode: ModeClient, Connect: all[1:]})
	eventually(t, "both", func() bool { return len(hub.Transports()) == 2 })
	for _, x := range hub.Transports() {
		if x.ZID == c.ZID() && (x.Relation != RelationSouth || x.Presented != wire.Router) {
			t.Errorf("a client is %+v", x)
		}
	}
	openTest(t, impatient(Config{Connect: all[1:]}))
	time.Sleep(100 * time.Millisecond)
	if n := len(hub.Transports()); n != 2 {
		t.Errorf("%d transports: a peer came in where only clients may", n)
	}
}

// denied is an error of a policy.
type denied struct{ what string }

func (d denied) Error() string { return "denied: " + d.what }

func (d denied) Encoding() Encoding {
	e, _ := ParseEncoding("text/plain;denied")
	return e
}

func TestPolicy(t *testing.T) {
	var asked sync.Map
	hub := openTest(t, Config{Mode: ModeRouter, Listen: []Listen{{
		Endpoint: "tcp/127.0.0.1:0",
		Policy: func(from *Transport, op Op, k string) error {
			asked.Store(fmt.Sprint(op, " ", k), from.ZID)
			if strings.HasPrefix(k, "secret") || k == "**" {
				return denied{op.String() + " " + k}
			}
			return nil
		},
	}}})
	c := openTest(t, Config{Mode: ModeClient, Connect: hub.Locators()})
	member := openTest(t, Config{Connect: hub.Locators()})
	answer := Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), nil, nil) }}
	_, err := member.DeclareQueryable(key("**"), answer, &QueryableOptions{Complete: true})
	must(t, err)
	var put, seen list[Sample]
	_, err = member.DeclareSubscriber(key("**"), Closure[Sample]{Call: put.take}, nil)
	must(t, err)
	_, err = c.DeclareSubscriber(key("secret/x"), Closure[Sample]{Call: seen.take}, nil)
	must(t, err)
	_, err = c.DeclareSubscriber(key("open/x"), Closure[Sample]{Call: seen.take}, nil)
	must(t, err)
	_, err = member.Liveliness().DeclareToken(key("secret/token"))
	must(t, err)
	settle(t, member, c)
	settle(t, c, member)
	ctx := context.Background()
	for k, allowed := range map[string]bool{"open/q": true, "secret/q": false} {
		all, err := c.Collect(ctx, key(k), "", 0, &GetOptions{Consolidation: ConsolidationModeNone})
		must(t, err)
		if len(all) != 1 || (all[0].Err == nil) != allowed {
			t.Fatalf("%s: %+v", k, all)
		}
		if e := all[0].Err; e != nil && (string(e.Payload) != "denied: query secret/q" || e.Encoding != (denied{}).Encoding()) {
			t.Errorf("the refusal is %q, %v", e.Payload, e.Encoding)
		}
		must(t, c.Put(ctx, key(k), nil, &PutOptions{CongestionControl: CongestionControlBlock}))
	}
	if keys := alive(t, c, "secret/*"); len(keys) != 0 {
		t.Errorf("tokens: %q", keys)
	}
	must(t, member.Put(ctx, key("secret/x"), nil, nil))
	must(t, member.Put(ctx, key("open/x"), nil, nil))
	eventually(t, "what is allowed", func() bool { return put.len() == 1+2 && seen.len() == 1 }) // the member hears itself
	for _, x := range put.get() {
		if x.KeyExpr == key("secret/q") {
			t.Error("a put that is refused arrived")
		}
	}
	if id, ok := asked.Load("query open/q"); !ok || id != c.ZID() {
		t.Errorf("the policy was asked about %v", id)
	}
	before := hub.Node().Denied()
	for range 3 { // the verdict is remembered, and each refusal is counted nevertheless
		must(t, c.Put(ctx, key("secret/q"), nil, &PutOptions{CongestionControl: CongestionControlBlock}))
	}
	eventually(t, "what was refused to be counted", func() bool { return hub.Node().Denied() == before+3 })
	for _, x := range hub.Transports() {
		if want := map[bool]uint64{true: before + 3}[x.ZID == c.ZID()]; x.Stats.Denied != want {
			t.Errorf("%v: %d refused, want %d", x.Relation, x.Stats.Denied, want)
		}
	}
}

// Who comes in by a door that nobody has said anything about may do nothing there, rather than everything.
func TestRefusesWhoComesByNoEndpoint(t *testing.T) {
	hub := openTest(t, Config{Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0")})
	e, err := link.ParseEndpoint("tcp/127.0.0.1:0")
	must(t, err)
	l, err := hub.Node().links.Listen(context.Background(), e)
	must(t, err)
	m := link.NewManager(link.Options{ID: wire.NewID(), WhatAmI: wire.Client}, idle{})
	defer m.Close(context.Background())
	e, err = link.ParseEndpoint(l.Locators()[0])
	must(t, err)
	if x, err := m.Dial(context.Background(), e, wire.ID{}); err == nil {
		select {
		case <-x.Done():
		case <-time.After(patience):
			t.Fatal("it was let in")
		}
	}
	if n := hub.Node().Denied(); n != 1 || len(hub.Transports()) != 0 {
		t.Errorf("%d refused, %d transports", n, len(hub.Transports()))
	}
}

// idle is a link.Handler that does nothing.
type idle struct{}

func (idle) Up(*link.Transport) any                 { return nil }
func (idle) Message(*link.Transport, *wire.Message) {}
func (idle) EndOfBatch(*link.Transport)             {}
func (idle) Down(*link.Transport, error)            {}

func TestEvents(t *testing.T) {
	var got list[Event]
	a := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Events: got.take})
	b := openTest(t, Config{Connect: a.Locators()})
	eventually(t, "up", func() bool { return got.len() == 1 })
	must(t, b.Close())
	eventually(t, "down", func() bool { return got.len() == 2 })
	e := got.get()
	if !e[0].Up || e[0].Transport.ZID != b.ZID() || e[0].Transport.Relation != RelationMesh || e[1].Up || e[1].Err == nil {
		t.Errorf("events: %+v", e)
	}
}

// Peers that know one of them find each other.
func TestGossip(t *testing.T) {
	gossip := Scouting{Gossip: true}
	a := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Scouting: gossip})
	all := []*Session{a}
	for range 3 {
		all = append(all, openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Connect: a.Locators(), Scouting: gossip}))
	}
	for _, s := range all {
		eventually(t, "a full mesh", func() bool { return len(s.PeersZID()) == 3 })
	}
	silent := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Connect: a.Locators()})
	settle(t, silent, a)
	if n := len(silent.PeersZID()); n != 1 {
		t.Errorf("one without gossip has %d peers", n)
	}
}

func TestMulticast(t *testing.T) {
	c, err := net.ListenUDP("udp4", nil)
	must(t, err)
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c.Close()
	group := netip.AddrPortFrom(netip.MustParseAddr("224.0.0.224"), port).String()
	scouting := Scouting{Multicast: true, Address: group, Interface: "lo"}
	ctx := context.Background()
	a, err := Open(ctx, Config{Listen: listenOn("tcp/127.0.0.1:0"), Scouting: scouting})
	if err != nil {
		t.Skipf("no multicast here: %v", err)
	}
	defer a.Close()
	b := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Scouting: scouting})
	eventually(t, "two peers that find each other", func() bool { return len(a.PeersZID()) == 1 && len(b.PeersZID()) == 1 })
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	heard := map[ID]Hello{}
	must(t, Scout(ctx, scouting, func(h Hello) {
		if heard[h.ZID] = h; len(heard) == 2 {
			cancel()
		}
	}))
	if h := heard[b.ZID()]; len(heard) != 2 || h.WhatAmI != wire.Peer || len(h.Locators) != 1 || h.Locators[0] != b.Locators()[0] {
		t.Errorf("heard %+v", heard)
	}
	client := openTest(t, Config{Mode: ModeClient, Scouting: scouting})
	if ids := client.PeersZID(); len(ids) != 1 || ids[0] != a.ZID() && ids[0] != b.ZID() {
		t.Errorf("the client's gateway: %v", ids)
	}
	scouting.AutoConnect = []Mode{ModeRouter}
	scouting.Timeout = 300 * time.Millisecond
	if s, err := Open(context.Background(), Config{Mode: ModeClient, Scouting: scouting}); err == nil {
		_ = s.Close()
		t.Error("a client has found a router where there is none")
	}
}

func TestUsers(t *testing.T) {
	hub := openTest(t, Config{
		Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0"), Users: map[string]string{"ann": "secret"},
	})
	for _, password := range []string{"", "wrong"} {
		s, err := Open(context.Background(), Config{Mode: ModeClient, Connect: hub.Locators(), User: "ann", Password: password})
		if err == nil {
			_ = s.Close()
			t.Errorf("password %q was taken", password)
		}
	}
	openTest(t, Config{Mode: ModeClient, Connect: hub.Locators(), User: "ann", Password: "secret"})
	// The hub may list a link a moment after the client may use it.
	eventually(t, "the hub to name who dialled", func() bool {
		x := hub.Transports()
		return len(x) == 1 && x[0].User == "ann"
	})
}

func TestConfigMistakes(t *testing.T) {
	for name, c := range map[string]Config{
		"a client that listens":   {Mode: ModeClient, Listen: listenOn("tcp/127.0.0.1:0"), Connect: []string{"tcp/127.0.0.1:1"}},
		"a client without a way":  {Mode: ModeClient},
		"an unknown mode":         {Mode: 9},
		"a bad endpoint":          {Connect: []string{"tcp"}},
		"a bad listener":          {Listen: listenOn("carrier-pigeon/x")},
		"a relation to be forced": {Listen: []Listen{{Endpoint: "tcp/127.0.0.1:0", Relation: RelationMesh}}},
		"a negative lease":        {Lease: -1},
	} {
		s, err := Open(context.Background(), c)
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	if s, err := Open(context.Background(), Config{Listen: listenOn("tcp/" + taken.Addr().String())}); err == nil {
		_ = s.Close()
		t.Error("it listens where somebody else does")
	}
}

// A node that dials itself sees that, and lets it be.
func TestDialSelf(t *testing.T) {
	endpoint := "tcp/" + freePort(t)
	var log syncBuffer
	s := openTest(t, impatient(Config{
		Listen: listenOn(endpoint), Connect: []string{endpoint}, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}))
	time.Sleep(300 * time.Millisecond)
	if n := len(s.Transports()); n != 0 {
		t.Errorf("%d transports", n)
	}
	if n := strings.Count(log.String(), "no link"); n != 1 {
		t.Errorf("it has tried %d times:\n%s", n, log.String())
	}
}

// Whoever is told of an event may close the node.
func TestCloseByAnEvent(t *testing.T) {
	closed := make(chan error, 2)
	var a atomic.Pointer[Session]
	s := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), Events: func(e Event) {
		if e.Up {
			closed <- a.Load().Close()
		}
	}})
	a.Store(s)
	openTest(t, Config{Connect: s.Locators()})
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("the node does not close")
	}
}

func TestInfo(t *testing.T) {
	a, b := peers(t, "tcp/127.0.0.1:0")
	x := b.Transports()
	if len(x) != 1 || x[0].ZID != a.ZID() || x[0].WhatAmI != wire.Peer || len(x[0].Links) != 1 {
		t.Fatalf("transports: %+v", x)
	}
	l := x[0].Links[0]
	if l.Dst != a.Locators()[0] || !l.Dialled || l.MTU == 0 || l.Since.IsZero() {
		t.Errorf("link: %+v", l)
	}
	if b.ID() != b.ZID() || b.Node().ID() != b.ZID() || b.Node().Mode() != ModePeer {
		t.Error("the first session's id is not its node's")
	}
	c, err := b.Sibling()
	must(t, err)
	defer c.Close()
	if c.ZID() != b.ZID() || c.ID() == b.ID() || c.EntityGlobalID() == b.EntityGlobalID() {
		t.Error("the sibling's ids")
	}
	if n := len(b.RoutersZID()); n != 0 {
		t.Errorf("%d routers", n)
	}
}

// A node that is closed takes its sessions with it, and one of its handlers may do it.
func TestCloseFromWithin(t *testing.T) {
	a, b := peers(t, "tcp/127.0.0.1:0")
	sibling, err := b.Sibling()
	must(t, err)
	var ended atomic.Bool
	done := make(chan struct{})
	_, err = sibling.DeclareQueryable(key("end"), Closure[*Query]{Call: func(*Query) {
		defer close(done)
		must(t, b.Close())
		ended.Store(true)
	}}, nil)
	must(t, err)
	settle(t, sibling, a)
	if _, err := a.Collect(context.Background(), key("end"), "", 0, nil); err != nil {
		t.Errorf("the query: %v", err)
	}
	<-done
	if !errors.Is(sibling.Err(), ErrClosed) || !ended.Load() {
		t.Errorf("the sibling: %v", sibling.Err())
	}
	if _, err := b.Node().Session(); !errors.Is(err, ErrClosed) {
		t.Errorf("a session of a closed node: %v", err)
	}
	must(t, b.Close())
}
