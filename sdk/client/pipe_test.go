package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// gate is a key-value store that holds each request until it is let go, and counts puts as versions.
type gate struct {
	came chan *held

	mu   sync.Mutex
	puts uint64
}

type held struct {
	*annav1.Request
	ctx context.Context
	let chan error // what the request ends with
}

func newGate(t *testing.T, bus *transport.Bus) *gate {
	g := &gate{came: make(chan *held, 100)}
	q, err := open(t, bus).Queryable("anna/key_request", transport.QueryableOptions{}, g.serve)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return g
}

func (g *gate) serve(q transport.Query) {
	h := &held{Request: &annav1.Request{}, ctx: q.Context(), let: make(chan error)}
	if err := proto.Unmarshal(q.Payload(), h.Request); err != nil {
		panic(err)
	}
	g.came <- h
	var err error
	select {
	case err = <-h.let:
	case <-q.Context().Done():
		return
	}
	if err != nil {
		_ = transport.ReplyStatus(q, err)
		return
	}
	rep := &annav1.Reply{}
	g.mu.Lock()
	for _, op := range h.Ops {
		g.puts++
		res := &annav1.Result{Version: g.puts}
		if strings.HasPrefix(string(op.Key), "bad") {
			res = &annav1.Result{Code: "conflict", Text: "no " + string(op.Key)}
		}
		rep.Results = append(rep.Results, res)
	}
	g.mu.Unlock()
	raw, _ := proto.Marshal(rep)
	_ = q.Reply(q.KeyExpr(), raw, transport.ReplyOptions{})
}

// next is the next request that comes.
func (g *gate) next(t *testing.T) *held {
	t.Helper()
	select {
	case h := <-g.came:
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("no request came")
		return nil
	}
}

// none fails where a request comes that should have waited.
func (g *gate) none(t *testing.T) {
	t.Helper()
	select {
	case h := <-g.came:
		t.Fatalf("%d operations came, beginning with %q", len(h.Ops), h.Ops[0].Key)
	case <-time.After(20 * time.Millisecond):
	}
}

// puts makes writes at the same time.
type puts struct {
	t   *testing.T
	k   *client.KVS
	mu  sync.Mutex
	got map[string]error
	all sync.WaitGroup
}

