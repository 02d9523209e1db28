package plugin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/hlc"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/status"
)

// fakeEngine does by its calls' function names what a test wants.
type fakeEngine struct {
	cfg     EngineConfig
	module  []byte
	updates []engine.CacheUpdate
}

func (e *fakeEngine) Info(context.Context) (engine.Info, error) {
	return engine.Info{Name: "fake", Version: "7", Capabilities: []string{"a", "", "b"}}, nil
}

func (e *fakeEngine) Prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	if bytes.HasPrefix([]byte(m.SHA256), []byte("cached")) {
		return engine.ModuleInfo{Kind: engine.Reactor, CacheHit: true}, nil
	}
	for range 2 { // a module may be read again
		rc, err := open()
		if err != nil {
			return engine.ModuleInfo{}, err
		}
		e.module, err = io.ReadAll(rc)
		rc.Close()
		if err != nil {
			return engine.ModuleInfo{}, err
		}
	}
	return engine.ModuleInfo{Kind: engine.Command, Functions: []string{"f", "g"}, Memory: 65536}, nil
}

func (e *fakeEngine) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	if c.Function == "echo" { // what benchmarks call
		return &engine.Result{Value: c.Args, HasValue: true}, nil
	}
	o := &engine.Origin{Call: c.ID, Root: c.Root, Module: c.Module, Scope: c.Scope, Deadline: c.Deadline, Depth: c.Depth}
	switch c.Function {
	case "load":
		v, err := e.cfg.Border.Load(ctx, o, c.Args, false)
		if err != nil {
			return nil, err
		}
		return &engine.Result{Value: v.Data, HasValue: true, Frontier: v.Version, ExitCode: uint32(v.Lease)}, nil
	case "merge":
		v, err := e.cfg.Border.Merge(ctx, o, []byte("k"), c.Args)
		return &engine.Result{Frontier: v}, err
	case "call":
		return e.cfg.Border.Call(ctx, o, &engine.Call{ID: hlc.NewID(), Function: "nested", Args: c.Args, Fresh: c.Fresh})
	case "output":
		return &engine.Result{}, e.cfg.Border.Output(ctx, o, engine.Stderr, c.Args)
	case "input":
		var all []byte
		for {
			p, err := e.cfg.Border.Input(ctx, o, 3)
			all = append(all, p...)
			if err == io.EOF {
				return &engine.Result{Value: all, HasValue: true}, nil
			}
			if err != nil {
				return nil, err
			}
		}
	case "fail":
		return nil, status.LimitError("memory", "too much")
	case "panic":
		panic("guest of doom")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "stuck":
		<-ctx.Done()
		time.Sleep(300 * time.Millisecond)
		return nil, ctx.Err()
	case "full":
		return fullResult(), nil
	}
	return nil, status.Errorf(status.NotFound, "no function %q", c.Function)
}

func (e *fakeEngine) Update(_ context.Context, u []engine.CacheUpdate) error {
	e.updates = append(e.updates, u...)
	return nil
}

func (e *fakeEngine) Close() error { return nil }

func fullResult() *engine.Result {
	return &engine.Result{
		Value: []byte("v"), HasValue: true, ExitCode: 1<<32 - 1, Frontier: 1<<64 - 1,
		Writes: []engine.KeyVersion{{Key: "a", Version: 1}, {Key: "", Version: 2}},
		Stats:  engine.Stats{Queued: 1, Guest: time.Hour, HostCalls: 3, Memory: 4, Nested: 5, Instance: engine.Kept, Fuel: 7},
	}
}

// fakeBorder records what it is asked.
type fakeBorder struct {
	origin *engine.Origin
	call   *engine.Call
	out    []byte
	in     io.Reader
}

func (b *fakeBorder) Load(_ context.Context, o *engine.Origin, key []byte, wait bool) (engine.Value, error) {
	b.origin = o
	if string(key) == "absent" {
		return engine.Value{}, status.Errorf(status.NotFound, "no key %q", key)
	}
	return engine.Value{Data: append([]byte("value of "), key...), Version: 9, Lease: 10}, nil
}

