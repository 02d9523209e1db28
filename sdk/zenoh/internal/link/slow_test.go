package link

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// One that takes nothing is cut off when messages wait for it that must not be lost; nobody else notices.
func TestUnresponsive(t *testing.T) {
	var got atomic.Uint64
	wait := func(o *Options) { o.WaitBlock, o.QueueBytes = 500*time.Millisecond, 64<<10 }
	b := newNode(t, wait, nil)
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	dialRaw(t, at, func(o *Options) { o.Lease = time.Hour }) // it sends no keep-alives
	stuck := await(t, "transport", b.up)
	a := newNode(t, nil, func(*Transport, *wire.Message) { got.Add(1) })
	a.dial(t, at)
	fine := await(t, "transport", b.up)

	for full := 0; full < 5; full++ { // until what the system buffers is full, too
		for stuck.Send(named("k", 1000, wire.PriorityData), nil) {
			fine.Send(named("k", 0, wire.PriorityData), nil)
			full = 0
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s := stuck.Stats(); s.Dropped == 0 || s.Queued < 64<<10 {
		t.Errorf("%+v", s)
	}
	select {
	case <-stuck.Done():
		t.Error("cut off for messages that may be dropped")
	case <-time.After(800 * time.Millisecond):
	}
	gaveUp := make(chan struct{})
	close(gaveUp)
	if stuck.Send(named("k", 1000, wire.RequestQoS), gaveUp) || stuck.Stats().Refused != 1 {
		t.Errorf("%+v", stuck.Stats())
	}
	if stuck.Send(named("k", 1000, wire.RequestQoS), nil) {
		t.Error("sent to one that takes nothing")
	}
	if err := await(t, "end", b.down); !errors.Is(err, ErrUnresponsive) {
		t.Error(err)
	}
	sent := fine.Stats().Out
	until(t, "everything at the other", func() bool { return got.Load() == sent })
	if b.Counts().Unresponsive != 1 {
		t.Errorf("%+v", b.Counts())
	}
}

// One that takes little, but takes it, is waited for.
func TestSlow(t *testing.T) {
	b := newNode(t, func(o *Options) { o.WaitBlock, o.QueueBytes, o.WaitDrop = 400*time.Millisecond, 64<<10, time.Second }, nil)
	slow := dialRaw(t, b.listen(t, "tcp/127.0.0.1:0").Locators()[0], nil)
	tr := await(t, "transport", b.up)
	_ = slow.sock.(*net.TCPConn).SetReadBuffer(64 << 10)
	end := time.Now().Add(1200 * time.Millisecond)
	go func() {
		buf := make([]byte, 256<<10)
		for time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
			_, _ = io.ReadFull(slow.conn, buf)
		}
		_, _ = io.Copy(io.Discard, slow.conn)
	}()
	for i := 0; time.Now().Before(end); i++ {
		q := wire.PriorityData
		if i%2 == 0 {
			q |= wire.Block
		}
		if !tr.Send(named("k", 10_000, q), nil) {
			t.Fatalf("not sent: %+v", tr.Stats())
		}
	}
}

// While a piece of much is written, what is more urgent comes before the rest.
func TestPriorities(t *testing.T) {
	b := newNode(t, func(o *Options) { o.QueueBytes = 64 << 20 }, nil)
	r := dialRaw(t, b.listen(t, "tcp/127.0.0.1:0").Locators()[0], nil)
	tr := await(t, "transport", b.up)
	tr.Send(named("large", 32<<20, wire.RequestQoS), nil)
	tr.Send(named("urgent", 0, wire.Block|wire.PriorityControl), nil)
	bytesBefore := 0
	for {
		var n [prefixBytes]byte
		if _, err := io.ReadFull(r.conn, n[:]); err != nil {
			t.Fatal(err)
		}
		m := make([]byte, binary.LittleEndian.Uint16(n[:]))
		if _, err := io.ReadFull(r.conn, m); err != nil {
			t.Fatal(err)
		}
		if wire.TransportID(m[0]) == wire.Frame {
			break
		}
		bytesBefore += len(m)
	}
	if bytesBefore > 24<<20 {
		t.Errorf("it came behind %d bytes", bytesBefore)
	}
	go func() { _, _ = io.Copy(io.Discard, r.conn) }()
}
