package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/essad/internal/scheduler"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// cluster is a kvs role, schedulers and executors that are not real, on one fabric.
type cluster struct {
	t       *testing.T
	open    func() transport.Session
	kvs     *client.KVS
	client  *client.Client
	session transport.Session
	alive   map[*scheduler.Role]bool
}

type runner interface{ Run(context.Context) error }

// serve runs a role until the test ends or stop is called.
func (c *cluster) serve(r runner, ready <-chan struct{}, s transport.Session) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		c.t.Fatalf("ended before it was ready: %v", err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		_ = s.Close()
	})
	c.t.Cleanup(stop)
	return stop
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, open: transport.NewBus().Open, alive: map[*scheduler.Role]bool{}}
	s, ready := c.open(), make(chan struct{})
	r, err := kvs.New(kvs.Options{Node: "n", Session: s, OnReady: func() { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	c.serve(r, ready, s)
	c.session = c.open()
	t.Cleanup(func() { _ = c.session.Close() })
	if c.kvs, err = client.NewKVS(c.session, client.Internal); err != nil {
		t.Fatal(err)
	}
	c.client = client.New(c.session)
	return c
}

func (c *cluster) scheduler(id string, change ...func(*scheduler.Options)) (r *scheduler.Role, stop func()) {
	c.t.Helper()
	s, ready := c.open(), make(chan struct{})
	o := scheduler.Options{
		ID: id, Session: s, OnReady: func() { close(ready) },
		Timeout: 10 * time.Second, Attempts: 2, Queue: 64, MaxArgs: 1 << 20, MaxModule: 4 << 20, Completed: 64,
		CompletedBytes: 1 << 20, CompletedFor: time.Minute, Async: 4, ResultTTL: time.Minute, HotModules: 16, Drain: 2 * time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	r, err := scheduler.New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.alive[r] = true
	ended := c.serve(r, ready, s)
	return r, func() { delete(c.alive, r); ended() }
}

// executor answers like one. h is what it does with a call or run.
func (c *cluster) executor(id string, slots int32, h func(q transport.Query, inv *essav1.Invocation)) (stop func()) {
	c.t.Helper()
	s, names := c.open(), topic.Default
	run := func(q transport.Query) {
		inv := &essav1.Invocation{}
		if err := proto.Unmarshal(q.Attachment(), inv); err != nil {
			c.t.Error(err)
		}
		h(q, inv)
	}
	reply := func(m func(q transport.Query) proto.Message) func(transport.Query) {
		return func(q transport.Query) {
			raw, _ := proto.Marshal(m(q))
			_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
		}
	}
	info := reply(func(transport.Query) proto.Message {
		return &essav1.ExecutorInfo{Id: id, Slots: slots, Engines: []*essav1.EngineInfo{{Name: "fake"}}}
	})
	prepare := reply(func(q transport.Query) proto.Message {
		m := &essav1.Manifest{}
		_ = proto.Unmarshal(q.Payload(), m)
		m.Functions, m.Kind = []string{"__essa_wrapper__f", "g"}, "library"
		return m
	})
	for key, f := range map[string]func(transport.Query){
		names.ExecutorFunctions(id): run, names.ExecutorRun(id): run, names.ExecutorInfo(id): info, names.ExecutorPrepare(id): prepare,
	} {
		if _, err := s.Queryable(key, transport.QueryableOptions{Complete: true}, f); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := s.Token(names.Alive("executor", id)); err != nil {
		c.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = s.Close() })
	c.t.Cleanup(stop)
	for r := range c.alive {
		c.eventually("the schedulers know the executor", func() bool { return slices.Contains(r.Status().Executors, id) })
	}
	return stop
}

func returns(value string) func(transport.Query, *essav1.Invocation) {
	return func(q transport.Query, _ *essav1.Invocation) { done(q, value) }
}

func done(q transport.Query, value string) {
	raw, _ := proto.Marshal(&essav1.Outcome{HasValue: true})
	_ = q.Reply(q.KeyExpr(), []byte(value), transport.ReplyOptions{Attachment: raw})
}

// deploy deploys what begins like a module under name; text makes it another one.
func (c *cluster) deploy(name, text string, change ...func(*client.Manifest)) *client.Manifest {
	c.t.Helper()
	sha, err := c.client.Upload(c.t.Context(), strings.NewReader(text), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	m := &client.Manifest{Name: name, Module: sha}
	for _, f := range change {
		f(m)
	}
	out, err := c.client.Deploy(c.t.Context(), m)
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Manifest
}

func (c *cluster) call(name string, o client.CallOptions) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := c.client.Call(ctx, name, "f", []byte("args"), o)
	if err != nil {
		return "", err
	}
	return string(res.Value), nil
}

func (c *cluster) eventually(what string, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(8 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("it never came to pass that %s", what)
		}
	}
}

func wantClass(t *testing.T, err error, want status.Class, texts ...string) {
	t.Helper()
	if status.Of(err) != want {
		t.Errorf("class %v, want %v: %v", status.Of(err), want, err)
	}
	for _, x := range texts {
		if err == nil || !strings.Contains(err.Error(), x) {
			t.Errorf("error %v does not tell of %q", err, x)
		}
	}
}

// Of two executors one dies under the call; the other one gets it, unless it has had effects.
func TestCallRetry(t *testing.T) {
	c := newCluster(t)
	r, _ := c.scheduler("s")
	var failure atomic.Pointer[status.Error]
	var tries atomic.Int32
	h := func(q transport.Query, inv *essav1.Invocation) {
		if inv.Function != "__essa_wrapper__f" || inv.Scope != "d/shop" || string(q.Payload()) != "args" {
			t.Errorf("invocation %v with %q", inv, q.Payload())
		}
		if tries.Add(1) == 1 {
			_ = transport.ReplyStatus(q, failure.Load())
			return
		}
		done(q, "second")
	}
	c.executor("a", 4, h)
	c.executor("b", 4, h)
	c.deploy("shop", "module")
	c.deploy("shop-always", "module", func(m *client.Manifest) { m.Retry = "always" })
	maybe := status.Errorf(status.Unavailable, "engine died; effects")
	failure.Store(status.Safe(maybe).(*status.Error))
	if v, err := c.call("shop", client.CallOptions{}); v != "second" || err != nil {
		t.Errorf("a safe failure: %q, %v", v, err)
	}
	tries.Store(0)
	failure.Store(maybe)
	_, err := c.call("shop", client.CallOptions{})
	wantClass(t, err, status.Unavailable, "engine died")
	if n := tries.Load(); n != 1 {
		t.Errorf("a call with effects was tried %d times", n)
	}
	if st := r.Status(); st.InFlight != 0 || st.Retried != 1 || st.Failed != 1 {
		t.Errorf("status %v", st)
	}
}

// local is an executor in the scheduler's process.
type local func(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error)

func (l local) Execute(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error) {
	return l(ctx, inv, args, run)
}

// What is placed on the scheduler's own executor does not travel; what that refuses goes to another one as ever, and a deadline
// ends it.
func TestCallStaysInTheProcess(t *testing.T) {
	c := newCluster(t)
	var answer atomic.Pointer[local]
	r, _ := c.scheduler("a", func(o *scheduler.Options) {
		o.Local = local(func(ctx context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error) {
			return (*answer.Load())(ctx, inv, args, run)
		})
	})
	c.executor("a", 4, func(q transport.Query, _ *essav1.Invocation) {
		t.Error("a call came by the fabric")
		done(q, "fabric")
	})
	c.deploy("shop", "module")
	set := func(l local) { answer.Store(&l) }

	set(func(_ context.Context, inv *essav1.Invocation, args []byte, run bool) (value, outcome []byte, err error) {
		if inv.Function != "__essa_wrapper__f" || inv.Deployment != "shop" || string(args) != "args" || run {
			t.Errorf("invocation %v with %q, run %v", inv, args, run)
		}
		outcome, err = proto.Marshal(&essav1.Outcome{HasValue: true, Executor: "a"})
		return []byte("here"), outcome, err
	})
	if v, err := c.call("shop", client.CallOptions{}); v != "here" || err != nil {
		t.Errorf("%q, %v", v, err)
	}

	set(func(ctx context.Context, _ *essav1.Invocation, _ []byte, _ bool) (value, outcome []byte, err error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	_, err := c.call("shop", client.CallOptions{Timeout: 30 * time.Millisecond})
	wantClass(t, err, status.Deadline)

	c.executor("b", 4, returns("there"))
	set(func(context.Context, *essav1.Invocation, []byte, bool) (value, outcome []byte, err error) {
		return nil, nil, status.Safe(status.Errorf(status.Unavailable, "it has ended"))
	})
	for range 8 { // whichever of the two it is placed on first
		if v, err := c.call("shop", client.CallOptions{}); v != "there" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	}
	if st := r.Status(); st.InFlight != 0 || st.Retried == 0 {
		t.Errorf("status %v", st)
	}
}

// A call sent again under its id, while it runs and after it, is not run again; also when whoever sent it first is gone.
func TestCallSentAgain(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	var runs atomic.Int32
	release := make(chan struct{})
	c.executor("a", 4, func(q transport.Query, _ *essav1.Invocation) {
		n := runs.Add(1)
		select {
		case <-release:
			done(q, fmt.Sprint("run ", n))
		case <-q.Context().Done():
		}
	})
	c.deploy("shop", "module")
	o := client.CallOptions{ID: hlc.NewID()}
	values := make(chan string, 3)
	for range 3 {
		go func() {
			v, err := c.call("shop", o)
			values <- fmt.Sprint(v, err)
		}()
	}
	c.eventually("the call runs", func() bool { return runs.Load() == 1 })
	_, err := c.client.Call(t.Context(), "shop", "g", nil, o)
	wantClass(t, err, status.Conflict, "id of its own")
	time.Sleep(10 * time.Millisecond) // the others join
	close(release)
	for range 3 {
		if v := <-values; v != "run 1<nil>" {
			t.Errorf("answer %q", v)
		}
	}
	if v, err := c.call("shop", o); v != "run 1" || err != nil {
		t.Errorf("after it: %q, %v", v, err)
	}
}

func TestFirstAskerIsLost(t *testing.T) {
	c := newCluster(t)
	r, _ := c.scheduler("s")
	stop := c.executor("a", 1, returns("early"))
	c.deploy("shop", "module")
	stop()
	c.eventually("the executor is gone", func() bool { return len(r.Status().Executors) == 0 })
	o := client.CallOptions{ID: hlc.NewID()}
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error, 1)
	go func() {
		_, err := c.client.Call(ctx, "shop", "f", []byte("args"), o)
		first <- err
	}()
	c.eventually("the call waits", func() bool { return r.Status().Queued == 1 })
	second := make(chan string, 1)
	go func() {
		v, err := c.call("shop", o)
		second <- fmt.Sprint(v, err)
	}()
	time.Sleep(10 * time.Millisecond) // it joins
	cancel()
	wantClass(t, <-first, status.Cancelled)
	c.executor("b", 1, returns("late"))
	if v := <-second; v != "late<nil>" {
		t.Errorf("whoever sent it again gets %q", v)
	}
}

// What waits leaves the queue at its deadline and when its asker goes, and no slot is lost however that meets its turn.
func TestLeavingTheQueue(t *testing.T) {
	c := newCluster(t)
	r, _ := c.scheduler("s")
	c.executor("a", 1, func(q transport.Query, _ *essav1.Invocation) {
		time.Sleep(time.Millisecond)
		done(q, "x")
	})
	c.deploy("shop", "module")
	var all sync.WaitGroup
	for i := range 48 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+i%12)*time.Millisecond)
			defer cancel()
			for range 10 {
				_, err := c.client.Call(ctx, "shop", "f", []byte("args"), client.CallOptions{})
				if cl := status.Of(err); err != nil && cl != status.Deadline && cl != status.Cancelled {
					t.Errorf("class %v: %v", cl, err)
				}
			}
		})
	}
	all.Wait()
	c.eventually("nothing is left", func() bool { st := r.Status(); return st.InFlight == 0 && st.Queued == 0 })
	if v, err := c.call("shop", client.CallOptions{}); v != "x" || err != nil {
		t.Errorf("the executor's slot is lost: %q, %v", v, err)
	}
}

