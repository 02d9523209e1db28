package kvs

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// What is read as operations is what protobuf reads, and what is answered is what protobuf writes.
func FuzzOperations(f *testing.F) {
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
		var o operations
		if !o.parse(b) {
			return
		}
		req := &annav1.Request{}
		if err := proto.Unmarshal(b, req); err != nil {
			t.Fatalf("protobuf does not read it: %v", err)
		}
		if req.Wait || req.Scan != nil || req.Watch != nil || req.DropScope {
			t.Fatalf("%v is more than operations", req)
		}
		if o.space != req.Space || o.scope != req.Scope || o.cache != req.Cache || o.durability != req.Durability || len(o.ops) != len(req.Ops) {
			t.Fatalf("%+v, protobuf reads %v", o, req)
		}
		var raw []byte
		var want []*annav1.Result
		for i := range o.ops {
			if op := &o.ops[i]; !proto.Equal(op.message(), req.Ops[i]) {
				t.Fatalf("operation %d is %+v, protobuf reads %v", i, op, req.Ops[i])
			}
			op := req.Ops[i]
			res := &annav1.Result{
				Code: string(bytes.ToValidUTF8(op.Key, nil)), Text: o.scope, Value: op.Value, Version: uint64(op.TtlNano), LeaseNano: uint64(len(b)), ExpiresUnixNano: uint64(o.space),
			}
			raw, want = appendResult(raw, res), append(want, res)
		}
		rep := &annav1.Reply{}
		if err := proto.Unmarshal(raw, rep); err != nil || !proto.Equal(rep, &annav1.Reply{Results: want}) {
			t.Fatalf("%v was written as %v, %v", want, rep, err)
		}
	})
}
