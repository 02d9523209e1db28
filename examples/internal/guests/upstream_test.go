package guests

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/lattice"
)

// caller calls functions of the probe somewhere.
type caller func(function string, args []byte) ([]byte, error)

// failureCodes is what failures is to find.
var failureCodes = []string{
	"no such function", "not a function that can be called", "unspecified error", "unspecified error",
	"it ended without a result", "unspecified error",
}

// probe holds the guest library to its promises on any host.
func probe(t *testing.T, call caller) {
	text := func(function, key string) string {
		t.Helper()
		d := decode(t, call, function, bincode.AppendString(nil, key))
		if function != "wrong_kind" && d.Uint32() != 0 {
			t.Fatalf("%s: %s", function, d.String())
		}
		return d.String()
	}
	if got := text("await_mine", "probe-mine"); got != "mine" {
		t.Errorf("await_mine: %q", got)
	}
	if got := text("wrong_kind", "probe-kind"); got != "refused" {
		t.Errorf("wrong_kind: %q", got)
	}
	d := decode(t, call, "missing", bincode.AppendString(nil, "probe-missing"))
	if d.Uint32() != 0 || d.Bool() {
		t.Error("a key that is not there was found")
	}
	d = decode(t, call, "failures", nil)
	if d.Uint32() != 0 {
		t.Fatalf("failures: %s", d.String())
	}
	var codes []string
	for range d.Count(8) {
		codes = append(codes, d.String())
	}
	if !slices.Equal(codes, failureCodes) {
		t.Errorf("failures: %q, want %q", codes, failureCodes)
	}
	for range 2 {
		if n := decode(t, call, "state", nil).Int64(); n != 1 {
			t.Errorf("what a call left in memory was seen by the next: %d", n)
		}
	}
}

func decode(t *testing.T, call caller, function string, args []byte) *bincode.Decoder {
	t.Helper()
	out, err := call(function, args)
	if err != nil {
		t.Fatalf("%s: %v", function, err)
	}
	return bincode.NewDecoder(out)
}

// TestUpstreamHost runs the probe with the eight imports alone.
func TestUpstreamHost(t *testing.T) {
	if !fakehost.Prepare(t) {
		return
	}
	ctx := context.Background()
	wasm, err := fakehost.BuildGo(ctx, "../probe", t.TempDir(), "essa_upstream")
	if err != nil {
		t.Fatal(err)
	}
	h := fakehost.Start(t, wasm)
	call := func(function string, args []byte) ([]byte, error) {
		return h.Call(ctx, "__essa_wrapper__"+function, args)
	}
	probe(t, call)
	// A key that somebody else puts while the guest polls.
	put := time.AfterFunc(150*time.Millisecond, func() {
		if err := h.Put("late", lattice.NewSet([]byte("late"))); err != nil {
			t.Error(err)
		}
	})
	defer put.Stop()
	d := decode(t, call, "await", bincode.AppendString(nil, "late"))
	if d.Uint32() != 0 || d.String() != "late" {
		t.Error("the guest did not see what it waited for")
	}
}
