package executor

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var module = hex.EncodeToString(make([]byte, 32))

// fakeEngine is an engine whose functions are Go. It forgets its modules on demand.
type fakeEngine struct {
	border   engine.Border
	killed   func(Kill)
	down     atomic.Bool
	progress atomic.Uint64
	invoke   func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error)
	prepare  func(ctx context.Context) error
	prepares atomic.Int32

	mu      sync.Mutex
	ready   map[string]bool
	updates []engine.CacheUpdate
}

func (e *fakeEngine) Info(context.Context) (engine.Info, error) {
	return engine.Info{Name: "fake", Version: "1"}, nil
}

func (e *fakeEngine) Prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	e.prepares.Add(1)
	if e.prepare != nil {
		if err := e.prepare(ctx); err != nil {
			return engine.ModuleInfo{}, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ready[m.SHA256] = true
	return engine.ModuleInfo{Kind: engine.Reactor, Functions: []string{"f"}}, nil
}

func (e *fakeEngine) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	e.mu.Lock()
	ready := e.ready[c.Module]
	e.mu.Unlock()
	if !ready {
		err := status.Errorf(status.NotFound, "not prepared")
		err.Detail = "module"
		return nil, err
	}
	return e.invoke(ctx, e.border, c)
}

func (e *fakeEngine) Update(_ context.Context, u []engine.CacheUpdate) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.updates = append(e.updates, u...)
	return nil
}

func (e *fakeEngine) Close() error { return nil }
func (e *fakeEngine) Ready() bool  { return !e.down.Load() }

func (e *fakeEngine) Progress() uint64 { return e.progress.Load() }

func (e *fakeEngine) State() string {
	if e.down.Load() {
		return "starting"
	}
	return "ready"
}

// rig is an executor with a fake engine and a key-value store that holds nothing but the manifest of one module.
type rig struct {
	t      *testing.T
	role   *Role
	engine *fakeEngine
	shards []*fakeEngine // engine is the first
	s      transport.Session
	stop   func()
}

func newRig(t *testing.T, capacity int, invoke func(context.Context, engine.Border, *engine.Call) (*engine.Result, error)) *rig {
	t.Helper()
	return newShardedRig(t, capacity, 1, invoke)
}

func newShardedRig(t *testing.T, capacity, shards int, invoke func(context.Context, engine.Border, *engine.Call) (*engine.Result, error)) *rig {
	t.Helper()
	bus := transport.NewBus()
	r := &rig{t: t, s: bus.Open()}
	for range shards {
		r.shards = append(r.shards, &fakeEngine{invoke: invoke, ready: map[string]bool{}})
	}
	r.engine = r.shards[0]
	if _, err := r.s.Queryable(topic.Default.AnyRequest(), transport.QueryableOptions{Complete: true}, fakeStore); err != nil {
		t.Fatal(err)
	}
	mine, ready := bus.Open(), make(chan struct{})
	role, err := New(Options{
		ID: "e", Session: mine, Capacity: capacity, LogRing: 1 << 10, OutputWait: 20 * time.Millisecond, Drain: 200 * time.Millisecond,
		Limits: engine.Limits{Memory: 1 << 20, Log: 77}, OnReady: func() { close(ready) },
		Quarantine: QuarantineLimits{Strikes: 2, For: time.Minute, Entries: 4}, Workers: 2,
		Engines: []Engine{{Name: "fake", Shards: shards, Start: func(_ context.Context, i int, b engine.Border, killed func(Kill)) (Process, error) {
			r.shards[i].border, r.shards[i].killed = b, killed
			return r.shards[i], nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.role = role
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- role.Run(ctx) }()
	<-ready
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = mine.Close()
	})
	t.Cleanup(func() { r.stop(); _ = r.s.Close() })
	return r
}

// fakeStore answers reads of the module's manifest and takes every write.
func fakeStore(q transport.Query) {
	req := &annav1.Request{}
	_ = proto.Unmarshal(q.Payload(), req)
	out := &annav1.Reply{}
	for _, op := range req.Ops {
		switch {
		case op.Kind != client.OpGet:
			out.Results = append(out.Results, &annav1.Result{Version: 7})
		case req.Space == client.ModuleSpace && req.Scope == module:
			raw, _ := proto.Marshal(&essav1.ModuleManifest{Sha256: module, Size: 4, Chunks: 1})
			out.Results = append(out.Results, &annav1.Result{Value: lattice.Encode(lattice.LWW{Data: raw}), Version: 1})
		default:
			out.Results = append(out.Results, &annav1.Result{Code: "not_found", Text: "no such key"})
		}
	}
	raw, _ := proto.Marshal(out)
	_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
}

func invocation(change ...func(*essav1.Invocation)) *essav1.Invocation {
	id := hlc.NewID()
	inv := &essav1.Invocation{Id: id[:], Root: id[:], Module: module, Scope: "d/shop", Function: "f", Deployment: "shop"}
	for _, f := range change {
		f(inv)
	}
	return inv
}

func (r *rig) ask(ctx context.Context, inv *essav1.Invocation, run bool) (string, *essav1.Outcome, error) {
	raw, _ := proto.Marshal(inv)
	key := topic.Default.RunFunction("e", module, "f", "")
	if run {
		key = topic.Default.ExecutorRun("e")
	}
	s, err := transport.Ask(ctx, r.s, transport.Selector{KeyExpr: key}, transport.GetOptions{Attachment: raw, Payload: []byte("args"), Timeout: -1})
	out := &essav1.Outcome{}
	_ = proto.Unmarshal(s.Attachment, out)
	return string(s.Payload), out, err
}

func (r *rig) call(inv *essav1.Invocation) (string, *essav1.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return r.ask(ctx, inv, false)
}

func (r *rig) quiet() {
	r.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		r.role.core.mu.Lock()
		calls, roots := len(r.role.core.calls), len(r.role.core.roots)
		r.role.core.mu.Unlock()
		if calls == 0 && roots == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d calls and %d roots are left", calls, roots)
		}
	}
}

