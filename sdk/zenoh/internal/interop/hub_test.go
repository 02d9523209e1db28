package interop

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh"
)

// TestRouterRefused has a router dial our hub, which must say what to do instead, and go on serving others.
func TestRouterRefused(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		var log logged
		c := config(zenoh.ModeRouter)
		c.Listen, c.Log = []zenoh.Listen{{Endpoint: anyPort}}, slog.New(slog.NewTextHandler(&log, nil))
		hub := open(t, c)
		router := startPeer(t, py, "router", append(listening(freePort(t)), "connect/endpoints", quoted(hub.Locators()...),
			"connect/exit_on_failure", "false", "connect/timeout_ms", "0")...)
		until(t, "the refusal is logged", func() bool { return strings.Contains(log.String(), "mode: client") })
		client := theirDialler(t, py, "client", hub.Locators()...)
		runScenarios(t, client, hub, "publish", "replies")
		if i := router.do(t, "info", nil); len(i.Peers)+len(i.Routers) != 0 {
			t.Fatalf("the router is linked with %v %v", i.Peers, i.Routers)
		}
		for _, x := range hub.Transports() {
			if x.WhatAmI.String() == "router" {
				t.Fatalf("our hub is linked with %v", x)
			}
		}
	})
}

// logged is a log that can be read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestTargets has two clients answer for the same keys through one hub, one of them completely.
func TestTargets(t *testing.T) {
	for _, top := range []struct {
		name  string
		build func(t *testing.T, py python) (asker, complete, partial end)
	}{
		{"their clients, their router", func(t *testing.T, py python) (a, b, c end) {
			_, at := theirListener(t, py, "router")
			return theirDialler(t, py, "client", at), theirDialler(t, py, "client", at), theirDialler(t, py, "client", at)
		}},
		{"our clients, their router", func(t *testing.T, py python) (a, b, c end) {
			_, at := theirListener(t, py, "router")
			return ourDialler(t, zenoh.ModeClient, at), ourDialler(t, zenoh.ModeClient, at), ourDialler(t, zenoh.ModeClient, at)
		}},
		{"their clients, our hub", func(t *testing.T, py python) (a, b, c end) {
			at := ourListener(t, zenoh.ModeRouter).Locators()
			return theirDialler(t, py, "client", at...), theirDialler(t, py, "client", at...), theirDialler(t, py, "client", at...)
		}},
		{"our hub asks, their clients", func(t *testing.T, py python) (a, b, c end) {
			hub := ourListener(t, zenoh.ModeRouter)
			return hub, theirDialler(t, py, "client", hub.Locators()...), theirDialler(t, py, "client", hub.Locators()...)
		}},
	} {
		t.Run(strings.ReplaceAll(top.name, " ", "-"), func(t *testing.T) {
			withPythons(t, func(t *testing.T, py python) {
				a, b, c := top.build(t, py)
				testTargets(t, a, b, c)
			})
		})
	}
}

func testTargets(t *testing.T, asker, complete, partial end) {
	complete.queryable(t, "targets/**", queryableOptions{complete: true, replies: []replySpec{{key: "targets/k", body: body{1, 1}}}})
	partial.queryable(t, "targets/*", queryableOptions{replies: []replySpec{{key: "targets/k", body: body{2, 2}}}})
	settle(t, asker, complete)
	settle(t, asker, partial)
	for _, x := range []struct {
		selector, target, consolidation string
		want                            []int // sizes of the replies
	}{
		{"targets/k", "best_matching", "none", []int{1}}, // one complete one is enough
		{"targets/k", "all", "none", []int{1, 2}},
		{"targets/k", "all", "monotonic", []int{1, 2}},
		{"targets/k", "all_complete", "none", []int{1}},
		{"targets/k", "all_complete", "latest", []int{1}},
		{"*/k", "best_matching", "none", []int{1, 2}}, // which the complete one does not include
		{"*/k", "all_complete", "none", nil},
	} {
		var got []int
		for _, r := range asker.get(t, x.selector, getOptions{target: x.target, consolidation: x.consolidation}) {
			got = append(got, r.Size)
		}
		slices.Sort(got)
		if !slices.Equal(got, x.want) {
			t.Errorf("%s, target %s, consolidation %s: sizes %v, want %v", x.selector, x.target, x.consolidation, got, x.want)
		}
	}
	if r := asker.get(t, "targets/k", getOptions{target: "all", consolidation: "latest"}); len(r) != 1 {
		t.Errorf("target all, consolidation latest: %d replies", len(r))
	}
}

