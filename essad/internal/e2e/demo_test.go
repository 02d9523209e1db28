package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The ancestors' demo module, in Go: calls of its own functions through the engine, state merged by many of them.
func TestDemo(t *testing.T) {
	d := start(t)
	checkDemo(t, d.must("run", guest("test-function")))
}

// demoLines are how the lines begin that the demo prints.
var demoLines = []string{
	"Hello world from test function!",
	"Waiting for result...",
	"Function result: FOOBAR",
	"Storing a set in the kvs",
	"Waiting for result...",
	"Function result: FOOBAR",
	"Reading the set from the kvs",
	"Result: ",
	"Appending to the set in the kvs",
	"Waiting for result...",
	"Function result: 165000",
	"Reading the set from the kvs",
	"Result: ",
	"Running concurrent KVS test",
	"Reading the concurrent KVS test result set from the kvs",
	"DONE",
}

// A plugin that hangs in its handshake. It is here because it takes as long as a plugin may take to start, and the first of
// the parallel tests has the most time.
func TestStartHangingPlugin(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a plugin may take to start")
	}
	t.Parallel()
	refused(t, 69, []string{"wazero", "not ready in time"}, "--config", withEngine(t, fmt.Sprintf("path = %q", script(t, "sleep 1000"))))
}

// A run's state is its own and goes with it; a deployment's stays, whatever dies.
func TestStateSurvivesKill(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "hello", guest("hello"))
	names := []string{"Ada", "Grace", "Barbara"}
	for _, n := range names {
		d.must("call", "hello", "sign", "--arg", n)
	}
	d.kill()
	d.start()
	out := d.must("call", "hello", "guests")
	for _, n := range names {
		if !strings.Contains(out, n) {
			t.Errorf("after kill -9 the guests are %q, without %s", out, n)
		}
	}
	if out := d.must("kvs", "SCAN"); strings.Contains(out, "guest") {
		t.Errorf("a function's state shows among the command line's keys:\n%s", out)
	}
}

func TestCleanStop(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("kvs", "PUT", "a", "b")
	begin := time.Now()
	d.stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("an idle daemon took %v to stop", took)
	}
	d.start()
	if out := d.must("kvs", "GET", "a"); out != "b\n" {
		t.Fatalf("after a restart GET prints %q", out)
	}
}
