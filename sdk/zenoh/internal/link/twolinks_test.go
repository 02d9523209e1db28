package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Two nodes that dial each other have one transport with two links; when one is cut the other goes on.
func TestTwoLinks(t *testing.T) {
	for round := range 4 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			var atA, atB atomic.Uint64
			a := newNode(t, nil, func(*Transport, *wire.Message) { atA.Add(1) })
			b := newNode(t, nil, func(*Transport, *wire.Message) { atB.Add(1) })
			la, lb := a.listen(t, "tcp/127.0.0.1:0"), b.listen(t, "tcp/127.0.0.1:0")
			dialled := make(chan *Transport)
			go func() { dialled <- a.dial(t, lb.Locators()[0]) }()
			tb := b.dial(t, la.Locators()[0])
			ta := <-dialled
			until(t, "two links each", func() bool { return len(ta.Links()) == 2 && len(tb.Links()) == 2 })
			if again := a.dial(t, lb.Locators()[0]); again != ta {
				t.Error("a third link")
			}
			if again, err := a.Dial(t.Context(), endpoint(t, lb.Locators()[0]), b.o.ID); err != nil || again != ta {
				t.Error(again, err)
			}
			send := func(tr *Transport, n int) {
				for range n {
					tr.Send(named("k", 100, wire.RequestQoS), nil)
				}
			}
			send(ta, 10)
			send(tb, 10)
			until(t, "messages both ways", func() bool { return atA.Load() == 10 && atB.Load() == 10 })
			time.Sleep(joinDoubt)
			ta.mu.Lock()
			l := ta.links[round%2]
			ta.mu.Unlock()
			l.kill(errors.New("cut by the test"))
			until(t, "one link each", func() bool { return len(ta.Links()) == 1 && len(tb.Links()) == 1 })
			send(ta, 10)
			send(tb, 10)
			until(t, "messages over the other", func() bool { return atA.Load() == 20 && atB.Load() == 20 })
			if len(a.down)+len(b.down) > 0 || len(a.up) != 1 || len(b.up) != 1 {
				t.Error("the transport changed")
			}
			if round < 2 {
				ta.links[0].kill(errors.New("cut by the test"))
				if err := await(t, "end", b.down); !errors.Is(err, ErrLost) {
					t.Error(err)
				}
			}
		})
	}
}

// What waits for a link that is lost goes by the other one, from the beginning of the batch that was cut.
func TestTwoLinksUnderLoad(t *testing.T) {
	const count = 20_000
	var next, wrong atomic.Uint64
	done := make(chan struct{})
	b := newNode(t, nil, func(_ *Transport, m *wire.Message) {
		n := uint64(m.RequestID)
		if n < next.Load() || !bytes.Equal(m.Body.Payload, pattern(int(n%3000))) {
			wrong.Add(1)
		}
		next.Store(n + 1)
		if n == count-1 {
			close(done)
		}
	})
	a := newNode(t, nil, nil)
	la, lb := a.listen(t, "tcp/127.0.0.1:0"), b.listen(t, "tcp/127.0.0.1:0")
	ta := a.dial(t, lb.Locators()[0])
	b.dial(t, la.Locators()[0])
	until(t, "two links", func() bool { return len(ta.Links()) == 2 })
	time.Sleep(joinDoubt)
	for i := range count {
		m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, RequestID: uint32(i), Key: wire.WireExpr{Suffix: "k"}}
		m.Body = wire.Body{Kind: wire.Query, Payload: pattern(i % 3000), HasPayload: true}
		if !ta.Send(m, nil) {
			t.Fatal("not sent")
		}
		if i == count/2 {
			ta.mu.Lock()
			l := ta.links[0]
			ta.mu.Unlock()
			l.kill(errors.New("cut by the test"))
		}
	}
	await(t, "last message", done)
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d messages came twice, late or damaged", n)
	}
}

// A link that is lost as soon as there is another one may mean that the peer has lost the transport, and the other link is
// a new one to it.
func TestLossWhileJoining(t *testing.T) {
	a, b := newNode(t, nil, nil), newNode(t, nil, nil)
	la, lb := a.listen(t, "tcp/127.0.0.1:0"), b.listen(t, "tcp/127.0.0.1:0")
	ta := a.dial(t, lb.Locators()[0])
	tb := b.dial(t, la.Locators()[0])
	until(t, "two links", func() bool { return len(ta.Links()) == 2 && len(tb.Links()) == 2 })
	tb.mu.Lock()
	tb.links[0].joined = time.Now().Add(time.Hour) // however long this takes
	tb.links[1].joined = tb.links[0].joined
	tb.links[0].kill(errors.New("cut by the test"))
	tb.mu.Unlock()
	await(t, "end", a.down)
	await(t, "end", b.down)
}

// A second link that is not like the first one, or one too many, is refused.
func TestSecondLinkRefused(t *testing.T) {
	b := newNode(t, nil, nil)
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	first := dialRaw(t, at, func(o *Options) { o.ID = idA })
	await(t, "transport", b.up)
	c := rawConn(t, at)
	_, _, err := c.open(&opener{o: testOptions(idA, wire.Client, nil)})
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonMaxLinks {
		t.Errorf("one too many: %v", err)
	}
	first.sock.Close()
	await(t, "end", b.down)
	// We dial idA, and another one dials us as idA with another mode.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		c := newChannel(conn.(socket))
		if h, _, err := c.accept(testOptions(idA, wire.Peer, nil)); err == nil {
			_ = c.send(h.ack())
			_, _ = c.batch()
		}
	}()
	b.dial(t, "tcp/"+ln.Addr().String())
	_, _, err = rawConn(t, at).open(&opener{o: testOptions(idA, wire.Client, nil)})
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonInvalid {
		t.Errorf("another mode: %v", err)
	}
}
