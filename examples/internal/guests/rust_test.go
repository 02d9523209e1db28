package guests

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/lattice"
)

// rust is a module in Rust. They are built before the tests, where there is a compiler for them: sdk/rust/guests.sh.
func rust(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("ESSAD_GUESTS_RUST")
	if dir == "" {
		t.Skipf("left out: %s, for ESSAD_GUESTS_RUST does not name the folder that sdk/rust/guests.sh has filled", name)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// TestRustUpstreamHost runs the probe in Rust with the eight imports alone.
func TestRustUpstreamHost(t *testing.T) {
	wasm := rust(t, "upstream/probe-rust.wasm")
	if !fakehost.Prepare(t) {
		return
	}
	ctx := context.Background()
	h := fakehost.Start(t, wasm)
	call := func(function string, args []byte) ([]byte, error) {
		return h.Call(ctx, "__essa_wrapper__"+function, args)
	}
	probe(t, call)
	newest(t, call)
	if why := decode(t, call, "why", nil).String(); why != "" {
		t.Errorf("a reason comes from nowhere: %q", why)
	}
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

// newest holds the module to the rule that the last writer wins, whoever comes last.
func newest(t *testing.T, call caller) {
	t.Helper()
	d := decode(t, call, "newest", bincode.AppendString(nil, "probe-newest"))
	if tag := d.Uint32(); tag != 0 {
		t.Fatalf("newest: %s", d.String())
	}
	if data := d.Bytes(); string(data) != "new" {
		t.Errorf("newest: %q is there", data)
	}
}

// TestRustEngine runs the modules in Rust on the engine as it is shipped.
func TestRustEngine(t *testing.T) {
	wasm := rust(t, "probe-rust.wasm")
	demo, bench := rust(t, "test-function-rust.wasm"), rust(t, "bench-rust.wasm")
	if testing.Short() {
		t.Skip("builds the engine plugin")
	}
	e := startEngine(t)
	t.Run("probe", func(t *testing.T) {
		module := e.prepareKind(t, wasm, engine.Library)
		call := e.caller(t, module)
		probe(t, call)
		newest(t, call)
		e.news(t, call)
		if out := e.run(t, module); out != "hello from a reactor\n" {
			t.Errorf("printed %q", out)
		}
		r, err := e.invoke(t.Context(), engine.Call{Module: module, Run: true, Argv: []string{"guest", "it failed"}})
		if err != nil || r.ExitCode != 1 {
			t.Errorf("a run that ends with an error: %+v, %v", r, err)
		}
	})
	t.Run("bench", func(t *testing.T) {
		call := e.caller(t, e.prepareKind(t, bench, engine.Library))
		args := bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, "lww"), 26), 3)
		if n := decode(t, call, "write_lww", args).Uint64(); n != 3 {
			t.Errorf("write_lww: %d", n)
		}
		v, ok := e.border.Value("test", "lww")
		if !ok {
			t.Fatal("write_lww stored nothing")
		}
		read := decode(t, call, "read_cached", bincode.AppendUint64(bincode.AppendString(nil, "lww"), 2)).Uint64()
		if read != 2*uint64(len(v.Data)) {
			t.Errorf("read_cached: %d bytes, twice %d are stored", read, len(v.Data))
		}
		if n := decode(t, call, "nested_many", bincode.AppendUint64(nil, 5)).Uint64(); n != 5 {
			t.Errorf("nested_many: %d", n)
		}
		d := decode(t, call, "split", bincode.AppendUint64(bincode.AppendUint64(nil, 0), 65))
		if tag, n := d.Uint32(), d.Uint64(); tag != 0 || n != 65 {
			t.Errorf("split: tag %d, %d", tag, n)
		}
		const orders = `[{"customer": "Ada", "lines": [{"item": "tea", "count": 2, "cents": 350}]}]`
		d = decode(t, call, "summarize", bincode.AppendString(nil, orders))
		if tag, text := d.Uint32(), d.String(); tag != 0 || text != `{"Ada":{"orders":1,"cents":700,"best":"tea"}}` {
			t.Errorf("summarize: tag %d, %s", tag, text)
		}
	})
	t.Run("command", func(t *testing.T) {
		out := e.run(t, e.prepareKind(t, demo, engine.Command))
		if out != demoPrints {
			t.Errorf("printed\n%s\nwant\n%s", out, demoPrints)
		}
	})
}
