package main

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/local"
)

// BenchmarkPutSocket is a put of 1 KiB by a client behind the daemon's socket, acknowledged in memory: what a put costs
// before any disk.
func BenchmarkPutSocket(b *testing.B) {
	bus := transport.NewBus()
	roles(b, bus)
	path := filepath.Join(b.TempDir(), "s")
	ln, err := local.Listen(path, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- local.Serve(ctx, ln, func() transport.Session { return bus.Open() }, local.Options{Allow: topic.Default.ClientPolicy(topic.Operator)})
	}()
	b.Cleanup(func() { cancel(); <-done })
	s, err := local.Dial(ctx, path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
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
