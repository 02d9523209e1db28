package main

import (
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
	"github.com/essa-project/essad/sdk/plugin/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m, wazeroEngine) }

// tested is what the tests of all engines have to know of this one.
var tested = &runtimetest.Engine{
	New: wazeroEngine.New, Backend: wazeroEngine.Compiler, Compiler: engineplugin.Compiler(), Native: []string{""},
	Trap: "trap: unreachable\nstack:\n\ttrap(i32)",
}

// TestEngine runs the suite within this process.
func TestEngine(t *testing.T) { enginetest.Run(t, tested.Open) }

func TestRuntime(t *testing.T) { runtimetest.Run(t, tested) }

func BenchmarkRuntime(b *testing.B) { runtimetest.Benchmark(b, tested) }

// TestIsolation runs the tests of isolation with every way to find written pages, with hardly any page kept, and with next
// to no room for waiting instances.
func TestIsolation(t *testing.T) {
	for name, change := range map[string]func(*runtime.Settings){
		"pagemap": func(s *runtime.Settings) { s.DirtyPages = "pagemap" },
		"all":     func(s *runtime.Settings) { s.DirtyPages = "all" },
		"pages":   func(s *runtime.Settings) { s.ParkedPages = 16 << 10 },
		"few":     func(s *runtime.Settings) { s.Parked, s.Snapshots = 8, 8 },
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.RunIsolation(t, func(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
				return tested.OpenWith(t, b, o, change)
			})
		})
	}
}

// TestGrownIsKept: a call whose memory grows leaves its instance to the next one, unless it grows to its maximum.
func TestGrownIsKept(t *testing.T) {
	e := tested.OpenWith(t, &enginetest.Border{}, enginetest.Options{Workers: 1}, func(*runtime.Settings) {})
	defer e.Close()
	id, _ := enginetest.Prepare(t, e, enginetest.Wasm("grows.wasm"))
	for n, pages := range []byte{2, 2, 7, 0, 1, 7, 40, 3, 63, 63, 1, 1} {
		r, err := e.Invoke(t.Context(), &engine.Call{Module: id, Function: "grows", Args: []byte{pages, 0, 0, 0}})
		if err != nil || string(r.Value) != "\x00\x00\x00\x00" {
			t.Fatalf("call %d: %+v, error %v", n, r, err)
		}
		want := engine.Kept
		switch n {
		case 0:
			want = engine.Initialised
		case 9, 10: // after one that took all there may be
			want = engine.Mapped
		}
		if r.Stats.Instance != want {
			t.Errorf("call %d, which grows by %d pages: its instance is %v instead of %v", n, pages, r.Stats.Instance, want)
		}
	}
}

// TestNoneParked: without waiting instances every call has one made of the snapshot.
func TestNoneParked(t *testing.T) {
	e := tested.OpenWith(t, &enginetest.Border{}, enginetest.Options{}, func(s *runtime.Settings) { s.Parked = -1 })
	defer e.Close()
	wasm := enginetest.Wasm("guest.wasm")
	enginetest.Prepare(t, e, wasm)
	runtimetest.Echo(t, e, wasm, engine.Initialised)
	for range 5 {
		runtimetest.Echo(t, e, wasm, engine.Mapped)
	}
}