func TestNestedThroughTheScheduler(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	c.executor("a", 4, returns("a"))
	ask := func() (string, error) {
		id := hlc.NewID()
		raw, _ := proto.Marshal(&essav1.Invocation{Id: id[:], Root: id[:], Function: "f", Scope: "d/shop"})
		s, err := transport.Ask(t.Context(), c.session, transport.Selector{KeyExpr: topic.Default.Nested("a")}, transport.GetOptions{Attachment: raw})
		return string(s.Payload), err
	}
	_, err := ask()
	wantClass(t, err, status.Overloaded, "no other executor")
	c.executor("b", 4, returns("b"))
	c.eventually("another executor takes it", func() bool { v, err := ask(); return v == "b" && err == nil })
	for _, att := range [][]byte{[]byte("\xff"), nil} {
		_, err := transport.Ask(t.Context(), c.session, transport.Selector{KeyExpr: topic.Default.Nested("a")}, transport.GetOptions{Attachment: att})
		wantClass(t, err, status.Invalid)
	}
}

func TestDeploymentLife(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s1")
	c.scheduler("s2") // answers nothing while s1 does, but keeps the same register
	c.executor("a", 4, func(q transport.Query, inv *essav1.Invocation) { done(q, inv.Module[:4]) })
	one := c.deploy("shop", "module one")
	two := c.deploy("shop", "module two")
	want := func(module string, o client.CallOptions) {
		t.Helper()
		if v, err := c.call("shop", o); v != module[:4] || err != nil {
			t.Errorf("a call runs %q, %v; want module %.4s", v, err, module)
		}
	}
	want(two.Module, client.CallOptions{})
	want(one.Module, client.CallOptions{Version: one.Version})
	if m, err := c.client.Rollback(t.Context(), "shop", ""); err != nil || m.Version != one.Version {
		t.Errorf("rollback: %v, %v", m, err)
	}
	want(one.Module, client.CallOptions{})
	if err := c.client.Undeploy(t.Context(), "shop"); err != nil {
		t.Error(err)
	}
	for _, v := range []string{"", one.Version, two.Version} {
		_, err := c.call("shop", client.CallOptions{Version: v})
		wantClass(t, err, status.NotFound, "shop")
	}
	// What names a version is no name.
	for _, name := range []string{"shop/" + one.Version, "", "..", "a b"} {
		wantClass(t, c.client.Undeploy(t.Context(), name), status.Invalid)
		_, err := c.client.Rollback(t.Context(), name, "")
		wantClass(t, err, status.Invalid)
	}
	if _, err := c.client.Rollback(t.Context(), "shop", ""); err != nil {
		t.Error(err)
	}
	want(one.Module, client.CallOptions{})
	for i := range 32 { // the history is full, and what has left it may have lost its module
		c.deploy("shop", fmt.Sprint("module ", i))
	}
	for _, m := range []*client.Manifest{one, two} {
		_, err := c.call("shop", client.CallOptions{Version: m.Version})
		wantClass(t, err, status.NotFound, m.Version)
	}
	_, err := c.client.Deploy(t.Context(), &client.Manifest{Name: "shop", Module: "index"})
	wantClass(t, err, status.Invalid, "SHA-256")
	_, err = c.client.Deploy(t.Context(), &client.Manifest{Name: "shop", Module: one.Module, Env: []string{"no value"}})
	wantClass(t, err, status.Invalid, "K=V")
}

