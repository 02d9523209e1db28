package client

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// What is written by hand is what protobuf reads, and what is read by hand is what protobuf wrote.
func FuzzOperations(f *testing.F) {
	f.Add(uint8(1), "scope", uint8(3), "cache", true, uint8(1), []byte("key"), []byte("value"), true, int64(-5), uint64(7), true)
	f.Add(uint8(0), "", uint8(0), "", false, uint8(0), []byte{}, []byte{}, false, int64(0), uint64(0), false)
	f.Fuzz(func(t *testing.T, space uint8, scope string, d uint8, cache string, wait bool, kind uint8, key, value []byte, stamp bool, ttl int64, condition uint64, has bool) {
		scope, cache = string(bytes.ToValidUTF8([]byte(scope), nil)), string(bytes.ToValidUTF8([]byte(cache), nil))
		op := Op{Kind: annav1.OpKind(kind), Key: key, Value: value, Stamp: stamp, TTL: time.Duration(ttl)}
		if has {
			op.If = &condition
		}
		ops := []Op{op, {Kind: OpDelete, Key: value}}
		size := sizeRequest(scope, cache, ops)
		raw := appendRequest(nil, Space(space), scope, Durability(d), cache, wait, ops)
		if len(raw) > size {
			t.Errorf("%d bytes, said to be at most %d", len(raw), size)
		}
		wire := []*annav1.Op{{Kind: op.Kind, Key: key, Value: value, Stamp: stamp, TtlNano: ttl, IfVersion: op.If}, {Kind: OpDelete, Key: value}}
		want := &annav1.Request{Space: Space(space), Scope: scope, Durability: Durability(d), Cache: cache, Wait: wait, Ops: wire}
		got := &annav1.Request{}
		if err := proto.Unmarshal(raw, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%v was written as %v, %v", want, got, err)
		}

		res := &annav1.Result{Value: value, Version: condition, LeaseNano: uint64(ttl), ExpiresUnixNano: uint64(kind)}
		if has {
			res.Text = scope
		}
		answer, err := proto.Marshal(&annav1.Reply{Results: []*annav1.Result{res, {Version: 7}}, More: wait})
		if err != nil {
			t.Fatal(err)
		}
		var read [2]Result
		plain := !wait && res.Text == ""
		if parseResults(answer, read[:]) != plain {
			t.Errorf("%v was read: %t", res, !plain)
		}
		if first := resultOf(res); plain && (read[1].Version != 7 || !bytes.Equal(read[0].Data, value) || read[0].Version != first.Version ||
			read[0].Lease != first.Lease || !read[0].Expires.Equal(first.Expires)) {
			t.Errorf("%v was read as %v", res, read[0])
		}
		if parseResults(answer, read[:1]) {
			t.Error("two results were read as one")
		}
		parseResults(key, read[:]) // whatever it is
	})
}
