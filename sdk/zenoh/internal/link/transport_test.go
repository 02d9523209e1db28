package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestLifeOfATransport(t *testing.T) {
	got := make(chan string, 10)
	b := newNode(t, func(o *Options) {
		o.WhatAmI = wire.Peer
		o.Present = func(remote wire.WhatAmI) (wire.WhatAmI, error) {
			if remote == wire.Client {
				return wire.Router, nil
			}
			return wire.Peer, nil
		}
	}, func(_ *Transport, m *wire.Message) { got <- strings.Clone(m.Key.Suffix) })
	a := newNode(t, func(o *Options) { o.WhatAmI = wire.Client }, nil)
	ta := pair(t, a, b, "tcp/127.0.0.1:0")
	tb := await(t, "transport", b.up)
	if ta.ID() != b.o.ID || tb.ID() != a.o.ID || ta.WhatAmI() != wire.Router || tb.WhatAmI() != wire.Client ||
		ta.Presented() != wire.Client || tb.Presented() != wire.Router {
		t.Errorf("%v %v, %v %v", ta.ID(), ta.WhatAmI(), tb.ID(), tb.WhatAmI())
	}
	if la, lb := ta.Links()[0], tb.Links()[0]; !la.Dialled || lb.Dialled || la.Local != lb.Remote || la.Remote != lb.Local {
		t.Errorf("%+v, %+v", la, lb)
	}
	ta.Send(named("last words", 10, wire.DefaultQoS), nil)
	ta.Close(wire.ReasonGeneric)
	if s := await(t, "message", got); s != "last words" {
		t.Error(s)
	}
	if err := await(t, "end", a.down); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	var closed *ClosedError
	if err := await(t, "end", b.down); !errors.As(err, &closed) || closed.Reason != wire.ReasonGeneric {
		t.Error(err)
	}
	<-ta.Done()
	if ta.Send(named("too late", 0, wire.RequestQoS), nil) || len(a.Transports()) != 0 {
		t.Error("it is still there")
	}
	if s := ta.Stats(); s.Out != 1 || s.BytesOut == 0 {
		t.Errorf("%+v", s)
	}
}

// Frames may stand behind the OpenAck, in its segment and even in its batch.
func TestFramesBehindTheHandshake(t *testing.T) {
	for _, apart := range []bool{true, false} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		got := make(chan string, 10)
		a := newNode(t, nil, func(_ *Transport, m *wire.Message) { got <- strings.Clone(m.Key.Suffix) })
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			c := newChannel(conn.(socket))
			h, _, err := c.accept(testOptions(idB, wire.Router, nil))
			if err != nil {
				t.Error(err)
				return
			}
			b, f := h.ack(), frame(h.ownSN, named("first", 3, wire.PriorityData))
			if apart {
				b = append(rawBatch(b), rawBatch(f)...)
			} else {
				b = rawBatch(append(b, f...))
			}
			_, _ = conn.Write(append(b, rawBatch(frame(h.ownSN+1, named("second", 3, wire.PriorityData)))...))
			_, _ = c.batch()
			conn.Close()
		}()
		a.dial(t, "tcp/"+ln.Addr().String())
		if s := await(t, "message", got) + " " + await(t, "message", got); s != "first second" {
			t.Error(s)
		}
		a.Transports()[0].Close(wire.ReasonGeneric)
		await(t, "end", a.down)
	}
}

func TestLeaseAndKeepAlive(t *testing.T) {
	lease := func(o *Options) { o.Lease = 400 * time.Millisecond }
	a, b := newNode(t, lease, nil), newNode(t, lease, nil)
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	a.dial(t, at)
	await(t, "transport", b.up)
	silent := dialRaw(t, at, lease)
	await(t, "transport", b.up)
	for range 3 { // keep-alives come
		if m, err := silent.batch(); err != nil || !bytes.Equal(m, []byte{4}) {
			t.Fatalf("%x, %v", m, err)
		}
	}
	if err := await(t, "end of the silent one", b.down); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	talks := dialRaw(t, at, lease)
	tr := await(t, "transport", b.up)
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		_ = talks.send(wire.AppendKeepAlive(nil))
	}
	select {
	case <-tr.Done():
		t.Error("one that talks was given up")
	default:
	}
	if len(a.down) > 0 || len(b.Transports()) != 2 {
		t.Error("one with keep-alives was given up")
	}
}

