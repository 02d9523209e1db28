package runtime

import (
	"sync"
	"sync/atomic"
	"time"
)

// Some engines' instances are heavy: a copy of the module's code is in each, or much memory is only there to make them of. They
// are worth that while calls come. After Settings.ParkedTime without one there is nothing left of a function but its snapshot
// and what is known of its module, and the next call makes an instance again.
//
// Why by time, where parked instances have bounds of memory already? Those bound an engine whose functions are all in use. Most
// functions of most deployments are not, and a thousand of them have to fit.

// lightBytes is what an instance may take beside its memory and tables to wait for as long as others need no room.
const lightBytes = 200 << 10

// idle gives back what heavy instances and modules take that nobody has used for a while. There is one timer for all of them,
// which runs only where there are any.
type idle struct {
	rt    *Runtime
	after time.Duration // negative: never
	timer *time.Timer
	armed atomic.Bool

	mu     sync.Mutex // held while it gives back
	closed bool
}

func newIdle(rt *Runtime, after time.Duration) *idle {
	d := &idle{rt: rt, after: after}
	d.timer = time.AfterFunc(time.Hour, d.fire)
	d.timer.Stop()
	return d
}

// arm sees to it that something is looked after that was used now. Its caller may hold any lock but idle's.
func (d *idle) arm() { d.armIn(d.after) }

func (d *idle) armIn(after time.Duration) {
	if d.after >= 0 && d.armed.CompareAndSwap(false, true) {
		d.timer.Reset(after)
	}
}

func (d *idle) fire() {
	d.armed.Store(false)
	if next := d.rest(d.after); next >= 0 {
		d.armIn(next)
	}
}

// rest gives back what has not been used for so long. It returns when to look again; negative: there is nothing left.
func (d *idle) rest(after time.Duration) (next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return -1
	}
	limit := time.Now().Add(-after)
	oldest := d.rt.pools.closeIdle(limit)
	if made := d.rt.modules.restIdle(limit); oldest.IsZero() || !made.IsZero() && made.Before(oldest) {
		oldest = made
	}
	if oldest.IsZero() {
		return -1
	}
	return max(oldest.Sub(limit), d.after/16, time.Millisecond)
}

// stop waits for what is under way.
func (d *idle) stop() {
	d.timer.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// heavy tells whether a module's instances are.
func (m *module) heavy() bool { return m.weight > lightBytes }

// stir notes that an instance of the module was made or closed, after which its Code has something to give back.
func (m *module) stir(d *idle) {
	if m.rests == nil {
		return
	}
	m.stirred.Store(time.Now().UnixNano())
	d.arm()
}

// closeIdle closes heavy instances that have waited since limit. It returns since when the next one does; zero: there is none.
func (ps *pools) closeIdle(limit time.Time) (oldest time.Time) {
	var evicted []*resident
	ps.mu.Lock()
	for r := ps.oldest; r != nil; {
		next := r.newer
		switch {
		case !r.pool.mod.heavy():
		case r.since.After(limit):
			if oldest.IsZero() { // the list is in the order of that
				oldest = r.since
			}
		default:
			ps.unlink(r)
			r.pool.remove(r)
			if s := r.pool.snap; s != nil && s.image != nil { // while the lock is held the pool has it
				s.image.Rest()
			}
			evicted = append(evicted, r)
		}
		r = next
	}
	ps.mu.Unlock()
	for _, r := range evicted {
		ps.closeOne(r)
		if m := r.pool.mod; m.rests != nil {
			m.stirred.CompareAndSwap(0, 1) // long ago: it can rest at once
		}
	}
	return oldest
}

// restIdle has modules rest of which no instance was made or closed since limit. It returns since when the next one is one;
// zero: there is none.
func (ms *modules) restIdle(limit time.Time) (oldest time.Time) {
	var still []*module
	ms.mu.Lock()
	for e := ms.order.Front(); e != nil; e = e.Next() {
		m := e.Value.(*module)
		stirred := m.stirred.Load()
		switch at := time.Unix(0, stirred); {
		case stirred == 0:
		case !at.After(limit):
			m.refs++
			m.stirred.Store(0)
			still = append(still, m)
		case oldest.IsZero() || at.Before(oldest):
			oldest = at
		}
	}
	ms.mu.Unlock()
	for _, m := range still {
		m.rests.Rest()
		ms.give(m)
	}
	return oldest
}
