package runtime

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// deep is how many instances a chain of calls has in these tests.
const deep = 8

// chain is a backend with a chain of calls that waits for its last one, which computes until it is stopped; and with a call
// that makes another.
func chain() *scripted {
	s := &scripted{guests: map[string]func(*player) error{
		"chain": func(p *player) error {
			if p.guest.call.Depth == deep-1 {
				return p.spin()
			}
			return p.call("chain")
		},
		"parent": func(p *player) error {
			f, err := p.start("child")
			if err != nil {
				return err
			}
			if _, _, err := f.Wait(); err != nil {
				return fmt.Errorf("the nested call: %w", err)
			}
			return nil
		},
		"child": func(*player) error { return nil },
	}}
	return s
}

func (s *scripted) openChain(t *testing.T, set Settings) (*Runtime, string) {
	return s.open(t, set, "chain", "parent", "child")
}

// timedOut makes a call that its deadline ends.
func timedOut(t *testing.T, rt *Runtime, module, function string) {
	t.Helper()
	c := &engine.Call{Module: module, Function: function, Deadline: time.Now().Add(30 * time.Millisecond)}
	if _, err := rt.Invoke(t.Context(), c); status.Of(err) != status.Deadline {
		t.Errorf("%s: %v", function, err)
	}
}

func works(t *testing.T, rt *Runtime, module, function string) {
	t.Helper()
	if _, err := rt.Invoke(t.Context(), &engine.Call{Module: module, Function: function}); err != nil {
		t.Errorf("%s: %v", function, err)
	}
}

// need is what one instance of these tests takes.
const need = instanceBytes

// Nothing of a tree of calls is closed before its root has returned. Then everything is, and its memory stays reserved until
// it is; whoever closes the engine waits for that.
func TestRemainsAreClosedBehind(t *testing.T) {
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	s := chain()
	var early atomic.Int64
	s.ends = func(p *player) {
		if !p.guest.outermost().returned.Load() {
			early.Add(1)
		}
		<-gate
	}
	s.guests["slow"] = func(p *player) error {
		err := p.call("chain")
		time.Sleep(10 * time.Millisecond) // time enough to close some
		return err
	}
	rt, module := s.open(t, Settings{}, "slow", "chain")
	rt.remains.most = time.Hour
	timedOut(t, rt, module, "slow")
	if n := early.Load(); n > 0 {
		t.Errorf("%d instances were closed before the call returned", n)
	}
	if n, used := s.alive.Load(), rt.budget.used.Load(); n != deep || used != deep*need {
		t.Errorf("%d instances are not closed, and %d bytes are reserved", n, used)
	}
	closed := make(chan error, 1)
	go func() { closed <- rt.Close() }()
	select {
	case <-closed:
		t.Fatal("the engine was closed before the instances were")
	case <-time.After(20 * time.Millisecond):
	}
	open()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n, used := s.alive.Load(), rt.budget.used.Load(); n != 0 || used != 0 {
		t.Errorf("closed: %d instances are not, and %d bytes are reserved", n, used)
	}
}

// Instances are closed although the root that was ended does not return.
func TestRemainsOfACallThatStays(t *testing.T) {
	s := chain()
	stays := make(chan struct{})
	leave := sync.OnceFunc(func() { close(stays) })
	defer leave()
	s.guests["stays"] = func(p *player) error {
		err := p.call("chain")
		<-stays
		return err
	}
	rt, module := s.open(t, Settings{}, "chain", "stays")
	rt.remains.most = time.Millisecond
	var wg sync.WaitGroup
	wg.Go(func() { timedOut(t, rt, module, "stays") })
	for s.alive.Load() < deep { // all are there
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(10 * time.Second); s.alive.Load() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d instances are still there", s.alive.Load())
		}
	}
	leave()
	wg.Wait()
}