func TestMalformedCostsItsLink(t *testing.T) {
	var got atomic.Uint64
	b := newNode(t, nil, func(*Transport, *wire.Message) { got.Add(1) })
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	a := newNode(t, nil, nil)
	good := a.dial(t, at)
	await(t, "transport", b.up)
	for i, bad := range []string{"1a 05", "08", "25 ff ff ff ff ff", "a5 05 1f", "25 05 7d 00 06 64"} {
		r := dialRaw(t, at, nil)
		await(t, "transport", b.up)
		_ = r.send(unhex(t, bad))
		if err := await(t, "end", b.down); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", bad, err)
		}
		good.Send(named("k", 0, wire.RequestQoS), nil)
		until(t, "message of the good one", func() bool { return got.Load() == uint64(i+1) })
	}
	if n := b.Counts().Malformed; n != 5 {
		t.Errorf("%d counted", n)
	}
	// The beginning of a batch that never ends, and then silence, are no reason to end a link; a later end of it is.
	r := dialRaw(t, at, nil)
	await(t, "transport", b.up)
	_, _ = r.conn.Write(binary.LittleEndian.AppendUint16(nil, 60000))
	_, _ = r.conn.Write(make([]byte, 1000))
	_ = r.sock.CloseWrite()
	if err := await(t, "end", b.down); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	b := newNode(t, func(o *Options) { o.MaxSessions, o.MaxPending, o.OpenTimeout = 2, 2, time.Second }, nil)
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	kept := dialRaw(t, at, nil)
	await(t, "transport", b.up)
	dialRaw(t, at, nil)
	await(t, "transport", b.up)
	_, _, err := rawConn(t, at).open(&opener{o: testOptions(wire.NewID(), wire.Client, nil)})
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonMaxSessions {
		t.Errorf("a third session: %v", err)
	}
	until(t, "nobody at a handshake", func() bool { return b.Counts().Pending == 0 })
	half := []*channel{rawConn(t, at), rawConn(t, at)}
	until(t, "two at a handshake", func() bool { return b.Counts().Pending == 2 })
	if n, err := rawConn(t, at).conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a third one at a handshake is served")
	}
	for _, c := range half {
		if n, err := c.conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("somebody who says nothing is not sent away")
		}
	}
	kept.sock.Close()
	await(t, "end", b.down)
	dialRaw(t, at, nil)
	await(t, "transport", b.up)
	until(t, "three accepted and four refused", func() bool { // a link is counted when it is up
		c := b.Counts()
		return c.Accepted == 3 && c.Refused == 4
	})
}

func TestDialFails(t *testing.T) {
	a := newNode(t, func(o *Options) { o.OpenTimeout = 300 * time.Millisecond }, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := a.Dial(t.Context(), endpoint(t, "tcp/"+ln.Addr().String()), wire.ID{}); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("silence: %v", err)
	}
	l := a.listen(t, "tcp/127.0.0.1:0")
	if _, err := a.Dial(t.Context(), endpoint(t, l.Locators()[0]), wire.ID{}); !errors.Is(err, ErrSelf) {
		t.Errorf("itself: %v", err)
	}
	b := newNode(t, nil, nil)
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	if _, err := a.Dial(t.Context(), endpoint(t, at), idA); err == nil || !strings.Contains(err.Error(), "want 44332211") {
		t.Errorf("another node: %v", err)
	}
	a.dial(t, at)
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	await(t, "end", a.down)
	if _, err := a.Dial(t.Context(), endpoint(t, at), wire.ID{}); err == nil {
		t.Error("dialled one that is closed")
	}
	if _, err := b.Dial(t.Context(), endpoint(t, l.Locators()[0]), wire.ID{}); !errors.Is(err, ErrClosed) {
		t.Errorf("dial after Close: %v", err)
	}
	if _, err := b.Listen(t.Context(), endpoint(t, "tcp/127.0.0.1:0")); !errors.Is(err, ErrClosed) {
		t.Errorf("listen after Close: %v", err)
	}
}

// A handler that takes its time holds up nobody but its own transport.
func TestSlowHandler(t *testing.T) {
	hold := make(chan struct{})
	var got atomic.Uint64
	b := newNode(t, nil, func(_ *Transport, m *wire.Message) {
		if m.Key.Suffix == "hold" {
			<-hold
		}
	})
	a := newNode(t, nil, func(*Transport, *wire.Message) { got.Add(1) })
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	a.dial(t, at)
	toA := await(t, "transport", b.up)
	other := dialRaw(t, at, nil)
	await(t, "transport", b.up)
	other.frame(named("hold", 0, wire.PriorityData))
	for i := range uint64(20) {
		toA.Send(named("k", 0, wire.RequestQoS), nil)
		until(t, "message", func() bool { return got.Load() == i+1 })
		time.Sleep(time.Millisecond)
	}
	close(hold)
}