func origin(c *engine.Call) *engine.Origin {
	return &engine.Origin{Call: c.ID, Root: c.Root, Module: c.Module, Scope: c.Scope}
}

// A scheduler in the same process gets what one elsewhere gets, also when the executor has ended.
func TestExecute(t *testing.T) {
	r := newRig(t, 4, echo)
	value, raw, err := r.role.Execute(t.Context(), invocation(), []byte("args"), false)
	out := &essav1.Outcome{}
	if string(value) != "args" || err != nil || proto.Unmarshal(raw, out) != nil || out.Executor != "e" || !out.HasValue {
		t.Errorf("%q, %v, %v", value, out, err)
	}
	_, _, err = r.role.Execute(t.Context(), invocation(func(inv *essav1.Invocation) { inv.Module = "x" }), nil, false)
	if status.Of(err) != status.Invalid {
		t.Errorf("a call that cannot be: %v", err)
	}
	r.quiet()
	r.stop()
	_, _, err = r.role.Execute(t.Context(), invocation(), nil, false)
	if status.Of(err) != status.Unavailable || status.DetailOf(err) != status.DetailSafe {
		t.Errorf("after its end: %v", err)
	}
}

func echo(_ context.Context, _ engine.Border, c *engine.Call) (*engine.Result, error) {
	return &engine.Result{Value: c.Args, HasValue: true}, nil
}

