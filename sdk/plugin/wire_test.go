package plugin

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/hlc"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

var when = time.Unix(1700000000, 123456789)

func fullCall() *engine.Call {
	return &engine.Call{
		ID: hlc.ID{1, 2}, Root: hlc.ID{3}, Module: "abc", Scope: "shop", Run: true, Function: "total",
		Args: []byte("arguments"), Argv: []string{"a", "", "c"}, Env: []string{"K=V"}, Stdin: true, Deadline: when, Depth: 7,
		Limits: engine.Limits{Memory: 1, WallTime: -1, CallDepth: 3, HostCalls: 4, Args: 5, Result: 6, Log: 7, LogLine: 8, Handles: 9, Stack: math.MinInt64, Fuel: 11},
		Fresh:  []engine.KeyVersion{{Key: "k", Version: math.MaxUint64}, {}}, Isolation: engine.Reused, WarmUp: "warm",
	}
}

// TestWireIsProtobuf holds the bodies written by hand against the generated code, both ways: what we write is read as the
// message says, and what it writes is read by us.
func TestWireIsProtobuf(t *testing.T) {
	c := fullCall()
	invoke := append(appendInvoke(nil, c, when.Add(1)), c.Args...)
	r := fullResult()
	value := engine.Value{Data: []byte("data"), Version: 9, Lease: time.Second}
	pair := func(head, tail []byte) []byte { return append(bytes.Clone(head), tail...) }
	o := &engine.Origin{Call: hlc.ID{4}, Root: hlc.ID{5}, Module: "m", Scope: "s", Deadline: when, Depth: 2}
	po := &pluginv1.Origin{Call: o.Call[:], Root: o.Root[:], Module: "m", Scope: "s", Deadline: when.UnixNano(), Depth: 2}
	id, root := c.ID, c.Root
	pinvoke := &pluginv1.Invoke{
		Id: id[:], Root: root[:], Module: "abc", Scope: "shop", Run: true, Function: "total", Argv: []string{"a", "", "c"},
		Env: []string{"K=V"}, Stdin: true, Deadline: when.UnixNano(), Depth: 7, Timeout: when.Add(1).UnixNano(), Args: c.Args,
		Limits: &pluginv1.CallLimits{Memory: 1, WallTime: -1, CallDepth: 3, HostCalls: 4, Args: 5, Result: 6, Log: 7, LogLine: 8, Handles: 9, Stack: math.MinInt64, Fuel: 11},
		Fresh:  []*pluginv1.KeyVersion{{Key: []byte("k"), Version: math.MaxUint64}, {}}, Isolation: 2, WarmUp: "warm",
	}
	nested, start := openMessage(appendOrigin(nil, 1, o), 15)
	nested = pair(closeMessage(appendInvoke(nested, c, when.Add(1)), start, len(c.Args)), c.Args)
	long := strings.Repeat("long ", 5000)
	update := engine.CacheUpdate{Scope: "s", Key: []byte("k"), Value: value}
	batch := storage.Batch{Shard: 3, Sync: true, Ops: []storage.Op{{Key: []byte("k"), Value: []byte(long)}, {Key: []byte("d"), Delete: true}}}
	rng := storage.Range{Prefix: []byte("p"), After: []byte("a"), Limit: 5, Bytes: 6, KeysOnly: true, Snapshot: 7}
	items := []storage.Item{{Key: []byte("k"), Value: []byte("v"), Found: true}, {Key: []byte("x")}}
	var page []byte
	for i := range items {
		page = appendItem(page, &items[i], true)
	}
	for _, x := range []struct {
		ours []byte
		want proto.Message
		read func([]byte) (any, error)
		as   any
	}{
		{
			appendEngineInfo(nil, engine.Info{Name: "n", Version: "v", Capabilities: []string{"a", ""}}), &pluginv1.EngineInfo{Name: "n", Version: "v", Capabilities: []string{"a", ""}},
			read(parseEngineInfo),
			engine.Info{Name: "n", Version: "v", Capabilities: []string{"a", ""}},
		},
		{
			putString(putTime(putUint(putInt(putString(nil, 1, "sha"), 2, 5), 3, 6), 4, when), 5, "warm"),
			&pluginv1.Prepare{Sha256: "sha", Size: 5, Source: 6, Timeout: when.UnixNano(), WarmUp: "warm"},
			read(parsePrepare),
			prepare{engine.Module{SHA256: "sha", Size: 5, WarmUp: "warm"}, 6, when},
		},
		{
			appendModuleInfo(nil, engine.ModuleInfo{Kind: 2, Functions: []string{"f"}, Memory: 3, CacheHit: true, Fresh: "why"}), &pluginv1.ModuleInfo{Kind: 2, Functions: []string{"f"}, Memory: 3, CacheHit: true, Fresh: "why"},
			read(parseModuleInfo),
			engine.ModuleInfo{Kind: 2, Functions: []string{"f"}, Memory: 3, CacheHit: true, Fresh: "why"},
		},
		{putUint(putInt(putUint(nil, 1, 1), 2, 2), 3, 3), &pluginv1.ModuleRead{Source: 1, Offset: 2, Max: 3}, read(parseModuleRead), moduleRead{1, 2, 3}},
		{invoke, pinvoke, func(b []byte) (any, error) { c, _, err := parseInvoke(b, nil); return c, err }, c},
		{pair(appendResult(nil, r), r.Value), &pluginv1.Result{
			HasValue: true, ExitCode: r.ExitCode, Frontier: r.Frontier, Value: r.Value,
			Writes: []*pluginv1.KeyVersion{{Key: []byte("a"), Version: 1}, {Version: 2}},
			Stats:  &pluginv1.CallStats{Queued: 1, Guest: int64(time.Hour), HostCalls: 3, Memory: 4, Nested: 5, Instance: 2, Fuel: 7},
		}, read(parseResult), r},
		{pair(appendValue(nil, value), value.Data), &pluginv1.Value{Data: value.Data, Version: 9, Lease: int64(time.Second)}, read(parseValue), value},
		{appendUpdate(appendUpdate(nil, &update), &engine.CacheUpdate{Key: []byte{}, Drop: true}), &pluginv1.Update{Updates: []*pluginv1.CacheUpdate{
			{Scope: "s", Key: []byte("k"), Value: &pluginv1.Value{Data: value.Data, Version: 9, Lease: int64(time.Second)}}, {Key: []byte{}, Drop: true},
		}}, read(parseUpdates), []engine.CacheUpdate{update, {Key: []byte{}, Drop: true}}},
		{
			putTime(putBool(putEachBytes(appendOrigin(nil, 1, o), 2, []byte("k")), 3, true), 4, when), &pluginv1.Load{Origin: po, Key: []byte("k"), Wait: true, Timeout: when.UnixNano()},
			asks(typeLoad), &ask{origin: *o, key: []byte("k"), n: 1, timeout: when},
		},
		{
			pair(putTail(putTime(putEachBytes(appendOrigin(nil, 1, o), 2, []byte("k")), 3, when), 15, 1), []byte("v")), &pluginv1.Merge{Origin: po, Key: []byte("k"), Value: []byte("v"), Timeout: when.UnixNano()},
			asks(typeMerge), &ask{origin: *o, key: []byte("k"), data: []byte("v"), timeout: when},
		},
		{nested, &pluginv1.NestedCall{Origin: po, Call: pinvoke}, func(b []byte) (any, error) {
			a, err := parseAsk(typeCall, b)
			if err != nil {
				return nil, err
			}
			c, _, err := parseInvoke(a.data, nil)
			return c, err
		}, c},
		{
			pair(putTail(putTime(putUint(appendOrigin(nil, 1, o), 2, 2), 3, when), 15, 1), []byte("x")), &pluginv1.Output{Origin: po, Stream: 2, Data: []byte("x"), Timeout: when.UnixNano()},
			asks(typeOutput), &ask{origin: *o, n: 2, data: []byte("x"), timeout: when},
		},
		{
			putTime(putInt(appendOrigin(nil, 1, o), 2, 100), 3, when), &pluginv1.Input{Origin: po, Max: 100, Timeout: when.UnixNano()},
			asks(typeInput), &ask{origin: *o, n: 100, timeout: when},
		},
		{
			appendStoreInfo(nil, storage.Info{Name: "n", Version: "v", Persistent: true, Shared: true}), &pluginv1.StoreInfo{Name: "n", Version: "v", Persistent: true, Shared: true},
			read(parseStoreInfo),
			storage.Info{Name: "n", Version: "v", Persistent: true, Shared: true},
		},
		{
			appendBatch(nil, batch, when), &pluginv1.Batch{Shard: 3, Sync: true, Timeout: when.UnixNano(), Ops: []*pluginv1.Op{{Key: []byte("k"), Value: []byte(long)}, {Key: []byte("d"), Delete: true}}},
			func(b []byte) (any, error) {
				x, _, err := parseBatch(b)
				if err == nil && batchShard(b) != x.Shard {
					t.Errorf("shard %d, not %d", batchShard(b), x.Shard)
				}
				return x, err
			}, batch,
		},
		{
			appendGet(nil, [][]byte{[]byte("a"), []byte("b")}, when), &pluginv1.Get{Keys: [][]byte{[]byte("a"), []byte("b")}, Timeout: when.UnixNano()},
			func(b []byte) (any, error) { k, _, err := parseGet(b); return k, err },
			[][]byte{[]byte("a"), []byte("b")},
		},
		{
			putBool(page, 2, true), &pluginv1.Page{More: true, Items: []*pluginv1.Item{{Key: []byte("k"), Value: []byte("v"), Found: true}, {Key: []byte("x")}}},
			read(parsePage),
			storage.Page{Items: items, More: true},
		},
		{
			appendRange(nil, rng, when), &pluginv1.Range{Prefix: []byte("p"), After: []byte("a"), Limit: 5, Bytes: 6, KeysOnly: true, Snapshot: 7, Timeout: when.UnixNano()},
			func(b []byte) (any, error) { x, _, err := parseRange(b); return x, err }, rng,
		},
		{putUint(nil, 1, 300), &pluginv1.Snapshot{Snapshot: 300}, read(parseNumber), uint64(300)},
		{
			appendStoreStats(nil, storage.Stats{Keys: -1, DiskBytes: 2, CacheBytes: 3}), &pluginv1.StoreStats{Keys: -1, DiskBytes: 2, CacheBytes: 3},
			read(parseStoreStats),
			storage.Stats{Keys: -1, DiskBytes: 2, CacheBytes: 3},
		},
	} {
		name := string(x.want.ProtoReflect().Descriptor().Name())
		got := x.want.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(x.ours, got); err != nil || !proto.Equal(got, x.want) {
			t.Errorf("%s: ours is read as %v, %v\nwant %v", name, got, err, x.want)
		}
		theirs, err := proto.Marshal(x.want)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range [][]byte{x.ours, theirs} {
			if v, err := x.read(b); err != nil || !reflect.DeepEqual(v, x.as) {
				t.Errorf("%s %d: read as %+v, %v\nwant %+v", name, i, v, err, x.as)
			}
		}
		// What a later version adds is skipped, and what is cut off is an error or a shorter message, never a panic.
		later := append(append([]byte{}, x.ours...), 0xa5, 0x06, 1, 2, 3, 4, 0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xa2, 0x06, 1, 'x', 0xa0, 0x06, 1)
		if v, err := x.read(later); err != nil || !reflect.DeepEqual(v, x.as) {
			t.Errorf("%s of a later version: %+v, %v", name, v, err)
		}
		for n := range x.ours[:min(len(x.ours), 300)] {
			if _, err := x.read(x.ours[:n]); err != nil && status.Of(err) != status.Corrupt {
				t.Errorf("%s cut off: %v", name, err)
			}
		}
	}
}

