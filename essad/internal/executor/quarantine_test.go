package executor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// court is a core with calls in it.
type court struct {
	t *testing.T
	*core
	e *engineState
	n byte
}

func newCourt(t *testing.T, l QuarantineLimits) *court {
	return &court{t: t, core: newCore(100, 4, l), e: stateOf(1)}
}

func (c *court) begin(now time.Time, deployment, version string) (*inFlight, error) {
	c.n++
	call := &engine.Call{ID: hlc.ID{c.n}, Root: hlc.ID{c.n}, Module: "abcdefabcdefabcdef", Function: "f", Deadline: now.Add(time.Second)}
	return c.admit(now, call, c.e, &essav1.Invocation{Deployment: deployment, Version: version, Module: call.Module})
}

// kill begins a call that misses its deadline, by which its process is killed.
func (c *court) kill(now time.Time, deployment, version string) *essav1.Quarantine {
	c.t.Helper()
	f, err := c.begin(now, deployment, version)
	if err != nil {
		c.t.Fatal(err)
	}
	c.end(f, status.Errorf(status.Deadline, "late"))
	return c.strike(now, c.e.shards[0], Kill{Call: f.call})
}

func (c *court) refused(now time.Time, deployment, version string) bool {
	c.t.Helper()
	f, err := c.begin(now, deployment, version)
	if err == nil {
		c.end(f, nil)
		return false
	}
	if status.Of(err) != status.Denied || status.DetailOf(err) != client.DetailQuarantine {
		c.t.Errorf("refused with %v (%s)", err, status.Code(err))
	}
	return true
}

var usual = QuarantineLimits{Strikes: 2, For: time.Minute, Entries: 3, Executor: "e"}

func TestTwoStrikes(t *testing.T) {
	c := newCourt(t, usual)
	if q := c.kill(t0, "shop", "1"); q == nil || q.UntilUnixNano != 0 || c.refused(t0, "shop", "1") {
		t.Fatalf("after one: %v", q)
	}
	at := t0.Add(30 * time.Second)
	q := c.kill(at, "shop", "1")
	if q == nil || q.UntilUnixNano != at.Add(time.Minute).UnixNano() || q.Strikes != 2 || q.Executor != "e" || q.Engine != "fake" || q.Function != "f" {
		t.Fatalf("after two: %v", q)
	}
	if !c.refused(at, "shop", "1") || !c.refused(at.Add(59*time.Second), "shop", "1") {
		t.Error("its calls are not refused")
	}
	if c.refused(at, "shop", "2") || c.refused(at, "", "") || c.refused(at, "other", "1") {
		t.Error("others are refused")
	}
	if l := c.quarantine.list(at); len(l) != 1 || l[0].Deployment != "shop" || l[0].Version != "1" {
		t.Errorf("list: %v", l)
	}
	if over := at.Add(time.Minute); c.refused(over, "shop", "1") || len(c.quarantine.list(over)) != 0 {
		t.Error("it lasts for ever")
	}
	// And begins from nothing.
	if q := c.kill(at.Add(time.Minute), "shop", "1"); q.Strikes != 1 {
		t.Errorf("a strike after a quarantine: %v", q)
	}
	if c.quarantine.strikes != 3 || c.quarantine.refused != 2 {
		t.Errorf("counted %d strikes and %d refused calls", c.quarantine.strikes, c.quarantine.refused)
	}
}

func TestOldStrikesDoNotCount(t *testing.T) {
	c := newCourt(t, usual)
	c.kill(t0, "shop", "1")
	if q := c.kill(t0.Add(time.Minute), "shop", "1"); q.Strikes != 1 {
		t.Errorf("%v", q)
	}
}

