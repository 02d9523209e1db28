package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	fabrictransport "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load makes the configuration of a daemon in dir from HCL.
func load(t *testing.T, dir, hcl string) *config.Config {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{
		Inline: []config.Inline{{Name: "test.hcl", Data: []byte(hcl)}},
		Set: []config.Setting{
			{Source: "test", Path: "node.name", Value: "n1"},
			{Source: "test", Path: "node.data_dir", Value: filepath.Join(dir, "data")},
			{Source: "test", Path: "node.runtime_dir", Value: filepath.Join(dir, "run")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "essad")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

const withoutPlugins = `
version = 1
routing {}
kvs {
  store = ""
}
scheduler {}
`

// run starts an agent and returns how to stop it.
func run(t *testing.T, cfg *config.Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- New(cfg, hclog.NewNullLogger()).Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("the agent ended before it was ready: %v", err)
	}
	return func() error { cancel(); return <-done }
}

// dial opens a session as a client does.
func dial(t *testing.T, cfg *config.Config) transport.Session {
	t.Helper()
	s, err := fabrictransport.Open(t.Context(), zenoh.Config{
		Mode: zenoh.ModeClient, Connect: []string{"unixsock-stream/" + cfg.Node.Socket}, NoReconnect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A daemon starts, serves over its socket, stops without a trace, and starts again on the same folders.
func TestLife(t *testing.T) {
	dir := shortDir(t)
	cfg := load(t, dir, withoutPlugins)
	for range 2 {
		stop := run(t, cfg)
		s := dial(t, cfg)
		k, err := client.NewKVS(s, client.Public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Set(t.Context(), client.UserSpace, "", []byte("a"), []byte("b"), client.PutOptions{}); err != nil {
			t.Error(err)
		}
		nodes, err := client.New(s).Nodes(t.Context())
		if err != nil || len(nodes) != 1 || nodes[0].Node != "n1" || nodes[0].GetKvs().GetPuts() == 0 {
			t.Errorf("status %v, %v", nodes, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(cfg.Node.Socket); err == nil {
			t.Error("the socket outlives the daemon")
		}
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	dir := shortDir(t)
	cfg := load(t, dir, withoutPlugins)
	stop := run(t, cfg)
	err := New(cfg, hclog.NewNullLogger()).Run(t.Context(), nil)
	if status.Of(err) != status.Conflict || !strings.Contains(err.Error(), cfg.Node.DataDir) {
		t.Errorf("error %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := shortDir(t)
	cfg := load(t, dir, withoutPlugins)
	if err := os.MkdirAll(cfg.Node.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]status.Class{"99\n": status.Invalid, "garbage": status.Corrupt} {
		if err := os.WriteFile(filepath.Join(cfg.Node.DataDir, "format"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := New(cfg, hclog.NewNullLogger()).Run(t.Context(), nil); status.Of(err) != want {
			t.Errorf("format %q: error %v, want class %v", content, err, want)
		}
	}
}

// What fails at start is named, and what had started is stopped.
func TestFailedStartLeavesNothing(t *testing.T) {
	dir := shortDir(t)
	cfg := load(t, dir, withoutPlugins+"executor {}\nengine \"absent\" {}\n")
	err := New(cfg, hclog.NewNullLogger()).Run(t.Context(), nil)
	if status.Of(err) != status.NotFound || !strings.Contains(err.Error(), "essad-plugin-absent") {
		t.Fatalf("error %v", err)
	}
	stop := run(t, load(t, dir, withoutPlugins)) // the folders are free again
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if err := New(load(t, shortDir(t), withoutPlugins), hclog.NewNullLogger()).Run(ctx, nil); err == nil {
		t.Error("a cancelled start succeeded")
	}
}

// A reload changes what is marked live, in all parts, also in loggers that were named before.
func TestReload(t *testing.T) {
	dir := shortDir(t)
	var out strings.Builder
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: &lockedWriter{w: &out}})
	a := New(load(t, dir, withoutPlugins), log)
	named := log.Named("scheduler").With("k", "v")
	next := load(t, dir, withoutPlugins+"log {\n  level = \"debug\"\n}\n")
	a.Reload(next)
	if named.IsDebug() {
		t.Error("a daemon that has not started was reloaded")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(ready) }) }()
	<-ready
	a.Reload(next)
	if !named.IsDebug() {
		t.Error("a named logger keeps its level")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// What calls get that name no limit of the stack is said by the contract, and done by the engines' runtime.
func TestDefaultStack(t *testing.T) {
	if n := runtime.DefaultLimits.Stack; n != engine.DefaultStack {
		t.Errorf("engines give %d, and engine.DefaultStack is %d", n, engine.DefaultStack)
	}
}