// Deployments at once all get into the history: a module that one of them names is never collected.
func TestDeployAtOnce(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	c.executor("a", 4, returns("x"))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { c.deploy("shop", fmt.Sprint("module ", i)) })
	}
	all.Wait()
	ds, err := c.client.Deployments(t.Context())
	if err != nil || len(ds) != 1 || len(ds[0].History) != 8 {
		t.Fatalf("deployments %v, %v", ds, err)
	}
	out, err := c.client.CollectModules(t.Context(), 0, false)
	if err != nil || len(out.Removed) != 0 {
		t.Errorf("collected %v, %v", out, err)
	}
}

func TestModules(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	c.executor("a", 4, returns("x"))
	ctx := t.Context()
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	big = append(big, "end"...)
	var told int64
	sha, err := c.client.Upload(ctx, bytes.NewReader(big), func(sent, size int64) { told = sent })
	if err != nil || told != int64(len(big)) {
		t.Fatalf("uploaded %d bytes, %v", told, err)
	}
	put := func(m *essav1.ModulePutRequest) error {
		raw, _ := proto.Marshal(m)
		_, err := transport.Ask(ctx, c.session, transport.Selector{KeyExpr: topic.Default.Admin("scheduler", "module-put")}, transport.GetOptions{Payload: raw})
		return err
	}
	if err := put(&essav1.ModulePutRequest{Sha256: sha, Index: 1, Data: []byte("forged")}); err != nil {
		t.Error(err)
	}
	r, err := client.OpenModule(ctx, c.kvs, sha)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, big) {
		t.Errorf("the module has %d bytes and is another one, %v", len(got), err)
	}
	half := sha256.Sum256([]byte("half"))
	name := hex.EncodeToString(half[:])
	for want, m := range map[status.Class]*essav1.ModulePutRequest{
		status.OK:      {Sha256: name, Data: []byte("ha")},
		status.Invalid: {Sha256: "manifest", Data: []byte("x")},
		status.Limit:   {Sha256: name, Index: 4, Data: []byte("x")},
		status.Corrupt: {Sha256: name, Commit: true, Size: 2},
	} {
		if m.Commit {
			continue
		}
		if err := put(m); status.Of(err) != want {
			t.Errorf("%v: %v, want class %v", m, err, want)
		}
	}
	wantClass(t, put(&essav1.ModulePutRequest{Sha256: name, Commit: true, Size: 2}), status.Corrupt, "upload it again")
	// The upload that was given up is collected, and so is what nothing names; what is named is not.
	kept := c.deploy("shop", "kept")
	out, err := c.client.CollectModules(ctx, 0, false)
	if err != nil || len(out.Removed) != 2 {
		t.Errorf("collected %v, %v", out, err)
	}
	items, _, err := c.kvs.Scan(ctx, client.ModuleSpace, name, client.ScanOptions{})
	if err != nil || len(items) != 0 {
		t.Errorf("of an upload that was given up %d keys are left, %v", len(items), err)
	}
	if ms, err := c.client.Modules(ctx); err != nil || len(ms) != 1 || ms[0].Sha256 != kept.Module {
		t.Errorf("modules %v, %v", ms, err)
	}
	if err := c.client.Undeploy(ctx, "shop"); err != nil {
		t.Error(err)
	}
	if out, err := c.client.CollectModules(ctx, 0, false); err != nil || len(out.Removed) != 1 {
		t.Errorf("collected %v, %v", out, err)
	}
	_, err = c.client.Rollback(ctx, "shop", "")
	wantClass(t, err, status.NotFound, "upload it again")
}

