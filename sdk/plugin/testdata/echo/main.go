// Command echo is the plugin that the tests and benchmarks of the process border use. What it does is set by its
// environment: ECHO_KIND is "engine" or "store", ECHO_MODE makes it misbehave.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
)

func main() {
	switch os.Getenv("ECHO_MODE") {
	case "crash":
		fmt.Fprintln(os.Stderr, "cannot find my shoes")
		os.Exit(3)
	case "hang":
		select {}
	case "talk":
		fmt.Println("hello, world")
		time.Sleep(time.Minute)
	case "version":
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: 99, MagicCookieKey: plugin.Handshake.MagicCookieKey, MagicCookieValue: plugin.Handshake.MagicCookieValue},
			VersionedPlugins: map[int]goplugin.PluginSet{99: {}},
			GRPCServer:       goplugin.DefaultGRPCServer,
		})
		return
	case "stream":
		os.Unsetenv(plugin.EnvDescriptor)
	}
	about := plugin.About{
		Name: "echo", Version: "1.2.3", Capabilities: []string{"echo"},
		Settings: []plugin.Setting{{Name: "answer", Type: "integer", Default: "42", Doc: "The answer."}},
	}
	if os.Getenv("ECHO_KIND") == "store" {
		plugin.ServeStore(openStore, about)
		return
	}
	plugin.ServeEngine(openEngine, about)
}

func check(settings map[string]string) error {
	if v, ok := settings["answer"]; ok {
		if _, err := strconv.Atoi(v); err != nil {
			return status.Errorf(status.Invalid, "setting \"answer\" must be a number, not %q", v)
		}
	}
	return nil
}

type echo struct{ cfg plugin.EngineConfig }

func openEngine(cfg plugin.EngineConfig) (engine.Engine, error) {
	cfg.Logger.Info("configured", "settings", len(cfg.Settings))
	return &echo{cfg}, check(cfg.Settings)
}

func (e *echo) Info(context.Context) (engine.Info, error) {
	return engine.Info{Name: "echo", Version: "1.2.3"}, nil
}

func (e *echo) Prepare(_ context.Context, _ engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	r, err := open()
	if err != nil {
		return engine.ModuleInfo{}, err
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	return engine.ModuleInfo{Memory: uint64(n)}, err
}

func (e *echo) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	switch c.Function {
	case "", "echo":
		return &engine.Result{Value: c.Args, HasValue: true}, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "load":
		v, err := e.cfg.Border.Load(ctx, &engine.Origin{}, c.Args, false)
		return &engine.Result{Value: v.Data, HasValue: true}, err
	case "sleep": // whatever the context says
		time.Sleep(2 * time.Second)
		return &engine.Result{}, nil
	case "tardy": // later than the context says, and not too late
		<-ctx.Done()
		time.Sleep(100 * time.Millisecond)
		return nil, ctx.Err()
	case "exit":
		os.Exit(7)
	case "panic": // on a goroutine that nobody guards
		go func() { panic("as a bug would") }()
		select {}
	case "segv": // as native code does it: Go's own handler would make an exit of the signal
		return nil, syscall.Exec("/bin/sh", []string{"sh", "-c", "ulimit -c 0; kill -SEGV $$"}, nil)
	case "oom": // as the kernel does it
		return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "freeze":
		return nil, syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "child": // a process of its own, as engines start them to compile
		cmd := exec.Command("/bin/sleep", "600")
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return &engine.Result{Value: []byte(strconv.Itoa(cmd.Process.Pid)), HasValue: true}, nil
	case "environment":
		b, err := json.Marshal(os.Environ())
		return &engine.Result{Value: b, HasValue: true}, err
	}
	return nil, status.Errorf(status.NotFound, "no function %q", c.Function)
}

func (e *echo) Update(context.Context, []engine.CacheUpdate) error { return nil }

func (e *echo) Close() error {
	if p := e.cfg.Settings["farewell"]; p != "" {
		return os.WriteFile(p, []byte("closed"), 0o600)
	}
	return nil
}

// journalled is a memory store whose batches are also in a file, so that the next process finds them.
type journalled struct {
	storage.Store
	f       *os.File
	applies atomic.Int64
	path    string
	dieAt   int64
}

type record struct {
	Shard uint32
	Ops   []storage.Op
}

func openStore(cfg plugin.StoreConfig) (storage.Store, error) {
	if err := check(cfg.Settings); err != nil {
		return nil, err
	}
	if cfg.Settings["corrupt"] != "" {
		if _, err := os.Stat(filepath.Join(cfg.Path, "corrupt")); err == nil {
			return nil, status.Errorf(status.Corrupt, "block 7 fails its check")
		}
	}
	s := &journalled{Store: memory.New(memory.Options{}), path: cfg.Path}
	s.dieAt, _ = strconv.ParseInt(cfg.Settings["die_at"], 10, 64)
	if cfg.Path == "" {
		return s, nil
	}
	var err error
	if s.f, err = os.OpenFile(filepath.Join(cfg.Path, "journal"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	for d := json.NewDecoder(s.f); ; {
		var r record
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return s, nil
		} else if err != nil {
			return nil, err
		}
		if err := s.Store.Apply(context.Background(), storage.Batch{Shard: r.Shard, Ops: r.Ops}); err != nil {
			return nil, err
		}
	}
}

func (s *journalled) Apply(ctx context.Context, b storage.Batch) error {
	n := s.applies.Add(1)
	if s.f != nil {
		line, err := json.Marshal(record{b.Shard, b.Ops})
		if err != nil {
			return err
		}
		if n == s.dieAt { // half of the time before, half of the time after the batch is there
			if os.Getpid()%2 == 0 {
				_, _ = s.f.Write(line)
			}
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		if _, err := s.f.Write(line); err != nil {
			return err
		}
	}
	return s.Store.Apply(ctx, b)
}
