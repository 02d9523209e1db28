package guests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/engine"
)

// TestTypeScriptEngine runs what the benches call, in TypeScript, on the engine as it is shipped. Such modules are built before
// the tests, where there is a compiler for them: make guests-ts.
func TestTypeScriptEngine(t *testing.T) {
	dir := os.Getenv("ESSAD_GUESTS_TS")
	if dir == "" {
		t.Skip("left out: ESSAD_GUESTS_TS does not name the folder that make guests-ts has filled")
	}
	if testing.Short() {
		t.Skip("builds the engine plugin")
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "bench-ts.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	e := startEngine(t)
	call := e.caller(t, e.prepareKind(t, wasm, engine.Reactor))
	if n := decode(t, call, "nested_many", bincode.AppendUint64(nil, 5)).Uint64(); n != 5 {
		t.Errorf("nested_many: %d", n)
	}
	// As in C: examples/splitter.
	for n, want := range map[uint64]uint64{3: 7384958528, 300: 128696744052627} {
		if got := decode(t, call, "tally", bincode.AppendUint64(nil, n)).Uint64(); got != want {
			t.Errorf("tally of %d: %d, want %d", n, got, want)
		}
	}
}
