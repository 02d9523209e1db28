package kvs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
	"github.com/essa-project/essad/sdk/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a running role and clients of it.
type node struct {
	t        testing.TB
	opts     kvs.Options
	bus      bus
	running  storage.Store // as the role has it
	kvs      *client.KVS   // internal
	public   *client.KVS
	sessions []transport.Session
	stop     func() error
}

// bus is what a role and its clients reach each other by.
type bus interface {
	Open() transport.Session // a client's
	Role() transport.Session
}

// inMemory is a bus inside the process.
type inMemory struct{ *transport.Bus }

func (b inMemory) Role() transport.Session { return b.Open() }

// start runs a role with o's options over a bus of its own.
func start(t testing.TB, o kvs.Options) *node {
	t.Helper()
	n := &node{t: t, bus: inMemory{transport.NewBus()}, opts: o}
	if overZenoh {
		n.bus = newHub(t)
	}
	n.run()
	n.kvs = n.client(client.Internal)
	n.public = n.client(client.Public)
	t.Cleanup(func() {
		_ = n.stop()
		for _, s := range n.sessions {
			_ = s.Close()
		}
	})
	return n
}

func (n *node) session() transport.Session {
	s := n.bus.Open()
	n.sessions = append(n.sessions, s)
	return s
}

func (n *node) client(a client.Access) *client.KVS {
	n.t.Helper()
	k, err := client.NewKVS(n.session(), a)
	if err != nil {
		n.t.Fatal(err)
	}
	return k
}

func (n *node) run() {
	n.t.Helper()
	o := n.opts
	if d, ok := o.Store.(*disk); ok && twoAtOnce {
		o.Store = &starter{disk: d}
	}
	n.running = o.Store
	ready := make(chan struct{})
	o.Node, o.Session, o.OnReady = "n1", n.bus.Role(), func() { close(ready) }
	role, err := kvs.New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- role.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		n.t.Fatalf("the role ended: %v", err)
	}
	n.stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, o.Session.Close())
	})
}

func (n *node) restart() {
	n.t.Helper()
	if err := n.stop(); err != nil {
		n.t.Fatal(err)
	}
	n.run()
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantClass(t testing.TB, err error, c status.Class) {
	t.Helper()
	if status.Of(err) != c {
		t.Errorf("got %v (%v), want %v", err, status.Of(err), c)
	}
}

// each runs f for a role without a store and for one with each durability.
func each(t *testing.T, f func(t *testing.T, n *node)) {
	for _, c := range []struct {
		name string
		o    kvs.Options
	}{
		{"memory only", kvs.Options{}},
		{"memory", kvs.Options{Store: memory.New(memory.Options{}), Durability: "memory"}},
		{"batched", kvs.Options{Store: memory.New(memory.Options{}), Durability: "batched"}},
		{"sync", kvs.Options{Store: memory.New(memory.Options{})}},
		{"sync, all cold", kvs.Options{Store: memory.New(memory.Options{}), Memory: 1}},
	} {
		t.Run(c.name, func(t *testing.T) { f(t, start(t, c.o)) })
	}
}

var user = client.UserSpace

func set(elems ...string) lattice.Value {
	var out [][]byte
	for _, e := range elems {
		out = append(out, []byte(e))
	}
	return lattice.NewSet(out...)
}

func TestPutGetDelete(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx, k := ctxOf(t), []byte("k")
		_, _, err := n.kvs.Get(ctx, user, "", k)
		wantClass(t, err, status.NotFound)
		v1, err := n.kvs.Put(ctx, user, "", k, set("a"), client.PutOptions{})
		if err != nil || v1 == 0 {
			t.Fatal(v1, err)
		}
		v2, err := n.kvs.Put(ctx, user, "", k, set("b"), client.PutOptions{})
		if err != nil || v2 <= v1 {
			t.Fatal(v1, v2, err)
		}
		if v3, err := n.kvs.Put(ctx, user, "", k, set("a"), client.PutOptions{}); err != nil || v3 != v2 {
			t.Errorf("a put that changes nothing: version %d, want %d (%v)", v3, v2, err)
		}
		got, version, err := n.kvs.Get(ctx, user, "", k)
		if err != nil || version != v2 || !lattice.Equal(got, set("a", "b")) {
			t.Errorf("got %v at %d (%v)", got, version, err)
		}
		_, err = n.kvs.Put(ctx, user, "", k, lattice.NewCounter().Add("x", 1), client.PutOptions{})
		wantClass(t, err, status.Conflict)
		found, err := n.kvs.Delete(ctx, user, "", k, client.PutOptions{})
		if err != nil || !found {
			t.Errorf("delete: %v %v", found, err)
		}
		found, err = n.kvs.Delete(ctx, user, "", k, client.PutOptions{})
		if err != nil || found {
			t.Errorf("delete again: %v %v", found, err)
		}
		_, _, err = n.kvs.Get(ctx, user, "", k)
		wantClass(t, err, status.NotFound)
		if _, err := n.kvs.Put(ctx, user, "", k, lattice.NewCounter().Add("x", 1), client.PutOptions{}); err != nil {
			t.Errorf("another type after a delete: %v", err)
		}
		if _, err = n.kvs.Put(ctx, user, "", nil, set(), client.PutOptions{}); err != nil {
			t.Errorf("an empty key: %v", err)
		}
		if _, err := n.kvs.Set(ctx, user, "", []byte("empty"), nil, client.PutOptions{}); err != nil {
			t.Errorf("an empty value: %v", err)
		}
		if data, _, err := n.kvs.Data(ctx, user, "", []byte("empty")); err != nil || len(data) != 0 {
			t.Errorf("an empty value: %q %v", data, err)
		}
	})
}

