package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/essa-project/essad/sdk/zenoh"
)

// The fabric beside what one would use instead: a peer that echoes, in a process of its own, reached directly and through
// our hub; NATS's server between two clients of its own library; and the bare multiplexer over TCP.

const (
	keyEcho  = "bench/echo"
	keySink  = "bench/sink"
	keyCount = "bench/count"
)

// The ways to the echoing process.
const (
	wayPeer = "peer to peer"
	wayHub  = "hub"
	wayNATS = "NATS"
	wayTCP  = "bare TCP"
)

// wirePeer is one way to the echoing process.
type wirePeer struct {
	name    string
	request func(p []byte) error
	publish func(p []byte) error   // nil: it has no publications
	count   func() (uint64, error) // what the other process has received
	close   func()
}

func (b *bench) fabric(ctx context.Context) error {
	procs := &floorChain{}
	defer procs.close()
	var peers []wirePeer
	for _, open := range []func(context.Context, *floorChain) (wirePeer, error){direct, throughHub, throughNATS, bareTCP} {
		p, err := open(ctx, procs)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(os.Stderr, "bench: fabric: the rows beside NATS are left out: %v\n", err)
			continue
		}
		if err != nil {
			return err
		}
		if p.close != nil {
			defer p.close()
		}
		peers = append(peers, p)
	}
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		for _, flight := range []int{1, 64} {
			if err := b.requests(ctx, peers, size, flight); err != nil {
				return err
			}
		}
	}
	return b.publications(ctx, peers)
}

// requests measures all ways in turns.
func (b *bench) requests(ctx context.Context, peers []wirePeer, size, flight int) error {
	ops := make([]func(int) error, len(peers))
	for i, p := range peers {
		ops[i] = func(int) error { return p.request(make([]byte, size)) }
	}
	s, err := turns(ctx, flight, 3*b.duration, ops...)
	if err != nil {
		return err
	}
	small := func(target float64) float64 {
		if size > 64 {
			return 0
		}
		return target
	}
	one, many := func(t float64) float64 { return 0 }, func(t float64) float64 { return 0 }
	if flight == 1 {
		one = small
	} else {
		many = small
	}
	name := func(way, floor string) string {
		return fmt.Sprintf("fabric: request %d B, %d in flight, %s vs %s", size, flight, way, floor)
	}
	by := map[string]sample{}
	for i, p := range peers {
		by[p.name] = s[i]
	}
	for _, row := range []struct {
		way, floor, what string
		of               func(sample) float64
		unit, better     string
		target           float64
	}{
		{wayPeer, wayNATS, "p50", p50, "us", "lower", one(0.5)},
		{wayPeer, wayTCP, "p50", p50, "us", "lower", one(2)},
		{wayPeer, wayNATS, "p99", p99, "us", "lower", 0},
		{wayPeer, wayNATS, "requests", perSecond, "1/s", "higher", many(2)},
		{wayPeer, wayTCP, "requests", perSecond, "1/s", "higher", 0},
		{wayHub, wayNATS, "p50", p50, "us", "lower", 0},
		{wayHub, wayPeer, "p99", p99, "us", "lower", 0},
		{wayHub, wayPeer, "requests", perSecond, "1/s", "higher", many(0.6)},
	} {
		if floor, ok := by[row.floor]; ok {
			b.add(name(row.way, row.floor)+", "+row.what, row.of(by[row.way]), row.unit, row.better, row.of(floor), row.target)
		}
	}
	return nil
}

func p50(s sample) float64       { return s.p50 }
func p99(s sample) float64       { return s.p99 }
func perSecond(s sample) float64 { return s.perSecond }

