package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

// printed is what upstream's demo prints, with sets in ascending order where upstream's order is random.
const printed = `Hello world from test function!
Waiting for result...
Function result: FOOBAR
Storing a set in the kvs
Waiting for result...
Function result: FOOBAR fooo
Reading the set from the kvs
Result: {"one", "three", "two"}
Appending to the set in the kvs
Waiting for result...
Function result: 165000
Reading the set from the kvs
Result: {"four", "one", "three", "two"}
Running concurrent KVS test
Reading the concurrent KVS test result set from the kvs
DONE
`

func TestMainInProcess(t *testing.T) {
	guest.ResetHost()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	err = Main()
	os.Stdout = stdout
	w.Close()
	out, _ := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != printed {
		t.Errorf("printed\n%s\nwant\n%s", out, printed)
	}
}

func TestEmptyRange(t *testing.T) {
	guest.ResetHost()
	if err := concurrentKVSTest("k", 5, 5); err == nil {
		t.Error("an empty range was split")
	}
}

// TestWasm runs the module as it is shipped: the demo from start to end, and the wrappers as a Rust caller would.
func TestWasm(t *testing.T) {
	if !fakehost.Prepare(t) {
		return
	}
	h := fakehost.StartGo(t)
	ctx := context.Background()
	t.Run("demo", func(t *testing.T) {
		if err := h.Main(ctx); err != nil {
			t.Fatalf("%v\n%s", err, h.Stderr())
		}
		if h.Stdout() != printed {
			t.Errorf("printed\n%s\nwant\n%s", h.Stdout(), printed)
		}
		if h.Calls() != 133 { // the run, three calls, and 129 for 65 leaves
			t.Errorf("%d invocations, want 133", h.Calls())
		}
	})
	t.Run("upstream bytes", func(t *testing.T) { upstreamBytes(t, h) })
	t.Run("bad arguments trap", func(t *testing.T) {
		for _, args := range []string{"", "0500000000000000", "01000000000000000a", "0100000000000000ff"} {
			in, _ := hex.DecodeString(args)
			out, err := h.Call(ctx, "__essa_wrapper__foo", in)
			if args == "01000000000000000a" { // one line feed: this one is good
				if err != nil || !bytes.HasSuffix(out, []byte("\n fooo")) {
					t.Errorf("foo(%q): %q, %v", in, out, err)
				}
			} else if err == nil {
				t.Errorf("foo took the arguments %q and returned %q", in, out)
			}
		}
		if !strings.Contains(h.Stderr(), "the arguments of foo cannot be decoded") {
			t.Errorf("the guest did not say why: %q", h.Stderr())
		}
	})
}

// upstreamBytes calls the wrapper with the bytes of reference guests: key, 48 and 113 take 47 bytes, Ok(()) takes four.
func upstreamBytes(t *testing.T, h *fakehost.Host) {
	ctx := context.Background()
	args := bincode.AppendString(nil, "concurrent-kvs_test-key")
	args = bincode.AppendUint64(bincode.AppendUint64(args, 48), 51)
	if len(args) != 47 {
		t.Fatalf("arguments of %d bytes", len(args))
	}
	out, err := h.Call(ctx, "__essa_wrapper__concurrent_kvs_test", args)
	if err != nil || !bytes.Equal(out, []byte{0, 0, 0, 0}) {
		t.Fatalf("concurrent_kvs_test: %x, %v", out, err)
	}
	if v, err := h.Get("concurrent-kvs_test-key"); err != nil || !v.(lattice.Set).Contains([]byte("50")) {
		t.Errorf("the set is %v, %v", v, err)
	}
	// An empty range is an Err with a text.
	args = bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, "k"), 3), 3)
	out, err = h.Call(ctx, "__essa_wrapper__concurrent_kvs_test", args)
	if err != nil || len(out) < 12 || !bytes.Equal(out[:4], []byte{1, 0, 0, 0}) {
		t.Errorf("empty range: %x, %v", out, err)
	}
	out, err = h.Call(ctx, "__essa_wrapper__repeat_string", bincode.AppendUint64(bincode.AppendString(nil, "ab"), 3))
	if want := bincode.AppendString(nil, "ababab"); err != nil || !bytes.Equal(out, want) {
		t.Errorf("repeat_string: %x, %v", out, err)
	}
}
