package main

import (
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

func openTest(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
	return openWith(t, b, o, func(*runtime.Settings) {})
}

// openWith makes an engine that compares every instance with its snapshot, and must have nothing to tell.
func openWith(t testing.TB, b engine.Border, o enginetest.Options, change func(*runtime.Settings)) engine.Engine {
	t.Helper()
	s := runtime.Settings{Workers: o.Workers, Queue: o.Queue, Memory: o.Memory, VerifyRestores: 1}
	s.Log = func(msg string, pairs ...any) { t.Errorf("the engine logged: %s %v", msg, pairs) }
	change(&s)
	e, err := newEngine(s, b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

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
				return openWith(t, b, o, change)
			})
		})
	}
}

// TestNoneParked: without waiting instances every call has one made of the snapshot.
func TestNoneParked(t *testing.T) {
	e := openWith(t, &enginetest.Border{}, enginetest.Options{}, func(s *runtime.Settings) { s.Parked = -1 })
	defer e.Close()
	wasm := enginetest.Wasm("guest.wasm")
	enginetest.Prepare(t, e, wasm)
	echo(t, e, wasm, engine.Initialised)
	for range 5 {
		echo(t, e, wasm, engine.Mapped)
	}
}

func TestEngine(t *testing.T) { enginetest.Run(t, openTest) }
