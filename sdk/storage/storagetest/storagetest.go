// Package storagetest is the contract of package storage in executable form. A backend passes it directly and through
// the plugin border; ours and those of others run the same suite:
//
//	func TestStore(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storagetest.Opener { return &opener{dir: t.TempDir()} })
//	}
//
// Everybody may import it, in tests; it imports testing, rapid and sdk/{storage,status}.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

// Opener opens one store. A persistent store opened again holds what it held; one that is not starts empty. The suite
// never has the same store open twice.
type Opener interface {
	Open(t testing.TB) (storage.Store, error)
}

// Killer is an Opener that can end its open store as kill -9 of its process would: what the store gave to the operating
// system survives. The suite drops the store without closing it and opens again.
type Killer interface {
	Opener
	Kill(t testing.TB)
}

// PowerCutter is an Opener that can end its open store as a power cut would: only what was fsynced survives.
type PowerCutter interface {
	Opener
	CutPower(t testing.TB)
}

// Run runs the whole suite. newOpener makes an Opener of a new, empty store; what it needs to clean up it registers with
// t.Cleanup.
func Run(t *testing.T, newOpener func(t *testing.T) Opener) {
	for _, c := range []struct {
		name string
		f    func(t *testing.T, o Opener)
	}{
		{"Info", testInfo},
		{"PutGet", testPutGet},
		{"EmptyValue", testEmptyValue},
		{"Delete", testDelete},
		{"OpsInOrder", testOpsInOrder},
		{"BuffersAreTheCallers", testBuffers},
		{"ApplyTwice", testApplyTwice},
		{"EmptyBatch", testEmptyBatch},
		{"Limits", testLimits},
		{"LargeValue", testLargeValue},
		{"LargeBatch", testLargeBatch},
		{"BatchesAreAtomic", testAtomic},
		{"ShardsKeepTheirOrder", testShardOrder},
		{"StartedBatchesKeepTheirOrder", testStarted},
		{"ScanPages", testScanPages},
		{"ScanPrefix", testScanPrefix},
		{"ScanBytes", testScanBytes},
		{"ScanKeysOnly", testScanKeysOnly},
		{"SnapshotStaysAsItWas", testSnapshot},
		{"SnapshotErrors", testSnapshotErrors},
		{"Stats", testStats},
		{"Context", testContext},
		{"Closed", testClosed},
		{"CloseDuringUse", testCloseDuringUse},
		{"Reopen", testReopen},
		{"Kill", testKill},
		{"PowerCut", testPowerCut},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, newOpener(t)) })
	}
}

func open(t testing.TB, o Opener) storage.Store {
	t.Helper()
	s, err := o.Open(t)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// opened opens o's store and closes it at the end of the test.
func opened(t *testing.T, o Opener) storage.Store {
	t.Helper()
	s := open(t, o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func ctx(t testing.TB) context.Context { return t.Context() }

func put(k, v string) storage.Op { return storage.Op{Key: []byte(k), Value: []byte(v)} }
func del(k string) storage.Op    { return storage.Op{Key: []byte(k), Delete: true} }

func apply(t testing.TB, s storage.Store, ops ...storage.Op) {
	t.Helper()
	if err := s.Apply(ctx(t), storage.Batch{Ops: ops}); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func get(t testing.TB, s storage.Store, keys ...string) []storage.Item {
	t.Helper()
	bs := make([][]byte, len(keys))
	for i, k := range keys {
		bs[i] = []byte(k)
	}
	items, err := s.Get(ctx(t), bs)
	if err != nil {
		t.Fatalf("get %q: %v", keys, err)
	}
	if len(items) != len(keys) {
		t.Fatalf("get of %d keys answers %d items", len(keys), len(items))
	}
	for i := range items {
		if string(items[i].Key) != keys[i] {
			t.Fatalf("item %d has key %q, want %q", i, items[i].Key, keys[i])
		}
	}
	return items
}

// want checks that each key has its value; keys and values alternate.
func want(t testing.TB, s storage.Store, kv ...string) {
	t.Helper()
	for i := 0; i < len(kv); i += 2 {
		if it := get(t, s, kv[i])[0]; !it.Found || string(it.Value) != kv[i+1] {
			t.Errorf("%q: %q (found %v), want %q", kv[i], short(it.Value), it.Found, short([]byte(kv[i+1])))
		}
	}
}

func wantAbsent(t testing.TB, s storage.Store, keys ...string) {
	t.Helper()
	for _, it := range get(t, s, keys...) {
		if it.Found || len(it.Value) > 0 {
			t.Errorf("%q: %q (found %v), want nothing", it.Key, short(it.Value), it.Found)
		}
	}
}

func wantClass(t testing.TB, what string, err error, c status.Class) {
	t.Helper()
	if err == nil || status.Of(err) != c {
		t.Errorf("%s: error %v of class %v, want class %v", what, err, status.Of(err), c)
	}
}

func short(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%s... (%d bytes)", b[:40], len(b))
	}
	return string(b)
}

func show(items []storage.Item) string {
	var b strings.Builder
	for _, it := range items {
		fmt.Fprintf(&b, "[%q = %q, found %v]", it.Key, short(it.Value), it.Found)
	}
	return b.String()
}

// scanAll reads r to its end, page by page, and checks that each page keeps r's limits and order.
func scanAll(t testing.TB, s storage.Store, r storage.Range) (items []storage.Item) {
	t.Helper()
	items, err := scanPages(ctx(t), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func scanPages(ctx context.Context, s storage.Store, r storage.Range) (items []storage.Item, err error) {
	for {
		page, err := s.Scan(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("scan %+v: %w", r, err)
		}
		if err := checkPage(r, page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if !page.More {
			return items, nil
		}
		r.After = page.Items[len(page.Items)-1].Key
	}
}

func checkPage(r storage.Range, page storage.Page) error {
	r, err := r.Normal()
	if err != nil {
		return err
	}
	if page.More && len(page.Items) == 0 {
		return errors.New("a page without items says that there are more")
	}
	if len(page.Items) > r.Limit {
		return fmt.Errorf("a page has %d items, limit %d", len(page.Items), r.Limit)
	}
	last := r.After
	for _, it := range page.Items {
		switch {
		case !it.Found:
			return fmt.Errorf("scanned item %q is not marked found", it.Key)
		case bytes.Compare(it.Key, last) <= 0:
			return fmt.Errorf("key %q does not come after %q", it.Key, last)
		case !bytes.HasPrefix(it.Key, r.Prefix):
			return fmt.Errorf("key %q has not the prefix %q", it.Key, r.Prefix)
		case r.KeysOnly && len(it.Value) > 0:
			return fmt.Errorf("a scan of keys only gives a value for %q", it.Key)
		}
		last = it.Key
	}
	return nil
}
