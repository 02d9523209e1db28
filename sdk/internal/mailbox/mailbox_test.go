package mailbox

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 10 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not: %s", what)
		}
	}
}

func open(limit int, call func(int)) *Mailbox[int] {
	m := &Mailbox[int]{}
	m.Init(Options[int]{Limit: limit, Call: call})
	return m
}

func (m *Mailbox[T]) senders() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting
}

// held is a handler that waits to be released for each item, and keeps what it got.
type held struct {
	release chan struct{}
	mu      sync.Mutex
	got     []int
}

func (h *held) call(x int) {
	<-h.release
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, x)
}

func (h *held) all() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

func TestOrderAndLimit(t *testing.T) {
	h := &held{release: make(chan struct{})}
	m := open(4, h.call)
	first := 0
	m.Offer(&first)
	eventually(t, "the handler has it", func() bool { return m.Len() == 0 })
	taken := 1
	for ; m.Offer(&taken); taken++ {
	}
	if taken != 5 {
		t.Errorf("%d taken, want one with the handler and four that wait", taken)
	}
	close(h.release)
	eventually(t, "all", func() bool { return len(h.all()) == 5 })
	if got := h.all(); !slices.IsSorted(got) {
		t.Errorf("order %v", got)
	}
	m.Stop()
	m.Join()
	if !m.Offer(&taken) {
		t.Error("what comes after the end is not settled")
	}
}

// Many senders that wait are let in one after the other, and nothing is lost, whatever pool of rings is used.
func TestWaits(t *testing.T) {
	var rings Rings[int]
	for _, limit := range []int{1, 3, 200, 4000} {
		var taken atomic.Int64
		m := &Mailbox[int]{}
		m.Init(Options[int]{Limit: limit, Rings: &rings, Call: func(int) { taken.Add(1) }})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for x := range 5000 {
					if !m.Wait(&x, nil, nil, 0) {
						t.Error("it gave up")
					}
				}
			})
		}
		wg.Wait()
		eventually(t, "all of them", func() bool { return taken.Load() == 20_000 })
		m.Stop()
		m.Join()
	}
}

// Who waits in vain gives up, and nobody with a bound waits after that until the handler takes something again.
func TestStuck(t *testing.T) {
	h := &held{release: make(chan struct{})}
	m := open(2, h.call)
	for x := range 3 {
		m.Offer(&x)
		eventually(t, "the handler", func() bool { return m.Len() == x })
	}
	x := 3
	patient := make(chan bool)
	go func() { patient <- m.Wait(&x, nil, nil, 0) }()
	if m.Wait(&x, nil, nil, 20*time.Millisecond) {
		t.Error("there was room")
	}
	begin := time.Now()
	if m.Wait(&x, nil, nil, time.Hour) || time.Since(begin) > time.Minute {
		t.Error("it waited for one that is stuck")
	}
	close(h.release)
	if !<-patient {
		t.Error("who has no bound gave up")
	}
	eventually(t, "the rest", func() bool { return len(h.all()) == 4 })
	if !m.Wait(&x, nil, nil, time.Hour) {
		t.Error("it is taken for stuck still")
	}
	eventually(t, "the last one", func() bool { return len(h.all()) == 5 })
	m.Stop()
	m.Join()
}

// All who wait return when the one gives up, when what they wait for ends, and when the mailbox is stopped.
func TestWaitEnds(t *testing.T) {
	for name, end := range map[string]func(m *Mailbox[int], done, also chan struct{}){
		"done": func(_ *Mailbox[int], done, _ chan struct{}) { close(done) },
		"also": func(_ *Mailbox[int], _, also chan struct{}) { close(also) },
		"stop": func(m *Mailbox[int], _, _ chan struct{}) { m.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			h := &held{release: make(chan struct{})}
			m := open(1, h.call)
			x, done, also, out := 0, make(chan struct{}), make(chan struct{}), make(chan bool)
			for range 8 {
				go func() { out <- m.Wait(&x, done, also, 0) }()
			}
			eventually(t, "those who wait", func() bool { return m.senders() == 6 })
			end(m, done, also)
			settled := 0
			for range 8 {
				if <-out {
					settled++
				}
			}
			if want := map[string]int{"done": 2, "also": 2, "stop": 8}[name]; settled != want {
				t.Errorf("%d settled, want %d", settled, want)
			}
			close(h.release)
			m.Stop()
			m.Join()
		})
	}
}

