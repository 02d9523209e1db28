package scheduler

import (
	"slices"
	"time"

	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

// fifo is the queue of waiting calls: push and pop at the ends, and removal from the middle, which leaves a hole.
type fifo struct {
	items []*call
	holes int
}

func (q *fifo) len() int { return len(q.items) - q.holes }

func (q *fifo) push(c *call) { q.items = append(q.items, c) }

func (q *fifo) remove(c *call) {
	for i, x := range q.items {
		if x == c {
			q.items[i] = nil
			q.holes++
			break
		}
	}
	q.compact()
}

// each visits the calls oldest first until goOn is false, and takes out those that f took.
func (q *fifo) each(f func(*call) (taken, goOn bool)) {
	for i, c := range q.items {
		if c == nil {
			continue
		}
		taken, goOn := f(c)
		if taken {
			q.items[i] = nil
			q.holes++
		}
		if !goOn {
			break
		}
	}
	q.compact()
}

func (q *fifo) compact() {
	i := 0
	for i < len(q.items) && q.items[i] == nil {
		i++
	}
	q.items = q.items[i:]
	q.holes -= i
	switch {
	case len(q.items) == 0:
		q.items = nil
	case q.holes > 64 && q.holes > len(q.items)/2:
		// The oldest waits for long while others come and go: without this the holes behind it would grow for ever.
		q.items = slices.DeleteFunc(q.items, func(c *call) bool { return c == nil })
		q.holes = 0
	}
}

// completed remembers ended calls by id, so that a client's re-send gets the answer instead of a second run. It is
// bounded in number, bytes and age; beyond the bytes the id is kept and the value is let go.
type completed struct {
	byID  map[hlc.ID]*ended
	ring  []*ended // oldest first
	light int      // how many of them, from the oldest on, have been relieved of their values
	bytes int64
}

type ended struct {
	id     hlc.ID
	target target
	out    outcome
	until  time.Time
	lost   bool
}

// answer is what a call gets that was sent again as s.
func (e *ended) answer(s callSpec) outcome {
	if !s.target.same(e.target) {
		return outcome{err: taken(s.id)}
	}
	if e.lost {
		return outcome{err: status.Errorf(status.Conflict,
			"call %s has already ended, and its result is no longer kept (scheduler.completed.bytes)", s.id)}
	}
	return e.out
}

func (d *completed) find(id hlc.ID, now time.Time) *ended {
	if e := d.byID[id]; e != nil && now.Before(e.until) {
		return e
	}
	return nil
}

func (d *completed) add(now time.Time, id hlc.ID, t target, out outcome, o coreOptions) {
	e := &ended{id: id, target: t, out: out, until: now.Add(o.CompletedFor)}
	d.byID[id] = e
	d.ring = append(d.ring, e)
	d.bytes += out.size()
	for len(d.ring) > o.Completed || (len(d.ring) > 0 && !now.Before(d.ring[0].until)) {
		d.forgetOldest()
	}
	for d.bytes > o.CompletedBytes && d.light < len(d.ring) {
		d.letGo(d.ring[d.light])
		d.light++
	}
}

func (d *completed) forgetOldest() {
	old := d.ring[0]
	d.ring[0] = nil // the array lives on for a while
	d.ring = d.ring[1:]
	d.bytes -= old.out.size()
	d.light = max(0, d.light-1)
	if d.byID[old.id] == old {
		delete(d.byID, old.id)
	}
}

// letGo drops the value of a call that had one.
func (d *completed) letGo(e *ended) {
	d.bytes -= e.out.size()
	e.lost = e.lost || e.out.size() > 0
	e.out = outcome{err: e.out.err}
}
