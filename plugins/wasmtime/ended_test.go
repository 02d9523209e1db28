//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/status"
)

// A guest that an import ends is left where it is, and taken off its stack when its instance is closed: that leaves nothing,
// neither of the stack nor of the call.
func TestEndedByImport(t *testing.T) {
	e := tested.OpenWith(t, &enginetest.Border{}, enginetest.Options{Workers: 1}, func(*runtime.Settings) {})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("guest.wasm"))
	calls := func(n int) (mappings, resident int) {
		for range n {
			c := &engine.Call{Module: id, Function: "deep", Args: []byte{9, 0, 0, 0}, Limits: engine.Limits{CallDepth: 2}}
			if _, err := e.Invoke(t.Context(), c); status.Of(err) != status.GuestFault {
				t.Fatalf("a chain of calls whose last one is ended: %v", err)
			}
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(maps, []byte("\n")), runtimetest.Resident(t)
	}
	calls(500) // what is kept for later calls is there
	before, some := calls(10)
	after, more := calls(2000)
	if after > before+20 {
		t.Errorf("2000 calls left %d mappings", after-before)
	}
	if more > some+8<<20 {
		t.Errorf("2000 calls left %d KiB", (more-some)>>10)
	}
}
