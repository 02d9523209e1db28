package scout

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func id(b byte) wire.ID { return wire.ID{b} }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	far      = netip.MustParseAddr("192.0.2.7")
)

func TestAnswer(t *testing.T) {
	self := Self{ID: id(7), As: []wire.WhatAmI{wire.Router, wire.Peer}, Locators: func() []string {
		return []string{"tcp/192.0.2.1:7447", "tcp/127.0.0.1:7447", "tcp/[::1]:7447", "unixsock-stream//run/s", "tls/localhost:7448"}
	}}
	for _, x := range []struct {
		name, scout string
		from        netip.Addr
		as          wire.WhatAmI
		locators    int // -1: no answer
	}{
		{"routers and peers, from here", "010903", loopback, wire.Router, 5},
		{"routers and peers, from afar", "010903", far, wire.Router, 1},
		{"peers", "010902", far, wire.Peer, 1},
		{"clients", "010904", far, 0, -1},
		{"everybody, with an id", "01093f11223344", far, wire.Router, 1},
		{"ourselves", "01090b07", far, 0, -1},
		{"another version", "010803", far, 0, -1},
		{"a hello", "020911aabb", far, 0, -1},
		{"nothing", "", far, 0, -1},
		{"cut short", "0109", far, 0, -1},
	} {
		hello := self.Answer(unhex(t, x.scout), x.from)
		if hello == nil || x.locators < 0 {
			if hello != nil || x.locators >= 0 {
				t.Errorf("%s: answer %x", x.name, hello)
			}
			continue
		}
		f, ok := Heard(id(1), hello, netip.AddrPortFrom(far, 7446))
		if !ok || f.ID != id(7) || f.WhatAmI != x.as || len(f.Locators) != x.locators {
			t.Errorf("%s: answer %+v", x.name, f)
		}
	}
}

func TestHeard(t *testing.T) {
	from := netip.AddrPortFrom(far, 999)
	if f, ok := Heard(id(1), unhex(t, "020911aabb"), from); !ok || f.WhatAmI != wire.Peer || !slices.Equal(f.Locators, []string{"udp/192.0.2.7:999"}) {
		t.Errorf("without locators: %+v", f)
	}
	for _, x := range []string{"", "01", "010903", "02090101", "0208 11aabb"} {
		b, _ := hex.DecodeString(x)
		if f, ok := Heard(id(1), b, from); ok {
			t.Errorf("%s was taken for %+v", x, f)
		}
	}
}

func TestAskPauses(t *testing.T) {
	var got []time.Duration
	for n := range 6 {
		got = append(got, AskPause(n)/time.Second)
	}
	if !slices.Equal(got, []time.Duration{1, 2, 4, 8, 8, 8}) {
		t.Errorf("pauses are %v", got)
	}
}