// A call that finds no memory left closes what others have left.
func TestRemainsGiveWay(t *testing.T) {
	gate := make(chan struct{})
	s := chain()
	var first atomic.Bool
	s.ends = func(*player) {
		if first.CompareAndSwap(false, true) {
			<-gate // whose closing takes long
		}
	}
	rt, module := s.openChain(t, Settings{Memory: deep * need * 8 / 7})
	timedOut(t, rt, module, "chain")
	for !first.Load() {
		time.Sleep(time.Millisecond)
	}
	works(t, rt, module, "parent")
	if n := s.alive.Load(); n < 2 {
		t.Errorf("%d instances are left: more were closed than had to be", n)
	}
	close(gate)
}

// Where all of it is being closed already it waits for that.
func TestRemainsAreWaitedFor(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{}, 1)
	s := chain()
	s.guests["alone"] = func(p *player) error { return p.spin() }
	var armed atomic.Bool
	s.ends = func(*player) {
		if armed.CompareAndSwap(true, false) {
			begun <- struct{}{}
			<-gate
		}
	}
	rt, module := s.open(t, Settings{Memory: 2*need*8/7 + 1}, "parent", "child", "alone")
	works(t, rt, module, "parent") // which has room where there is nothing else
	armed.Store(true)
	timedOut(t, rt, module, "alone")
	<-begun
	done := make(chan struct{})
	go func() {
		works(t, rt, module, "parent")
		close(done)
	}()
	select {
	case <-done:
		t.Error("there was room for two calls beside what was being closed")
	case <-time.After(20 * time.Millisecond):
	}
	close(gate)
	<-done
}

// An engine's panic while it closes an instance costs that instance, and is told.
func TestPanicOfAClose(t *testing.T) {
	s := chain()
	var closed atomic.Int64
	s.ends = func(p *player) {
		if closed.Add(1) == deep/2 {
			p.alive.Add(-1)
			panic("as a bug would")
		}
	}
	rt, module := s.openChain(t, Settings{})
	timedOut(t, rt, module, "chain")
	works(t, rt, module, "parent")
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	if n, used := s.alive.Load(), rt.budget.used.Load(); n != 0 || used != 0 {
		t.Errorf("%d instances are left, and %d bytes are reserved", n, used)
	}
	if len(s.told) != 1 {
		t.Errorf("%d things were logged", len(s.told))
	}
}

// The end of a tree takes its way from the root to the leaves. Where it has not come to yet nothing is begun any more.
func TestEndedRootBeginsNothing(t *testing.T) {
	s := chain()
	calls, ended := make(chan struct{}), make(chan *Guest, 1)
	var after atomic.Int64
	s.made = func(g *Guest) {
		if g.outermost().ended.Load() {
			after.Add(1)
		}
	}
	s.guests["root"] = func(p *player) error { return p.call("middle") }
	s.guests["middle"] = func(p *player) error {
		for range 10 { // which nobody begins before somebody waits
			if _, err := p.start("child"); err != nil {
				return err
			}
		}
		ended <- p.guest.outermost()
		<-calls
		if _, err := p.start("child"); status.Of(err) != status.Cancelled {
			t.Errorf("a call of a tree that was ended: %v", err)
		}
		return errStopped
	}
	rt, module := s.open(t, Settings{Workers: 1}, "root", "middle", "child")
	wg := sync.WaitGroup{}
	wg.Go(func() {
		if _, err := rt.Invoke(context.Background(), &engine.Call{Module: module, Function: "root"}); status.Of(err) != status.Cancelled {
			t.Error(err)
		}
	})
	root := <-ended
	root.mu.Lock() // as far as end has come in the moment before it goes on to the nested calls
	root.cause = status.Errorf(status.Cancelled, "the test says so")
	root.ended.Store(true)
	root.mu.Unlock()
	close(calls)
	wg.Wait()
	if n := after.Load(); n > 0 {
		t.Errorf("%d calls were begun afterwards", n)
	}
}