func TestAsync(t *testing.T) {
	c := newCluster(t)
	_, stop := c.scheduler("s")
	release := make(chan struct{})
	c.executor("a", 4, func(q transport.Query, _ *essav1.Invocation) {
		select {
		case <-release:
			done(q, "value")
		case <-q.Context().Done():
		}
	})
	c.deploy("shop", "module")
	ctx := t.Context()
	o := client.CallOptions{ID: hlc.NewID()}
	id, err := c.client.CallAsync(ctx, "shop", "f", nil, o)
	if err != nil || id != o.ID {
		t.Fatalf("id %v, %v", id, err)
	}
	if _, err := c.client.CallAsync(ctx, "shop", "f", nil, o); err != nil {
		t.Errorf("sent again: %v", err)
	}
	_, err = c.client.Result(ctx, id, 0)
	wantClass(t, err, status.Unavailable, "still running")
	for range 3 {
		if _, err := c.client.CallAsync(ctx, "shop", "f", nil, client.CallOptions{}); err != nil {
			t.Error(err)
		}
	}
	_, err = c.client.CallAsync(ctx, "shop", "f", nil, client.CallOptions{})
	wantClass(t, err, status.Overloaded, "scheduler.async.queue")
	got := make(chan string, 1)
	go func() {
		v, err := c.client.Result(ctx, id, 8*time.Second)
		got <- fmt.Sprint(string(v), err)
	}()
	time.Sleep(5 * time.Millisecond)
	close(release)
	if v := <-got; v != "value<nil>" {
		t.Errorf("result %q", v)
	}
	if _, err := c.client.CallAsync(ctx, "shop", "f", nil, o); err != nil {
		t.Errorf("sent again: %v", err)
	}
	if v, err := c.client.Result(ctx, id, 0); string(v) != "value" || err != nil {
		t.Errorf("sending a call again has replaced its result: %q, %v", v, err)
	}
	_, err = c.client.Result(ctx, hlc.NewID(), 0)
	wantClass(t, err, status.NotFound, "result_ttl")

	// What a scheduler left behind that is no more has failed, whoever is asked.
	lost := hlc.NewID()
	raw, _ := proto.Marshal(&essav1.ResultReply{State: "running", Scheduler: "s/an earlier life"})
	if _, err := c.kvs.Set(ctx, client.RegistrySpace, "results", []byte(lost.String()), raw, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.client.Result(ctx, lost, time.Second)
	wantClass(t, err, status.Unavailable, "has ended", "may have run")
	stop()
	c.scheduler("s2")
	_, err = c.client.Result(ctx, lost, 0)
	wantClass(t, err, status.Unavailable, "has ended")
}

// A scheduler that stops lets what is inside end, refuses what is new, and cancels what does not end in time.
func TestSchedulerStops(t *testing.T) {
	c := newCluster(t)
	r, stop := c.scheduler("s")
	release := make(chan struct{})
	c.executor("a", 8, func(q transport.Query, inv *essav1.Invocation) {
		quick := make(<-chan struct{})
		if inv.Function == "__essa_wrapper__f" {
			quick = release
		}
		select {
		case <-quick:
			done(q, "in time")
		case <-q.Context().Done():
		}
	})
	c.deploy("shop", "module")
	short, long := make(chan string, 1), make(chan error, 1)
	go func() {
		v, err := c.call("shop", client.CallOptions{})
		short <- fmt.Sprint(v, err)
	}()
	go func() {
		_, err := c.client.Call(context.Background(), "shop", "g", nil, client.CallOptions{})
		long <- err
	}()
	if _, err := c.client.CallAsync(t.Context(), "shop", "g", nil, client.CallOptions{}); err != nil {
		t.Error(err)
	}
	c.eventually("three calls run", func() bool { return r.Status().InFlight == 3 })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	c.eventually("new calls are refused", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, err := c.client.Call(ctx, "shop", "f", nil, client.CallOptions{})
		return status.Of(err) == status.Unavailable && strings.Contains(err.Error(), "stopping")
	})
	close(release)
	if v := <-short; v != "in time<nil>" {
		t.Errorf("a call in flight ends with %q", v)
	}
	wantClass(t, <-long, status.Unavailable, "may have run")
	<-stopped
}

