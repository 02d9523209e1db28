package executor

import (
	"cmp"
	"slices"
	"time"

	"github.com/essa-project/essad/sdk/client"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
)

// QuarantineLimits say when calls are refused because those before them made engines be killed.
type QuarantineLimits struct {
	Strikes int           // kills before it; 0 means never
	For     time.Duration // how long it lasts, and a strike counts
	Entries int           // of those with a strike that are remembered

	Executor string // set by New: who says so
}

// culprit is whose calls are counted together: a version of a deployment, or a module that was run without one.
type culprit struct {
	deployment, version, module string
}

func culpritOf(inv *essav1.Invocation) culprit {
	if inv.Deployment == "" {
		return culprit{module: inv.Module}
	}
	return culprit{deployment: inv.Deployment, version: inv.Version}
}

// affinity is what decides where calls go: all versions of a deployment share its state.
func (w culprit) affinity() string { return cmp.Or(w.deployment, w.module) }

// quarantine is pure: it is told the time, and holds no lock of its own.
//
// Why is it not kept on disk? A strike says what a guest did to a process of this executor, with this machine and this
// version of the engine; whoever restarts the executor has often changed one of them, or wants to see whether it is over.
// Forgetting costs as many processes more as strikes lead to quarantine, in the time of as many deadlines; what is kept would
// refuse a deployment without a process that anybody saw die.
type quarantine struct {
	limits  QuarantineLimits
	grudges map[culprit]*grudge
	strikes uint64 // in all
	refused uint64 // calls
}

// grudge is what is held against somebody.
type grudge struct {
	strikes    int
	since, end time.Time // of the quarantine; zero while there is none
	last       time.Time // strike
	module     string    // of the last strike
	function   string
	engine     string
}

func newQuarantine(l QuarantineLimits) quarantine {
	return quarantine{limits: l, grudges: map[culprit]*grudge{}}
}

// strike notes that a call cost a process. The result tells where that leaves whose call it was; Until is 0 where that is
// not in quarantine.
func (q *quarantine) strike(now time.Time, f *inFlight) *essav1.Quarantine {
	q.strikes++
	r := q.find(now, f.who)
	if r == nil {
		q.makeRoom(now)
		r = &grudge{}
		q.grudges[f.who] = r
	}
	r.strikes++
	r.last, r.module, r.function, r.engine = now, f.call.Module, f.call.Function, f.shard.engine.name
	if n := q.limits.Strikes; n > 0 && r.strikes >= n {
		if r.since.IsZero() {
			r.since = now
		}
		r.end = now.Add(q.limits.For)
	}
	return q.entry(f.who, r)
}

// find returns the record of somebody, which is dropped when its time is over.
func (q *quarantine) find(now time.Time, who culprit) *grudge {
	r := q.grudges[who]
	if r != nil && !now.Before(q.over(r)) {
		delete(q.grudges, who)
		return nil
	}
	return r
}

// over is when a record counts no more.
func (q *quarantine) over(r *grudge) time.Time { return r.last.Add(q.limits.For) }

// makeRoom drops what is over, and the oldest where that is not enough.
func (q *quarantine) makeRoom(now time.Time) {
	if len(q.grudges) < max(q.limits.Entries, 1) {
		return
	}
	var oldest culprit
	var when time.Time
	for who, r := range q.grudges {
		switch {
		case !now.Before(q.over(r)):
			delete(q.grudges, who)
		case when.IsZero() || r.last.Before(when):
			oldest, when = who, r.last
		}
	}
	if len(q.grudges) >= max(q.limits.Entries, 1) {
		delete(q.grudges, oldest)
	}
}

// check refuses those in quarantine.
func (q *quarantine) check(now time.Time, who culprit) error {
	if len(q.grudges) == 0 {
		return nil
	}
	r := q.find(now, who)
	if r == nil || r.end.IsZero() {
		return nil
	}
	q.refused++
	return client.QuarantineError(q.entry(who, r))
}

// lift forgets what is held against all that name means: a deployment, or a module by at least 12 digits of its hash.
func (q *quarantine) lift(name string) (lifted []*essav1.Quarantine) {
	for who, r := range q.grudges {
		if who.deployment == name || who.deployment == "" && len(name) >= 12 && len(name) <= len(who.module) && who.module[:len(name)] == name {
			lifted = append(lifted, q.entry(who, r))
			delete(q.grudges, who)
		}
	}
	return lifted
}

// list tells who is in quarantine.
func (q *quarantine) list(now time.Time) []*essav1.Quarantine {
	var out []*essav1.Quarantine
	for who := range q.grudges {
		if r := q.find(now, who); r != nil && !r.end.IsZero() {
			out = append(out, q.entry(who, r))
		}
	}
	slices.SortFunc(out, func(a, b *essav1.Quarantine) int {
		return cmp.Or(cmp.Compare(a.SinceUnixNano, b.SinceUnixNano), cmp.Compare(a.Deployment, b.Deployment), cmp.Compare(a.Version, b.Version))
	})
	return out
}

func (q *quarantine) entry(who culprit, r *grudge) *essav1.Quarantine {
	e := &essav1.Quarantine{
		Deployment: who.deployment, Version: who.version, Module: r.module, Function: r.function, Engine: r.engine,
		Strikes: int32(r.strikes), Executor: q.limits.Executor,
	}
	if !r.end.IsZero() {
		e.SinceUnixNano, e.UntilUnixNano = r.since.UnixNano(), r.end.UnixNano()
	}
	return e
}
