package runtimetest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

// testMeasurement: everything is measured, a function that fails is said to, and so are wrong arguments.
func (x *Engine) testMeasurement(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guest.wasm")
	if err := os.WriteFile(file, enginetest.Wasm("guest.wasm"), 0o600); err != nil {
		t.Fatal(err)
	}
	measure := func(args ...string) (m runtime.Measurement, code int) {
		var out bytes.Buffer
		code = runtime.MeasureModule(append([]string{"-for", "4ms"}, args...), &out, x.New, x.Backend, x.Compiler)
		if code == 0 {
			if err := json.Unmarshal(out.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
		}
		return m, code
	}
	m, code := measure("-memory", "-counting", file, "echo", "78")
	if code != 0 {
		t.Fatalf("it ended with %d", code)
	}
	for what, v := range map[string]float64{
		"compile": m.Compile, "checked": m.Checked, "cold": m.Cold, "load": m.Load, "first": m.First, "isolated": m.Isolated,
		"reused": m.Reused, "fresh": m.Fresh, "bare": m.Bare, "by bare": m.VersusBare, "bare cold": m.BareCold,
		"metered": m.Metered, "written": m.Written, "by written": m.VersusWritten,
	} {
		if v <= 0 {
			t.Errorf("%s: %v", what, v)
		}
	}
	if m.Deployment == 0 { // which may be less, in a process whose other tests give memory back meanwhile
		t.Error("memory was not measured")
	}
	if m, _ = measure(file, "echo", "78"); m.Deployment != 0 || m.Metered != 0 || m.Isolated <= 0 {
		t.Errorf("without the flags: %+v", m)
	}
	for _, wrong := range [][]string{{file, "trap"}, {file, "nosuch"}, {file, "echo", "zz"}, {file}, {file + "x", "echo"}} {
		if _, code := measure(wrong...); code == 0 {
			t.Errorf("%q is measured", wrong)
		}
	}
}
