package main

import (
	"context"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/essad/internal/executor"
	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/essad/internal/scheduler"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
	fabric "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

// echoEngine answers every call with its arguments, so that what is left is what the roles cost.
type echoEngine struct{ prepared atomic.Bool }

func (*echoEngine) Info(context.Context) (engine.Info, error) { return engine.Info{Name: "echo"}, nil }

func (e *echoEngine) Prepare(_ context.Context, _ engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	r, err := open()
	if err != nil {
		return engine.ModuleInfo{}, err
	}
	defer r.Close()
	e.prepared.Store(true)
	return engine.ModuleInfo{Functions: []string{"echo"}}, nil
}

func (e *echoEngine) Invoke(_ context.Context, c *engine.Call) (*engine.Result, error) {
	if !e.prepared.Load() {
		err := status.Errorf(status.NotFound, "no module")
		err.Detail = "module"
		return nil, err
	}
	return &engine.Result{Value: c.Args, HasValue: true}, nil
}

func (*echoEngine) Update(context.Context, []engine.CacheUpdate) error { return nil }
func (*echoEngine) Close() error                                       { return nil }
func (*echoEngine) Ready() bool                                        { return true }
func (*echoEngine) Progress() uint64                                   { return 0 }
func (*echoEngine) State() string                                      { return "ready" }

// roles starts kvs, executor and scheduler on one bus.
func roles(b *testing.B, open func() transport.Session) {
	ctx, cancel := context.WithCancel(context.Background())
	var done []chan error
	start := func(r interface{ Run(context.Context) error }, err error, ready chan struct{}) {
		if err != nil {
			b.Fatal(err)
		}
		d := make(chan error, 1)
		done = append(done, d)
		go func() { d <- r.Run(ctx) }()
		<-ready
	}
	ready := func() (chan struct{}, func()) {
		c := make(chan struct{})
		return c, func() { close(c) }
	}
	c, f := ready()
	k, err := kvs.New(kvs.Options{Node: "n", Session: open(), OnReady: f})
	start(k, err, c)
	c, f = ready()
	e, err := executor.New(executor.Options{
		ID: "n", Session: open(), Capacity: 4096, LogRing: 1 << 20, OnReady: f,
		Engines: []executor.Engine{{Name: "echo", Start: func(context.Context, int, engine.Border, func(executor.Kill)) (executor.Process, error) {
			return &echoEngine{}, nil
		}}},
	})
	start(e, err, c)
	c, f = ready()
	s, err := scheduler.New(scheduler.Options{
		ID: "n", Session: open(), Timeout: 30 * time.Second, Attempts: 2, Queue: 4096, Completed: 65536, CompletedBytes: 64 << 20,
		CompletedFor: time.Minute, MaxArgs: 16 << 20, MaxModule: 1 << 20, Async: 1, HotModules: 16, OnReady: f,
	})
	start(s, err, c)
	b.Cleanup(func() {
		cancel()
		for _, d := range done {
			if err := <-d; err != nil {
				b.Error(err)
			}
		}
	})
}

func deployEcho(b *testing.B, c *client.Client) {
	sha, err := c.Upload(b.Context(), readSeeker("module"), nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; ; i++ { // the scheduler hears of the executor a moment after its start
		if _, err = c.Deploy(b.Context(), &client.Manifest{Name: "echo", Module: sha}); err == nil {
			return
		}
		if i == 100 {
			b.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func readSeeker(s string) io.ReadSeeker {
	return io.NewSectionReader(stringReader(s), 0, int64(len(s)))
}

type stringReader string

func (s stringReader) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, s[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func benchCalls(b *testing.B, c *client.Client) {
	args := make([]byte, 64)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Call(context.Background(), "echo", "echo", args, client.CallOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkRoles is a call through client, scheduler and executor in one process: what essad itself costs.
func BenchmarkRoles(b *testing.B) {
	bus := transport.NewBus()
	roles(b, bus.Open)
	c := client.New(bus.Open())
	deployEcho(b, c)
	benchCalls(b, c)
}

// socketRoles starts roles on a hub and returns the session of a client behind its unix socket.
func socketRoles(b *testing.B) transport.Session {
	endpoint := "unixsock-stream/" + filepath.Join(b.TempDir(), "s")
	policy := topic.Default.ClientPolicy(topic.Operator)
	hub, err := zenoh.OpenNode(b.Context(), zenoh.Config{Mode: zenoh.ModeRouter, Listen: []zenoh.Listen{{
		Endpoint: endpoint, Relation: zenoh.RelationSouth,
		Policy: fabric.Policy(func(*zenoh.Transport) transport.Policy { return policy }),
	}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = hub.Close() })
	roles(b, func() transport.Session {
		s, err := hub.Session()
		if err != nil {
			b.Fatal(err)
		}
		return fabric.Wrap(s)
	})
	s, err := fabric.Open(b.Context(), zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{endpoint}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkRolesSocket is the same with the client behind the daemon's socket.
func BenchmarkRolesSocket(b *testing.B) {
	s := socketRoles(b)
	c := client.New(s)
	deployEcho(b, c)
	benchCalls(b, c)
}
