package executor

import (
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

func TestLimitsAskedFor(t *testing.T) {
	own := engine.Limits{Memory: 100, CallDepth: 10, HostCalls: 1000, Result: 50, Log: 70, Args: 5}
	most := engine.Limits{Memory: 200, WallTime: time.Second, CallDepth: 10, HostCalls: 1000, Result: 50, Log: 80, Fuel: 9}
	rest := engine.Limits{Args: 6, LogLine: 7, Handles: 8, Stack: engine.DefaultStack + 1}
	got := func(change func(*engine.Limits)) engine.Limits {
		want := own
		change(&want)
		return want
	}
	for _, c := range []struct {
		name string
		most engine.Limits
		ask  *essav1.Limits
		run  bool
		want engine.Limits
		fail []string // what the text has: the limit, what is asked for, and the most
	}{
		{name: "no cap", ask: &essav1.Limits{Memory: 1 << 40, Fuel: -1, Args: 9}, want: got(func(l *engine.Limits) {
			l.Memory, l.Fuel, l.Args = 1<<40, -1, 9
		})},
		{name: "nothing asked: no limit becomes the most", most: most, want: got(func(l *engine.Limits) {
			l.WallTime, l.Fuel = time.Second, 9
		})},
		{name: "as much as there may be", most: most, ask: &essav1.Limits{
			Memory: 200, WallTimeNano: 1e9, CallDepth: 10, HostCalls: 1000, Result: 50, Log: 80, Fuel: 9,
		}, want: engine.Limits{Memory: 200, WallTime: time.Second, CallDepth: 10, HostCalls: 1000, Result: 50, Log: 80, Fuel: 9, Args: 5}},
		{name: "less", most: most, ask: &essav1.Limits{Memory: 1, WallTimeNano: 2, Fuel: 3}, want: got(func(l *engine.Limits) {
			l.Memory, l.WallTime, l.Fuel = 1, 2, 3
		})},
		{name: "memory", most: most, ask: &essav1.Limits{Memory: 201}, fail: []string{"memory", "201", "200", "executor.max_limits.memory"}},
		{name: "no memory limit", most: most, ask: &essav1.Limits{Memory: -1}, fail: []string{"memory", "no limit", "200", "executor.max_limits.memory"}},
		{name: "wall time", most: most, ask: &essav1.Limits{WallTimeNano: 2e9}, fail: []string{"wall_time", "2s", "1s"}},
		{name: "depth", most: most, ask: &essav1.Limits{CallDepth: 11}, fail: []string{"call_depth", "11", "10"}},
		{name: "host calls", most: most, ask: &essav1.Limits{HostCalls: 1001}, fail: []string{"host_calls", "1001", "1000"}},
		{name: "result", most: most, ask: &essav1.Limits{Result: 51}, fail: []string{"result", "51", "50"}},
		{name: "log", most: most, ask: &essav1.Limits{Log: 81}, fail: []string{"log", "81", "80"}},
		{name: "a run's output is its reader's", most: most, run: true, ask: &essav1.Limits{Log: -1}, want: got(func(l *engine.Limits) {
			l.Log, l.WallTime, l.Fuel = -1, time.Second, 9
		})},
		{name: "the rest: nothing asked", most: rest, want: got(func(l *engine.Limits) {
			l.LogLine, l.Handles, l.Stack = 7, 8, engine.DefaultStack
		})},
		{name: "little stack: nothing asked", most: engine.Limits{Stack: 9}, want: got(func(l *engine.Limits) { l.Stack = 9 })},
		{name: "the rest: as much as there may be", most: rest, ask: &essav1.Limits{
			Args: 6, LogLine: 7, Handles: 8, Stack: engine.DefaultStack + 1,
		}, want: got(func(l *engine.Limits) { l.Args, l.LogLine, l.Handles, l.Stack = 6, 7, 8, engine.DefaultStack+1 })},
		{name: "args", most: rest, ask: &essav1.Limits{Args: 9}, fail: []string{"args", "9", "6", "executor.max_limits.args"}},
		{name: "log line", most: rest, run: true, ask: &essav1.Limits{LogLine: 9}, fail: []string{"log_line", "9", "7", "executor.max_limits.log_line"}},
		{name: "handles", most: rest, ask: &essav1.Limits{Handles: 9}, fail: []string{"handles", "9", "8", "executor.max_limits.handles"}},
		{name: "no limit of handles", most: rest, ask: &essav1.Limits{Handles: -1}, fail: []string{"handles", "no limit", "8"}},
		{name: "stack", most: rest, ask: &essav1.Limits{Stack: 1 << 30}, fail: []string{"stack", "1073741824", "16777217", "executor.max_limits.stack"}},
		{name: "fuel", most: most, run: true, ask: &essav1.Limits{Fuel: 10}, fail: []string{"fuel", "10", "9"}},
	} {
		l := limits{own: own, most: c.most}
		have, err := l.apply(c.ask, c.run)
		if len(c.fail) == 0 {
			if err != nil || have != c.want {
				t.Errorf("%s: %+v, %v; want %+v", c.name, have, err, c.want)
			}
			continue
		}
		if status.Of(err) != status.Denied {
			t.Errorf("%s: %v is not denied", c.name, err)
			continue
		}
		for _, want := range c.fail {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
}
