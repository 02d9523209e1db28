package client

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// What is written by hand is what protobuf reads, and what is read by hand is what protobuf wrote.
func FuzzOne(f *testing.F) {
	f.Add(uint8(1), "scope", uint8(3), "cache", true, uint8(1), []byte("key"), []byte("value"), true, int64(-5), uint64(7), true)
	f.Add(uint8(0), "", uint8(0), "", false, uint8(0), []byte{}, []byte{}, false, int64(0), uint64(0), false)
	f.Fuzz(func(t *testing.T, space uint8, scope string, d uint8, cache string, wait bool, kind uint8, key, value []byte, stamp bool, ttl int64, condition uint64, has bool) {
		scope, cache = string(bytes.ToValidUTF8([]byte(scope), nil)), string(bytes.ToValidUTF8([]byte(cache), nil))
		op := Op{Kind: annav1.OpKind(kind), Key: key, Value: value, Stamp: stamp, TTL: time.Duration(ttl)}
		if has {
			op.If = &condition
		}
		size := sizeOne(scope, cache, &op)
		raw := appendOne(nil, Space(space), scope, Durability(d), cache, wait, &op)
		if len(raw) > size {
			t.Errorf("%d bytes, said to be at most %d", len(raw), size)
		}
		var wire annav1.Op
		op.write(&wire)
		want := &annav1.Request{Space: Space(space), Scope: scope, Durability: Durability(d), Cache: cache, Wait: wait, Ops: []*annav1.Op{&wire}}
		got := &annav1.Request{}
		if err := proto.Unmarshal(raw, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%v was written as %v, %v", want, got, err)
		}

		res := &annav1.Result{Value: value, Version: condition, LeaseNano: uint64(ttl), ExpiresUnixNano: uint64(kind)}
		if has {
			res.Text = scope
		}
		answer, err := proto.Marshal(&annav1.Reply{Results: []*annav1.Result{res}, More: wait})
		if err != nil {
			t.Fatal(err)
		}
		var one annav1.Result
		if plain := !wait && res.Text == ""; parseOne(answer, &one) != plain || plain && !proto.Equal(&one, res) {
			t.Errorf("%v was read as %v", res, &one)
		}
		parseOne(key, &one) // whatever it is
	})
}