func read[T any](f func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { v, err := f(b); return v, err }
}

func asks(typ uint8) func([]byte) (any, error) {
	return func(b []byte) (any, error) { a, err := parseAsk(typ, b); return a, err }
}

func TestErrorsOnTheWire(t *testing.T) {
	err := parseError(appendError(nil, status.LimitError("memory", "too much")))
	if status.Code(err) != "limit/memory" || err.Error() != "too much" {
		t.Errorf("%v (%s)", err, status.Code(err))
	}
	if err := parseError(appendError(nil, errors.New(strings.Repeat("x", 1<<20)))); len(err.Error()) > 65<<10 {
		t.Errorf("a text of %d bytes", len(err.Error()))
	}
	for err, code := range map[error]string{
		context.DeadlineExceeded: "deadline", context.Canceled: "cancelled", frame.ErrBusy: "overloaded/safe",
		frame.ErrTooLarge: "invalid", frame.ErrEnded: "unavailable", errors.Join(frame.ErrEnded, frame.ErrNotSent): "unavailable/safe",
		errors.New("?"): "internal",
	} {
		if got := status.Code(transportError("x", err)); got != code {
			t.Errorf("%v: %s, want %s", err, got, code)
		}
	}
}

func TestMessageLengths(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 129, 16383, 16384, 1 << 21} {
		b, start := openMessage([]byte("before"), 3)
		b = closeMessage(append(b, make([]byte, n)...), start, 0)
		f := fields{b: b[len("before"):]}
		if !f.next() || f.field != 3 || len(f.p) != n || f.next() || f.err != nil {
			t.Errorf("%d: field %d of %d bytes, %v", n, f.field, len(f.p), f.err)
		}
	}
}