func (p *puts) put(ctx context.Context, key string, size int, o client.PutOptions) {
	p.all.Go(func() {
		v, err := p.k.Set(ctx, client.UserSpace, "", []byte(key), make([]byte, size), o)
		if err == nil && v == 0 {
			p.t.Errorf("%s has no version", key)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got[key] = err
	})
}

// blocked makes a client of which two requests are under way, so that further writes wait.
func blocked(t *testing.T) (*gate, *puts, []*held) {
	t.Helper()
	bus := transport.NewBus()
	g := newGate(t, bus)
	p := &puts{t: t, k: newKVS(t, open(t, bus)), got: map[string]error{}}
	var under []*held
	for i := range 2 {
		p.put(t.Context(), fmt.Sprint("first", i), 1, client.PutOptions{})
		h := g.next(t)
		if len(h.Ops) != 1 {
			t.Fatalf("a write that is alone came as %d operations", len(h.Ops))
		}
		under = append(under, h)
	}
	return g, p, under
}

func TestWritesShareRequests(t *testing.T) {
	g, p, under := blocked(t)
	for i := range 14 {
		p.put(t.Context(), fmt.Sprint("k", i), 1, client.PutOptions{})
	}
	p.put(t.Context(), "bad", 1, client.PutOptions{})
	g.none(t)
	// Other scopes, durabilities and large values are not kept waiting.
	p.put(t.Context(), "durable", 1, client.PutOptions{Durability: client.SyncDurability})
	if h := g.next(t); h.Durability != client.SyncDurability || len(h.Ops) != 1 {
		t.Errorf("%v", h.Request)
	} else {
		h.let <- nil
	}
	p.put(t.Context(), "large", 100_000, client.PutOptions{})
	if h := g.next(t); string(h.Ops[0].Key) != "large" || len(h.Ops) != 1 {
		t.Errorf("%d operations", len(h.Ops))
	} else {
		h.let <- nil
	}
	under[1].let <- nil
	h := g.next(t)
	if len(h.Ops) != 15 {
		t.Errorf("%d operations came together, want all that waited", len(h.Ops))
	}
	h.let <- nil
	under[0].let <- nil
	p.all.Wait()
	for key, err := range p.got {
		if key == "bad" {
			if status.Of(err) != status.Conflict || !strings.Contains(err.Error(), "no bad") {
				t.Errorf("bad: %v", err)
			}
		} else if err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	// All is as in the beginning: a write goes at once.
	p.put(t.Context(), "last", 1, client.PutOptions{})
	g.next(t).let <- nil
	p.all.Wait()
}

// Many writers are shared out evenly to the requests under way, so that one is on its way while the disk works on the other.
func TestWritersAreSharedOut(t *testing.T) {
	g, p, under := blocked(t)
	for i := range 60 {
		p.put(t.Context(), fmt.Sprint("k", i), 1, client.PutOptions{})
	}
	g.none(t)
	var sizes []int
	for _, i := range []int{1, 0} {
		under[i].let <- nil
		h := g.next(t)
		defer func() { h.let <- nil }()
		sizes = append(sizes, len(h.Ops))
	}
	if !slices.Equal(sizes, []int{30, 30}) {
		t.Errorf("requests of %d writes, want 30 in each", sizes)
	}
}

// A request holds no more than one frame of the fabric takes.
func TestSharedRequestsAreBounded(t *testing.T) {
	g, p, under := blocked(t)
	const n = 99
	for i := range n {
		p.put(t.Context(), fmt.Sprint("k", i), 5000, client.PutOptions{})
	}
	g.none(t)
	under[0].let <- nil
	requests := 0
	for seen := 0; seen < n; requests++ {
		h := g.next(t)
		if size := proto.Size(h.Request); size > 64<<10 {
			t.Errorf("a request of %d operations has %d bytes", len(h.Ops), size)
		}
		seen += len(h.Ops)
		h.let <- nil
	}
	if requests > n*5000/(50<<10) {
		t.Errorf("%d requests", requests)
	}
	under[1].let <- nil
	p.all.Wait()
	for key, err := range p.got {
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// The error of a request is that of all its writes.
func TestSharedRequestFails(t *testing.T) {
	g, p, under := blocked(t)
	for i := range 3 {
		p.put(t.Context(), fmt.Sprint("k", i), 1, client.PutOptions{})
	}
	g.none(t)
	under[0].let <- nil
	g.next(t).let <- status.Errorf(status.Overloaded, "full")
	under[1].let <- nil
	p.all.Wait()
	for i := range 3 {
		if err := p.got[fmt.Sprint("k", i)]; status.Of(err) != status.Overloaded {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Who gives up is gone at once, and costs the others nothing.
func TestWriterOfSharedRequestLeaves(t *testing.T) {
	g, p, under := blocked(t)
	early, leaveEarly := context.WithCancel(t.Context())
	late, leaveLate := context.WithTimeout(t.Context(), time.Hour)
	defer leaveEarly()
	defer leaveLate()
	p.put(early, "early", 1, client.PutOptions{})
	p.put(late, "late", 1, client.PutOptions{})
	p.put(t.Context(), "stays", 1, client.PutOptions{})
	g.none(t)
	leaveEarly()
	p.await("early")
	if err := p.got["early"]; status.Of(err) != status.Cancelled || !strings.Contains(err.Error(), "not sent") {
		t.Errorf("a write that was never sent: %v", err)
	}
	under[0].let <- nil
	h := g.next(t)
	if len(h.Ops) != 2 {
		t.Errorf("%d operations were sent, one was given up before", len(h.Ops))
	}
	leaveLate()
	p.await("late")
	if err := p.got["late"]; status.Of(err) != status.Cancelled || !strings.Contains(err.Error(), "may have been done") {
		t.Errorf("a write that was sent: %v", err)
	}
	h.let <- nil
	p.await("stays")
	if err := p.got["stays"]; err != nil {
		t.Error(err)
	}
	under[1].let <- nil
	p.all.Wait()
}

// A request that nobody waits for any longer ends, and so do those that miss their deadline.
func TestSharedRequestIsGivenUp(t *testing.T) {
	g, p, under := blocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	soon, end := context.WithTimeout(ctx, 300*time.Millisecond)
	defer end()
	p.put(ctx, "a", 1, client.PutOptions{})
	p.put(soon, "b", 1, client.PutOptions{})
	g.none(t)
	under[0].let <- nil
	h := g.next(t)
	if len(h.Ops) != 2 {
		t.Fatalf("%d operations", len(h.Ops))
	}
	p.await("b")
	if err := p.got["b"]; status.Of(err) != status.Deadline {
		t.Errorf("b: %v", err)
	}
	if h.ctx.Err() != nil {
		t.Error("the request ended though somebody waited")
	}
	cancel()
	select {
	case <-h.ctx.Done():
	case <-time.After(20 * time.Second):
		t.Error("the request goes on though nobody waits")
	}
	under[1].let <- nil
	p.all.Wait()
}

// await waits until the write of key has ended.
func (p *puts) await(key string) {
	p.t.Helper()
	for range 2000 {
		p.mu.Lock()
		_, ended := p.got[key]
		p.mu.Unlock()
		if ended {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s did not end", key)
}
