package runtime

import (
	"container/heap"
	"sync"
	"time"
)

// watchdog ends invocations whose time is up. There is one timer for all of them.
type watchdog struct {
	mu    sync.Mutex
	heap  watchHeap
	timer *time.Timer
	next  time.Time // when the timer fires; zero: it does not
}

func newWatchdog() *watchdog {
	w := &watchdog{}
	w.timer = time.AfterFunc(time.Hour, w.fire)
	w.timer.Stop()
	return w
}

// watch is an invocation's entry. It is part of the Guest.
type watch struct {
	at    time.Time
	index int // in the heap, plus one; 0: not in it
}

type watchHeap []*Guest

func (h watchHeap) Len() int { return len(h) }

// Less has a call before those it made, which share its deadline: it is ended first, and they with it, so that none of them
// ends for itself and has its parent make another.
func (h watchHeap) Less(i, j int) bool {
	if c := h[i].watch.at.Compare(h[j].watch.at); c != 0 {
		return c < 0
	}
	return h[i].call.Depth < h[j].call.Depth
}

func (h watchHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].watch.index, h[j].watch.index = i+1, j+1
}

func (h *watchHeap) Push(x any) {
	g := x.(*Guest)
	*h = append(*h, g)
	g.watch.index = len(*h)
}

func (h *watchHeap) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	g.watch.index = 0
	return g
}

// add has g.timeUp called at a time.
func (w *watchdog) add(g *Guest, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g.watch.at = at
	heap.Push(&w.heap, g)
	w.arm()
}

// remove calls it off. It returns false where it is too late.
func (w *watchdog) remove(g *Guest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.watch.index == 0 {
		return false
	}
	heap.Remove(&w.heap, g.watch.index-1)
	return true
}

// arm sets the timer where it would fire too late. The lock is held.
func (w *watchdog) arm() {
	if len(w.heap) == 0 {
		return
	}
	if at := w.heap[0].watch.at; w.next.IsZero() || at.Before(w.next) {
		w.next = at
		w.timer.Reset(time.Until(at))
	}
}

func (w *watchdog) fire() {
	var due []*Guest
	w.mu.Lock()
	now := time.Now()
	for len(w.heap) > 0 && !w.heap[0].watch.at.After(now) {
		due = append(due, heap.Pop(&w.heap).(*Guest))
	}
	w.next = time.Time{}
	w.arm()
	w.mu.Unlock()
	for _, g := range due {
		g.timeUp()
	}
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}
