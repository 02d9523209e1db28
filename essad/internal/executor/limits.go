package executor

import (
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// limits are what calls may use here: what they get where they ask for nothing, and the most that they may ask for, of
// which 0 is as much as they like.
type limits struct {
	mu   sync.RWMutex
	own  engine.Limits
	most engine.Limits
}

// unlimited is the value of a limit that lifts it.
const unlimited = -1

// SetLimits changes what calls get that name nothing themselves, and the most that they may name.
func (r *Role) SetLimits(own, most engine.Limits) {
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	r.limits.own, r.limits.most = own, most
}

// limitsFor puts what a call asks for over the executor's limits.
func (r *Role) limitsFor(inv *essav1.Invocation, run bool) (engine.Limits, error) {
	l := inv.Limits
	d, err := r.limits.apply(l, run || inv.RunOutput)
	if err == nil && run && l.GetLog() == 0 {
		d.Log = unlimited // it goes to whoever asked for the run; what is kept of it is bounded elsewhere
	}
	return d, err
}

// apply returns the limits that come of what is asked for, or says what is too much of it. A run's output is its reader's, who takes
// as much as he likes; so no call of a run is held to most.Log.
func (b *limits) apply(l *essav1.Limits, run bool) (engine.Limits, error) {
	b.mu.RLock()
	d, most := b.own, b.most
	b.mu.RUnlock()
	if run {
		most.Log = 0
	}
	if l.GetStack() == 0 && d.Stack == 0 && most.Stack > 0 {
		d.Stack = min(engine.DefaultStack, most.Stack) // here 0 is no lifted limit, but the engine's own
	}
	for _, err := range []error{
		capped("memory", &d.Memory, l.GetMemory(), most.Memory),
		capped("wall_time", &d.WallTime, time.Duration(l.GetWallTimeNano()), most.WallTime),
		capped("fuel", &d.Fuel, l.GetFuel(), most.Fuel),
		capped("call_depth", &d.CallDepth, int(l.GetCallDepth()), most.CallDepth),
		capped("host_calls", &d.HostCalls, l.GetHostCalls(), most.HostCalls),
		capped("args", &d.Args, l.GetArgs(), most.Args),
		capped("result", &d.Result, l.GetResult(), most.Result),
		capped("log", &d.Log, l.GetLog(), most.Log),
		capped("log_line", &d.LogLine, l.GetLogLine(), most.LogLine),
		capped("handles", &d.Handles, int(l.GetHandles()), most.Handles),
		capped("stack", &d.Stack, l.GetStack(), most.Stack),
	} {
		if err != nil {
			return engine.Limits{}, err
		}
	}
	return d, nil
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// capped puts what is asked for over a limit. Where nothing is, and the limit is none, it is the most that there may be. What asks for
// more is denied: it has not exceeded a limit, for it has not run.
func capped[T int | int64 | time.Duration](name string, to *T, asked, most T) error {
	switch {
	case most > 0 && asked < 0:
		return status.Errorf(status.Denied, "no limit of %s is asked for, and at most %v may be (executor.max_limits.%s)", name, most, name)
	case most > 0 && asked > most:
		return status.Errorf(status.Denied, "a limit of %s of %v is asked for, and at most %v may be (executor.max_limits.%s)",
			name, asked, most, name)
	}
	set(to, asked)
	if most > 0 && *to <= 0 {
		*to = most
	}
	return nil
}