func FuzzParsers(f *testing.F) {
	c := fullCall()
	f.Add(append(appendInvoke(nil, c, when), c.Args...))
	f.Add(appendBatch(nil, storage.Batch{Shard: 1, Ops: []storage.Op{{Key: []byte("k")}}}, when))
	f.Add(appendUpdate(nil, &engine.CacheUpdate{Key: []byte("k"), Value: engine.Value{Version: 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m pluginv1.Invoke
		call, _, err := parseInvoke(b, nil)
		if err == nil && proto.Unmarshal(b, &m) == nil && string(m.Args) != string(call.Args) && len(b) < 1<<10 {
			t.Fatalf("arguments %q and %q", m.Args, call.Args)
		}
		_, _ = parseResult(b)
		_, _ = parseUpdates(b)
		_, _ = parseValue(b)
		_, _, _ = parseBatch(b)
		_ = batchShard(b)
		_, _, _ = parseGet(b)
		_, _ = parsePage(b)
		_, _, _ = parseRange(b)
		_ = parseError(b)
		for typ := uint8(typeLoad); typ <= typeInput; typ++ {
			_, _ = parseAsk(typ, b)
		}
	})
}

var sink []byte

func BenchmarkInvokeWire(b *testing.B) {
	c := &engine.Call{ID: hlc.NewID(), Root: hlc.NewID(), Module: strings.Repeat("a", 64), Scope: "shop", Function: "total", Args: make([]byte, 64), Deadline: when}
	b.Run("ours/write", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = append(appendInvoke(buf[:0], c, when), c.Args...)
		}
		sink = buf
	})
	body := append(appendInvoke(nil, c, when), c.Args...)
	b.Run("ours/read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := parseInvoke(body, newNames()); err != nil {
				b.Fatal(err)
			}
		}
	})
	m := &pluginv1.Invoke{Id: c.ID[:], Root: c.Root[:], Module: c.Module, Scope: c.Scope, Function: c.Function, Args: c.Args, Deadline: when.UnixNano(), Timeout: when.UnixNano()}
	b.Run("generated/write", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = proto.MarshalOptions{}.MarshalAppend(buf[:0], m)
		}
		sink = buf
	})
	b.Run("generated/read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m pluginv1.Invoke
			if err := proto.Unmarshal(body, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
