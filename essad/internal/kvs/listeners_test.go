package kvs_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

func TestWaitingRead(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		got := make(chan error, 1)
		go func() {
			v, err := n.kvs.Load(ctx, user, "", []byte("late"), true)
			if err == nil && !bytes.Contains(v.Data, []byte("here")) {
				err = fmt.Errorf("got %q", v.Data)
			}
			got <- err
		}()
		time.Sleep(20 * time.Millisecond)
		select {
		case err := <-got:
			t.Fatal("it did not wait", err)
		default:
		}
		if _, err := n.kvs.Set(ctx, user, "", []byte("late"), []byte("here"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
		short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancel()
		_, err := n.kvs.Load(short, user, "", []byte("never"), true)
		wantClass(t, err, status.Deadline)
		st, err := n.kvs.Stats(ctx)
		for range 100 {
			if err != nil || len(st) != 1 || st[0].Watches == 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
			st, err = n.kvs.Stats(ctx)
		}
		if err != nil || st[0].Watches != 0 {
			t.Errorf("%v waiting reads are left (%v)", st, err)
		}
	})
}

func TestWatch(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx, cancel := context.WithCancel(ctxOf(t))
		defer cancel()
		put := func(key, data string, o client.PutOptions) {
			t.Helper()
			if _, err := n.kvs.Set(ctx, user, "s", []byte(key), []byte(data), o); err != nil {
				t.Fatal(err)
			}
		}
		put("a1", "before", client.PutOptions{})
		put("b1", "before", client.PutOptions{})
		events := make(chan client.Item, 100)
		done := make(chan error, 2)
		started := make(chan struct{})
		var once sync.Once
		go func() {
			done <- n.kvs.Watch(ctx, user, "s", client.WatchOptions{Key: []byte("a"), Prefix: true, Initial: true}, func(it client.Item) {
				events <- it
				once.Do(func() { close(started) })
			})
		}()
		next := func(key, data string, deleted bool) {
			t.Helper()
			select {
			case it := <-events:
				if string(it.Key) != key || it.Deleted != deleted || !deleted && !bytes.Contains(it.Value, []byte(data)) {
					t.Errorf("got %q %q deleted %v, want %q %q %v", it.Key, it.Value, it.Deleted, key, data, deleted)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("no event for %s", key)
			}
		}
		<-started
		next("a1", "before", false)
		put("b2", "other", client.PutOptions{})
		put("a2", "new", client.PutOptions{TTL: 200 * time.Millisecond})
		next("a2", "new", false)
		next("a2", "", true)
		if _, err := n.kvs.Delete(ctx, user, "s", []byte("a1"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		next("a1", "", true)
		put("a1", "again", client.PutOptions{})
		next("a1", "again", false)
		if err := n.kvs.DeleteScope(ctx, user, "s"); err != nil {
			t.Fatal(err)
		}
		next("a1", "", true)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWatchEndsWithTheNode(t *testing.T) {
	n := start(t, kvs.Options{})
	done := make(chan error, 2)
	started := make(chan struct{}, 1)
	go func() {
		done <- n.kvs.Watch(ctxOf(t), user, "", client.WatchOptions{Key: []byte("k"), Initial: true}, func(client.Item) { started <- struct{}{} })
	}()
	go func() { _, err := n.kvs.Load(ctxOf(t), user, "", []byte("never"), true); done <- err }()
	if _, err := n.kvs.Set(ctxOf(t), user, "", []byte("k"), nil, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantClass(t, <-done, status.Unavailable)
	}
}

func TestTooManyWatches(t *testing.T) {
	n := start(t, kvs.Options{MaxWatches: 1})
	ctx, cancel := context.WithCancel(ctxOf(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := n.kvs.Load(ctx, user, "", []byte("never"), true); done <- err }()
	for {
		if st, err := n.kvs.Stats(ctxOf(t)); err == nil && st[0].Watches == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	wantClass(t, n.kvs.Watch(ctxOf(t), user, "", client.WatchOptions{}, func(client.Item) {}), status.Overloaded)
	cancel()
	<-done
}

func TestCache(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		ctx := ctxOf(t)
		updates := make(chan client.CacheUpdate, 100)
		k, closer, err := n.kvs.Cached("e1", func(us []client.CacheUpdate) {
			for _, u := range us {
				updates <- u
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		next := func(key, data string, drop bool, version uint64) {
			t.Helper()
			select {
			case u := <-updates:
				if string(u.Key) != key || u.Drop != drop || !bytes.Contains(u.Value.Data, []byte(data)) || u.Space != client.DataSpace || u.Scope != "s" ||
					version != 0 && u.Value.Version != version || !drop && u.Value.Lease <= 0 {
					t.Errorf("got %+v, want %q %q drop %v version %d", u, key, data, drop, version)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("no update for %s", key)
			}
		}
		put := func(data []byte) uint64 {
			t.Helper()
			v, err := n.kvs.Set(ctx, client.DataSpace, "s", []byte("k"), data, client.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		put([]byte("1"))
		load := func() {
			t.Helper()
			v, err := k.Load(ctx, client.DataSpace, "s", []byte("k"), false)
			if err != nil || v.Lease <= 0 || v.Lease > 30*time.Second {
				t.Fatalf("%+v %v", v, err)
			}
		}
		load()
		next("k", "2", false, put([]byte("2")))
		next("k", "3", false, put([]byte("3")))
		put(make([]byte, 5000)) // too large to be sent
		next("k", "", true, 0)
		put([]byte("4")) // nobody holds it now
		load()
		if _, err := n.kvs.Delete(ctx, client.DataSpace, "s", []byte("k"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		next("k", "", true, 0)
		put([]byte("5"))
		load()
		if err := n.kvs.DeleteScope(ctx, client.DataSpace, "s"); err != nil {
			t.Fatal(err)
		}
		next("k", "", true, 0)
		if v, err := n.kvs.Load(ctx, user, "", []byte("none"), false); status.Of(err) != status.NotFound || v.Lease != 0 {
			t.Errorf("%v %v", v, err)
		}
		// The node is lost: nothing of it may be served any longer.
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		select {
		case u := <-updates:
			if !u.Drop || u.Key != nil {
				t.Errorf("%+v", u)
			}
		case <-time.After(5 * time.Second):
			t.Error("the cache is not told that its node is lost")
		}
	})
}
