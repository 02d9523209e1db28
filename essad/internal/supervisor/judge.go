package supervisor

import (
	"context"
	"os"
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
	had fairTime // since it was reported
}

// judge decides about a process that has not ended a call in time: one that gives no sign of life within the grace is
// killed at once, one that does is given some more time. Time that it waits for a processor is not counted; for the sign of
// life to come about this process has to run, too, and so its time is not counted either.
//
// It also decides whose doing it is, for that has consequences. Where the process answers, each call that used up its time
// has shown that it cannot be ended. Where it does not, all of its calls stand still, and any may be late because of any
// other: only the one that was late first is named, and LateCall.Silent says what else is known of it.
func (p *supervised) judge(in *instance, first LateCall) {
	grace := max(in.grace, time.Millisecond)
	suspects := []suspect{{first, startFairTime(in.process.pid())}}
	ctx, cancel := context.WithCancel(p.ending) // who is being stopped is not judged any more
	defer cancel()
	alive, asked := make(chan struct{}), startFairTime(in.process.pid(), os.Getpid())
	in.pings.Go(func() {
		if in.conn.Ping(ctx) == nil {
			close(alive)
		}
	})
	for answered := false; ; time.Sleep(time.Millisecond) {
		suspects = in.owed(suspects)
		if len(suspects) == 0 || in.conn.Err() != nil || p.ending.Err() != nil {
			return // all have ended, or the process has, or is to
		}
		select {
		case <-alive:
			answered = true
		default:
		}
		var guilty []suspect
		switch {
		case answered:
			guilty = tooLate(suspects, latePatience*grace)
		default:
			if asked.passed(grace) && suspects[0].had.passed(grace) {
				guilty = suspects[:1]
			} else {
				asked.look()
			}
		}
		if len(guilty) > 0 {
			p.convict(in, guilty)
			return
		}
	}
}

// tooLate returns the calls that a process which answers has had time enough to end.
func tooLate(suspects []suspect, patience time.Duration) (out []suspect) {
	for _, s := range suspects {
		if s.had.passed(patience) {
			s.Silent = false // it has answered the ping
			out = append(out, s)
		}
	}
	return out
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
			out = append(out, suspect{l, startFairTime(in.process.pid())})
		default:
			return out
		}
	}
	return out
}

// convict kills the process because of some of its calls.
func (p *supervised) convict(in *instance, guilty []suspect) {
	for _, s := range guilty {
		p.log.Warn("a call did not end at its deadline", "call", s.Call.ID, "scope", s.Call.Scope, "module", s.Call.Module, "function", s.Call.Function)
	}
	in.process.kill("killed: a call did not end at its deadline")
	if p.killed == nil {
		return
	}
	for _, s := range guilty {
		p.killed(s.LateCall)
	}
}