func TestLargeMessages(t *testing.T) {
	for _, size := range []int{1 << 16, 1 << 20, 64<<20 + 1} {
		got := make(chan bool, 1)
		b := newNode(t, nil, func(_ *Transport, m *wire.Message) { got <- m.Owned && bytes.Equal(m.Body.Payload, pattern(size)) })
		a := newNode(t, nil, nil)
		tr := pair(t, a, b, "tcp/127.0.0.1:0")
		if !tr.Send(named("k", size, wire.RequestQoS), nil) || !await(t, "message", got) {
			t.Errorf("%d bytes did not arrive as they are", size)
		}
	}
	got := make(chan string, 2)
	b := newNode(t, func(o *Options) { o.MaxMessage = 1 << 20 }, func(_ *Transport, m *wire.Message) { got <- strings.Clone(m.Key.Suffix) })
	a := newNode(t, nil, nil)
	tr := pair(t, a, b, "tcp/127.0.0.1:0")
	tr.Send(named("too large", 2<<20, wire.RequestQoS), nil)
	tr.Send(named("after", 0, wire.RequestQoS), nil)
	if s := await(t, "message", got); s != "after" {
		t.Error(s)
	}
	tb := <-b.up
	until(t, "one abandoned, one handed out", func() bool { s := tb.Stats(); return s.Abandoned == 1 && s.In == 1 })
}

// What a peer sent before it went away arrives, even if we notice at first that it takes nothing any more.
func TestLastWordsBeforeALoss(t *testing.T) {
	for range 20 {
		const count = 200
		var got atomic.Uint64
		b := newNode(t, nil, func(*Transport, *wire.Message) { got.Add(1) })
		path := "unixsock-stream/" + filepath.Join(t.TempDir(), "s")
		b.listen(t, path)
		conn, err := net.Dial("unix", strings.TrimPrefix(path, "unixsock-stream/"))
		if err != nil {
			t.Fatal(err)
		}
		c := newChannel(conn.(socket))
		a, rest, err := c.open(&opener{o: testOptions(idA, wire.Client, nil)})
		if err != nil {
			t.Fatal(err)
		}
		r := &raw{t, c, a, rest}
		tr := await(t, "transport", b.up)
		tr.rx.Lock() // the reader is held up
		for range count {
			r.frame(named("k", 100, wire.RequestQoS))
		}
		_ = r.send(wire.AppendClose(nil, wire.Close{Reason: wire.ReasonUnresponsive}))
		conn.Close()
		for tr.Send(named("k", 100, wire.RequestQoS), nil) {
		}
		tr.rx.Unlock()
		var closed *ClosedError
		if err := await(t, "end", b.down); !errors.As(err, &closed) || closed.Reason != wire.ReasonUnresponsive || got.Load() != count {
			t.Fatalf("%d messages, then %v", got.Load(), err)
		}
	}
}

// Whatever happens at once, everything ends, and no message comes after Down or twice.
func TestCloseUnderLoad(t *testing.T) {
	for round := range 30 {
		a, b := newNode(t, nil, func(tr *Transport, m *wire.Message) { tr.Send(m, nil) }), newNode(t, nil, func(tr *Transport, m *wire.Message) { tr.Send(m, nil) })
		la, lb := a.listen(t, "tcp/127.0.0.1:0"), b.listen(t, "tcp/127.0.0.1:0")
		tr := a.dial(t, lb.Locators()[0])
		await(t, "transport", b.up)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.Dial(t.Context(), endpoint(t, la.Locators()[0]), wire.ID{}) })
		for range 4 {
			wg.Go(func() {
				for tr.Send(named("k", 1000, wire.RequestQoS), nil) {
				}
			})
		}
		time.Sleep(time.Duration(round) * 100 * time.Microsecond)
		switch round % 4 {
		case 0:
			tr.Close(wire.ReasonGeneric)
		case 1:
			wg.Go(func() { _ = a.Close(t.Context()) })
			_ = b.Close(t.Context())
		case 2:
			tr.abort(errors.New("aborted by the test"))
		case 3:
			for _, other := range b.Transports() {
				other.Close(wire.ReasonGeneric)
			}
		}
		wg.Wait()
		await(t, "end", a.down)
		await(t, "end", b.down)
	}
}
