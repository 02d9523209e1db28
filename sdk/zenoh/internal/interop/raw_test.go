package interop

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// raw is a connection of which every byte is ours to say.
type raw struct {
	*net.TCPConn
	in   *bufio.Reader
	out  io.Writer // the connection, or TLS over it
	id   wire.ID
	sn   [16]uint32 // the next ones, by lane
	mask uint32
}

// dialTCP connects to a node and says nothing.
func dialTCP(t testing.TB, locator string) *raw {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(locator, "tcp/"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatal("no TCP connection")
	}
	t.Cleanup(func() { _ = tcp.Close() })
	return &raw{TCPConn: tcp, in: bufio.NewReaderSize(tcp, 16), out: tcp, id: wire.NewID(), mask: 1<<28 - 1}
}

// secure puts TLS over the connection.
func (r *raw) secure(t testing.TB, c *tls.Config) {
	t.Helper()
	over := tls.Client(r.TCPConn, c)
	if err := over.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.in, r.out = bufio.NewReaderSize(over, 16), over
}

// dialRaw makes a client that never sends a keep-alive, and need not.
func dialRaw(t testing.TB, locator string) *raw {
	t.Helper()
	return dialTCP(t, locator).open(t)
}

func (r *raw) open(t testing.TB) *raw {
	t.Helper()
	for _, b := range r.handshake(t) {
		r.batch(b)
	}
	return r
}

// init is the InitSyn of r.
func (r *raw) init() wire.Init {
	return wire.Init{
		WhatAmI: wire.Client, ID: r.id, Resolution: wire.DefaultResolution, BatchSize: wire.MaxBatchSize, QoS: true, Patch: 1,
	}
}

// handshake opens the session but for its last message, which is returned, with what follows, for the sequence numbers that
// it announces.
func (r *raw) handshake(t testing.TB) [][]byte {
	t.Helper()
	m := r.init()
	r.batch(wire.AppendInit(nil, &m))
	var ack wire.Init
	if _, err := wire.DecodeInit(r.receive(t), &ack); err != nil {
		t.Fatal(err)
	}
	sn := wire.InitialSN(r.id, ack.ID, r.mask)
	for i := range r.sn {
		r.sn[i] = sn
	}
	return [][]byte{wire.AppendOpen(nil, &wire.Open{Lease: time.Hour, InitialSN: sn, Cookie: ack.Cookie})}
}

// batch sends one batch. Errors show where somebody reads.
func (r *raw) batch(p []byte) { _, _ = r.out.Write(prefixed(p)) }

func prefixed(p []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(p))), p...) //nolint:gosec // a batch fits
}

// receive returns the next batch.
func (r *raw) receive(t testing.TB) []byte {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	var n [2]byte
	if _, err := io.ReadFull(r.in, n[:]); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, binary.LittleEndian.Uint16(n[:]))
	if _, err := io.ReadFull(r.in, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// frames are the batches in which messages travel, in frames or in fragments.
func (r *raw) frames(ms ...*wire.Message) (batches [][]byte) {
	var last *wire.Message
	var b []byte
	flush := func() {
		if b != nil {
			batches = append(batches, b)
			b = nil
		}
	}
	for _, m := range ms {
		p := wire.AppendMessage(nil, m)
		if len(p) > wire.MaxBatchSize-20 {
			flush()
			batches = append(batches, r.fragments(m, p)...)
			continue
		}
		if last != nil && (last.QoS.Priority() != m.QoS.Priority() || last.Reliable != m.Reliable) || len(b)+len(p) > wire.MaxBatchSize-20 {
			flush()
		}
		if b == nil {
			b = wire.AppendFrameHeader(nil, wire.FrameHeader{Reliable: m.Reliable, SN: r.next(m), Priority: m.QoS.Priority()})
		}
		b, last = append(b, p...), m
	}
	flush()
	return batches
}

func (r *raw) fragments(m *wire.Message, p []byte) (batches [][]byte) {
	for first := true; len(p) > 0; first = false {
		n := min(len(p), wire.MaxBatchSize-20)
		h := wire.FragmentHeader{
			Reliable: m.Reliable, More: n < len(p), SN: r.next(m), Priority: m.QoS.Priority(), First: first,
		}
		batches = append(batches, append(wire.AppendFragmentHeader(nil, h), p[:n]...))
		p = p[n:]
	}
	return batches
}

// next takes a sequence number of the message's lane.
func (r *raw) next(m *wire.Message) uint32 {
	lane := int(m.QoS.Priority()) << 1
	if m.Reliable {
		lane++
	}
	sn := r.sn[lane]
	r.sn[lane] = (sn + 1) & r.mask
	return sn
}

// say sends messages.
func (r *raw) say(ms ...*wire.Message) {
	for _, b := range r.frames(ms...) {
		r.batch(b)
	}
}

// lost waits until the other side has closed the connection.
func (r *raw) lost(t testing.TB) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, r.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the link was not cut")
	}
	_ = r.Close()
}

// Messages that a raw connection says.

func named(key string) wire.WireExpr { return wire.WireExpr{Sender: true, Suffix: key} }

func declare(kind wire.DeclKind, id uint32, key string) *wire.Message {
	m := &wire.Message{Kind: wire.Declare, QoS: wire.ControlQoS, Reliable: true}
	m.Decl.Kind, m.Decl.ID = kind, id
	if key != "" {
		m.Key = named(key)
	}
	return m
}

