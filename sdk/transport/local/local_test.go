package local

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a bus that is served on a socket.
type daemon struct {
	bus  *transport.Bus
	path string
	stop func() // ends it and waits
}

func startDaemon(t testing.TB, o Options) *daemon {
	t.Helper()
	d := &daemon{bus: transport.NewBus(), path: filepath.Join(t.TempDir(), "essad.sock")}
	ln, err := Listen(d.path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, d.bus.Open, o) }()
	var once sync.Once
	d.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) dial(t testing.TB) transport.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := Dial(ctx, d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func sever(s transport.Session) {
	if c, ok := s.(*session); ok {
		c.conn.End(errors.New("cut by the test"))
	}
}

func TestBetweenClients(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		d := startDaemon(t, Options{})
		return transporttest.Harness{NewSession: func(t testing.TB) transport.Session { return d.dial(t) }, Sever: sever}
	})
}

// Sessions are clients and the daemon's own by turns, the first a client.
func TestBetweenClientAndDaemon(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		d := startDaemon(t, Options{})
		n := 0
		return transporttest.Harness{NewSession: func(t testing.TB) transport.Session {
			if n++; n%2 == 1 {
				return d.dial(t)
			}
			return d.bus.Open()
		}}
	})
}

func TestBetweenDaemonAndClient(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Harness {
		d := startDaemon(t, Options{})
		n := 0
		return transporttest.Harness{NewSession: func(t testing.TB) transport.Session {
			if n++; n%2 == 0 {
				return d.dial(t)
			}
			return d.bus.Open()
		}}
	})
}