// publications measures deliveries: what the other process has received, not what was sent.
func (b *bench) publications(ctx context.Context, peers []wirePeer) error {
	rates := map[string]float64{}
	for range 3 {
		for _, p := range peers {
			if p.publish == nil {
				continue
			}
			r, err := deliveries(ctx, p, b.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			rates[p.name] = max(rates[p.name], r)
		}
	}
	peer, hub := rates[wayPeer], rates[wayHub]
	b.add("fabric: 64 B published with Block, deliveries, peer to peer", peer, "1/s", "higher", 0, 1.5e6)
	if queue, ok := rates[wayNATS]; ok {
		b.add("fabric: 64 B published with Block, deliveries, peer to peer vs NATS", peer, "1/s", "higher", queue, 0)
	}
	b.add("fabric: 64 B published with Block, deliveries, hub vs peer to peer", hub, "1/s", "higher", peer, 0.6)
	return nil
}

func deliveries(ctx context.Context, p wirePeer, d time.Duration) (float64, error) {
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		payload := make([]byte, 64)
		for {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			for range 64 {
				if err := p.publish(payload); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	time.Sleep(d / 4)
	begin, err := p.count()
	start := time.Now()
	var end uint64
	if err == nil {
		time.Sleep(d)
		end, err = p.count()
	}
	took := time.Since(start)
	close(stop)
	if e := <-failed; err == nil {
		err = e
	}
	return float64(end-begin) / took.Seconds(), err
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func direct(ctx context.Context, procs *floorChain) (wirePeer, error) {
	addr, err := freeAddress()
	if err == nil {
		err = procs.start("floor", "zenoh-echo", "peer", "tcp/"+addr)
	}
	if err != nil {
		return wirePeer{}, err
	}
	return zenohPeer(ctx, wayPeer, zenoh.Config{Mode: zenoh.ModePeer, Connect: []string{"tcp/" + addr}})
}

func throughHub(ctx context.Context, procs *floorChain) (wirePeer, error) {
	addr, err := freeAddress()
	if err == nil {
		err = procs.start("floor", "zenoh-hub", "tcp/"+addr)
	}
	if err == nil {
		err = procs.start("floor", "zenoh-echo", "client", "tcp/"+addr)
	}
	if err != nil {
		return wirePeer{}, err
	}
	return zenohPeer(ctx, wayHub, zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{"tcp/" + addr}})
}

// openZenoh opens a session whose other side may still be starting.
func openZenoh(ctx context.Context, c zenoh.Config) (*zenoh.Session, error) {
	c.RetryMin, c.RetryMax, c.ConnectTimeout = 10*time.Millisecond, 50*time.Millisecond, 10*time.Second
	return zenoh.Open(ctx, c)
}

func zenohPeer(ctx context.Context, name string, c zenoh.Config) (wirePeer, error) {
	s, err := openZenoh(ctx, c)
	if err != nil {
		return wirePeer{}, err
	}
	echo, sink, count := zenoh.MustKeyExpr(keyEcho), zenoh.MustKeyExpr(keySink), zenoh.MustKeyExpr(keyCount)
	pub, err := s.DeclarePublisher(sink, &zenoh.PublisherOptions{CongestionControl: zenoh.CongestionControlBlock})
	if err != nil {
		return wirePeer{}, err
	}
	ask := func(key zenoh.KeyExpr, p []byte) (answer []byte, err error) {
		o := zenoh.GetOptions{Payload: p, HasPayload: true, Consolidation: zenoh.ConsolidationModeNone}
		err = s.Get(ctx, key, "", func(r zenoh.Reply) { answer = r.Sample.Payload }, &o)
		if err == nil && answer == nil {
			err = fmt.Errorf("nobody answers on %s", key)
		}
		return answer, err
	}
	p := wirePeer{
		name:    name,
		request: func(p []byte) error { _, err := ask(echo, p); return err },
		publish: func(p []byte) error { return pub.Put(ctx, p, nil) },
		count: func() (uint64, error) {
			a, err := ask(count, nil)
			if err != nil {
				return 0, err
			}
			return binary.LittleEndian.Uint64(a), nil
		},
		close: func() { _ = s.Close() },
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = p.request(nil); err == nil || time.Now().After(end) {
			return p, err
		}
	}
}

// zenohEcho answers queries and counts publications.
func zenohEcho(mode, endpoint string) error {
	c := zenoh.Config{Mode: zenoh.ModePeer, Listen: []zenoh.Listen{{Endpoint: endpoint}}}
	if mode == "client" {
		c = zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{endpoint}}
	}
	s, err := openZenoh(context.Background(), c)
	if err != nil {
		return err
	}
	var received atomic.Uint64
	answer := func(key string, f func(*zenoh.Query) []byte) error {
		_, err := s.DeclareQueryable(zenoh.MustKeyExpr(key), zenoh.Closure[*zenoh.Query]{Call: func(q *zenoh.Query) {
			_ = q.Reply(q.KeyExpr(), f(q), nil) // the asker sees that none came
		}}, &zenoh.QueryableOptions{Complete: true, Quick: true}) // it never waits, and NATS and the Rust implementation call handlers so too
		return err
	}
	if err := answer(keyEcho, func(q *zenoh.Query) []byte { return q.Payload() }); err != nil {
		return err
	}
	count := func(*zenoh.Query) []byte { return binary.LittleEndian.AppendUint64(nil, received.Load()) }
	if err := answer(keyCount, count); err != nil {
		return err
	}
	_, err = s.DeclareSubscriber(zenoh.MustKeyExpr(keySink), zenoh.Closure[zenoh.Sample]{Call: func(zenoh.Sample) { received.Add(1) }}, nil)
	if err != nil {
		return err
	}
	<-s.Done()
	return s.Err()
}

func zenohHub(endpoint string) error {
	n, err := zenoh.OpenNode(context.Background(), zenoh.Config{Mode: zenoh.ModeRouter, Listen: []zenoh.Listen{{Endpoint: endpoint}}})
	if err != nil {
		return err
	}
	<-n.Done()
	return nil
}

func throughNATS(_ context.Context, procs *floorChain) (wirePeer, error) {
	server, err := exec.LookPath("nats-server")
	if err != nil {
		return wirePeer{}, fmt.Errorf("its server is needed (Debian: apt install nats-server): %w", err)
	}
	addr, err := freeAddress()
	if err != nil {
		return wirePeer{}, err
	}
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(server, "-a", host, "-p", port)
	if err := cmd.Start(); err != nil {
		return wirePeer{}, err
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	if err := procs.start("floor", "nats-echo", "nats://"+addr); err != nil {
		stop()
		return wirePeer{}, err
	}
	nc, err := dialNATS("nats://" + addr)
	if err != nil {
		stop()
		return wirePeer{}, err
	}
	p := wirePeer{
		name:    wayNATS,
		request: func(p []byte) error { _, err := nc.Request(keyEcho, p, 10*time.Second); return err },
		publish: func(p []byte) error { return nc.Publish(keySink, p) },
		count: func() (uint64, error) {
			m, err := nc.Request(keyCount, nil, 10*time.Second)
			if err != nil {
				return 0, err
			}
			return binary.LittleEndian.Uint64(m.Data), nil
		},
		close: func() { nc.Close(); stop() },
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = p.request(nil); err == nil || time.Now().After(end) {
			return p, err
		}
	}
}

// dialNATS connects to a server that may still be starting.
func dialNATS(url string) (*nats.Conn, error) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := nats.Connect(url, nats.MaxReconnects(-1))
		if err == nil || time.Now().After(end) {
			return nc, err
		}
	}
}

func natsEcho(url string) error {
	nc, err := dialNATS(url)
	if err != nil {
		return err
	}
	var received atomic.Uint64
	for subject, f := range map[string]nats.MsgHandler{
		keyEcho:  func(m *nats.Msg) { _ = m.Respond(m.Data) },
		keyCount: func(m *nats.Msg) { _ = m.Respond(binary.LittleEndian.AppendUint64(nil, received.Load())) },
		keySink:  func(*nats.Msg) { received.Add(1) },
	} {
		sub, err := nc.Subscribe(subject, f)
		if err != nil {
			return err
		}
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return err
		}
	}
	select {} // floorProcess ends it
}

func bareTCP(_ context.Context, procs *floorChain) (wirePeer, error) {
	addr, err := freeAddress()
	if err == nil {
		err = procs.start("floor", "echo-tcp", addr)
	}
	if err != nil {
		return wirePeer{}, err
	}
	m, err := dialMux("tcp", addr)
	if err != nil {
		return wirePeer{}, err
	}
	return wirePeer{name: wayTCP, request: func(p []byte) error { m.call(p); return nil }}, nil
}