func TestCall(t *testing.T) {
	var got *engine.Call
	r := newRig(t, 4, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
		got = c
		return &engine.Result{Value: c.Args, HasValue: true, Frontier: 9, Writes: []engine.KeyVersion{{Key: "k", Version: 3}}}, nil
	})
	inv := invocation(func(i *essav1.Invocation) {
		i.Limits, i.Env, i.Depth, i.WantStats = &essav1.Limits{Memory: 5}, []string{"A=1"}, 2, true
		i.Isolation, i.WarmUp = "instance", "prepare"
	})
	v, out, err := r.call(inv)
	if v != "args" || err != nil || !out.HasValue || out.Frontier != 9 || len(out.Writes) != 1 || out.Stats.GetEngine() != "fake" {
		t.Fatalf("%q, %v, %v", v, out, err)
	}
	if got.Limits.Memory != 5 || got.Limits.Log != 77 || got.Depth != 2 || got.Scope != "d/shop" || got.Env[0] != "A=1" ||
		got.Isolation != engine.Reused || got.WarmUp != "prepare" {
		t.Errorf("call %+v", got)
	}
	r.role.SetLimits(engine.Limits{Memory: 6, Log: 78}, engine.Limits{})
	if _, _, err := r.call(invocation()); err != nil || got.Limits.Memory != 6 || got.Limits.Log != 78 {
		t.Errorf("after a reload: %+v, %v", got.Limits, err)
	}
	r.role.SetLimits(engine.Limits{Memory: 6}, engine.Limits{Memory: 7})
	for _, c := range []struct {
		name string
		ask  func() error
	}{
		{"a call", func() error {
			_, _, err := r.call(invocation(func(i *essav1.Invocation) { i.Limits = &essav1.Limits{Memory: 8} }))
			return err
		}},
		{"a deployment", func() error {
			raw, _ := proto.Marshal(&essav1.Manifest{Name: "shop", Module: module, Limits: &essav1.Limits{Memory: 8}})
			_, err := transport.Ask(context.Background(), r.s, transport.Selector{KeyExpr: topic.Default.ExecutorPrepare("e")},
				transport.GetOptions{Payload: raw})
			return err
		}},
	} {
		if err := c.ask(); status.Of(err) != status.Denied || !strings.Contains(err.Error(), "max_limits.memory") {
			t.Errorf("%s that asks for more than there may be: %v", c.name, err)
		}
	}
	r.quiet()
	for name, change := range map[string]func(*essav1.Invocation){
		"id":        func(i *essav1.Invocation) { i.Id = []byte{1} },
		"root":      func(i *essav1.Invocation) { i.Root = nil },
		"module":    func(i *essav1.Invocation) { i.Module = "index" },
		"isolation": func(i *essav1.Invocation) { i.Isolation = "none" },
	} {
		if _, _, err := r.call(invocation(change)); status.Of(err) != status.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.call(invocation(func(i *essav1.Invocation) { i.Engine = "nosuch" })); status.Of(err) != status.NotFound || !strings.Contains(err.Error(), "it has fake") {
		t.Errorf("engine: %v", err)
	}
	other := strings.Repeat("ab", 32)
	if _, _, err := r.call(invocation(func(i *essav1.Invocation) { i.Module = other })); status.Of(err) != status.NotFound {
		t.Errorf("a module that is not stored: %v", err)
	}
}

func TestAdmission(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, 2, func(ctx context.Context, _ engine.Border, c *engine.Call) (*engine.Result, error) {
		<-release
		return &engine.Result{}, nil
	})
	r.engine.ready[module] = true
	inv := invocation()
	var all sync.WaitGroup
	for _, i := range []*essav1.Invocation{inv, invocation()} {
		all.Go(func() {
			if _, _, err := r.call(i); err != nil {
				t.Error(err)
			}
		})
	}
	for r.role.core.inFlight() < 2 {
		time.Sleep(time.Millisecond)
	}
	_, _, err := r.call(invocation())
	if status.Of(err) != status.Overloaded || status.DetailOf(err) != status.DetailSafe || !strings.Contains(err.Error(), "executor.capacity") {
		t.Errorf("beyond the capacity: %v", err)
	}
	close(release)
	all.Wait()
	r.quiet()
	c, e := newCore(3, 1, QuarantineLimits{}), stateOf(1)
	call := &engine.Call{ID: hlc.ID{1}, Root: hlc.ID{1}}
	f, err := c.admit(t0, call, e, &essav1.Invocation{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.admit(t0, call, e, &essav1.Invocation{}); status.Of(err) != status.Conflict {
		t.Errorf("the same call twice: %v", err)
	}
	nested, err := c.admit(t0, &engine.Call{ID: hlc.ID{2}, Root: hlc.ID{1}}, e, &essav1.Invocation{})
	if err != nil || nested.root != f.root {
		t.Errorf("a call of the same root has another one, %v", err)
	}
	if c.end(f, nil); c.rootOf(hlc.ID{1}) == nil {
		t.Error("the root is gone before its last call")
	}
	if c.end(nested, nil); c.rootOf(hlc.ID{1}) != nil {
		t.Error("the root is left")
	}
}

// Only the executor knows whether a call that was lost may have had effects.
func TestEffects(t *testing.T) {
	died := status.Errorf(status.Unavailable, "the engine died")
	for name, tc := range map[string]struct {
		run  bool
		do   func(context.Context, engine.Border, *engine.Origin) error
		safe bool
	}{
		"nothing": {false, func(context.Context, engine.Border, *engine.Origin) error { return nil }, true},
		"a read": {false, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			if _, err := b.Load(ctx, o, []byte("k"), false); status.Of(err) != status.NotFound {
				return err
			}
			return nil
		}, true},
		"a put": {false, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			_, err := b.Merge(ctx, o, []byte("k"), nil)
			return err
		}, false},
		"a call that left": {false, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			if _, err := b.Call(ctx, o, &engine.Call{ID: hlc.NewID(), Root: o.Root}); status.Of(err) != status.Unavailable {
				return errors.New("somebody took it")
			}
			return nil
		}, false},
		"a line in the log": {false, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			return b.Output(ctx, o, engine.Stdout, []byte("x"))
		}, true},
		"output of a run": {true, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			return b.Output(ctx, o, engine.Stdout, []byte("x"))
		}, false},
		"input of a run": {true, func(ctx context.Context, b engine.Border, o *engine.Origin) error {
			if _, err := b.Input(ctx, o, 10); err == nil {
				return errors.New("there is input")
			}
			return nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
				if err := tc.do(ctx, b, origin(c)); err != nil {
					t.Error(err)
				}
				return nil, died
			})
			_, _, err := r.ask(t.Context(), invocation(), tc.run)
			if status.Of(err) != status.Unavailable || (status.DetailOf(err) == status.DetailSafe) != tc.safe {
				t.Errorf("%s: %v", status.Code(err), err)
			}
			r.quiet()
		})
	}
}

