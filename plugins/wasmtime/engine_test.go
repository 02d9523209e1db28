//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

func openTest(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
	t.Helper()
	e, err := newEngine(runtime.Settings{Workers: o.Workers, Queue: o.Queue, Memory: o.Memory, Log: func(msg string, pairs ...any) {
		t.Errorf("the engine logged: %s %v", msg, pairs)
	}}, b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEngine(t *testing.T) { enginetest.Run(t, openTest) }
