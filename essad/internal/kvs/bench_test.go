package kvs_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/storage/memory"
)

// Through the client, the bus and back: what an executor's border pays.
func BenchmarkGet(b *testing.B) {
	n := start(b, kvs.Options{Store: memory.New(memory.Options{})})
	ctx, key := context.Background(), []byte("key")
	if _, err := n.kvs.Set(ctx, client.DataSpace, "scope", key, make([]byte, 64), client.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.kvs.Load(ctx, client.DataSpace, "scope", key, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMultiGet(b *testing.B) {
	n := start(b, kvs.Options{Store: memory.New(memory.Options{})})
	ctx := context.Background()
	var keys [][]byte
	for i := range 64 {
		keys = append(keys, fmt.Appendf(nil, "key%d", i))
		if _, err := n.kvs.Set(ctx, client.DataSpace, "scope", keys[i], make([]byte, 64), client.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.kvs.MultiGet(ctx, client.DataSpace, "scope", keys); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, d := range []string{"memory", "batched", "sync"} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/writers=%d", d, writers), func(b *testing.B) {
				n := start(b, kvs.Options{Store: memory.New(memory.Options{}), Durability: d})
				var next atomic.Int64
				b.SetParallelism(writers)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					key := fmt.Appendf(nil, "key%d", next.Add(1))
					data := make([]byte, 64)
					for i := int64(1); pb.Next(); i++ {
						v := lattice.Encode(lattice.LWW{Time: lattice.TimeUnixNano(i), Data: data})
						if _, err := n.kvs.Merge(context.Background(), client.DataSpace, "scope", key, v); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
