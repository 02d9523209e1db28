//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"testing"

	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtimetest"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
	"github.com/essa-project/essad/sdk/plugin/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m, wasmtimeEngine) }

// tested is what the tests of all engines have to know of this one.
var tested = &runtimetest.Engine{
	New: wasmtimeEngine.New, Backend: wasmtimeEngine.Compiler, Compiler: engineplugin.Compiler(), Native: []string{codeSuffix, typesSuffix},
	Trap: "trap: unreachable\nstack:\n\ttrap(i32)",
}

// TestEngine runs the suite within this process.
func TestEngine(t *testing.T) { enginetest.Run(t, tested.Open) }

func TestRuntime(t *testing.T) { runtimetest.Run(t, tested) }

func BenchmarkRuntime(b *testing.B) { runtimetest.Benchmark(b, tested) }
