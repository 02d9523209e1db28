package client_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

func newKVS(t *testing.T, s transport.Session) *client.KVS {
	t.Helper()
	k, err := client.NewKVS(s, client.Internal)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, b *transport.Bus) transport.Session {
	s := b.Open()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestKVSWithoutNode(t *testing.T) {
	k := newKVS(t, open(t, transport.NewBus()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := k.Load(ctx, client.UserSpace, "", []byte("k"), true)
	if status.Of(err) != status.Unavailable || status.DetailOf(err) == status.DetailSafe || !strings.Contains(err.Error(), "kvs role") {
		t.Errorf("load: %v (%s)", err, status.Code(err))
	}
	if err := k.Watch(ctx, client.UserSpace, "", client.WatchOptions{}, func(client.Item) {}); status.Of(err) != status.Unavailable {
		t.Errorf("watch: %v", err)
	}
	if err := k.Export(ctx, 0, func([]*client.Record) error { return nil }); status.Of(err) != status.Unavailable {
		t.Errorf("export: %v", err)
	}
	if st, err := k.Stats(ctx); err != nil || len(st) != 0 {
		t.Errorf("stats: %v %v", st, err)
	}
	if _, err := k.Do(ctx, client.UserSpace, "", client.DefaultDurability, make([]client.Op, client.MaxOps+1)); status.Of(err) != status.Invalid {
		t.Errorf("too many operations: %v", err)
	}
	if _, err := client.NewKVS(open(t, transport.NewBus()), 9); status.Of(err) != status.Invalid {
		t.Errorf("access: %v", err)
	}
}

// What a node answers is not believed blindly.
func TestKVSBadReplies(t *testing.T) {
	bus := transport.NewBus()
	k := newKVS(t, open(t, bus))
	var answer []byte
	q, err := open(t, bus).Queryable("anna/key_request", transport.QueryableOptions{}, func(q transport.Query) {
		_ = q.Reply(q.KeyExpr(), answer, transport.ReplyOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ctx := context.Background()
	for name, rep := range map[string]*annav1.Reply{
		"no result":   {},
		"two results": {Results: []*annav1.Result{{}, {}}},
	} {
		if answer, err = proto.Marshal(rep); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Load(ctx, client.UserSpace, "", nil, false); status.Of(err) != status.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	answer = []byte("\xff garbage")
	if _, err := k.Load(ctx, client.UserSpace, "", nil, false); status.Of(err) != status.Internal {
		t.Errorf("garbage: %v", err)
	}
	answer, _ = proto.Marshal(&annav1.Reply{Results: []*annav1.Result{{Value: []byte("no lattice value"), Version: 1}}})
	if _, _, err := k.Get(ctx, client.UserSpace, "", nil); status.Of(err) != status.Corrupt {
		t.Errorf("no value: %v", err)
	}
	answer, _ = proto.Marshal(&annav1.Reply{Results: []*annav1.Result{{Code: "conflict", Text: "no"}}})
	if _, err := k.Set(ctx, client.UserSpace, "", nil, nil, client.PutOptions{}); status.Of(err) != status.Conflict || err.Error() != "no" {
		t.Errorf("error of an operation: %v", err)
	}
}

// A cache is told to drop everything where something was missed: a gap in the numbers, another start of the node, a
// message that cannot be read.
func TestCacheGaps(t *testing.T) {
	bus := transport.NewBus()
	s := open(t, bus)
	got := make(chan string, 20)
	k := newKVS(t, open(t, bus))
	_, closer, err := k.Cached("e", func(us []client.CacheUpdate) {
		for _, u := range us {
			if u.Drop && u.Key == nil {
				got <- "drop all"
			} else {
				got <- fmt.Sprintf("%s %d %v", u.Key, u.Value.Version, u.Drop)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	send := func(node, boot string, seq uint64, dropAll bool, items ...*annav1.CacheItem) {
		t.Helper()
		raw, err := proto.Marshal(&annav1.CacheUpdate{Node: node, Boot: []byte(boot), Seq: seq, DropAll: dropAll, Items: items})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(context.Background(), "anna/e/cache_update/0", raw, transport.PutOptions{Congestion: transport.Block}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(ws ...string) {
		t.Helper()
		for _, w := range ws {
			select {
			case g := <-got:
				if g != w {
					t.Errorf("got %q, want %q", g, w)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("nothing came, want %q", w)
			}
		}
	}
	item := func(version uint64, drop bool) *annav1.CacheItem {
		return &annav1.CacheItem{Key: []byte("k"), Version: version, Drop: drop}
	}
	send("n1", "a", 1, false, item(1, false))
	want("k 1 false")
	send("n1", "a", 2, false, item(2, true))
	want("k 2 true")
	send("n2", "x", 1, false, item(3, false)) // each node counts for itself
	want("k 3 false")
	send("n1", "a", 4, false, item(4, false))
	want("drop all", "k 4 false")
	send("n1", "b", 1, false, item(5, false))
	want("drop all", "k 5 false")
	send("n1", "b", 2, true)
	want("drop all")
	send("n3", "c", 7, false, item(6, false)) // it was there before us
	want("drop all", "k 6 false")
	if err := s.Put(context.Background(), "anna/e/cache_update/0", []byte("\xff"), transport.PutOptions{Congestion: transport.Block}); err != nil {
		t.Fatal(err)
	}
	want("drop all")
	token, err := s.Token("essa/alive/kvs/n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	want("drop all")
}