// states are what an OAM body says.
func states(t testing.TB, body []byte) []wire.LinkState {
	t.Helper()
	list, err := wire.DecodeLinkStates(body)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func newGossip() *Gossip {
	return NewGossip(id(1), wire.Peer, func() []string { return []string{"tcp/192.0.2.1:1"} })
}

// hello is what a peer says of itself.
func hello(who wire.ID, sn uint64, locators ...string) []byte {
	return wire.AppendLinkStates(nil, []wire.LinkState{
		{SN: sn, ID: who, HasWhatAmI: true, WhatAmI: wire.Peer, HasLocators: true, Locators: locators},
	})
}

func TestGossipIntroducesItself(t *testing.T) {
	g := newGossip()
	out := g.Up(id(2), wire.Peer, wire.Peer)
	if len(out) != 1 || out[0].To != id(2) {
		t.Fatalf("out: %+v", out)
	}
	list := states(t, out[0].Body)
	if len(list) != 2 {
		t.Fatalf("list: %+v", list)
	}
	if own := list[0]; own.PSID != 0 || own.ID != id(1) || own.SN == 0 || own.WhatAmI != wire.Peer || len(own.Locators) != 1 || len(own.Links) != 0 {
		t.Errorf("own entry: %+v", own)
	}
	if theirs := list[1]; theirs.ID != id(2) || theirs.SN != 0 || theirs.HasLocators || theirs.PSID == 0 {
		t.Errorf("the receiver's entry: %+v", theirs)
	}
}

func TestGossipTowardsRouters(t *testing.T) {
	g := newGossip()
	list := states(t, g.Up(id(9), wire.Router, wire.Peer)[0].Body)
	if len(list) != 2 || !slices.Equal(list[0].Links, []uint64{list[1].PSID}) || !list[1].Gateway || list[1].WhatAmI != wire.Router {
		t.Errorf("toward a router: %+v", list)
	}
	if out := g.Up(id(8), wire.Client, wire.Peer); len(out) != 0 {
		t.Errorf("toward a client: %+v", out)
	}
	if out := g.Up(id(7), wire.Peer, wire.Router); len(out) != 1 || !bytes.Equal(out[0].Body, []byte{0}) {
		t.Errorf("toward a peer that sees a router: %+v", out)
	}
}

func TestGossipPassesNeighboursOn(t *testing.T) {
	g := newGossip()
	g.Up(id(2), wire.Peer, wire.Peer)
	body := hello(id(2), 2, "tcp/192.0.2.2:1")
	found, out, err := g.Receive(id(2), body)
	clear(body) // whoever reads uses the buffer again
	if err != nil || len(found) != 0 || len(out) != 0 {
		t.Fatalf("%v %v %v", found, out, err)
	}
	list := states(t, g.Up(id(3), wire.Peer, wire.Peer)[0].Body)
	if len(list) != 3 || list[2].ID != id(2) || !slices.Equal(list[2].Locators, []string{"tcp/192.0.2.2:1"}) {
		t.Fatalf("the newcomer is told %+v", list)
	}
	// What the newcomer says of itself goes to the other, with its id the first time and without it later.
	_, out, err = g.Receive(id(3), hello(id(3), 2, "tcp/192.0.2.3:1"))
	if err != nil || len(out) != 1 || out[0].To != id(2) || states(t, out[0].Body)[0].ID != id(3) {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, out, _ = g.Receive(id(3), hello(id(3), 2, "tcp/192.0.2.3:9")); len(out) != 0 {
		t.Errorf("the same state again is passed on: %+v", out)
	}
	if _, out, _ = g.Receive(id(3), hello(id(3), 3, "tcp/192.0.2.3:1")); len(out) != 0 {
		t.Errorf("a state with no news is passed on: %+v", out)
	}
	_, out, _ = g.Receive(id(3), hello(id(3), 4, "tcp/192.0.2.3:2"))
	if len(out) != 1 || !states(t, out[0].Body)[0].ID.IsZero() {
		t.Errorf("a change is passed on as %+v", out)
	}
	g.Down(id(3))
	if list := states(t, g.Up(id(4), wire.Peer, wire.Peer)[0].Body); len(list) != 3 {
		t.Errorf("after a loss: %+v", list)
	}
}

func TestGossipFindsOthers(t *testing.T) {
	g := newGossip()
	g.Up(id(2), wire.Peer, wire.Peer)
	body := wire.AppendLinkStates(nil, []wire.LinkState{
		{PSID: 5, SN: 1, ID: id(5), HasWhatAmI: true, WhatAmI: wire.Peer, HasLocators: true, Locators: []string{"tcp/a:1"}},
		{PSID: 1, SN: 0, ID: id(1), HasWhatAmI: true, WhatAmI: wire.Peer},
		{PSID: 6, SN: 1, HasWhatAmI: true, WhatAmI: wire.Peer, HasLocators: true, Locators: []string{"tcp/unknown:1"}},
		{PSID: 7, SN: 1, ID: id(7), HasWhatAmI: true, WhatAmI: wire.Peer},
	})
	found, _, err := g.Receive(id(2), body)
	if err != nil || len(found) != 1 || found[0].ID != id(5) || found[0].Locators[0] != "tcp/a:1" {
		t.Fatalf("found %+v, %v", found, err)
	}
	// Later it is named by its number.
	again := wire.AppendLinkStates(nil, []wire.LinkState{
		{PSID: 5, SN: 2, HasWhatAmI: true, WhatAmI: wire.Peer, HasLocators: true, Locators: []string{"tcp/b:1"}},
	})
	if found, _, _ = g.Receive(id(2), again); len(found) != 1 || found[0].ID != id(5) || found[0].Locators[0] != "tcp/b:1" {
		t.Errorf("found %+v", found)
	}
	if _, _, err := g.Receive(id(2), []byte{5, 1}); err == nil {
		t.Error("a list cut short is no error")
	}
	if found, out, err := g.Receive(id(77), body); found != nil || out != nil || err != nil {
		t.Error("a stranger was listened to")
	}
}

// TestGossipIsBounded has a neighbour tell of more nodes than are remembered.
func TestGossipIsBounded(t *testing.T) {
	g := newGossip()
	g.Up(id(2), wire.Peer, wire.Peer)
	for i := range 2 * maxPSIDs {
		one := []wire.LinkState{{PSID: uint64(i), SN: 1, ID: wire.ID{3, byte(i), byte(i >> 8), 1}, HasLocators: true, Locators: []string{"tcp/x:1"}}}
		if found, _, err := g.Receive(id(2), wire.AppendLinkStates(nil, one)); err != nil || len(found) != 1 {
			t.Fatalf("%d: %v, %v", i, found, err)
		}
	}
	if n := len(g.neighbours[id(2)].names); n > maxPSIDs {
		t.Errorf("%d names are remembered", n)
	}
}

func FuzzGossip(f *testing.F) {
	f.Add(hello(id(2), 2, "tcp/192.0.2.2:1"), []byte{0x01, 0x09, 0x03})
	f.Add([]byte{2, 7, 0, 2, 4, 0x11, 0x22, 0x33, 0x44, 1, 0}, []byte{0x22, 0x09, 0x30, 0x11, 0x22, 0x33, 0x44, 0})
	f.Fuzz(func(t *testing.T, body, datagram []byte) {
		g := newGossip()
		g.Up(id(2), wire.Peer, wire.Peer)
		g.Up(id(3), wire.Peer, wire.Peer)
		found, out, err := g.Receive(id(2), body)
		if err != nil && (found != nil || out != nil) {
			t.Error("something came of a list that is malformed")
		}
		for _, x := range found {
			if x.ID == id(1) || x.ID == id(2) {
				t.Errorf("%v was found", x.ID)
			}
		}
		for _, o := range out {
			states(t, o.Body)
		}
		self := Self{ID: id(1), As: []wire.WhatAmI{wire.Peer}, Locators: func() []string { return nil }}
		if h := self.Answer(datagram, far); h != nil {
			if _, ok := Heard(id(9), h, netip.AddrPort{}); !ok {
				t.Errorf("the answer %x is no HELLO", h)
			}
		}
		_, _ = Heard(id(1), datagram, netip.AddrPort{})
	})
}

// group is a multicast group of this test's own.
func group(t testing.TB) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.AddrPortFrom(netip.MustParseAddr("224.0.0.224"), c.LocalAddr().(*net.UDPAddr).AddrPort().Port()).String()
}

func TestScoutOverTheLoopback(t *testing.T) {
	g := group(t)
	ask := func(own wire.ID, found func(Found)) (*Scout, error) {
		self := &Self{ID: own, As: []wire.WhatAmI{wire.Peer}, Locators: func() []string { return []string{"tcp/127.0.0.1:" + own.String()} }}
		return Start(Options{ID: own, Group: g, Interface: "lo", Self: self, What: 7, Found: found})
	}
	var mu sync.Mutex
	heard := map[wire.ID]bool{}
	got := make(chan struct{}, 100)
	a, err := ask(id(0x0a), func(Found) {})
	if err != nil {
		t.Skipf("no multicast here: %v", err)
	}
	defer a.Close()
	b, err := ask(id(0x0b), func(f Found) {
		mu.Lock()
		defer mu.Unlock()
		heard[f.ID] = true
		got <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was found")
	}
	mu.Lock()
	defer mu.Unlock()
	if !heard[id(0x0a)] || heard[id(0x0b)] {
		t.Errorf("heard of %v", heard)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, o := range []Options{
		{Group: "224.0.0.224"}, {Group: "192.0.2.1:7446"}, {Group: "[ff02::1]:7446"}, {Group: "224.0.0.224:7446", Interface: "none-such"},
	} {
		if s, err := Start(o); err == nil {
			s.Close()
			t.Errorf("%+v was accepted", o)
		}
	}
}
