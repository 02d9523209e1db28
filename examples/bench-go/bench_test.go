package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/examples/splitter"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

func TestInProcess(t *testing.T) {
	guest.ResetHost()
	if n, err := splitRemote(0, 1000).Get(); n != 1000 || err != nil {
		t.Errorf("split: %d, %v", n, err)
	}
	if n, err := writeLWWRemote("k", 100, 5).Get(); n != 5 || err != nil {
		t.Errorf("write_lww: %d, %v", n, err)
	}
	if n, err := readCachedRemote("k", 3).Get(); n == 0 || n%3 != 0 || err != nil {
		t.Errorf("read_cached: %d, %v", n, err)
	}
	if err := guest.WaitAll(nestedRemote(), noopRemote()); err != nil {
		t.Error(err)
	}
}

// TestSameAsC holds the module to what the one in C answers, byte for byte.
func TestSameAsC(t *testing.T) {
	if !fakehost.Prepare(t) {
		return
	}
	ctx := context.Background()
	wasm, err := fakehost.BuildGo(ctx, ".", t.TempDir(), "essa_upstream")
	if err != nil {
		t.Fatal(err)
	}
	var answers [2][][]byte
	for i, module := range [][]byte{splitter.Wasm, wasm} {
		h := fakehost.Start(t, module)
		if err := h.Put("k", lattice.NewSet([]byte("a"), []byte("bc"))); err != nil {
			t.Fatal(err)
		}
		for _, c := range requests() {
			out, err := h.Call(ctx, "__essa_wrapper__"+c.function, c.args)
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.function, err, h.Stderr())
			}
			answers[i] = append(answers[i], out)
		}
	}
	for i, c := range requests() {
		if !bytes.Equal(answers[0][i], answers[1][i]) {
			t.Errorf("%s: C answers %x, Go %x", c.function, answers[0][i], answers[1][i])
		}
	}
}

type request struct {
	function string
	args     []byte
}

func requests() []request {
	numbers := func(b []byte, ns ...uint64) []byte {
		for _, n := range ns {
			b = bincode.AppendUint64(b, n)
		}
		return b
	}
	key := bincode.AppendString(nil, "k")
	other := bincode.AppendString(nil, "other")
	return []request{
		{"noop", nil},
		{"echo", bincode.AppendString(nil, "some data")},
		{"nested", nil},
		{"nested_many", numbers(nil, 3)},
		{"split", numbers(nil, 10, 17)},
		{"split", numbers(nil, 3, 3)},
		{"concurrent_kvs_test", numbers(other, 3, 6)},
		{"concurrent_kvs_test", numbers(other, 6, 3)},
		{"read_cached", numbers(key, 4)},
		{"write_lww", numbers(bincode.AppendString(nil, "w"), 64, 2)},
	}
}