func TestConditions(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx, k := ctxOf(t), []byte("k")
		_, err := n.kvs.Set(ctx, user, "", k, []byte("1"), client.PutOptions{If: client.Is(7)})
		wantClass(t, err, status.Conflict)
		v, err := n.kvs.Set(ctx, user, "", k, []byte("1"), client.PutOptions{If: client.Is(0)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.kvs.Set(ctx, user, "", k, []byte("2"), client.PutOptions{If: client.Is(0)})
		wantClass(t, err, status.Conflict)
		_, err = n.kvs.Set(ctx, user, "", k, []byte("2"), client.PutOptions{If: client.Is(v - 1)})
		wantClass(t, err, status.Conflict)
		_, err = n.kvs.Delete(ctx, user, "", k, client.PutOptions{If: client.Is(v + 1)})
		wantClass(t, err, status.Conflict)
		if v, err = n.kvs.Set(ctx, user, "", k, []byte("2"), client.PutOptions{If: client.Is(v)}); err != nil {
			t.Error(err)
		}
		if _, err := n.kvs.Delete(ctx, user, "", k, client.PutOptions{If: client.Is(v)}); err != nil {
			t.Error(err)
		}
	})
}

// What an owner stamps is newer than what is there, also where that is from the future.
func TestStamp(t *testing.T) {
	n := start(t, kvs.Options{})
	ctx, k := ctxOf(t), []byte("k")
	ahead := lattice.LWW{Time: lattice.TimeOf(time.Now().Add(30 * time.Second)), Data: []byte("ahead")}
	if _, err := n.kvs.Put(ctx, user, "", k, ahead, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.kvs.Set(ctx, user, "", k, []byte("stamped"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if data, _, err := n.kvs.Data(ctx, user, "", k); err != nil || string(data) != "stamped" {
		t.Errorf("%q %v", data, err)
	}
	_, err := n.kvs.Put(ctx, user, "", k, lattice.LWW{Time: lattice.TimeOf(time.Now().Add(2 * time.Minute))}, client.PutOptions{})
	wantClass(t, err, status.Invalid)
	_, err = n.kvs.Put(ctx, user, "", []byte("m"), lattice.NewMap(lattice.MapEntry{Value: lattice.LWW{Time: lattice.TimeOf(time.Now().Add(2 * time.Minute))}}), client.PutOptions{})
	wantClass(t, err, status.Invalid)
}

// The errors of some operations are theirs alone.
func TestErrorsPerOperation(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		long := bytes.Repeat([]byte("k"), 4097)
		big := lattice.Encode(lattice.LWW{Data: make([]byte, 17<<20)})
		res, err := n.kvs.Do(ctx, user, "s", client.DefaultDurability, []client.Op{
			{Kind: client.OpPut, Key: []byte("a"), Value: lattice.Encode(set("1"))},
			{Kind: client.OpPut, Key: []byte("a"), Value: lattice.Encode(lattice.NewCounter())},
			{Kind: client.OpPut, Key: []byte("a"), Value: []byte("garbage")},
			{Key: long},
			{Kind: client.OpPut, Key: []byte("a"), Value: big},
			{Kind: client.OpPut, Key: []byte("a"), Value: lattice.Encode(set("2")), TTL: -1},
			{Kind: 77, Key: []byte("a")},
			{Key: []byte("b")},
			{Key: []byte("a")},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []status.Class{status.OK, status.Conflict, status.Invalid, status.Invalid, status.Invalid, status.Invalid, status.Invalid, status.NotFound, status.OK} {
			if status.Of(res[i].Err) != want {
				t.Errorf("operation %d: %v, want %v", i, res[i].Err, want)
			}
		}
		if v, _ := lattice.Decode(res[8].Data); v == nil || !lattice.Equal(v, set("1")) {
			t.Errorf("got %v", v)
		}
	})
}

func TestMergedValueTooLarge(t *testing.T) {
	n := start(t, kvs.Options{MaxValue: 100})
	ctx := ctxOf(t)
	var err error
	for i := range 20 {
		if _, err = n.kvs.Put(ctx, user, "", []byte("k"), set(fmt.Sprint(i)), client.PutOptions{}); err != nil {
			break
		}
	}
	wantClass(t, err, status.Invalid)
}

func TestSpaces(t *testing.T) {
	n := start(t, kvs.Options{})
	ctx, k := ctxOf(t), []byte("k")
	places := []struct {
		space client.Space
		scope string
	}{{client.UserSpace, ""}, {client.UserSpace, "s"}, {client.DataSpace, ""}, {client.DataSpace, "s"}, {client.ModuleSpace, ""}, {client.RegistrySpace, ""}}
	for i, p := range places {
		if _, err := n.kvs.Set(ctx, p.space, p.scope, k, []byte{byte(i)}, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range places {
		if data, _, err := n.kvs.Data(ctx, p.space, p.scope, k); err != nil || data[0] != byte(i) {
			t.Errorf("%v: got %v, %v", p, data, err)
		}
		_, err := n.public.Set(ctx, p.space, p.scope, k, nil, client.PutOptions{})
		want := status.Denied
		if p.space == client.UserSpace {
			want = status.OK
		}
		wantClass(t, err, want)
	}
	_, err := n.kvs.Set(ctx, 99, "", k, nil, client.PutOptions{})
	wantClass(t, err, status.Invalid)
	_, err = n.kvs.Set(ctx, user, strings.Repeat("s", 2000), k, nil, client.PutOptions{})
	wantClass(t, err, status.Invalid)
}

func TestExpiry(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx, k := ctxOf(t), []byte("k")
		v, err := n.kvs.Set(ctx, user, "", k, []byte("x"), client.PutOptions{TTL: 150 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		res, err := n.kvs.MultiGet(ctx, user, "", [][]byte{k})
		if err != nil || res[0].Err != nil || time.Until(res[0].Expires) > 150*time.Millisecond || time.Until(res[0].Expires) < 0 {
			t.Errorf("%+v %v", res, err)
		}
		time.Sleep(time.Until(res[0].Expires))
		_, _, err = n.kvs.Get(ctx, user, "", k)
		wantClass(t, err, status.NotFound)
		if items, _, err := n.kvs.Scan(ctx, user, "", client.ScanOptions{}); err != nil || len(items) != 0 {
			t.Errorf("an expired key is scanned: %v %v", items, err)
		}
		v2, err := n.kvs.Put(ctx, user, "", k, set("new"), client.PutOptions{If: client.Is(0)})
		if err != nil || v2 <= v {
			t.Errorf("a put after the expiry: %d, %v", v2, err)
		}
	})
}

// A put extends or ends the life of what is there; one that is outdated does not.
func TestExpiryOfLaterPuts(t *testing.T) {
	n := start(t, kvs.Options{})
	ctx, k := ctxOf(t), []byte("k")
	expires := func() time.Time {
		res, err := n.kvs.MultiGet(ctx, user, "", [][]byte{k})
		if err != nil || res[0].Err != nil {
			t.Fatal(res, err)
		}
		return res[0].Expires
	}
	now := lattice.TimeOf(time.Now())
	put := func(ts lattice.Timestamp, data string, ttl time.Duration) {
		t.Helper()
		if _, err := n.kvs.Put(ctx, user, "", k, lattice.LWW{Time: ts, Data: []byte(data)}, client.PutOptions{TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	put(now, "x", time.Hour)
	first := expires()
	put(now, "x", 2*time.Hour)
	if e := expires(); !e.After(first.Add(time.Minute)) {
		t.Errorf("the same value again: %v, was %v", e, first)
	}
	second := expires()
	put(lattice.TimeUnixNano(1), "old", 9*time.Hour)
	if e := expires(); !e.Equal(second) {
		t.Errorf("an outdated value: %v, was %v", e, second)
	}
	put(now.Next(), "y", 0)
	if e := expires(); !e.IsZero() {
		t.Errorf("a new value without expiry: %v", e)
	}
}

func TestScan(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		var ops []client.Op
		var want []string
		for i := range 1500 {
			key := fmt.Sprintf("k%04d", i)
			ops = append(ops, client.Op{Kind: client.OpPut, Key: []byte(key), Value: []byte("v"), Stamp: true})
			if i%3 != 0 {
				want = append(want, key)
			}
		}
		for _, scope := range []string{"s", "s2", ""} {
			if _, err := n.kvs.Do(ctx, user, scope, client.MemoryDurability, ops); err != nil {
				t.Fatal(err)
			}
		}
		ops = ops[:0]
		for i := 0; i < 1500; i += 3 {
			ops = append(ops, client.Op{Kind: client.OpDelete, Key: fmt.Appendf(nil, "k%04d", i)})
		}
		if _, err := n.kvs.Do(ctx, user, "s", client.MemoryDurability, ops); err != nil {
			t.Fatal(err)
		}
		scan := func(o client.ScanOptions) (got []string) {
			t.Helper()
			if err := n.kvs.ScanAll(ctx, user, "s", o, func(it client.Item) bool {
				if !o.KeysOnly && len(it.Value) == 0 || o.KeysOnly && it.Value != nil {
					t.Errorf("%q has the value %x", it.Key, it.Value)
				}
				got = append(got, string(it.Key))
				return true
			}); err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := scan(client.ScanOptions{}); !slices.Equal(got, want) {
			t.Errorf("all: %d keys, want %d", len(got), len(want))
		}
		if got := scan(client.ScanOptions{Prefix: []byte("k001"), KeysOnly: true}); !slices.Equal(got, []string{"k0010", "k0011", "k0013", "k0014", "k0016", "k0017", "k0019"}) {
			t.Errorf("prefix: %v", got)
		}
		if got := scan(client.ScanOptions{After: []byte("k1490"), Limit: 3}); !slices.Equal(got, []string{"k1492", "k1493", "k1495"}) {
			t.Errorf("after and limit: %v", got)
		}
		items, more, err := n.kvs.Scan(ctx, user, "s", client.ScanOptions{Limit: 7})
		if err != nil || len(items) != 7 || !more {
			t.Errorf("a page of 7: %d, more %v, %v", len(items), more, err)
		}
	})
}

func TestDeleteScope(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		var ops []client.Op
		for i := range 1200 {
			ops = append(ops, client.Op{Kind: client.OpPut, Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v"), Stamp: true})
		}
		for _, scope := range []string{"run", "run2"} {
			if _, err := n.kvs.Do(ctx, client.DataSpace, scope, client.MemoryDurability, ops); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.kvs.DeleteScope(ctx, client.DataSpace, "run"); err != nil {
			t.Fatal(err)
		}
		count := func(scope string) (c int) {
			if err := n.kvs.ScanAll(ctx, client.DataSpace, scope, client.ScanOptions{}, func(client.Item) bool { c++; return true }); err != nil {
				t.Fatal(err)
			}
			return c
		}
		if a, b := count("run"), count("run2"); a != 0 || b != 1200 {
			t.Errorf("%d keys are left of the scope, and %d of the other", a, b)
		}
		_, _, err := n.kvs.Get(ctx, client.DataSpace, "run", []byte("k1"))
		wantClass(t, err, status.NotFound)
		if _, err := n.kvs.Set(ctx, client.DataSpace, "run", []byte("k1"), []byte("again"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if n.opts.Store != nil {
			n.restart()
		}
		if data, _, err := n.kvs.Data(ctx, client.DataSpace, "run", []byte("k1")); err != nil || string(data) != "again" {
			t.Errorf("what was put after the deletion: %q, %v", data, err)
		}
		if c := count("run"); c != 1 {
			t.Errorf("%d keys after a restart", c)
		}
		wantClass(t, n.kvs.DeleteScope(ctx, client.MetadataSpace, "x"), status.Denied)
	})
}

func TestFullMemoryWithoutStore(t *testing.T) {
	n := start(t, kvs.Options{Memory: 1 << 20})
	ctx := ctxOf(t)
	var err error
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		_, err = n.kvs.Set(ctx, user, "", []byte{byte(stored)}, make([]byte, 64<<10), client.PutOptions{})
	}
	wantClass(t, err, status.Overloaded)
	if stored < 10 {
		t.Errorf("full after %d values of 64 KiB", stored)
	}
	if _, err := n.kvs.Delete(ctx, user, "", []byte{0}, client.PutOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err = n.kvs.Set(ctx, user, "", []byte("x"), make([]byte, 32<<10), client.PutOptions{}); err != nil {
		t.Errorf("after a delete: %v", err)
	}
}

// Values beyond the memory bound stay in the store, and merging into them reads them first.
func TestColdValues(t *testing.T) {
	n := start(t, kvs.Options{Memory: 256 << 10, Store: memory.New(memory.Options{}), Durability: "memory"})
	ctx := ctxOf(t)
	const keys = 1500
	for i := range keys {
		if _, err := n.kvs.Put(ctx, user, "", fmt.Appendf(nil, "%d", i), set("a"+strings.Repeat("x", 1000)), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		st, err := n.kvs.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st[0].MemoryBytes <= st[0].MemoryBound && st[0].PendingBytes == 0 {
			if st[0].Evicted == 0 || st[0].Keys != keys {
				t.Errorf("%v", st[0])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("memory does not return to its bound: %v", st[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i := range keys {
		if _, err := n.kvs.Put(ctx, user, "", fmt.Appendf(nil, "%d", i), set("b"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range keys {
		v, _, err := n.kvs.Get(ctx, user, "", fmt.Appendf(nil, "%d", i))
		if err != nil || len(v.(lattice.Set).Elements()) != 2 {
			t.Fatalf("%d: %v %v", i, v, err)
		}
	}
}

func TestExportImport(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		for i := range 300 {
			space := client.Space(i%3 + 1)
			if _, err := n.kvs.Put(ctx, space, "s", fmt.Appendf(nil, "%d", i), set(fmt.Sprint(i)), client.PutOptions{Durability: client.MemoryDurability}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.kvs.Delete(ctx, user, "s", []byte("0"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		var pages [][]*client.Record
		if err := n.kvs.Export(ctx, 0, func(p []*client.Record) error { pages = append(pages, p); return nil }); err != nil {
			t.Fatal(err)
		}
		to := start(t, n.opts)
		if n.opts.Store != nil {
			_ = to.stop()
			to.opts.Store = memory.New(memory.Options{})
			to.run()
		}
		if _, err := to.kvs.Put(ctx, user, "s", []byte("3"), set("there"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // merging twice is merging once
			for _, p := range pages {
				if err := to.kvs.Import(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range 300 {
			want := set(fmt.Sprint(i))
			if i == 3 {
				want = set("3", "there")
			}
			v, _, err := to.kvs.Get(ctx, client.Space(i%3+1), "s", fmt.Appendf(nil, "%d", i))
			if i == 0 {
				wantClass(t, err, status.NotFound)
			} else if err != nil || !lattice.Equal(v, want) {
				t.Errorf("%d: %v %v", i, v, err)
			}
		}
		wantClass(t, to.kvs.Import(ctx, []*client.Record{{Key: []byte{1, 0}, Record: []byte("garbage")}}), status.Invalid)
		wantClass(t, to.kvs.Import(ctx, []*client.Record{{Key: []byte("garbage")}}), status.Invalid)
		stop := errors.New("enough")
		if err := n.kvs.Export(ctx, 0, func([]*client.Record) error { return stop }); err != stop {
			t.Errorf("an export that its taker ends: %v", err)
		}
	})
}

func TestGarbage(t *testing.T) {
	n := start(t, kvs.Options{})
	s := n.session()
	for _, topic := range []string{"anna/key_request", "anna/n1/key_request/0", "anna/client/key_request", "essa/admin/kvs/export", "essa/admin/kvs/import"} {
		_, err := transport.Ask(ctxOf(t), s, transport.Selector{KeyExpr: topic}, transport.GetOptions{Payload: []byte("\xff\xff garbage")})
		wantClass(t, err, status.Invalid)
	}
	if _, err := transport.Ask(ctxOf(t), s, transport.Selector{KeyExpr: "anna/n1/key_request/3"}, transport.GetOptions{Payload: []byte{8, 1}}); err != nil {
		t.Errorf("an empty request: %v", err)
	}
}

func TestOptions(t *testing.T) {
	s := transport.NewBus().Open()
	defer s.Close()
	for name, o := range map[string]kvs.Options{
		"no node":          {Session: s},
		"no session":       {Node: "n"},
		"durability":       {Node: "n", Session: s, Durability: "never"},
		"sync, no store":   {Node: "n", Session: s, Durability: "sync"},
		"too many shards":  {Node: "n", Session: s, Shards: 5000},
		"keys too long":    {Node: "n", Session: s, MaxKey: 64 << 10},
		"values too large": {Node: "n", Session: s, MaxValue: 64 << 20},
	} {
		if _, err := kvs.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
