package zenoh

import (
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/internal/self"
)

// maxIdleRunners bounds the goroutines of a node that wait for something to run.
const maxIdleRunners = 128

// runners are goroutines that run one thing after the other. A fresh goroutine starts with a small stack and copies it
// several times on its way down into a handler; one that has served before has a stack of the right size.
type runners struct {
	work chan runnable
	done chan struct{} // closed when the idle ones are to end
	idle atomic.Int32

	mu   sync.Mutex
	all  map[*runner]struct{}
	left sync.Cond // on mu: one has ended
}

// runner is one of them.
type runner struct{ self atomic.Uintptr }

// runnable is what a runner runs. It is an interface and not a function so that nothing is allocated for it.
type runnable interface{ run() }

func (r *runners) init() {
	r.work = make(chan runnable)
	r.done = make(chan struct{})
	r.all = map[*runner]struct{}{}
	r.left.L = &r.mu
}

// run runs x on a goroutine of its own, without waiting.
func (r *runners) run(x runnable) {
	select {
	case r.work <- x: // somebody is waiting for it
	default:
		me := &runner{}
		r.mu.Lock()
		r.all[me] = struct{}{}
		r.mu.Unlock()
		go r.serve(me, x)
	}
}

func (r *runners) serve(me *runner, x runnable) {
	me.self.Store(self.Goroutine())
	defer func() {
		r.mu.Lock()
		delete(r.all, me)
		r.left.Broadcast()
		r.mu.Unlock()
	}()
	for {
		x.run()
		if r.idle.Add(1) > maxIdleRunners {
			r.idle.Add(-1)
			return
		}
		select {
		case x = <-r.work:
			r.idle.Add(-1)
		case <-r.done:
			r.idle.Add(-1)
			return
		}
	}
}

// close ends the idle ones and waits for all of them, but for the caller's own.
func (r *runners) close() {
	close(r.done)
	me := self.Goroutine()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		others := 0
		for x := range r.all {
			if x.self.Load() != me {
				others++
			}
		}
		if others == 0 {
			return
		}
		r.left.Wait()
	}
}
