package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/transport"
)

// The round trip is measured to every daemon, or to one that is there.
func TestPing(t *testing.T) {
	d := shared(t)
	rows, _ := d.docs("ping", "--count", "20", "--interval", "0s", "--size", "1KiB")[0].([]any)
	if len(rows) != 1 {
		t.Fatalf("one daemon is there, and ping prints %v", rows)
	}
	r, _ := rows[0].(map[string]any)
	num := func(key string) float64 { v, _ := r[key].(float64); return v }
	if num("sent") != 20 || num("lost") != 0 || num("min_us") <= 0 || num("min_us") > num("p50_us") || num("p50_us") > num("p99_us") || num("p99_us") > num("max_us") {
		t.Errorf("ping prints %v", r)
	}
	wantAll(t, "a table of one daemon", d.must("ping", fmt.Sprint(r["node"]), "--count", "1"), "P50", "P99", fmt.Sprint(r["node"]))
	d.fails(66, []string{`no daemon "nosuch"`}, "ping", "nosuch")
	d.fails(64, []string{"--count"}, "ping", "--count", "0")
	d.fails(64, []string{"is not the name of a daemon"}, "ping", "*")
}

// By the daemon's own socket everything that is published is seen, and who is alive.
func TestTap(t *testing.T) {
	d := shared(t)
	f := d.follow("tap", "--output", "json")
	alive := map[string]bool{}
	for len(alive) < 4 {
		l := f.line()
		if l == "" {
			t.Fatal("the tap has ended")
		}
		if strings.Contains(l, `"alive"`) {
			alive[l] = true
		}
	}
	s := d.session()
	key := keys("demo")("temperature")
	for i := range 3 {
		if err := s.Put(t.Context(), key, fmt.Appendf(nil, "%d degrees", i), transport.PutOptions{Congestion: transport.Block}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), key, nil, transport.PutOptions{Kind: transport.Delete}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"MCBkZWdyZWVz"`, `"MSBkZWdyZWVz"`, `"MiBkZWdyZWVz"`, `"kind":"delete"`} {
		for {
			l := f.line()
			if l == "" {
				t.Fatal("the tap has ended")
			}
			if strings.Contains(l, key) {
				wantAll(t, "the next message", l, want)
				break
			}
		}
	}
	f.stop()
	g := d.follow("tap", "essa/run/*/out", "--count", "1")
	l := make(chan string)
	go func() { l <- g.line() }()
	var out string
	eventually(t, "a run's output is seen", func() bool {
		d.must("run", guest("hello"))
		select {
		case out = <-l:
			return true
		default:
			return false
		}
	})
	wantAll(t, "the tap of a run", out, "put", "/out")
	g.stop()
}