// A report that is late does not bring an executor back that is gone.
func TestLateReport(t *testing.T) {
	c := newCluster(t)
	r, _ := c.scheduler("s")
	stop := c.executor("a", 4, returns("x"))
	c.eventually("the executor is here", func() bool { return len(r.Status().Executors) == 1 })
	stop()
	c.eventually("it is gone", func() bool { return len(r.Status().Executors) == 0 })
	raw, _ := proto.Marshal(&essav1.ExecutorInfo{Id: "a", Slots: 4})
	if err := c.session.Put(t.Context(), topic.Default.ExecutorReport("a"), raw, transport.PutOptions{Congestion: transport.Block}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if st := r.Status(); len(st.Executors) != 0 {
		t.Errorf("executors %v", st.Executors)
	}
}

// A run sees a state of its own that goes with it, and an id that another run has does not reach that one's.
func TestRunScope(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	release := make(chan struct{})
	scopes := make(chan string, 4)
	c.executor("a", 4, func(q transport.Query, inv *essav1.Invocation) {
		if _, err := c.kvs.Set(q.Context(), client.DataSpace, inv.Scope, []byte("k"), []byte("v"), client.PutOptions{}); err != nil {
			t.Error(err)
		}
		scopes <- inv.Scope
		<-release
		done(q, "")
	})
	sha, err := c.client.Upload(t.Context(), strings.NewReader("module"), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.client.Upload(t.Context(), strings.NewReader("another module"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := hlc.NewID()
	run := func(ctx context.Context, m *essav1.RunMeta) error {
		raw, _ := proto.Marshal(m)
		_, err := transport.Ask(ctx, c.session, transport.Selector{KeyExpr: topic.Default.RunModule()}, transport.GetOptions{Attachment: raw, Timeout: -1})
		return err
	}
	first := make(chan error, 1)
	go func() { first <- run(context.Background(), &essav1.RunMeta{Id: id[:], Module: sha}) }()
	scope := <-scopes
	wantClass(t, run(t.Context(), &essav1.RunMeta{Id: id[:], Module: other}), status.Conflict)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantClass(t, run(ctx, &essav1.RunMeta{Id: id[:], Module: sha}), status.Deadline) // joined, and left
	kept := func(s string) bool {
		_, _, err := c.kvs.Data(t.Context(), client.DataSpace, s, []byte("k"))
		return err == nil
	}
	time.Sleep(20 * time.Millisecond)
	if !kept(scope) {
		t.Error("the state of a run is gone before its end")
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	c.eventually("the run's state is gone", func() bool { return !kept(scope) })
	if err := run(t.Context(), &essav1.RunMeta{Module: sha, KeepState: true}); err != nil {
		t.Error(err)
	}
	if s := <-scopes; s == scope || !kept(s) {
		t.Errorf("a run with keep_state left nothing in %s", s)
	}
	for _, m := range []*essav1.RunMeta{{Module: "index"}, {}, {Module: sha, Env: []string{"x"}}, {Module: sha, Argv: []string{"\x00"}}, {Id: []byte{1}}} {
		wantClass(t, run(t.Context(), m), status.Invalid)
	}
}

func TestCallRefused(t *testing.T) {
	c := newCluster(t)
	c.scheduler("s")
	c.executor("a", 4, returns("x"))
	c.deploy("shop", "module")
	for name, tc := range map[string]struct {
		key    string
		params string
		att    string
		args   int
		want   status.Class
	}{
		"whole":            {"essa/call/shop/f/-", "", "", 0, status.OK},
		"export":           {"essa/call/shop/__essa_wrapper__f/-", "deadline_ms=9000000000000000000;id=" + hlc.NewID().String(), "", 0, status.OK},
		"stored arguments": {"essa/call/shop/f/key", "", "", 0, status.Invalid},
		"wild":             {"essa/call/*/f/-", "", "", 0, status.Invalid},
		"function":         {"essa/call/shop/nosuch/-", "", "", 0, status.NotFound},
		"deadline":         {"essa/call/shop/f/-", "deadline_ms=-1", "", 0, status.Invalid},
		"id":               {"essa/call/shop/f/-", "id=xyz", "", 0, status.Invalid},
		"attachment":       {"essa/call/shop/f/-", "", "\xff", 0, status.Invalid},
		"arguments":        {"essa/call/shop/f/-", "", "", 1<<20 + 1, status.Limit},
		"no verb":          {"essa/admin/scheduler/nosuch", "", "", 0, status.NotFound},
		"all verbs":        {"essa/admin/scheduler/*", "", "", 0, status.NotFound},
	} {
		o := transport.GetOptions{Payload: make([]byte, tc.args)}
		if tc.att != "" {
			o.Attachment = []byte(tc.att)
		}
		if _, err := transport.Ask(t.Context(), c.session, transport.Selector{KeyExpr: tc.key, Parameters: tc.params}, o); status.Of(err) != tc.want {
			t.Errorf("%s: %v, want class %v", name, err, tc.want)
		}
	}
}
