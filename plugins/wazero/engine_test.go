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
