package link

import (
	"fmt"
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

func BenchmarkEcho(b *testing.B) {
	for _, inflight := range []int{1, 64} {
		b.Run(fmt.Sprintf("%dinflight", inflight), func(b *testing.B) {
			echo := newNode(b, nil, func(t *Transport, m *wire.Message) { t.Send(m, nil) })
			waiting := make([]chan struct{}, inflight)
			from := newNode(b, nil, func(_ *Transport, m *wire.Message) { waiting[m.RequestID] <- struct{}{} })
			tr := pair(b, from, echo, "tcp/127.0.0.1:0")
			b.ResetTimer()
			var wg sync.WaitGroup
			for s := range inflight {
				waiting[s] = make(chan struct{}, 1)
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
		})
	}
}
