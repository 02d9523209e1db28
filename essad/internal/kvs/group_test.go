package kvs_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/essad/internal/kvs"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// Writes that come in one request are done in order and stand alone, be their keys in memory or not, and those that are
// acknowledged survive.
func testGroup(t *testing.T) {
	const n = 60
	d := newDisk(t)
	node := start(t, kvs.Options{Store: d, MaxValue: 1000, Drain: time.Millisecond, StoreRetry: time.Millisecond})
	key := func(i int) []byte { return fmt.Append(nil, "k", i) }
	put := func(i int, value []byte, condition *uint64) client.Op {
		return client.Op{Kind: client.OpPut, Key: key(i), Value: value, Stamp: true, If: condition}
	}
	do := func(ops []client.Op) []client.Result {
		t.Helper()
		res, err := node.kvs.Do(ctxOf(t), user, "", client.SyncDurability, ops)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var ops []client.Op
	for i := range n {
		ops = append(ops, put(i, key(i), nil))
	}
	ops = append(ops,
		put(0, make([]byte, 1001), nil),
		put(1, []byte("changed"), client.Is(7)),
		put(2, []byte("again"), nil),
		client.Op{Kind: client.OpDelete, Key: key(3)},
		client.Op{Kind: client.OpPut, Key: key(4), Value: []byte("no lattice value")},
		client.Op{Kind: client.OpPut, Key: key(n), Value: lattice.Encode(set("a")), TTL: time.Hour},
	)
	want := map[int]status.Class{n: status.Invalid, n + 1: status.Conflict, n + 4: status.Invalid}
	check := func(res []client.Result) {
		t.Helper()
		for i, r := range res {
			if class, bad := want[i]; bad {
				wantClass(t, r.Err, class)
			} else if r.Err != nil || r.Version == 0 {
				t.Errorf("operation %d: version %d, %v", i, r.Version, r.Err)
			}
		}
	}
	first := do(ops)
	check(first)
	if first[n+2].Version <= first[2].Version {
		t.Errorf("a later write has version %d, an earlier one %d", first[n+2].Version, first[2].Version)
	}
	for range 2 {
		node.powerCut() // and so every key is cold
		for i := range n {
			got, _, err := node.kvs.Data(ctxOf(t), user, "", key(i))
			switch {
			case i == 3:
				wantClass(t, err, status.NotFound)
			case i == 2 && string(got) != "again", i != 2 && string(got) != string(key(i)), err != nil:
				t.Errorf("key %d is %q, %v", i, got, err)
			}
		}
		node.powerCut()
		check(do(ops)) // n+1 would not be refused if its key were taken for absent
	}
	// What the store refuses fails each write, and they go well again when it does.
	d = node.opts.Store.(*disk)
	d.set(func(d *disk) { d.fail = status.Errorf(status.Overloaded, "full") })
	for i, r := range do(ops[:n]) {
		if status.Of(r.Err) != status.Overloaded {
			t.Errorf("operation %d on a full store: %v", i, r.Err)
		}
	}
	d.set(func(d *disk) { d.fail = nil })
	began := time.Now()
	for res := do(ops[:n]); slices.ContainsFunc(res, func(r client.Result) bool { return r.Err != nil }); res = do(ops[:n]) {
		if time.Since(began) > 9*time.Second {
			t.Fatal(res[n-1].Err)
		}
		time.Sleep(time.Millisecond)
	}
}
