package kvs

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// What is read as a single operation is what protobuf reads, and what is answered is what protobuf writes.
func FuzzOne(f *testing.F) {
	seven := uint64(7)
	for _, op := range []*annav1.Op{
		{},
		{Kind: annav1.OpKind_PUT, Key: []byte("key"), Value: []byte("value"), Stamp: true, TtlNano: -1, IfVersion: &seven},
		{Kind: annav1.OpKind_DELETE, Key: []byte("key")},
	} {
		for _, req := range []*annav1.Request{
			{Space: annav1.Space_USER, Ops: []*annav1.Op{op}},
			{Space: annav1.Space_DATA, Scope: "scope", Durability: annav1.Durability_SYNC, Cache: "cache", Ops: []*annav1.Op{op}},
			{Ops: []*annav1.Op{op, op}},
			{Ops: []*annav1.Op{op}, Wait: true},
			{Ops: []*annav1.Op{op}, Scan: &annav1.Scan{}},
		} {
			b, err := proto.Marshal(req)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte{0x12, 1, 0xff, 0x1a, 0}) // a scope that is no text
	f.Fuzz(func(t *testing.T, b []byte) {
		var o one
		if !o.parse(b) {
			return
		}
		req := &annav1.Request{}
		if err := proto.Unmarshal(b, req); err != nil {
			t.Fatalf("protobuf does not read it: %v", err)
		}
		if len(req.Ops) != 1 || req.Wait || req.Scan != nil || req.Watch != nil || req.DropScope {
			t.Fatalf("%v is not a single operation", req)
		}
		op := req.Ops[0]
		if o.space != req.Space || o.scope != req.Scope || o.cache != req.Cache || o.durability != req.Durability ||
			o.op != op.Kind || !bytes.Equal(o.key, op.Key) || !bytes.Equal(o.value, op.Value) || o.stamp != op.Stamp ||
			o.ttl != op.TtlNano || (o.condition == nil) != (op.IfVersion == nil) || o.condition != nil && *o.condition != *op.IfVersion {
			t.Fatalf("%+v, protobuf reads %v", o, req)
		}
		res := &annav1.Result{
			Code: string(bytes.ToValidUTF8(o.key, nil)), Text: o.scope, Value: o.value, Version: uint64(o.ttl), LeaseNano: uint64(len(b)), ExpiresUnixNano: uint64(o.space),
		}
		rep := &annav1.Reply{}
		if err := proto.Unmarshal(appendResult(nil, res), rep); err != nil || len(rep.Results) != 1 || !proto.Equal(rep.Results[0], res) {
			t.Fatalf("%v was written as %v, %v", res, rep, err)
		}
	})
}
