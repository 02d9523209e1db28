package runtime

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

func testSlots(n, queue int, memory int64, run func(*future, *worker)) *slots {
	s := newSlots(n, queue, &budget{most: memory}, run)
	s.lendable = 0 // the tests say who waits for whom
	return s
}

// root queues a call from outside and returns when it is queued; order gets its name when it has a slot.
func (s *slots) queueRoot(t *testing.T, name string, order chan string) {
	t.Helper()
	s.mu.Lock()
	have := len(s.roots)
	s.mu.Unlock()
	go func() {
		if err := s.acquire(context.Background(), time.Time{}, 1); err != nil {
			name = err.Error()
		}
		order <- name
	}()
	for { // until it waits
		s.mu.Lock()
		n := len(s.roots)
		s.mu.Unlock()
		if n > have {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOrder: who paused goes first, then nested calls newest first, then calls from outside, which are not kept out.
func TestOrder(t *testing.T) {
	order := make(chan string, 20)
	names := map[*future]string{}
	s := testSlots(1, 10, 100, func(f *future, _ *worker) { order <- names[f] })
	if !s.try(1) {
		t.Fatal("no slot in the beginning")
	}
	for _, n := range []string{"root 1", "root 2"} {
		s.queueRoot(t, n, order)
	}
	parent := &Guest{}
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		f := &future{parent: parent}
		names[f] = n
		s.push(f)
	}
	back := make(chan struct{})
	go func() {
		s.resume(nil)
		order <- "back"
		close(back)
	}()
	for s.waitingBack() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.release()
	<-back
	s.release()
	var got []string
	for range 8 {
		n := <-order
		got = append(got, n)
		if n[0] == 'r' {
			s.release()
		}
	}
	want := []string{"back", "e", "d", "c", "root 1", "b", "a", "root 2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func (s *slots) waitingBack() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.back)
}

// TestGivingUp: who gives up leaves its place to the next, and gets an error of its kind.
func TestGivingUp(t *testing.T) {
	s := testSlots(1, 2, 100, nil)
	s.try(1)
	err := s.acquire(context.Background(), time.Now().Add(time.Millisecond), 1)
	if status.Of(err) != status.Deadline {
		t.Errorf("past its deadline: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.acquire(ctx, time.Time{}, 1); status.Of(err) != status.Cancelled {
		t.Errorf("cancelled: %v", err)
	}
	order := make(chan string, 2)
	s.queueRoot(t, "one", order)
	s.queueRoot(t, "two", order)
	if err := s.acquire(context.Background(), time.Time{}, 1); status.Of(err) != status.Overloaded || status.DetailOf(err) != status.DetailSafe {
		t.Errorf("beyond the queue: %v", err)
	}
	if err := s.acquire(context.Background(), time.Time{}, 101); status.Of(err) != status.Overloaded {
		t.Errorf("beyond all memory: %v", err)
	}
	for _, want := range []string{"one", "two"} {
		s.release()
		if got := <-order; got != want {
			t.Errorf("%s came before %s", got, want)
		}
	}
}

// TestMemoryFirst: a call waits for memory although there is a slot.
func TestMemoryFirst(t *testing.T) {
	s := testSlots(2, 2, 10, nil)
	if !s.try(8) || s.try(8) {
		t.Fatal("memory was given twice, or not at all")
	}
	got := make(chan error)
	go func() { got <- s.acquire(context.Background(), time.Time{}, 8) }()
	select {
	case <-got:
		t.Fatal("it did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	s.budget.release(8)
	s.freed()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// TestClaims: each nested call is run once, by its parent or by a worker, and the slots are all there in the end.
func TestClaims(t *testing.T) {
	var mu sync.Mutex
	ran := map[*future]int{}
	count := func(f *future, _ *worker) {
		mu.Lock()
		ran[f]++
		mu.Unlock()
	}
	s := testSlots(4, 10, 100, count)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !s.try(1) {
				time.Sleep(time.Millisecond)
			}
			parent := &Guest{}
			for range 500 {
				a, b := &future{parent: parent}, &future{parent: parent}
				s.push(a)
				s.push(b)
				if s.claim(a) {
					count(a, nil)
				}
				if s.claim(b) {
					count(b, nil)
				}
			}
			s.release()
		})
	}
	wg.Wait()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		mu.Lock()
		n := len(ran)
		mu.Unlock()
		s.mu.Lock()
		free := s.slots - s.running
		s.mu.Unlock()
		if n == 3000 && free == 4 {
			break
		}
	}
	if s.running != 0 || len(ran) != 3000 {
		t.Errorf("%d guests execute, %d calls run", s.running, len(ran))
	}
	for _, n := range ran {
		if n != 1 {
			t.Fatalf("a call was run %d times", n)
		}
	}
}

// TestLend: guests that compute do not keep calls from outside waiting, and what was lent to those is given back.
func TestLend(t *testing.T) {
	s := testSlots(2, 8, 1<<20, func(*future, *worker) {})
	s.lendable = 2 * maxLent
	for range 2 {
		if !s.try(1) {
			t.Fatal("a slot is not free")
		}
	}
	for range 5 { // one after the other: what was lent is used again
		if err := s.acquire(context.Background(), time.Now().Add(10*time.Second), 1); err != nil {
			t.Fatal(err)
		}
		s.release()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range maxLent * 2 { // as many as there may be
		if err := s.acquire(ctx, time.Time{}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.acquire(ctx, time.Now().Add(5*lendAfter), 1); status.Of(err) != status.Deadline {
		t.Errorf("one more than are ever lent: %v", err)
	}
	for range maxLent*2 + 2 {
		s.release()
	}
	for range 1000 {
		s.mu.Lock()
		left, lending := s.lent, s.lending
		s.mu.Unlock()
		if left == 0 && !lending {
			return
		}
		time.Sleep(lendAfter)
	}
	t.Error("what was lent is not taken back")
}

// TestNestedFromElsewhere: such a call waits for a slot, and never for memory.
func TestNestedFromElsewhere(t *testing.T) {
	s := testSlots(1, 10, 16, nil)
	if !s.try(8) {
		t.Fatal("no slot in the beginning")
	}
	ctx := context.Background()
	if err := s.acquireNested(ctx, time.Time{}, 7); status.Code(err) != "overloaded/safe" {
		t.Errorf("without memory, of which an eighth is for calls from outside: %v (%s)", err, status.Code(err))
	}
	// A slot may be lent to it after a while, so these do not wait.
	if err := s.acquireNested(ctx, time.Now().Add(-time.Second), 4); status.Of(err) != status.Deadline {
		t.Errorf("without a slot at its deadline: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.acquireNested(gone, time.Time{}, 4); status.Of(err) != status.Cancelled {
		t.Errorf("cancelled: %v", err)
	}
	if n := s.budget.used.Load(); n != 8 {
		t.Errorf("%d units of memory are in use, want 8", n)
	}
	got := make(chan error, 1)
	go func() { got <- s.acquireNested(ctx, time.Time{}, 6) }()
	for s.waitingBack() == 0 && len(got) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if n := s.budget.used.Load(); n != 14 {
		t.Errorf("%d units of memory are in use, want 14", n)
	}
	s.release()
}

// TestLendNow: who comes when all slots have been held for long does not wait for the lender, which may be kept from looking.
func TestLendNow(t *testing.T) {
	s := testSlots(2, 8, 100, nil)
	s.lendable = 1
	s.try(1)
	s.try(1)
	s.mu.Lock()
	s.full = time.Now().Add(-time.Second)
	s.lending = true // and it never comes
	s.mu.Unlock()
	if err := s.acquire(context.Background(), time.Now().Add(10*time.Second), 1); err != nil {
		t.Error(err)
	}
	if err := s.acquire(context.Background(), time.Now().Add(lendAfter/2), 1); status.Of(err) != status.Deadline {
		t.Errorf("one more than may be lent: %v", err)
	}
}

// TestSpare: guests that compute see to it themselves that there is a processor for others, and a slot for who waits; and
// nothing of that happens where slots change hands.
func TestSpare(t *testing.T) {
	s := testSlots(2, 8, 100, nil)
	s.lendable = 2
	told := make(chan int, 100)
	s.share = func(more int) { told <- more }
	s.try(1)
	s.spare()
	s.try(1)
	s.spare()
	if len(told) > 0 {
		t.Errorf("%d processors more for guests that have just begun", <-told)
	}
	long := func() {
		s.mu.Lock()
		s.full = time.Now().Add(-time.Second)
		s.mu.Unlock()
	}
	long()
	s.spare()
	if n := <-told; n != 1 {
		t.Errorf("%d processors more", n)
	}
	for range 2 { // one after the other, as many as may be lent
		if err := s.acquire(context.Background(), time.Now().Add(10*time.Second), 1); err != nil {
			t.Fatal(err)
		}
		long()
		s.spare()
	}
	for range 4 {
		s.release()
	}
	for end := time.After(10 * time.Second); ; {
		select {
		case n := <-told:
			if n == 0 {
				return
			}
		case <-end:
			t.Fatal("the processors were not taken back")
		}
	}
}

// TestCrowd: while memory is plenty every nested call is begun where a slot is free, however many guests wait. Otherwise no
// more workers than one beyond the slots wait within nested calls, but for one more every now and then, since it may be that
// they wait for one that has not begun; and where nobody runs, all are begun.
func TestCrowd(t *testing.T) {
	for name, used := range map[string]int64{"plenty": 10, "scarce": 60} {
		t.Run(name, func(t *testing.T) {
			const calls = 8
			var s *slots
			begun, gate := make(chan time.Time, calls), make(chan struct{})
			s = testSlots(2, 10, 100, func(*future, *worker) {
				begun <- time.Now()
				s.release() // as a guest that waits
				<-gate
				s.resume(nil)
			})
			s.budget.reserve(used)
			s.try(1) // its parent computes
			start := time.Now()
			parent := &Guest{}
			for range calls {
				s.push(&future{parent: parent})
			}
			next := func() time.Duration {
				select {
				case at := <-begun:
					return at.Sub(start)
				case <-time.After(10 * time.Second):
					t.Fatal("it is never begun")
					return 0
				}
			}
			for i := range calls - 2 {
				if at := next(); used > 25 && i >= 3 && at < time.Duration(i-2)*crowdAfter-time.Millisecond {
					t.Errorf("call %d was begun after %v", i, at)
				}
			}
			s.release() // nobody runs: the other two may be what all wait for
			next()
			next()
			close(gate)
		})
	}
}