func (b *fakeBorder) Merge(_ context.Context, o *engine.Origin, key, value []byte) (uint64, error) {
	return uint64(len(key) + len(value)), nil
}

func (b *fakeBorder) Call(_ context.Context, _ *engine.Origin, c *engine.Call) (*engine.Result, error) {
	b.call = c
	return fullResult(), nil
}

func (b *fakeBorder) Output(_ context.Context, _ *engine.Origin, s engine.Stream, p []byte) error {
	b.out = append(b.out, byte('0'+s))
	b.out = append(b.out, p...)
	return nil
}

func (b *fakeBorder) Input(_ context.Context, _ *engine.Origin, limit int) ([]byte, error) {
	p := make([]byte, limit)
	n, err := b.in.Read(p)
	return p[:n], err
}

func fake(t *testing.T, path pluginv1.HotPath, b engine.Border, o DialOptions) (*Engine, *fakeEngine) {
	t.Helper()
	f := &fakeEngine{}
	if b == nil {
		b = &fakeBorder{}
	}
	o.Border, o.Settings = b, map[string]string{"cache_dir": "/c", "x": "y"}
	e := startEngine(t, path, o, func(cfg EngineConfig) (engine.Engine, error) {
		f.cfg = cfg
		return f, nil
	})
	return e, f
}

func TestEngineOverTheBorder(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		ctx := context.Background()
		b := &fakeBorder{in: strings.NewReader("standard input")}
		e, f := fake(t, path, b, DialOptions{})
		if f.cfg.CacheDir != "/c" || f.cfg.Settings["x"] != "y" || f.cfg.Name != "test" {
			t.Errorf("configured with %+v", f.cfg)
		}
		if i, err := e.Info(ctx); err != nil || !reflect.DeepEqual(i, engine.Info{Name: "fake", Version: "7", Capabilities: []string{"a", "", "b"}}) {
			t.Errorf("info %+v, %v", i, err)
		}
		big := bytes.Repeat([]byte("0123456789"), 300<<10)
		for _, args := range [][]byte{nil, []byte("x"), big} {
			r, err := e.Invoke(ctx, &engine.Call{ID: hlc.NewID(), Function: "echo", Args: args})
			if err != nil || !r.HasValue || !bytes.Equal(r.Value, args) {
				t.Fatalf("echo of %d bytes: %d bytes, %v", len(args), len(r.Value), err)
			}
		}
		c := &engine.Call{ID: hlc.NewID(), Root: hlc.NewID(), Module: "m", Scope: "s", Function: "load", Args: []byte("key"), Deadline: time.Now().Add(time.Hour), Depth: 3}
		r, err := e.Invoke(ctx, c)
		if err != nil || string(r.Value) != "value of key" || r.Frontier != 9 || r.ExitCode != 10 {
			t.Errorf("load: %+v, %v", r, err)
		}
		want := engine.Origin{Call: c.ID, Root: c.Root, Module: "m", Scope: "s", Deadline: c.Deadline, Depth: 3}
		if o := b.origin; o == nil || !o.Deadline.Equal(want.Deadline) || o.Call != want.Call || o.Root != want.Root || o.Module != "m" || o.Scope != "s" || o.Depth != 3 {
			t.Errorf("origin %+v, want %+v", o, want)
		}
		if r, err = e.Invoke(ctx, &engine.Call{Function: "merge", Args: []byte("four")}); err != nil || r.Frontier != 5 {
			t.Errorf("merge: %+v, %v", r, err)
		}
		fresh := []engine.KeyVersion{{Key: "k", Version: 3}}
		if r, err = e.Invoke(ctx, &engine.Call{Function: "call", Args: big, Fresh: fresh}); err != nil || !reflect.DeepEqual(r, fullResult()) {
			t.Errorf("nested call: %+v, %v", r, err)
		}
		if b.call == nil || b.call.Function != "nested" || !bytes.Equal(b.call.Args, big) || !slices.Equal(b.call.Fresh, fresh) {
			t.Errorf("the host was asked for another call")
		}
		if _, err = e.Invoke(ctx, &engine.Call{Function: "output", Args: []byte("text")}); err != nil || string(b.out) != "2text" {
			t.Errorf("output: %q, %v", b.out, err)
		}
		if r, err = e.Invoke(ctx, &engine.Call{Function: "input"}); err != nil || string(r.Value) != "standard input" {
			t.Errorf("input: %+v, %v", r, err)
		}
		updates := []engine.CacheUpdate{
			{Drop: true},
			{Scope: "s", Drop: true},
			{Scope: "s", Key: []byte{}, Drop: true},
			{Scope: "s", Key: []byte("k"), Value: engine.Value{Data: []byte("d"), Version: 1, Lease: time.Second}},
		}
		if err := e.Update(ctx, updates); err != nil || !reflect.DeepEqual(f.updates, updates) {
			t.Errorf("updates: %+v, %v", f.updates, err)
		}
	})
}