// However many calls need a module, it is prepared once, also when the first of them gives up.
func TestPrepareOnce(t *testing.T) {
	r := newRig(t, 64, echo)
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	r.engine.prepare = func(ctx context.Context) error {
		begun <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, _, err := r.ask(ctx, invocation(), false)
		first <- err
	}()
	<-begun
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if v, _, err := r.call(invocation()); v != "args" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
	for r.role.core.inFlight() < 17 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-first; status.Of(err) != status.Cancelled {
		t.Errorf("who gave up: %v", err)
	}
	close(release)
	all.Wait()
	if n := r.engine.prepares.Load(); n != 1 {
		t.Errorf("prepared %d times", n)
	}
	if m := r.role.Info().Engines[0].Modules; len(m) != 1 || m[0] != module {
		t.Errorf("modules %v", m)
	}
}

// An engine that forgets a module as soon as it has it is not asked for ever.
func TestForgetfulEngine(t *testing.T) {
	r := newRig(t, 4, nil)
	r.engine.ready = nil // cannot remember
	r.engine.prepare = func(context.Context) error { return status.Errorf(status.Unavailable, "not now") }
	if _, _, err := r.call(invocation()); status.Of(err) != status.Unavailable || status.DetailOf(err) != status.DetailSafe {
		t.Errorf("%v", err)
	}
	r.engine.ready = map[string]bool{}
	r.engine.prepare = nil
	r.engine.invoke = func(context.Context, engine.Border, *engine.Call) (*engine.Result, error) {
		err := status.Errorf(status.NotFound, "not prepared")
		err.Detail = "module"
		return nil, err
	}
	before := r.engine.prepares.Load()
	if _, _, err := r.call(invocation()); status.Of(err) != status.NotFound || r.engine.prepares.Load()-before > 3 {
		t.Errorf("%v after %d times", err, r.engine.prepares.Load()-before)
	}
}

// The role ends although a module is being prepared, and leaves nothing behind (goleak).
func TestStopWhilePreparing(t *testing.T) {
	r := newRig(t, 4, echo)
	begun := make(chan struct{})
	r.engine.prepare = func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := r.call(invocation())
		ended <- err
	}()
	<-begun
	start := time.Now()
	r.stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := <-ended; err == nil {
		t.Error("a call without its module has ended well")
	}
}