var errInternal = errors.New("internal topics are not for clients")

// TestPolicy has a client of theirs try what our hub's policy denies: it is told where it asks, ignored where it tells, and
// counted; what is allowed works meanwhile.
func TestPolicy(t *testing.T) {
	withPythons(t, func(t *testing.T, py python) {
		var mu sync.Mutex
		counts := map[zenoh.Op]int{}
		var log logged
		c := config(zenoh.ModeRouter)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Listen = []zenoh.Listen{{Endpoint: anyPort, Policy: func(_ *zenoh.Transport, op zenoh.Op, key string) error {
			if !strings.HasPrefix(key, "internal/") && key != "internal" && key != "**" {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			counts[op]++
			return errInternal
		}}}
		hub := open(t, c)
		// Two, for what a session does it also does to itself.
		client, other := theirDialler(t, py, "client", hub.Locators()...), theirDialler(t, py, "client", hub.Locators()...)
		mine := hub.subscribe(t, "internal/**")
		hub.queryable(t, "internal/q", queryableOptions{replies: []replySpec{{body: body{1, 1}}}})
		hub.token(t, "internal/token")

		spy := other.subscribe(t, "internal/**")
		all := other.subscribe(t, "**")
		fake := client.queryable(t, "internal/fake", queryableOptions{replies: []replySpec{{body: body{2, 2}}}})
		client.token(t, "internal/fake")
		watch := other.liveliness(t, "internal/**", true)
		fence := other.subscribe(t, "allowed/**")
		settle(t, hub, client)
		settle(t, hub, other)
		r := client.get(t, "internal/q", getOptions{consolidation: "none"})
		if len(r) != 1 || r[0].Kind != "err" || r[0].text() != errInternal.Error() {
			t.Errorf("a query that is denied gets %v, want an error that says so", r)
		}
		client.put(t, "internal/x", body{3, 3}, reliably)
		client.remove(t, "internal/x", reliably)
		if got := other.alive(t, "internal/**"); len(got) != 0 {
			t.Errorf("a client sees tokens that it may not: %v", got)
		}
		if got := hub.alive(t, "internal/**"); !slices.Equal(got, []string{"internal/token"}) {
			t.Errorf("tokens: %v", got)
		}
		if r := hub.get(t, "internal/fake", getOptions{}); len(r) != 0 {
			t.Errorf("a client answered where it may not: %v", r)
		}
		hub.put(t, "internal/secret", body{4, 4}, reliably)
		hub.put(t, "allowed/x", body{5, 5}, reliably)
		body{5, 5}.check(t, fence.next(t))
		for what, e := range map[string]*entity{"subscriber": spy, "subscriber of **": all, "queryable": fake, "liveliness": watch} {
			for _, x := range e.drain() {
				if x.Key != "allowed/x" { // which the fence brings to its session
					t.Errorf("the denied %s got %v", what, x)
				}
			}
		}
		// What a client got in before would be there before, and our own may still be on its way.
		if got := mine.next(t); got.Key != "internal/secret" {
			t.Errorf("our own subscriber got %v, want our own put only", got)
		}
		if got := mine.drain(); len(got) != 0 {
			t.Errorf("our own subscriber got %v as well", got)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, op := range []zenoh.Op{zenoh.OpPut, zenoh.OpQuery, zenoh.OpSubscriber, zenoh.OpQueryable, zenoh.OpToken, zenoh.OpInterest} {
			if counts[op] == 0 {
				t.Errorf("%v was not asked about: %v", op, counts)
			}
		}
		if n := strings.Count(log.String(), errInternal.Error()); n == 0 {
			t.Error("no refusal is logged")
		}
	})
}
