package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

func versioned(n byte, version string) callSpec {
	s := spec(n)
	s.target.version = version
	return s
}

// What one executor refuses is refused here, whichever executor has room, until the time is over or it is lifted.
func TestQuarantine(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", []string{"wazero"}, 10, nil)
	c.executorInfo(t0, "b", []string{"wazero"}, 10, nil)
	shop := &essav1.Quarantine{Deployment: "shop", Version: "1", Strikes: 2, UntilUnixNano: t0.Add(time.Minute).UnixNano(), Executor: "a"}
	c.executorQuarantine("a", []*essav1.Quarantine{shop, {Module: "m", UntilUnixNano: shop.UntilUnixNano}})
	c.executorQuarantine("unknown", []*essav1.Quarantine{shop})

	refused := func(now time.Time, s callSpec) bool {
		t.Helper()
		cl, d := c.submit(now, s)
		if d.do == dispatch {
			c.finished(now, cl, outcome{})
			return false
		}
		mustDo(t, d, end)
		if status.Of(d.out.err) != status.Denied || status.DetailOf(d.out.err) != client.DetailQuarantine {
			t.Errorf("refused with %v", d.out.err)
		}
		return true
	}
	if !refused(t0, versioned(1, "1")) || refused(t0, versioned(2, "2")) {
		t.Error("the version in quarantine is taken, or another is not")
	}
	run := callSpec{id: hlc.ID{3}, kind: "run", target: target{module: "m"}}
	if !refused(t0, run) {
		t.Error("a module in quarantine is run")
	}
	nested := versioned(4, "1")
	nested.kind = "nested"
	if !refused(t0, nested) {
		t.Error("a nested call of what is in quarantine is taken")
	}
	if refused(t0.Add(time.Minute), versioned(5, "1")) {
		t.Error("it is refused when the time is over")
	}
	if c.stats.Quarantined != 3 {
		t.Errorf("counted %d", c.stats.Quarantined)
	}
	c.lift([]*essav1.Quarantine{shop})
	if refused(t0, versioned(6, "1")) || !refused(t0, run) {
		t.Error("lifting one lifts nothing, or all")
	}
	c.executorQuarantine("a", nil)
	if refused(t0, run) {
		t.Error("a report without it does not end it")
	}
}

// The refusal of an executor is final: no other one is asked.
func TestQuarantineIsNotRetried(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", []string{"wazero"}, 10, nil)
	c.executorInfo(t0, "b", []string{"wazero"}, 10, nil)
	s := spec(1)
	s.always = true
	cl, d := c.submit(t0, s)
	mustDo(t, d, dispatch)
	d, _ = c.finished(t0, cl, outcome{err: client.QuarantineError(&essav1.Quarantine{Deployment: "shop"})})
	mustDo(t, d, end)
}

// A call goes only where its engine is; where nobody has it the error says which there are.
func TestEngines(t *testing.T) {
	c := testCore(coreOptions{})
	c.executorInfo(t0, "a", []string{"wazero"}, 10, nil)
	c.executorInfo(t0, "b", []string{"wasmtime", "spare"}, 10, nil)
	for n := range byte(20) {
		s := spec(n)
		s.target.engine = "spare"
		cl, d := c.submit(t0, s)
		if mustDo(t, d, dispatch); d.executor != "b" {
			t.Fatalf("sent to %q", d.executor)
		}
		c.finished(t0, cl, outcome{})
	}
	s := spec(50)
	s.target.engine = "wasmedge"
	_, d := c.submit(t0, s)
	mustDo(t, d, end)
	if err := d.out.err; status.Of(err) != status.NotFound || !strings.Contains(err.Error(), `"wasmedge"; there are: spare, wasmtime, wazero`) {
		t.Errorf("%v", err)
	}
}

func TestIsolationInAManifest(t *testing.T) {
	version := func(isolation, warmUp string) string {
		t.Helper()
		m := &essav1.Manifest{Name: "shop", Module: "m", Isolation: isolation, WarmUp: warmUp}
		if err := checkIsolation(m); err != nil {
			t.Fatalf("%q, %q: %v", isolation, warmUp, err)
		}
		v, err := versionOf(m)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	seen := map[string]bool{}
	for _, m := range [][2]string{{"", ""}, {"fresh", ""}, {"instance", ""}, {"", "prepare"}, {"instance", "prepare"}} {
		seen[version(m[0], m[1])] = true
	}
	if len(seen) != 5 {
		t.Errorf("five manifests have %d versions", len(seen))
	}
	if version("snapshot", "") != version("", "") {
		t.Error("to write the default makes another version")
	}
	for _, m := range []*essav1.Manifest{
		{Isolation: "none"}, {Isolation: "Fresh"}, {Isolation: "fresh", WarmUp: "prepare"}, {WarmUp: strings.Repeat("x", 1025)},
	} {
		if err := checkIsolation(m); status.Of(err) != status.Invalid {
			t.Errorf("%q, %.20q: %v", m.Isolation, m.WarmUp, err)
		}
	}
}
