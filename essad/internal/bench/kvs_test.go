package main

import (
	"sync/atomic"
	"testing"

	"github.com/essa-project/essad/sdk/client"
)

// BenchmarkPutSocket is a put of 1 KiB by a client behind the daemon's socket, acknowledged in memory: what a put costs
// before any disk.
func BenchmarkPutSocket(b *testing.B) {
	s, ctx := socketRoles(b), b.Context()
	k, err := client.NewKVS(s, client.Public)
	if err != nil {
		b.Fatal(err)
	}
	value := noise(1024)
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Set(ctx, client.UserSpace, "", key(int(n.Add(1)%10_000)), value, client.PutOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
