package runtime

import (
	"sync"
	"time"
)

// remains are the instances of calls that were ended, which are closed behind the calls' replies. To close one costs an engine
// some system calls, which all wait for each other, and a tree of calls may leave a thousand at once: were they closed before
// the root returned it would do so long after its deadline. One goroutine closes them, and it is there only while there are
// any. Until one is closed its memory stays reserved and its module stays, so the budget of memory is also the bound of how
// many there are; who finds no memory left closes some of them himself.
type remains struct {
	rt   *Runtime
	most time.Duration // of patience

	mu      sync.Mutex
	left    []remain
	orphans []*module // of those that were closed by others than the goroutine
	taken   int       // those that somebody is closing
	closed  uint64    // how many have been, ever
	one     sync.Cond // has been closed
	busy    bool
	closing sync.WaitGroup
}

// remain is one instance.
type remain struct {
	inst     Instance
	mod      *module
	root     *Guest // the call from outside that it was for
	reserved int64
}

func newRemains(rt *Runtime) *remains {
	rs := &remains{rt: rt, most: mostPatience}
	rs.one.L = &rs.mu
	return rs
}

// add has an instance closed. It takes over the instance and what is reserved for it; its module is in use.
func (rs *remains) add(r remain) {
	ms := rs.rt.modules
	ms.mu.Lock()
	r.mod.refs++
	ms.mu.Unlock()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.left = append(rs.left, r)
	rs.work()
}

// work sees to it that somebody does what there is to do. The lock is held.
func (rs *remains) work() {
	if !rs.busy {
		rs.busy = true
		rs.closing.Go(rs.close)
	}
}

func (rs *remains) close() {
	p := patience{most: rs.most}
	for {
		r, m := rs.next(&p)
		switch {
		case m == nil:
			return
		case r.inst != nil:
			rs.free(r)
		}
		m.stir(rs.rt.idle)
		rs.rt.slots.freed()
		rs.rt.modules.give(m)
	}
}

// next returns an instance to close, or none and the module of one that is closed. The last one's is nil.
func (rs *remains) next(p *patience) (remain, *module) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for {
		if n := len(rs.orphans); n > 0 {
			m := rs.orphans[n-1]
			rs.orphans = rs.orphans[:n-1]
			return remain{}, m
		}
		n := len(rs.left)
		if n == 0 {
			rs.left, rs.orphans, rs.busy = nil, nil, false
			return remain{}, nil
		}
		if root := rs.left[n-1].root; !root.ended.Load() || root.returned.Load() || !p.left() {
			r := rs.pop()
			return r, r.mod
		}
		rs.mu.Unlock()
		p.wait()
		rs.mu.Lock()
	}
}

// pop takes one out; free must follow. The lock is held.
func (rs *remains) pop() remain {
	n := len(rs.left) - 1
	r := rs.left[n]
	rs.left[n] = remain{}
	rs.left = rs.left[:n]
	rs.taken++
	return r
}

// patience is how long the instances of a call that was ended are left as they are, for it to return first: the processors are
// then its. Such a call returns within some milliseconds; nobody waits for one that does not, and not always for some.
type patience struct {
	most  time.Duration
	spent time.Duration
	last  time.Time // some was spent
}

const (
	mostPatience = 20 * time.Millisecond
	oncePatience = 500 * time.Microsecond
)

// left tells whether there is any. It comes back while nobody waits.
func (p *patience) left() bool {
	if time.Since(p.last) >= p.most {
		p.spent = 0
	}
	return p.spent < p.most
}

func (p *patience) wait() {
	began := time.Now()
	time.Sleep(oncePatience)
	p.last = time.Now()
	p.spent += p.last.Sub(began)
}

// free closes an instance and releases its memory. A panic of an engine's costs that instance, and not its process.
func (rs *remains) free(r remain) {
	defer func() {
		if p := recover(); p != nil {
			_ = rs.rt.bug("closing an instance", p) // which logs it, and there is nobody left to tell
		}
		rs.rt.budget.release(r.reserved)
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.taken--
		rs.closed++
		rs.one.Broadcast()
	}()
	r.inst.Close()
}

// shed closes instances until n bytes of the budget are free that were not, or none is left. It returns whether any was closed.
// Its caller may hold the lock of slots, so the rest is left to the goroutine.
func (rs *remains) shed(n int64) (any bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for ; n > 0 && len(rs.left) > 0; any = true {
		r := rs.pop()
		rs.mu.Unlock()
		rs.free(r)
		rs.mu.Lock()
		n -= r.reserved
		rs.orphans = append(rs.orphans, r.mod)
		rs.work()
	}
	if any || rs.taken == 0 {
		return any
	}
	for before := rs.closed; rs.closed == before; { // what others are closing is as good
		rs.one.Wait()
	}
	return true
}

// wait waits until all are closed. No call runs any more that could add one.
func (rs *remains) wait() { rs.closing.Wait() }
