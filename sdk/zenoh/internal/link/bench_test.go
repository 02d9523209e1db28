package link

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func BenchmarkOneWay(b *testing.B) {
	for _, c := range []struct{ size, senders int }{{64, 1}, {64, 64}, {64 << 10, 1}, {8 << 20, 1}} {
		b.Run(fmt.Sprintf("%dB/%dsenders", c.size, c.senders), func(b *testing.B) {
			var n atomic.Int64
			done := make(chan struct{})
			to := newNode(b, nil, func(*Transport, *wire.Message) {
				if n.Add(1) == int64(b.N) {
					close(done)
				}
			})
			from := newNode(b, nil, nil)
			tr := pair(b, from, to, "tcp/127.0.0.1:0")
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for s := range c.senders {
				wg.Go(func() {
					m := push(pattern(c.size), true)
					for i := s; i < b.N; i += c.senders {
						tr.Send(m, nil)
					}
				})
			}
			wg.Wait()
			<-done
		})
	}
}

// echoEnv makes the test binary a process that sends every message back.
const echoEnv = "LINK_TEST_ECHO"

// serveEcho listens, says where, and serves until its input ends.
func serveEcho() error {
	n := &node{up: make(chan *Transport, 1), down: make(chan error, 1)}
	n.message = func(t *Transport, m *wire.Message) { t.Send(m, nil) }
	n.Manager = NewManager(Options{ID: wire.NewID(), WhatAmI: wire.Peer}, n)
	l, err := n.Listen(context.Background(), Endpoint{Proto: protoTCP, Address: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	fmt.Println(l.Locators()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
	return n.Close(context.Background())
}

// startEcho starts such a process and returns where it listens.
func startEcho(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), echoEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	at, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(at)
}

// BenchmarkEcho has the other side in a process of its own.
func BenchmarkEcho(b *testing.B) {
	for _, inflight := range []int{1, 64} {
		b.Run(fmt.Sprintf("%dinflight", inflight), func(b *testing.B) {
			waiting := make([]chan struct{}, inflight)
			for i := range waiting {
				waiting[i] = make(chan struct{}, 1)
			}
			from := newNode(b, nil, func(_ *Transport, m *wire.Message) { waiting[m.RequestID] <- struct{}{} })
			tr := from.dial(b, startEcho(b))
			b.ResetTimer()
			var wg sync.WaitGroup
			for s := range inflight {
				wg.Go(func() {
					m := &wire.Message{Kind: wire.Request, QoS: wire.RequestQoS, RequestID: uint32(s), Key: wire.WireExpr{Suffix: "demo/a"}}
					m.Body = wire.Body{Kind: wire.Query, Payload: pattern(64), HasPayload: true}
					for i := s; i < b.N; i += inflight {
						tr.Send(m, nil)
						<-waiting[s]
					}
				})
			}
			wg.Wait()
			b.StopTimer()
		})
	}
}
