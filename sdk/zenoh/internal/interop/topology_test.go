package interop

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
)

// topology is a way in which sessions of both implementations are connected.
type topology struct {
	name string
	// build returns the two ends between which everything must work, in both directions.
	build func(t *testing.T, py python) (a, b end)
}

// anyPort is an endpoint of ours on a port that is free.
const anyPort = "tcp/127.0.0.1:0"

// freePort is an endpoint for theirs, which cannot say which port they got. Nobody else is likely to get it meanwhile: the kernel
// hands ports out in turn.
func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return "tcp/" + l.Addr().String()
}

// base is what every node of ours has: it dials again soon.
func config(m zenoh.Mode) zenoh.Config {
	return zenoh.Config{
		Mode: m, RetryMin: 50 * time.Millisecond, RetryMax: 100 * time.Millisecond, ConnectTimeout: patience,
	}
}

func ourListener(t *testing.T, m zenoh.Mode) *ours {
	t.Helper()
	c := config(m)
	c.Listen = []zenoh.Listen{{Endpoint: anyPort}}
	return open(t, c)
}

func ourDialler(t *testing.T, m zenoh.Mode, endpoints ...string) *ours {
	t.Helper()
	c := config(m)
	c.Connect = endpoints
	return open(t, c)
}

// theirListener also returns its endpoint.
func theirListener(t *testing.T, py python, mode string) (*theirs, string) {
	t.Helper()
	e := freePort(t)
	return &theirs{startPeer(t, py, mode, listening(e)...), "their " + mode}, e
}

func theirDialler(t *testing.T, py python, mode string, endpoints ...string) *theirs {
	t.Helper()
	return &theirs{startPeer(t, py, mode, dialling(endpoints...)...), "their " + mode}
}

var topologies = []topology{
	// The control: what the scenarios demand is what the other implementation does.
	{"their client, their router, their client", func(t *testing.T, py python) (a, b end) {
		_, at := theirListener(t, py, "router")
		return theirDialler(t, py, "client", at), theirDialler(t, py, "client", at)
	}},
	{"our client, their router", func(t *testing.T, py python) (a, b end) {
		router, at := theirListener(t, py, "router")
		return ourDialler(t, zenoh.ModeClient, at), router
	}},
	{"our client, their peer", func(t *testing.T, py python) (a, b end) {
		peer, at := theirListener(t, py, "peer")
		return ourDialler(t, zenoh.ModeClient, at), peer
	}},
	{"our peer dials their peer", func(t *testing.T, py python) (a, b end) {
		peer, at := theirListener(t, py, "peer")
		return ourDialler(t, zenoh.ModePeer, at), peer
	}},
	{"their peer dials our peer", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModePeer)
		return us, theirDialler(t, py, "peer", us.Locators()...)
	}},
	{"our peer and their peer dial each other", func(t *testing.T, py python) (a, b end) {
		mine, yours := freePort(t), freePort(t)
		peer := &theirs{startDriver(t, py, "peer", append(listening(yours), "connect/endpoints", quoted(mine))...), "their peer"}
		c := config(zenoh.ModePeer)
		c.Listen, c.Connect = []zenoh.Listen{{Endpoint: mine}}, []string{yours}
		us := open(t, c)
		peer.open()
		return us, peer
	}},
	{"our peer, their router", func(t *testing.T, py python) (a, b end) {
		router, at := theirListener(t, py, "router")
		return ourDialler(t, zenoh.ModePeer, at), router
	}},
	{"our peer, their client", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModePeer)
		return us, theirDialler(t, py, "client", us.Locators()...)
	}},
	{"our hub, their client", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModeRouter)
		return us, theirDialler(t, py, "client", us.Locators()...)
	}},
	{"their peer dials our hub", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModeRouter)
		return us, theirDialler(t, py, "peer", us.Locators()...)
	}},
	{"our hub dials their peer", func(t *testing.T, py python) (a, b end) {
		peer, at := theirListener(t, py, "peer")
		return ourDialler(t, zenoh.ModeRouter, at), peer
	}},
	{"our client, their router, our client", func(t *testing.T, py python) (a, b end) {
		_, at := theirListener(t, py, "router")
		return ourDialler(t, zenoh.ModeClient, at), ourDialler(t, zenoh.ModeClient, at)
	}},
	{"our client, their router, their client", func(t *testing.T, py python) (a, b end) {
		_, at := theirListener(t, py, "router")
		return ourDialler(t, zenoh.ModeClient, at), theirDialler(t, py, "client", at)
	}},
	{"our client, their peer, their peer", func(t *testing.T, py python) (a, b end) {
		_, at := theirListener(t, py, "peer")
		return ourDialler(t, zenoh.ModeClient, at), theirDialler(t, py, "peer", at)
	}},
	{"their client, our hub, their client", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModeRouter)
		return theirDialler(t, py, "client", us.Locators()...), theirDialler(t, py, "client", us.Locators()...)
	}},
	{"their client, our hub, our client", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModeRouter)
		return theirDialler(t, py, "client", us.Locators()...), ourDialler(t, zenoh.ModeClient, us.Locators()...)
	}},
	{"their client, our hub, their peer", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModeRouter)
		return theirDialler(t, py, "client", us.Locators()...), theirDialler(t, py, "peer", us.Locators()...)
	}},
	{"their client, our peer, their peer", func(t *testing.T, py python) (a, b end) {
		us := ourListener(t, zenoh.ModePeer)
		return theirDialler(t, py, "client", us.Locators()...), theirDialler(t, py, "peer", us.Locators()...)
	}},
	{"their client, our hub, their router", func(t *testing.T, py python) (a, b end) {
		router, at := theirListener(t, py, "router")
		c := config(zenoh.ModeRouter)
		c.Listen, c.Connect = []zenoh.Listen{{Endpoint: anyPort}}, []string{at}
		return theirDialler(t, py, "client", open(t, c).Locators()...), router
	}},
	{"our hub, their router, their client", func(t *testing.T, py python) (a, b end) {
		_, at := theirListener(t, py, "router")
		return ourDialler(t, zenoh.ModeRouter, at), theirDialler(t, py, "client", at)
	}},
	{"their client, our hub, our hub, their client", func(t *testing.T, py python) (a, b end) {
		one := ourListener(t, zenoh.ModeRouter)
		c := config(zenoh.ModeRouter)
		c.Listen, c.Connect = []zenoh.Listen{{Endpoint: anyPort}}, one.Locators()
		two := open(t, c)
		return theirDialler(t, py, "client", one.Locators()...), theirDialler(t, py, "client", two.Locators()...)
	}},
}

// TestScenarios runs every scenario over every topology, in both directions.
func TestScenarios(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		for i, top := range topologies {
			t.Run(strings.ReplaceAll(top.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				a, b := top.build(t, py)
				for j, s := range scenarios {
					t.Run(s.name+"/there", func(t *testing.T) { s.run(t, a, b, fmt.Sprintf("i/%d/%d/there", i, j)) })
					t.Run(s.name+"/back", func(t *testing.T) { s.run(t, b, a, fmt.Sprintf("i/%d/%d/back", i, j)) })
				}
			})
		}
	})
}
