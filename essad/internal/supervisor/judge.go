package supervisor

import (
	"context"
	"time"

	"github.com/essa-project/essad/sdk/plugin"
)

// LateCall is a call whose deadline has passed and which its engine has not ended.
type LateCall = plugin.LateCall

// maxLate bounds the late calls that are looked at together. Those beyond it are not, and need not: they are in the same
// process, and one is enough.
const maxLate = 64

// latePatience is how many times its grace a process that still answers may take to end a call whose deadline has passed.
// On a busy machine its gentler stops are late and not lost, and killing it costs all of its calls.
const latePatience = 20

// suspect is a late call that is being looked at.
type suspect struct {
	LateCall
	since time.Time
}

// judge decides about a process that has not ended a call in time: one that gives no sign of life within the grace is
// killed at once, one that does is given some more time.
//
// It also decides whose doing it is, for that has consequences. Where the process answers, each call that used up its time
// has shown that it cannot be ended. Where it does not, all of its calls stand still, and any may be late because of any
// other: only the one that was late first is named, and LateCall.Silent says what else is known of it.
func (p *supervised) judge(in *instance, first LateCall) {
	grace := max(in.grace, time.Millisecond)
	suspects := []suspect{{first, time.Now()}}
	ctx, cancel := context.WithTimeout(p.ending, grace) // who is being stopped is not judged any more
	err := in.conn.Ping(ctx)
	cancel()
	if err != nil {
		if first.Owed() && p.ending.Err() == nil {
			p.convict(in, suspects)
		}
		return
	}
	for patience := latePatience * grace; ; time.Sleep(time.Millisecond) {
		suspects = in.owed(suspects)
		if len(suspects) == 0 {
			return
		}
		if in.conn.Err() != nil || p.ending.Err() != nil {
			return // it ended by itself, or is to
		}
		var guilty []suspect
		for _, s := range suspects {
			if time.Since(s.since) >= patience {
				s.Silent = false // it has answered the ping
				guilty = append(guilty, s)
			}
		}
		if len(guilty) > 0 {
			p.convict(in, guilty)
			return
		}
	}
}

// owed returns the late calls that have not ended, those reported meanwhile included.
func (in *instance) owed(had []suspect) []suspect {
	var out []suspect
	for _, s := range had {
		if s.Owed() {
			out = append(out, s)
		}
	}
	for len(out) < maxLate {
		select {
		case l := <-in.late:
			out = append(out, suspect{l, time.Now()})
		default:
			return out
		}
	}
	return out
}

// convict kills the process because of some of its calls.
func (p *supervised) convict(in *instance, guilty []suspect) {
	for _, s := range guilty {
		p.log.Warn("a call did not end at its deadline", "call", s.Call.ID, "module", s.Call.Module, "function", s.Call.Function)
	}
	in.process.kill("killed: a call did not end at its deadline")
	if p.killed == nil {
		return
	}
	for _, s := range guilty {
		p.killed(s.LateCall)
	}
}