func TestPrepareOverTheBorder(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		e, f := fake(t, path, nil, DialOptions{})
		module := bytes.Repeat([]byte("wasm"), 700<<10)
		opened := 0
		open := func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(iotestReader{bytes.NewReader(module)}), nil
		}
		i, err := e.Prepare(context.Background(), engine.Module{SHA256: "x", Size: int64(len(module))}, open)
		want := engine.ModuleInfo{Kind: engine.Command, Functions: []string{"f", "g"}, Memory: 65536}
		if err != nil || !reflect.DeepEqual(i, want) || !bytes.Equal(f.module, module) || opened != 2 {
			t.Errorf("prepare: %+v, %v; %d bytes, opened %d times", i, err, len(f.module), opened)
		}
		if i, err = e.Prepare(context.Background(), engine.Module{SHA256: "cached"}, nil); err != nil || !i.CacheHit || i.Kind != engine.Reactor {
			t.Errorf("prepare of a cached module: %+v, %v", i, err)
		}
		gone := status.Errorf(status.Corrupt, "chunk 3 does not match")
		_, err = e.Prepare(context.Background(), engine.Module{SHA256: "y"}, func() (io.ReadCloser, error) { return nil, gone })
		if status.Of(err) != status.Corrupt || !strings.Contains(err.Error(), gone.Text) {
			t.Errorf("prepare of a module that cannot be read: %v", err)
		}
	})
}

// iotestReader reads in odd pieces.
type iotestReader struct{ r io.Reader }

func (r iotestReader) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 77777)]) }

func TestErrorsKeepTheirClass(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		e, _ := fake(t, path, nil, DialOptions{})
		ctx := context.Background()
		if _, err := e.Invoke(ctx, &engine.Call{Function: "fail"}); status.Code(err) != "limit/memory" || err.Error() != "too much" {
			t.Errorf("limit: %v (%s)", err, status.Code(err))
		}
		if _, err := e.Invoke(ctx, &engine.Call{Function: "load", Args: []byte("absent")}); status.Of(err) != status.NotFound {
			t.Errorf("error of the border: %v", err)
		}
		if _, err := e.Invoke(ctx, &engine.Call{Function: "panic"}); status.Of(err) != status.Internal || !strings.Contains(err.Error(), "guest of doom") {
			t.Errorf("panic: %v", err)
		}
		if r, err := e.Invoke(ctx, &engine.Call{Function: "full"}); err != nil || !reflect.DeepEqual(r, fullResult()) {
			t.Errorf("after a panic: %+v, %v", r, err)
		}
	})
}

