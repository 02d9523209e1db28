package zenoh

import (
	"sync/atomic"

	"github.com/essa-project/essad/sdk/internal/self"
)

// taskSlots is a power of two.
const taskSlots = 256

// task is what a goroutine does that others, deeper in its stack, need to know of: it reads a link, and whoever gets
// something is woken at the end of what was read in one go; or it waits in a Get, and may run a handler of its own node
// meanwhile.
type task struct {
	goroutine atomic.Uintptr // those whose slot is the same look at it
	get       *get           // nil for a reader
	outer     *task          // what the goroutine did before: handlers that run in a Get ask others
	asleep    []waker
}

// waker is something that sleeps until there is something in its queue.
type waker interface{ wakeUp() }

// tasks finds the task of the goroutine that asks, without a lock. Two goroutines whose slots collide do not both have one:
// having none is never wrong, only a little slower.
type tasks struct {
	slots [taskSlots]atomic.Pointer[task]
}

func slotOf(g uintptr) uint64 { return (uint64(g) * 0x9E3779B97F4A7C15) >> 32 % taskSlots }

// begin enters t for the calling goroutine and reports whether it could.
func (t *tasks) begin(x *task) bool {
	g := self.Goroutine()
	if x.goroutine.Load() != g { // that of a reader is always the same
		x.goroutine.Store(g)
	}
	slot := &t.slots[slotOf(g)]
	if x.outer = slot.Load(); x.outer != nil && x.outer.goroutine.Load() != g {
		return false
	}
	return slot.CompareAndSwap(x.outer, x)
}

// end takes out what begin has entered, and wakes who sleeps.
func (t *tasks) end(x *task) {
	t.slots[slotOf(x.goroutine.Load())].Store(x.outer)
	x.outer = nil
	x.wake()
}

// mine returns the task of the calling goroutine, or nil.
func (t *tasks) mine() *task {
	g := self.Goroutine()
	if x := t.slots[slotOf(g)].Load(); x != nil && x.goroutine.Load() == g {
		return x
	}
	return nil
}

// wake wakes everybody who got something since the last time.
func (x *task) wake() {
	for i, w := range x.asleep {
		x.asleep[i] = nil
		w.wakeUp()
	}
	x.asleep = x.asleep[:0]
}

// rouse wakes w: at the end of the batch if the calling goroutine reads one, otherwise now.
func (t *tasks) rouse(w waker) {
	if x := t.mine(); x != nil && x.get == nil {
		x.asleep = append(x.asleep, w)
		return
	}
	w.wakeUp()
}
