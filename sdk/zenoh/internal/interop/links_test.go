package interop

import (
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
)

func TestUnixSockets(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		t.Run("they dial", func(t *testing.T) {
			c := config(zenoh.ModeRouter)
			c.Listen = []zenoh.Listen{{Endpoint: "unixsock-stream/" + filepath.Join(t.TempDir(), "s")}}
			hub := open(t, c)
			runScenarios(t, hub, theirDialler(t, py, "client", hub.Locators()...), "publish", "replies", "sizes")
			if l := hub.Transports()[0].Links[0]; l.PID == 0 {
				t.Errorf("who dialled is not known: %+v", l)
			}
		})
		t.Run("we dial", func(t *testing.T) {
			at := "unixsock-stream/" + filepath.Join(t.TempDir(), "s")
			router := &theirs{startPeer(t, py, "router", listening(at)...), "their router"}
			runScenarios(t, ourDialler(t, zenoh.ModeClient, at), router, "publish", "replies", "sizes")
		})
	})
}

// TestSeveralLinks has nodes listen on several endpoints, and a client be given several, of which only the last is there.
func TestSeveralLinks(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		c := config(zenoh.ModeRouter)
		c.Listen = []zenoh.Listen{{Endpoint: anyPort}, {Endpoint: anyPort}, {Endpoint: "tcp/[::1]:0"}}
		hub := open(t, c)
		at := hub.Locators()
		if len(at) != 3 {
			t.Fatalf("locators: %v", at)
		}
		for _, l := range at {
			runScenarios(t, hub, theirDialler(t, py, "client", l), "publish")
		}
		router, there := theirListener(t, py, "router")
		runScenarios(t, ourDialler(t, zenoh.ModeClient, freePort(t), "tcp/localhost:"+portOf(t, freePort(t)), there), router, "publish")
	})
}

func portOf(t *testing.T, locator string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(locator[len("tcp/"):])
	must(t, err)
	return port
}

// TestKeepAlive is silent for several leases of either side: the links stay.
func TestKeepAlive(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		lost := make(chan error, 10)
		short := []string{"transport/link/tx/lease", "400"}
		changed := func(c zenoh.Config) zenoh.Config {
			c.Lease = 400 * time.Millisecond
			c.Events = func(e zenoh.Event) {
				if !e.Up {
					lost <- e.Err
				}
			}
			return c
		}
		c := changed(config(zenoh.ModeRouter))
		c.Listen = []zenoh.Listen{{Endpoint: anyPort}}
		hub := open(t, c)
		client := &theirs{startPeer(t, py, "client", append(dialling(hub.Locators()...), short...)...), "their client"}
		at := freePort(t)
		router := &theirs{startPeer(t, py, "router", append(listening(at), short...)...), "their router"}
		c = changed(config(zenoh.ModeClient))
		c.Connect = []string{at}
		us := open(t, c)
		time.Sleep(2 * time.Second)
		runScenarios(t, hub, client, "publish")
		runScenarios(t, us, router, "publish")
		select {
		case err := <-lost:
			t.Errorf("a link was lost: %v", err)
		default:
		}
	})
}

// TestGossip has peers find each other through one that both know, and then talk without it.
func TestGossip(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		for _, between := range []string{"theirs", "ours"} {
			t.Run(between, func(t *testing.T) {
				var middle victim
				var at string
				if between == "theirs" {
					middle, at = theirListener(t, py, "peer")
				} else {
					c := config(zenoh.ModePeer)
					c.Listen, c.Scouting.Gossip = []zenoh.Listen{{Endpoint: anyPort}}, true
					x := open(t, c)
					middle, at = x, x.Locators()[0]
				}
				c := config(zenoh.ModePeer)
				c.Listen, c.Connect, c.Scouting.Gossip = []zenoh.Listen{{Endpoint: anyPort}}, []string{at}, true
				us := open(t, c)
				peer := &theirs{
					startPeer(t, py, "peer", append(listening(freePort(t)), "connect/endpoints", quoted(at))...), "their peer",
				}
				until(t, "the two have found each other", func() bool {
					return slices.ContainsFunc(us.Transports(), func(x zenoh.Transport) bool { return x.ZID.String() == peer.zid })
				})
				middle.die()
				runScenarios(t, us, peer, "publish", "replies", "tokens")
			})
		}
	})
}

// TestMulticast has nodes find each other without being told where they are.
func TestMulticast(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		lo := loopback(t)
		group := "224.0.0.224:" + portOf(t, freePort(t)) // not that of nodes that run on this machine
		member := func(mode, endpoint string) *theirs {
			return &theirs{startPeer(t, py, mode, "listen/endpoints", quoted(endpoint), "scouting/multicast/address", quoteOne(group),
				"scouting/multicast/interface", quoteOne(lo), "transport/shared_memory/enabled", "false"), "their " + mode}
		}
		scouting := zenoh.Scouting{Multicast: true, Address: group, Interface: lo}
		c := config(zenoh.ModePeer)
		c.Listen, c.Scouting = []zenoh.Listen{{Endpoint: anyPort}}, scouting
		us := open(t, c)
		peer := member("peer", freePort(t))
		until(t, "the peers have found each other", func() bool { return len(us.Transports()) == 1 })
		runScenarios(t, us, peer, "publish", "replies")
		c = config(zenoh.ModeClient)
		c.Scouting = scouting
		runScenarios(t, open(t, c), peer, "publish") // it finds one of the two, and reaches both
	})
}

// loopback is the name of the loopback interface, which takes multicast even where it does not say so.
func loopback(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	must(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface")
	return ""
}
