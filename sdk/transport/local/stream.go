package local

import (
	"context"
	"sync"

	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/internal/self"
)

// inflow is the receiving end of a stream: a queue, bounded by the window, and a goroutine while it is not empty.
type inflow struct {
	link   *link
	id     uint64
	window int
	h      func(transport.Reply)

	mu      sync.Mutex
	changed sync.Cond // on mu: the goroutine has ended, or stop was called
	queue   []queued
	running bool
	self    uintptr // the goroutine
	stopped bool
	items   int // taken since credit was given
	bytes   int
}

type queued struct {
	r    transport.Reply
	cost int
}

func newInflow(l *link, window int, h func(transport.Reply)) *inflow {
	f := &inflow{link: l, window: window, h: h}
	f.changed.L = &f.mu
	return f
}

// offer queues an item. It reports false if the sender does not keep to the window.
func (f *inflow) offer(r transport.Reply, cost int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return true
	}
	if len(f.queue) >= f.window {
		return false
	}
	f.queue = append(f.queue, queued{r, cost})
	if !f.running {
		f.running = true
		go f.run()
	}
	return true
}

func (f *inflow) run() {
	me := self.Goroutine()
	f.mu.Lock()
	f.self = me
	f.mu.Unlock()
	defer f.ended(me) // also when the handler ends its goroutine
	for {
		x, ok := f.take()
		if !ok {
			return
		}
		f.h(x.r)
		f.taken(x.cost)
	}
}

func (f *inflow) take() (queued, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 || f.stopped {
		f.running, f.self = false, 0
		f.changed.Broadcast()
		return queued{}, false
	}
	x := f.queue[0]
	f.queue[0] = queued{}
	if f.queue = f.queue[1:]; len(f.queue) == 0 {
		f.queue = nil
	}
	return x, true
}

// ended keeps the stream going when its handler has ended the goroutine me.
func (f *inflow) ended(me uintptr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running || f.self != me {
		return
	}
	f.self = 0
	go f.run()
}

// taken gives credit back, half a window at a time.
func (f *inflow) taken(cost int) {
	f.mu.Lock()
	f.items++
	f.bytes += cost
	if f.stopped || (2*f.items < f.window && 2*f.bytes < streamBytes) {
		f.mu.Unlock()
		return
	}
	items, bytes := f.items, f.bytes
	f.items, f.bytes = 0, 0
	f.mu.Unlock()
	f.link.giveCredit(f.id, items, bytes)
}

// stop lets the handler not be called again.
func (f *inflow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped, f.queue = true, nil
	f.changed.Broadcast()
}

// join waits for a running handler, but not if it is the caller's own.
func (f *inflow) join() {
	me := self.Goroutine()
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.running && f.self != me {
		f.changed.Wait()
	}
}

// drain waits until everything that was queued has been handled, or ctx ends.
func (f *inflow) drain(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running {
		return nil
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changed.Broadcast()
		})()
	}
	for f.running {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.changed.Wait()
	}
	return nil
}

// outflow is the sending end of a stream. One goroutine at a time sends on it.
type outflow struct {
	window int
	wake   chan struct{}

	mu    sync.Mutex
	items int // sent and not credited
	bytes int
}

func newOutflow(window int) *outflow { return &outflow{window: window, wake: make(chan struct{}, 1)} }

// acquire waits until another item may be sent. It reports false if one of the channels is closed first.
func (o *outflow) acquire(cost int, done, gone <-chan struct{}) bool {
	for {
		o.mu.Lock()
		if o.items < o.window && o.bytes < streamBytes {
			o.items++
			o.bytes += cost
			o.mu.Unlock()
			return true
		}
		o.mu.Unlock()
		select {
		case <-o.wake:
		case <-done:
			return false
		case <-gone:
			return false
		}
	}
}

func (o *outflow) credit(items, bytes uint64) {
	o.mu.Lock()
	o.items -= int(min(items, uint64(o.items)))
	o.bytes -= int(min(bytes, uint64(o.bytes)))
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