// A handler may stop and join its own mailbox, and may end its goroutine: another one goes on.
func TestWithinTheHandler(t *testing.T) {
	var got atomic.Int64
	dropped := make(chan struct{})
	m := &Mailbox[int]{}
	m.Init(Options[int]{Limit: 10, Drop: func() { close(dropped) }, Call: func(x int) {
		switch got.Add(1) {
		case 1:
			runtime.Goexit()
		case 3:
			m.Stop()
			m.Join()
			if m.Len() != 0 {
				t.Error("something is left")
			}
		}
	}})
	for x := range 5 {
		m.Offer(&x)
	}
	<-dropped
	m.Join()
	if n := got.Load(); n != 3 {
		t.Errorf("%d items, want 3", n)
	}
}

// Drop is called once, at once where nothing runs.
func TestDropOfAnIdleOne(t *testing.T) {
	n := 0
	m := &Mailbox[int]{}
	m.Init(Options[int]{Limit: 1, Call: func(int) {}, Drop: func() { n++ }})
	m.Stop()
	m.Stop()
	m.Join()
	if n != 1 {
		t.Errorf("%d times", n)
	}
}

type change struct {
	key  string
	gone bool
}

func latest(c []change) []change {
	return Latest(c, func(c *change) (string, bool) { return c.key, c.gone }, func(key string) change { return change{key, true} })
}

// Whoever does not keep up is told the net change of each key, in an order that is possible; where that is too much the bound grows.
func TestReduces(t *testing.T) {
	m := &Mailbox[change]{}
	m.Init(Options[change]{Limit: 4, Reduce: latest, Starter: never{}}) // nobody takes anything out
	for _, c := range []change{
		{"came", false},
		{"flicker", false},
		{"gone", true},
		{"flicker", true},
		{"restarted", true}, // reduces what was before
		{"restarted", false},
		{"restarted", true},
		{"restarted", false},
	} {
		m.Offer(&c)
	}
	for i := range 100 {
		m.Offer(&change{fmt.Sprint("new", i), false})
	}
	m.reduce()
	var got []change
	for i := range m.n {
		got = append(got, *m.at(i))
	}
	want := []change{{"came", false}, {"gone", true}, {"restarted", true}, {"restarted", false}, {"new0", false}}
	if len(got) != 104 || !slices.Equal(got[:5], want) {
		t.Errorf("%d changes, first %v, want 104, first %v", len(got), got[:min(5, len(got))], want)
	}
}

type never struct{}

func (never) Start()     {}
func (never) StartSoon() {}

// An item in and out of a busy mailbox allocates nothing.
func TestAllocates(t *testing.T) {
	out := make(chan int)
	m := open(16, func(x int) { out <- x })
	n := testing.AllocsPerRun(100, func() {
		x := 7
		m.Offer(&x)
		<-out
	})
	m.Stop()
	m.Join()
	if n > 2 { // the goroutine, where the last one has ended already
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMailbox(b *testing.B) {
	var n atomic.Int64
	m := &Mailbox[[24]uint64]{} // about the size of a sample
	m.Init(Options[[24]uint64]{Limit: 1024, Call: func([24]uint64) { n.Add(1) }})
	var x [24]uint64
	b.ReportAllocs()
	for b.Loop() {
		m.Wait(&x, nil, nil, 0)
	}
	m.Stop()
	m.Join()
}