func TestContextsTravel(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		late := make(chan LateCall, 1)
		e, _ := fake(t, path, nil, DialOptions{Grace: 50 * time.Millisecond, Late: func(l LateCall) { late <- l }})
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		if _, err := e.Invoke(ctx, &engine.Call{Function: "wait"}); status.Of(err) != status.Deadline {
			t.Errorf("past its deadline: %v", err)
		}
		ctx, cancel = context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err := e.Invoke(ctx, &engine.Call{Function: "wait"}); status.Of(err) != status.Cancelled {
			t.Errorf("cancelled: %v", err)
		}
		if len(late) != 0 {
			t.Error("a call that ended in time was reported as late")
		}
		ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		c := &engine.Call{Function: "stuck"}
		if _, err := e.Invoke(ctx, c); status.Of(err) != status.Deadline || !errors.Is(err, frame.ErrLate) {
			t.Errorf("stuck: %v", err)
		}
		if d := time.Since(start); d > 250*time.Millisecond {
			t.Errorf("a stuck call held its caller for %v", d)
		}
		select {
		case got := <-late:
			if got.Call != c || !got.Owed() {
				t.Errorf("what was reported as late: %+v, owed %v", got, got.Owed())
			}
		default:
			t.Error("the stuck call was not reported as late")
		}
		// Where it is cancelled at its deadline, by one whose clock is a little faster, that is the same.
		for _, tc := range []struct {
			deadline time.Duration
			late     bool
		}{{20 * time.Millisecond, true}, {150 * time.Millisecond, true}, {time.Hour, false}} {
			ctx, cancel = context.WithCancel(context.Background())
			time.AfterFunc(15*time.Millisecond, cancel)
			c = &engine.Call{Function: "stuck", Deadline: time.Now().Add(tc.deadline)}
			if _, err := e.Invoke(ctx, c); status.Of(err) != status.Cancelled {
				t.Errorf("stuck and cancelled: %v", err)
			}
			select {
			case got := <-late:
				if got.Call != c || !tc.late || time.Now().Before(c.Deadline) {
					t.Errorf("a call cancelled %v before its deadline was reported as late", tc.deadline)
				}
			default:
				if tc.late {
					t.Error("a stuck call that was cancelled at its deadline was not reported as late")
				}
			}
		}
	})
}

func TestCallsEndWithThePlugin(t *testing.T) {
	eachPath(t, func(t *testing.T, path pluginv1.HotPath) {
		e, f := fake(t, path, nil, DialOptions{})
		_ = f
		time.AfterFunc(20*time.Millisecond, e.Disconnect)
		_, err := e.Invoke(context.Background(), &engine.Call{Function: "wait"})
		if status.Of(err) != status.Unavailable || status.DetailOf(err) == status.DetailSafe {
			t.Errorf("call under way: %v (%s)", err, status.Code(err))
		}
		_, err = e.Invoke(context.Background(), &engine.Call{Function: "echo"})
		if status.Code(err) != "unavailable/safe" {
			t.Errorf("call after the end: %v (%s)", err, status.Code(err))
		}
	})
}

func TestConfigureRefused(t *testing.T) {
	ctl, host, _ := inProcess(t, EngineKind, pluginv1.HotPath_DESCRIPTOR, engineRequests, engineBuild(func(EngineConfig) (engine.Engine, error) {
		return nil, status.Errorf(status.Invalid, "setting \"x\" must be a number")
	}))
	_, err := dialEngine(context.Background(), ctl, DialOptions{Name: "test", Conn: host, Border: &fakeBorder{}})
	if status.Of(err) != status.Invalid || !strings.Contains(err.Error(), "must be a number") {
		t.Errorf("refused settings: %v", err)
	}
}

func TestWrongKind(t *testing.T) {
	ctl, host, p := inProcess(t, EngineKind, pluginv1.HotPath_DESCRIPTOR, engineRequests, nil)
	_, err := dialStore(context.Background(), ctl, DialOptions{Name: "test", Conn: host})
	if status.Of(err) != status.Invalid || !strings.Contains(err.Error(), "is not a store: it says it is an engine") {
		t.Errorf("an engine dialled as a store: %v", err)
	}
	<-p.ended // its connection
}