// However many lines come at once, the log has one record for each.
func TestLogHasLines(t *testing.T) {
	r := newRig(t, 4, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
		return &engine.Result{}, b.Output(ctx, origin(c), engine.Stdout, []byte("one\n\ntwo\nbegun"))
	})
	if _, _, err := r.call(invocation()); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, rec := range r.role.logs.tail("shop", 1<<20).Records {
		lines = append(lines, string(rec.Line))
	}
	if got := strings.Join(lines, "|"); got != "one\n|\n|two\n|begun" {
		t.Errorf("records %q", got)
	}
}

// A run's output is numbered without gaps across its nested calls, and a reader that has stalled loses some, but holds
// nobody up for long.
func TestRunOutput(t *testing.T) {
	r := newRig(t, 8, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 10 {
					if err := b.Output(ctx, origin(c), engine.Stderr, []byte("line")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		return &engine.Result{ExitCode: 4}, nil
	})
	inv := invocation(func(i *essav1.Invocation) { i.Deployment = "" })
	var next uint64
	sub, err := r.s.Subscribe(topic.Default.RunOut(hlc.ID(inv.Id).String()), transport.SubscribeOptions{}, func(s transport.Sample) {
		m := &essav1.RunOutput{}
		_ = proto.Unmarshal(s.Payload, m)
		if m.Seq != next || m.Executor != "e" || m.Stream != 2 {
			t.Errorf("message %v, want number %d", m, next)
		}
		next++
	})
	if err != nil {
		t.Fatal(err)
	}
	_, out, err := r.ask(t.Context(), inv, true)
	if err != nil || out.ExitCode != 4 || out.OutputChunks != 80 || out.Executor != "e" {
		t.Fatalf("%v, %v", out, err)
	}
	time.Sleep(10 * time.Millisecond)
	_ = sub.Close()
	if next != 80 {
		t.Errorf("%d messages came", next)
	}
	inv = invocation(func(i *essav1.Invocation) { i.Deployment = "" })
	gate := make(chan struct{})
	sub, err = r.s.Subscribe(topic.Default.RunOut(hlc.ID(inv.Id).String()), transport.SubscribeOptions{Queue: 75}, func(transport.Sample) { <-gate })
	if err != nil {
		t.Fatal(err)
	}
	_, out, err = r.ask(t.Context(), inv, true)
	if err != nil || out.OutputChunks != 80 {
		t.Errorf("%v, %v", out, err)
	}
	close(gate)
	_ = sub.Close()
}

func TestNestedTakesItsRootAlong(t *testing.T) {
	seen := make(chan *essav1.Invocation, 1)
	r := newRig(t, 4, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
		o := origin(c)
		res, err := b.Call(ctx, o, &engine.Call{
			ID: hlc.NewID(), Root: c.Root, Function: "g", Scope: c.Scope, Module: c.Module, Depth: 1, Args: []byte("x"),
			Isolation: c.Isolation, WarmUp: c.WarmUp,
			Fresh: []engine.KeyVersion{{Key: "k", Version: 4}},
		})
		if err != nil {
			return nil, err
		}
		return &engine.Result{Value: res.Value, HasValue: res.HasValue, Writes: res.Writes}, nil
	})
	_, err := r.s.Queryable(topic.Default.Nested("*"), transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		inv := &essav1.Invocation{}
		_ = proto.Unmarshal(q.Attachment(), inv)
		seen <- inv
		raw, _ := proto.Marshal(&essav1.Outcome{HasValue: true, Writes: []*essav1.KeyVersion{{Key: []byte("w"), Version: 8}}})
		_ = q.Reply(q.KeyExpr(), append([]byte("nested "), q.Payload()...), transport.ReplyOptions{Attachment: raw})
	})
	if err != nil {
		t.Fatal(err)
	}
	v, out, err := r.ask(t.Context(), invocation(func(i *essav1.Invocation) {
		i.Engine, i.Version, i.Isolation, i.WarmUp = "fake", "1", "fresh", "prepare"
	}), true)
	if v != "nested x" || err != nil || len(out.Writes) != 1 || out.Writes[0].Version != 8 {
		t.Fatalf("%q, %v, %v", v, out, err)
	}
	inv := <-seen
	if inv.Engine != "fake" || inv.Deployment != "shop" || !inv.RunOutput || inv.Depth != 1 || inv.Fresh[0].Version != 4 ||
		inv.Version != "1" || inv.Isolation != "fresh" || inv.WarmUp != "prepare" {
		t.Errorf("nested %v", inv)
	}
}