func TestLift(t *testing.T) {
	c := newCourt(t, usual)
	for _, version := range []string{"1", "2"} {
		c.kill(t0, "shop", version)
		c.kill(t0, "shop", version)
	}
	if l := c.quarantine.lift("sho"); len(l) != 0 {
		t.Errorf("lifted by a part of a name: %v", l)
	}
	if l := c.quarantine.lift("shop"); len(l) != 2 || c.refused(t0, "shop", "1") || c.refused(t0, "shop", "2") {
		t.Errorf("lifted %v", l)
	}
	c.kill(t0, "", "")
	c.kill(t0, "", "")
	if !c.refused(t0, "", "") {
		t.Error("a module that runs without a deployment is not refused")
	}
	if l := c.quarantine.lift("abcdefabcde"); len(l) != 0 {
		t.Errorf("lifted by 11 digits: %v", l)
	}
	if l := c.quarantine.lift("abcdefabcdef"); len(l) != 1 || c.refused(t0, "", "") {
		t.Errorf("lifted %v", l)
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	c := newCourt(t, usual)
	for i := range 10 {
		c.kill(t0.Add(time.Duration(i)*time.Second), fmt.Sprintf("d%d", i), "1")
		if n := len(c.quarantine.grudges); n > 3 {
			t.Fatalf("%d are remembered", n)
		}
	}
	// The newest are.
	if q := c.kill(t0.Add(10*time.Second), "d9", "1"); q.Strikes != 2 {
		t.Errorf("%v", q)
	}
	if q := c.kill(t0.Add(10*time.Second), "d0", "1"); q.Strikes != 1 {
		t.Errorf("%v", q)
	}
}

func TestNoQuarantineByOption(t *testing.T) {
	c := newCourt(t, QuarantineLimits{Strikes: 0, For: time.Minute, Entries: 3})
	for range 10 {
		c.kill(t0, "shop", "1")
	}
	if c.refused(t0, "shop", "1") {
		t.Error("refused, although that is turned off")
	}
}

// A call that is late only because its process stood still already when it came is not counted, and neither is one that
// nobody knows of.
func TestInnocents(t *testing.T) {
	c := newCourt(t, usual)
	hog, err := c.begin(t0, "hog", "1")
	if err != nil {
		t.Fatal(err)
	}
	victim, err := c.begin(t0, "victim", "1")
	if err != nil {
		t.Fatal(err)
	}
	c.end(victim, status.Errorf(status.Deadline, "late"))
	s := c.e.shards[0]
	if q := c.strike(t0, s, Kill{Call: victim.call, Silent: true}); q != nil {
		t.Errorf("the victim of a process that stands still: %v", q)
	}
	if q := c.strike(t0, s, Kill{Call: hog.call, Silent: true}); q == nil {
		t.Error("the oldest call of a process that stands still does not count")
	}
	if q := c.strike(t0, s, Kill{Call: victim.call}); q == nil {
		t.Error("a late call of a process that has answered since does not count")
	}
	// Where the process has done something after the older call came, that one is no excuse.
	s.Process.(*fakeEngine).progress.Add(1)
	late, err := c.begin(t0, "late", "1")
	if err != nil {
		t.Fatal(err)
	}
	if q := c.strike(t0, s, Kill{Call: late.call, Silent: true}); q == nil {
		t.Error("a call with which the process came to a standstill does not count")
	}
	if q := c.strike(t0, s, Kill{Call: &engine.Call{ID: hlc.ID{99}}}); q != nil {
		t.Errorf("a call that nobody knows: %v", q)
	}
	if q := c.strike(t0, s, Kill{Call: &engine.Call{ID: victim.call.ID}}); q != nil {
		t.Errorf("another call with its id: %v", q)
	}
	if len(c.quarantine.list(t0)) != 0 {
		t.Error("somebody is in quarantine after one strike")
	}
}

// The whole way: two calls are late and reported, the third is refused at once, the report says so, and lifting ends it.
func TestQuarantineOfARole(t *testing.T) {
	var killed func(Kill)
	r := newRig(t, 4, func(_ context.Context, _ engine.Border, c *engine.Call) (*engine.Result, error) {
		if c.Function == "g" {
			return &engine.Result{}, nil
		}
		killed(Kill{Call: c})
		return nil, status.Errorf(status.Deadline, "late")
	})
	killed = r.engine.killed
	bad := func() *essav1.Invocation { return invocation(func(i *essav1.Invocation) { i.Version = "v1" }) }
	for range 2 {
		if _, _, err := r.call(bad()); status.Of(err) != status.Deadline {
			t.Fatalf("%v", err)
		}
	}
	_, _, err := r.call(bad())
	for _, want := range []string{"shop", "version v1", "2 processes", "f, in engine \"fake\" of executor \"e\"", "essad quarantine lift shop"} {
		if status.Code(err) != "denied/quarantine" || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v (%s), which does not say %q", err, status.Code(err), want)
		}
	}
	if _, _, err := r.call(invocation(func(i *essav1.Invocation) { i.Version, i.Function = "v2", "g" })); err != nil {
		t.Errorf("another version: %v", err)
	}
	info := r.role.Info()
	if len(info.Quarantine) != 1 || info.Strikes != 2 || info.Refused != 1 || info.Quarantine[0].Executor != "e" {
		t.Errorf("report: %v", info)
	}
	raw, _ := proto.Marshal(&essav1.NameRequest{Name: "shop"})
	s, err := transport.Ask(t.Context(), r.s, transport.Selector{KeyExpr: topic.Default.ExecutorLift("e")}, transport.GetOptions{Payload: raw})
	var out essav1.LiftReply
	if err != nil || proto.Unmarshal(s.Payload, &out) != nil || len(out.Lifted) != 1 || out.Lifted[0].Version != "v1" {
		t.Fatalf("lift: %v, %v", &out, err)
	}
	if len(r.role.Info().Quarantine) != 0 {
		t.Error("it is not lifted")
	}
}