func TestPolicy(t *testing.T) {
	stats := new(Stats)
	d := startDaemon(t, Options{Allow: topic.Default.ClientPolicy(topic.Operator), Stats: stats})
	inside := d.bus.Open()
	defer inside.Close()
	if _, err := inside.Queryable("**", transport.QueryableOptions{Complete: true}, func(q transport.Query) {
		_ = q.Reply(q.KeyExpr(), nil, transport.ReplyOptions{})
	}); err != nil {
		t.Fatal(err)
	}
	s := d.dial(t)
	ctx := context.Background()
	ask := func(key string) error {
		_, err := transport.Ask(ctx, s, transport.Selector{KeyExpr: key}, transport.GetOptions{})
		return err
	}
	for _, key := range []string{"essa/call/a/b/-", "anna/client/key_request", "mine/x"} {
		if err := ask(key); err != nil {
			t.Error(err)
		}
	}
	_, errSub := s.Subscribe("anna/**", transport.SubscribeOptions{}, func(transport.Sample) {})
	_, errQ := s.Queryable("essa/call/**", transport.QueryableOptions{}, func(transport.Query) {})
	_, errTok := s.Token("essa/alive/kvs/x")
	_, errLive := s.SubscribeLiveliness("**", true, func(transport.Sample) {})
	refused := []error{
		ask("anna/key_request"), ask("essa/executor/1/run-function/a/b/-"), ask("**"), errSub, errQ, errTok, errLive,
		s.Put(ctx, "essa/executor/1/report", nil, transport.PutOptions{}), s.GetLiveliness(ctx, "**", func(string) {}),
	}
	for i, err := range refused {
		if status.Of(err) != status.Denied || !strings.Contains(err.Error(), "clients may not") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := stats.Denied.Load(); n != uint64(len(refused)) {
		t.Errorf("%d operations are counted as denied, want %d", n, len(refused))
	}
}

func TestDeclarationsAreBounded(t *testing.T) {
	d := startDaemon(t, Options{MaxDeclarations: 3})
	s := d.dial(t)
	var last transport.Closer
	for range 3 {
		c, err := s.Token("x/y")
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
	if _, err := s.Token("x/y"); status.Of(err) != status.Overloaded {
		t.Errorf("one too many: %v", err)
	}
	if err := last.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Token("x/y"); err != nil {
		t.Errorf("after one was taken back: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	stats := new(Stats)
	d := startDaemon(t, Options{MaxConnections: 1, Stats: stats})
	first := d.dial(t)
	if s, err := Dial(context.Background(), d.path); status.Of(err) != status.Unavailable {
		t.Fatalf("second session: %v, %v", s, err)
	}
	if stats.Refused.Load() != 1 {
		t.Errorf("%d refused", stats.Refused.Load())
	}
	_ = first.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s, err := Dial(context.Background(), d.path)
		if err == nil {
			_ = s.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestDaemonStops(t *testing.T) {
	d := startDaemon(t, Options{})
	s := d.dial(t)
	if _, err := s.Token("x"); err != nil {
		t.Fatal(err)
	}
	d.stop()
	err := s.Put(context.Background(), "x", nil, transport.PutOptions{})
	if status.Of(err) != status.Unavailable {
		t.Errorf("put: %v", err)
	}
	if _, err := Dial(context.Background(), d.path); status.Of(err) != status.Unavailable {
		t.Errorf("dial: %v", err)
	}
	if _, err := os.Lstat(d.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if _, err := Listen(path, 0o600); status.Of(err) != status.Conflict {
		t.Fatalf("while somebody listens: %v", err)
	}
	old.Close()
	ln, err := Listen(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, 0o600); status.Of(err) != status.Conflict || !strings.Contains(err.Error(), path) {
		t.Errorf("second daemon: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	again, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if e.Name() != "s.lock" {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]status.Class{
		file:                                    status.Conflict,
		filepath.Join(dir, "none", "s"):         status.Unavailable,
		"/" + strings.Repeat("x/", 60) + "sock": status.Invalid,
	} {
		if ln, err := Listen(path, 0o600); status.Of(err) != want {
			t.Errorf("%s: %v, %v", path, ln, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
	if _, err := Dial(context.Background(), filepath.Join(dir, "none")); status.Of(err) != status.Unavailable ||
		!strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("dial: %v", err)
	}
}

// Two daemons that start at once: one listens, the others are told so.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	const n = 8
	lns := make([]net.Listener, n)
	var all sync.WaitGroup
	for i := range n {
		all.Add(1)
		go func() {
			defer all.Done()
			ln, err := Listen(path, 0o600)
			if err != nil && status.Of(err) != status.Conflict {
				t.Error(err)
			}
			lns[i] = ln
		}()
	}
	all.Wait()
	var listening int
	for _, ln := range lns {
		if ln != nil {
			listening++
			ln.Close()
		}
	}
	if listening != 1 {
		t.Errorf("%d daemons listen on one socket", listening)
	}
}

// A client that sends rubbish loses its connection, and nobody else anything.
func TestRubbish(t *testing.T) {
	d := startDaemon(t, Options{Allow: topic.Default.ClientPolicy(topic.Operator)})
	other := d.dial(t)
	ctx := context.Background()
	for typ := range uint8(typeFailed - typeOpen + 1) {
		for _, b := range [][]byte{nil, {0}, {1, 200, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, make([]byte, 50)} {
			nc, err := net.Dial("unix", d.path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := frame.Open(ctx, nc, frame.Options{Versions: versions})
			if err != nil {
				t.Fatal(err)
			}
			cctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			f, err := c.Call(cctx, typeOpen+typ, b, nil)
			if cctx.Err() != nil {
				t.Errorf("type %d, %v: no answer", typ, b)
			}
			_ = err
			f.Release()
			_ = c.Notify(cctx, typeOpen+typ, 0, b)
			cancel()
			c.Close()
		}
	}
	if _, err := other.Token("still/here"); err != nil {
		t.Error(err)
	}
}

func FuzzBody(f *testing.F) {
	f.Add(newHead().item(&transport.Reply{Sample: transport.Sample{Key: "k", Encoding: "e", Attachment: []byte("a")}}, 3).rest([]byte("p")).b)
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := body{b: data}
		r, lost := b.item()
		if b.bad {
			return
		}
		again := body{b: newHead().item(&r, lost).rest(payloadOf(&r)).b}
		r2, lost2 := again.item()
		if again.bad || lost2 != lost || r2.Sample.Key != r.Sample.Key || (r2.Err == nil) != (r.Err == nil) {
			t.Fatalf("%x was read as %+v and then as %+v", data, r, r2)
		}
	})
}
