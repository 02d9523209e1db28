package link

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// node is a Manager with a handler that tests steer.
type node struct {
	*Manager
	t       testing.TB
	up      chan *Transport
	down    chan error
	message func(t *Transport, m *wire.Message)
	ends    atomic.Int64
}

func (n *node) Up(t *Transport) any {
	n.up <- t
	return n
}

func (n *node) Message(t *Transport, m *wire.Message) {
	if t.Context() != n {
		n.t.Error("message before Up returned")
	}
	if n.message != nil {
		n.message(t, m)
	}
}
func (n *node) EndOfBatch(*Transport)        { n.ends.Add(1) }
func (n *node) Down(_ *Transport, err error) { n.down <- err }
func (n *node) listen(t testing.TB, s string) *Listener {
	t.Helper()
	l, err := n.Listen(t.Context(), endpoint(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (n *node) dial(t testing.TB, s string) *Transport {
	t.Helper()
	tr, err := n.Dial(t.Context(), endpoint(t, s), wire.ID{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func endpoint(t testing.TB, s string) Endpoint {
	t.Helper()
	e, err := ParseEndpoint(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// newNode returns a node that is closed at the end of the test.
func newNode(t testing.TB, change func(*Options), message func(*Transport, *wire.Message)) *node {
	n := &node{t: t, up: make(chan *Transport, 2000), down: make(chan error, 2000), message: message}
	o := Options{ID: wire.NewID(), WhatAmI: wire.Peer}
	if change != nil {
		change(&o)
	}
	n.Manager = NewManager(o, n)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// pair returns two connected nodes and the transport of the one that dialled.
func pair(t testing.TB, a, b *node, at string) *Transport {
	t.Helper()
	l := b.listen(t, at)
	return a.dial(t, l.Locators()[0])
}

func push(payload []byte, block bool) *wire.Message {
	m := &wire.Message{Kind: wire.Push, QoS: wire.PriorityData, Reliable: true, Key: wire.WireExpr{Suffix: "demo/a"}}
	if block {
		m.QoS |= wire.Block
	}
	m.Body = wire.Body{Kind: wire.Put, Payload: payload}
	return m
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func TestMessagesArriveInOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b func(*Options)
	}{
		{"defaults", nil, nil},
		{"8 bit", func(o *Options) { o.Resolution = 8 }, nil},
		{"16 bit", nil, func(o *Options) { o.Resolution = 16 }},
		{"small batches", func(o *Options) { o.BatchSize = 64 }, nil},
		{"smallest batches", nil, func(o *Options) { o.BatchSize = minBatchSize }},
		{"no qos", func(o *Options) { o.NoQoS = true }, nil},
		{"no markers", nil, func(o *Options) { o.NoPatch = true }},
		{"nothing", func(o *Options) { o.NoPatch, o.NoQoS, o.Resolution = true, true, 8 }, func(o *Options) { o.BatchSize = 100 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const count = 600
			sizes := []int{0, 1, 10, 50, 64, 100, 1000, 5000, 70000}
			got := make(chan string, 1)
			var n int
			b := newNode(t, c.b, func(_ *Transport, m *wire.Message) {
				want := pattern(sizes[n%len(sizes)])
				switch {
				case m.Key.Suffix != fmt.Sprint("k/", n) || !bytes.Equal(m.Body.Payload, want) || !m.Reliable:
					select {
					case got <- fmt.Sprintf("message %d: key %s, %d bytes", n, m.Key.Suffix, len(m.Body.Payload)):
					default:
					}
				case n == count-1:
					got <- ""
				}
				n++
			})
			a := newNode(t, c.a, nil)
			tr := pair(t, a, b, "tcp/127.0.0.1:0")
			for i := range count {
				m := push(pattern(sizes[i%len(sizes)]), true)
				m.Key.Suffix = fmt.Sprint("k/", i)
				if !tr.Send(m, nil) {
					t.Fatal("not sent")
				}
			}
			select {
			case s := <-got:
				if s != "" {
					t.Fatal(s)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%d messages came; %+v", n, tr.Stats())
			}
		})
	}
}

func TestConcurrentSenders(t *testing.T) {
	const senders, each = 16, 2000
	var mu sync.Mutex
	next := map[string]int{}
	done := make(chan struct{})
	total := 0
	b := newNode(t, nil, func(_ *Transport, m *wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		if int(m.RequestID) != next[m.Key.Suffix] {
			t.Errorf("sender %s: message %d, want %d", m.Key.Suffix, m.RequestID, next[m.Key.Suffix])
		}
		next[string([]byte(m.Key.Suffix))] = int(m.RequestID) + 1
		if total++; total == senders*each {
			close(done)
		}
	})
	a := newNode(t, nil, nil)
	tr := pair(t, a, b, "tcp/127.0.0.1:0")
	for s := range senders {
		go func() {
			for i := range each {
				m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, RequestID: uint32(i), Key: wire.WireExpr{Suffix: fmt.Sprint("s/", s)}}
				m.Body.Kind = wire.Query
				if !tr.Send(m, nil) {
					t.Error("not sent")
				}
			}
		}()
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("messages are missing")
	}
}