func put(key string, payload []byte) *wire.Message {
	m := &wire.Message{Kind: wire.Push, QoS: wire.RequestQoS, Reliable: true, Key: named(key)}
	m.Body.Kind, m.Body.Payload = wire.Put, payload
	return m
}

func query(rid uint32, key string) *wire.Message {
	m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, Reliable: true, RequestID: rid, Key: named(key)}
	m.Body.Kind = wire.Query
	return m
}

func interest(id uint32, mode wire.InterestMode, o wire.InterestOptions, key string) *wire.Message {
	m := &wire.Message{Kind: wire.Interest, QoS: wire.ControlQoS, Reliable: true, InterestID: id, Mode: mode, Options: o}
	if key != "" {
		m.Options |= wire.InterestRestricted
		m.Key = named(key)
	}
	return m
}

// everything is a valid session of one message of each kind and more.
func everything() []*wire.Message {
	full := put("valid/a", body{100, 1}.bytes())
	full.Body.Attachment, full.Body.Encoding = []byte("at"), wire.Encoding{ID: 5, Schema: "v1"}
	full.Body.Timestamp = wire.Timestamp{Time: wire.NTP64(time.Now()), ID: wire.NewID()}
	full.Body.Source = wire.SourceInfo{Entity: wire.EntityID{ZID: wire.NewID(), EID: 7}, SN: 300}
	del := put("valid/a", nil)
	del.Body.Kind, del.QoS = wire.Del, 4
	scoped := put("", nil)
	scoped.Key = wire.WireExpr{Scope: 1, Sender: true, Suffix: "/b"}
	scoped.Reliable, scoped.QoS = false, 7
	ask := query(1, "valid/**")
	ask.Target, ask.TimeoutMS = wire.All, 100
	ask.Body.Parameters, ask.Body.HasPayload, ask.Body.Payload = "a=1", true, []byte("body")
	ask.Body.Consolidation = wire.Latest
	answer := put("valid/a", []byte("ok"))
	answer.Kind, answer.RequestID, answer.Responder = wire.Response, 1, wire.EntityID{ZID: wire.NewID(), EID: 5}
	bad := &wire.Message{Kind: wire.Response, QoS: wire.RequestQoS, Reliable: true, RequestID: 1}
	bad.Body.Kind, bad.Body.Payload = wire.Err, []byte("no")
	return []*wire.Message{
		declare(wire.DeclKeyExpr, 1, "valid"), declare(wire.DeclSubscriber, 2, "valid/**"), declare(wire.DeclQueryable, 3, "valid/*"),
		declare(wire.DeclToken, 4, "valid/token"), interest(5, wire.InterestCurrentFuture, 0x0f, "valid/**"),
		interest(6, wire.InterestCurrent, wire.InterestTokens, "**"), interest(7, wire.InterestFuture, 0x8f, ""),
		full, del, scoped, ask, answer, bad,
		{Kind: wire.ResponseFinal, QoS: wire.RequestQoS, Reliable: true, RequestID: 1},
		{Kind: wire.OAM, QoS: wire.ControlQoS, Reliable: true, OAMID: 1, OAMBody: []byte{1, 0}},
		declare(wire.UndeclToken, 4, ""), declare(wire.UndeclSubscriber, 2, ""), declare(wire.UndeclQueryable, 3, ""),
		interest(5, wire.InterestFinal, 0, ""), declare(wire.UndeclKeyExpr, 1, ""), declare(wire.DeclFinal, 0, ""),
	}
}

// witness is two clients of a hub that have to keep working.
type witness struct {
	hub, a, b *ours
	sub       *entity
	queryable *entity
	n         int
}

func newWitness(t *testing.T, change func(*zenoh.Config)) *witness {
	t.Helper()
	c := config(zenoh.ModeRouter)
	c.Listen = []zenoh.Listen{{Endpoint: anyPort}}
	if change != nil {
		change(&c)
	}
	w := &witness{hub: open(t, c)}
	w.a, w.b = ourDialler(t, zenoh.ModeClient, w.at()), ourDialler(t, zenoh.ModeClient, w.at())
	w.begin(t)
	return w
}

func (w *witness) begin(t *testing.T) {
	t.Helper()
	w.sub = w.b.subscribe(t, "witness/sub")
	w.queryable = w.b.queryable(t, "witness/q", queryableOptions{replies: []replySpec{{echo: true}}})
	settle(t, w.a, w.b)
	w.works(t)
}

// at is where the hub listens.
func (w *witness) at() string { return w.hub.Locators()[0] }

// works makes sure that the two still reach each other.
func (w *witness) works(t *testing.T) {
	t.Helper()
	w.n++
	sent := body{w.n, 0}
	w.a.put(t, "witness/sub", sent, reliably)
	sent.check(t, w.sub.find(t, func(x item) bool { return x.Key == "witness/sub" })) // others may put on **
	r := w.a.get(t, "witness/q", getOptions{payload: &sent})
	if len(r) != 1 {
		t.Fatalf("the witness got %v", r)
	}
	sent.check(t, r[0])
	w.queryable.drain()
}

// alone waits until the witness's clients are the only links.
func (w *witness) alone(t *testing.T) {
	t.Helper()
	until(t, "only the witness's links are left", func() bool { return len(w.hub.Transports()) == 2 })
}

// seeded is a source of the same numbers each time.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) } //nolint:gosec // repeatable, not secret
