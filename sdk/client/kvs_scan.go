package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// ScanOptions select the keys of a scan, in ascending order.
type ScanOptions struct {
	Prefix   []byte
	After    []byte // resume: only keys greater than this
	Limit    int    // keys at most; 0: as many as one answer holds
	KeysOnly bool
}

// Item is a key with its value, as it was scanned or as it has become.
type Item struct {
	Key     []byte
	Value   []byte // bincode of a lattice value; nil with KeysOnly
	Version uint64
	Deleted bool      // watches: the key is absent now
	Expires time.Time // zero: never
}

func itemOf(i *annav1.Item) Item {
	out := Item{Key: i.Key, Value: i.Value, Version: i.Version, Deleted: i.Deleted}
	if i.ExpiresUnixNano != 0 {
		out.Expires = time.Unix(0, int64(i.ExpiresUnixNano))
	}
	return out
}

// Scan returns keys of a scope. more tells that asking again with After = the last key returns further ones.
func (k *KVS) Scan(ctx context.Context, space Space, scope string, o ScanOptions) (items []Item, more bool, err error) {
	rep, err := k.ask(ctx, &annav1.Request{Space: space, Scope: scope, Scan: &annav1.Scan{
		Prefix: o.Prefix, After: o.After, Limit: uint32(min(max(o.Limit, 0), MaxOps)), KeysOnly: o.KeysOnly,
	}})
	if err != nil {
		return nil, false, err
	}
	items = make([]Item, len(rep.Items))
	for i, it := range rep.Items {
		items[i] = itemOf(it)
	}
	return items, rep.More, nil
}

// ScanAll calls h for every key that o selects, page after page, until h returns false. o.Limit bounds all of them.
func (k *KVS) ScanAll(ctx context.Context, space Space, scope string, o ScanOptions, h func(Item) bool) error {
	left := o.Limit
	for {
		items, more, err := k.Scan(ctx, space, scope, o)
		if err != nil {
			return err
		}
		for _, it := range items {
			if !h(it) {
				return nil
			}
			o.After = it.Key
		}
		left -= len(items)
		if !more || o.Limit > 0 && left <= 0 {
			return nil
		}
		if o.Limit > 0 {
			o.Limit = left
		}
	}
}

// WatchOptions select what is watched.
type WatchOptions struct {
	Key      []byte
	Prefix   bool // all keys that begin with Key
	Initial  bool // begin with what is there
	KeysOnly bool
}

// Watch calls h for each change until ctx ends, which is no error, or the node cannot go on: then what changed meanwhile
// is unknown, and a watch with Initial shows the present state. Fast changes of a key may arrive as one, the last.
func (k *KVS) Watch(ctx context.Context, space Space, scope string, o WatchOptions, h func(Item)) error {
	raw, err := proto.Marshal(&annav1.Request{Space: space, Scope: scope, Watch: &annav1.Watch{
		Key: o.Key, Prefix: o.Prefix, Initial: o.Initial, KeysOnly: o.KeysOnly,
	}})
	if err != nil {
		return status.Errorf(status.Internal, "client: encode a watch: %v", err)
	}
	var failed error
	got := transport.GetOptions{Payload: raw, Consolidation: transport.None, Timeout: -1}
	err = k.session.Get(ctx, k.selector, got, func(r transport.Reply) {
		if r.Err != nil {
			failed = r.Err.AsError()
			return
		}
		var rep annav1.Reply
		if err := proto.Unmarshal(r.Sample.Payload, &rep); err != nil {
			failed = status.Errorf(status.Internal, "client: a change cannot be read: %v", err)
			return
		}
		for _, it := range rep.Items {
			h(itemOf(it))
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case failed != nil:
		return failed
	case err != nil:
		return err
	}
	return status.Errorf(status.Unavailable, "client: the watch has ended: the node of the key-value store is gone or was not there")
}

// KVSStats is what a node of the key-value store knows of itself.
type KVSStats = annav1.StatsReply

// Stats asks every node of the key-value store.
func (k *KVS) Stats(ctx context.Context) ([]*KVSStats, error) {
	var all []*KVSStats
	sel := transport.Selector{KeyExpr: k.names.Admin("kvs", "stats")}
	opts := transport.GetOptions{Target: transport.All, Consolidation: transport.None}
	err := k.session.Get(ctx, sel, opts, func(r transport.Reply) {
		out := &annav1.StatsReply{}
		if r.Err == nil && proto.Unmarshal(r.Sample.Payload, out) == nil {
			all = append(all, out)
		}
	})
	return all, err
}

// Record is a stored record as Export writes and Import reads it: opaque, but for being a key and what is under it.
type Record = annav1.Record

// Export calls h with pages of all records of a space (0: of every space) as they are at one moment. The records belong
// to the caller. After an error of h it stops and returns that.
func (k *KVS) Export(ctx context.Context, space Space, h func([]*Record) error) error {
	raw, err := proto.Marshal(&annav1.ExportRequest{Space: space})
	if err != nil {
		return status.Errorf(status.Internal, "client: encode an export: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	ended := false
	sel := transport.Selector{KeyExpr: k.names.Admin("kvs", "export")}
	got := transport.GetOptions{Payload: raw, Consolidation: transport.None, Timeout: -1}
	err = k.session.Get(ctx, sel, got, func(r transport.Reply) {
		if failed != nil {
			return
		}
		var page annav1.Page
		switch {
		case r.Err != nil:
			failed = r.Err.AsError()
		default:
			failed = proto.Unmarshal(r.Sample.Payload, &page)
		}
		if failed == nil && len(page.Records) == 0 {
			ended = true // the last page is empty, so that a broken stream cannot be taken for a whole one
			return
		}
		if failed == nil {
			failed = h(page.Records)
		}
		if failed != nil {
			cancel()
		}
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case !ended:
		return status.Errorf(status.Unavailable, "client: the export has ended early")
	}
	return nil
}

// Import merges records into what is there, durably.
func (k *KVS) Import(ctx context.Context, records []*Record) error {
	raw, err := proto.Marshal(&annav1.Page{Records: records})
	if err != nil {
		return status.Errorf(status.Internal, "client: encode an import: %v", err)
	}
	sel := transport.Selector{KeyExpr: k.names.Admin("kvs", "import")}
	_, err = transport.Ask(ctx, k.session, sel, transport.GetOptions{Payload: raw, Timeout: -1})
	return noNode(err)
}
