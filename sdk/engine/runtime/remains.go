package runtime

import "sync"

// remains are the instances of calls that were ended, which are closed behind the calls' replies. To close one costs an engine
// some system calls, which all wait for each other, and a tree of calls may leave a thousand at once: were they closed before
// the root returned it would do so long after its deadline. One goroutine closes them, and it is there only while there are
// any. Until one is closed its memory stays reserved and its module stays, so the budget of memory is also the bound of how
// many there are.
type remains struct {
	rt *Runtime

	mu      sync.Mutex
	left    []remain
	closing sync.WaitGroup
	busy    bool
}

// remain is one instance.
type remain struct {
	inst     Instance
	mod      *module
	reserved int64
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
	if !rs.busy {
		rs.busy = true
		rs.closing.Go(rs.close)
	}
}

// next takes one out.
func (rs *remains) next() (r remain, ok bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	n := len(rs.left)
	if n == 0 {
		rs.left, rs.busy = nil, false
		return r, false
	}
	r = rs.left[n-1]
	rs.left[n-1] = remain{}
	rs.left = rs.left[:n-1]
	return r, true
}

func (rs *remains) close() {
	for r, ok := rs.next(); ok; r, ok = rs.next() {
		rs.closeOne(r.inst)
		r.mod.stir(rs.rt.idle)
		rs.rt.budget.release(r.reserved)
		rs.rt.slots.freed()
		rs.rt.modules.give(r.mod)
	}
}

// closeOne closes an instance. A panic of an engine's costs that one, and not its process.
func (rs *remains) closeOne(inst Instance) {
	defer func() {
		if p := recover(); p != nil {
			_ = rs.rt.bug("closing an instance", p) // which logs it, and there is nobody left to tell
		}
	}()
	inst.Close()
}

// wait waits until all are closed. No call runs any more that could add one.
func (rs *remains) wait() { rs.closing.Wait() }
