//go:build zenohc

package zenohc

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// cable forwards connections until it is cut.
type cable struct {
	ln net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
	all   sync.WaitGroup
}

func newCable(t *testing.T, endpoint string) *cable {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{ln: ln, to: strings.TrimPrefix(endpoint, "tcp/")}
	c.all.Add(1)
	go func() {
		defer c.all.Done()
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			c.join(in)
		}
	}()
	t.Cleanup(func() {
		c.setCut(true)
		_ = ln.Close()
		c.all.Wait()
	})
	return c
}

func (c *cable) join(in net.Conn) {
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		_ = in.Close()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_, _ = in.Close(), out.Close()
		return
	}
	c.conns = append(c.conns, in, out)
	for _, x := range [][2]net.Conn{{in, out}, {out, in}} {
		c.all.Add(1)
		go func() {
			defer c.all.Done()
			_, _ = io.Copy(x[0], x[1])
			_, _ = x[0].Close(), x[1].Close()
		}()
	}
}

// setCut ends what is joined and says whether more may be.
func (c *cable) setCut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, x := range c.conns {
		_ = x.Close()
	}
	c.conns = nil
}

func (c *cable) endpoint() string { return "tcp/" + c.ln.Addr().String() }

// What a lost link ends at both ends of it, and what comes back with it.
func TestLinkLoss(t *testing.T) {
	where := endpoint(t, "tcp")
	events := make(chan zenoh.Event, 10)
	a := open(t, zenoh.Config{Listen: listen(where), Events: func(e zenoh.Event) { events <- e }})
	line := newCable(t, where)
	retry := 50 * time.Millisecond
	b := open(t, zenoh.Config{Connect: []string{line.endpoint()}, RetryMin: retry, RetryMax: retry})

	var mu sync.Mutex
	var seen []string
	_, err := a.SubscribeLiveliness("b/*", true, func(s transport.Sample) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(s.Key, " ", s.Kind))
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) == n
		}
	}
	if _, err := b.Token("b/1"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the token", count(1))
	started, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	for key, s := range map[string]transport.Session{"at/a": a, "at/b": b} {
		if _, err := s.Queryable(key, transport.QueryableOptions{}, func(q transport.Query) {
			started <- struct{}{}
			<-q.Context().Done()
			ended <- struct{}{}
		}); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the queryables", func() bool { return alive(t, b, "b/*") == 1 })
	final := make(chan error, 2)
	for key, s := range map[string]transport.Session{"at/a": b, "at/b": a} {
		go func() {
			for { // until it is known who answers
				n := len(started)
				err := s.Get(context.Background(), transport.Selector{KeyExpr: key}, transport.GetOptions{Timeout: -1}, func(transport.Reply) {})
				if len(started) != n || err != nil {
					final <- err
					return
				}
			}
		}()
	}
	wait(t, "the start of both handlers", func() bool { return len(started) == 2 })
	line.setCut(true)
	for range 2 {
		for what, c := range map[string]<-chan struct{}{"the end of a handler's context": ended} {
			select {
			case <-c:
			case <-time.After(20 * time.Second):
				t.Fatalf("did not happen: %s", what)
			}
		}
		select {
		case err := <-final:
			if err != nil {
				t.Errorf("a query to who is lost: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("did not happen: the end of a query")
		}
	}
	wait(t, "the loss of the token", count(2))
	line.setCut(false)
	wait(t, "the return of the token", count(3))
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, ", "); got != "b/1 0, b/1 1, b/1 0" {
		t.Errorf("events: %s", got)
	}
	for i, up := range []bool{true, false, true} {
		select {
		case e := <-events:
			if e.Up != up || e.Transport.ZID.String() != b.ID() {
				t.Errorf("event %d: %+v", i, e)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no event %d", i)
		}
	}
}

func alive(t *testing.T, s transport.Session, expr string) int {
	t.Helper()
	n := 0
	if err := s.GetLiveliness(context.Background(), expr, func(string) { n++ }); err != nil {
		t.Fatal(err)
	}
	return n
}
