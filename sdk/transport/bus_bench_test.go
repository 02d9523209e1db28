package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// crowd declares what a busy daemon has declared besides, so that the figures are not those of an empty bus.
func crowd(b *testing.B, s Session) {
	for i := range 200 {
		for _, k := range []string{"essa/executor/%d/run-function/**", "essa/executor/%d/info", "anna/n%d/key_request/0"} {
			if _, err := s.Queryable(fmt.Sprintf(k, i), QueryableOptions{Complete: true}, func(Query) {}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func benchGet(b *testing.B, expr, key string, opts QueryableOptions, parallel bool) {
	bus := NewBus()
	asker, answerer := bus.Open(), bus.Open()
	defer asker.Close()
	defer answerer.Close()
	crowd(b, answerer)
	opts.Complete = true
	if _, err := answerer.Queryable(expr, opts, func(q Query) {
		_ = q.Reply(q.KeyExpr(), q.Payload(), ReplyOptions{})
	}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	payload := make([]byte, 64)
	one := func() {
		_, err := Ask(ctx, asker, Selector{KeyExpr: key}, GetOptions{Payload: payload, Timeout: -1})
		if err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	if parallel {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				one()
			}
		})
		return
	}
	for range b.N {
		one()
	}
}

func BenchmarkGetInline(b *testing.B) {
	inline := QueryableOptions{Inline: true}
	b.Run("concrete", func(b *testing.B) { benchGet(b, "anna/x/key_request/0", "anna/x/key_request/0", inline, false) })
	b.Run("wild", func(b *testing.B) { benchGet(b, "essa/call/**", "essa/call/shop/total/-", inline, false) })
	b.Run("parallel", func(b *testing.B) { benchGet(b, "essa/call/**", "essa/call/shop/total/-", inline, true) })
}

func BenchmarkGetGoroutine(b *testing.B) {
	benchGet(b, "anna/x/key_request/0", "anna/x/key_request/0", QueryableOptions{}, false)
}

func BenchmarkPutFanout(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bus := NewBus()
			s := bus.Open()
			defer s.Close()
			var got atomic.Int64
			var all sync.WaitGroup
			all.Add(n * b.N)
			for range n {
				if _, err := s.Subscribe("a/b", SubscribeOptions{}, func(Sample) { got.Add(1); all.Done() }); err != nil {
					b.Fatal(err)
				}
			}
			payload := make([]byte, 64)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := s.Put(context.Background(), "a/b", payload, PutOptions{Congestion: Block}); err != nil {
					b.Fatal(err)
				}
			}
			all.Wait()
		})
	}
}
