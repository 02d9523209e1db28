package runtimetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
)

// goGuest is the guest in testdata.
const goGuest = "sdk/engine/runtimetest/testdata/goguest"

// testGo: Go guests are set back as all are, though they have random numbers and clocks of their own.
func (x *Engine) testGo(t *testing.T) {
	if Race {
		t.Skip("compiling a Go guest takes minutes under the race detector; guests in C are tested there")
	}
	t.Run("Random", x.testGoRandom)
	t.Run("Isolation", x.testGoIsolation)
	t.Run("ColdStart", x.testGoColdStart)
}

// goEngine is an engine with the Go guest.
func (x *Engine) goEngine(t testing.TB) (engine.Engine, string) {
	e := x.Open(t, &enginetest.Border{}, enginetest.Options{})
	t.Cleanup(func() { e.Close() })
	id, info := enginetest.Prepare(t, e, GoGuest(t, goGuest))
	if info.Fresh != "" {
		t.Errorf("instances of a Go guest are not set back: %s", info.Fresh)
	}
	return e, id
}

// numbers are what "draws" answers: columns that differ between calls, and then columns that do not.
type numbers [9]uint64

const (
	drawn   = 5 // columns of random numbers
	clock   = 5
	elapsed = 6
	same    = 7 // and from here on
)

func draw(t *testing.T, e engine.Engine, c engine.Call) (n numbers) {
	t.Helper()
	c.Function = "draws"
	r, err := e.Invoke(context.Background(), &c)
	if err != nil || len(r.Value) != 8*len(n) {
		t.Errorf("%v %v", r, err)
		return n
	}
	for i := range n {
		n[i] = binary.LittleEndian.Uint64(r.Value[8*i:])
	}
	return n
}

// testGoRandom: no two calls of a Go guest draw the same numbers, from whichever source, except from a generator that the
// program itself seeded; what a call counts is not there in the next; and time passes.
func (x *Engine) testGoRandom(t *testing.T) {
	e, id := x.goEngine(t)
	for name, warm := range map[string]string{"cold": "", "warm": "warm", "used up": "many"} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[uint64]bool{}
			// Those that begin before there is a snapshot begin their own time.
			first := draw(t, e, engine.Call{Module: id, WarmUp: warm})
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() {
					var last numbers
					for range 250 {
						n := draw(t, e, engine.Call{Module: id, WarmUp: warm})
						if n[clock] <= last[clock] || n[elapsed] <= last[elapsed] {
							t.Errorf("the clock went from %d to %d, the other from %d to %d", last[clock], n[clock], last[elapsed], n[elapsed])
						}
						last = n
						mu.Lock()
						for i, v := range n[:drawn] {
							if seen[v] {
								t.Errorf("column %d: %#x was drawn twice", i, v)
							}
							seen[v] = true
						}
						if !bytes.Equal(asBytes(n[same:]), asBytes(first[same:])) {
							t.Errorf("a call found %v, and another %v", n[same:], first[same:])
						}
						mu.Unlock()
						if t.Failed() {
							return
						}
					}
				})
			}
			wait.Wait()
			if first[same] != 1 {
				t.Errorf("a call found the counter at %d", first[same]-1)
			}
		})
	}
}

func asBytes(v []uint64) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// testGoIsolation: a Go guest leaves its garbage nowhere. The engine compares every instance with the snapshot.
func (x *Engine) testGoIsolation(t *testing.T) {
	e, id := x.goEngine(t)
	var wait sync.WaitGroup
	for n := range 4 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 3))
			for range 400 {
				args := make([]byte, r.IntN(3000))
				for i := range args {
					args[i] = byte(r.Uint32())
				}
				if _, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "dirty", Args: args}); err != nil {
					t.Error(err)
					return
				}
				if got := draw(t, e, engine.Call{Module: id}); got[same] != 1 {
					t.Errorf("a call found what others counted: %d", got[same])
					return
				}
			}
		})
	}
	wait.Wait()
}

// testGoColdStart: the next engine on the same folder takes the snapshot and does not initialise, and its numbers are new.
func (x *Engine) testGoColdStart(t *testing.T) {
	dir := t.TempDir()
	wasm := GoGuest(t, goGuest)
	seen := map[uint64]bool{}
	var elapsedBefore uint64
	for round := range 3 {
		e := x.Cached(t, dir, nil)
		begin := time.Now()
		id, info := enginetest.Prepare(t, e, wasm)
		prepared := time.Since(begin)
		r, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "nop"})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("prepared in %v, first call %v after that, started in way %d", prepared, time.Since(begin)-prepared, r.Stats.Instance)
		if want := engine.Mapped; round > 0 && (r.Stats.Instance != want || !info.CacheHit) {
			t.Errorf("round %d: instance %d, code cached %v", round, r.Stats.Instance, info.CacheHit)
		}
		n := draw(t, e, engine.Call{Module: id})
		for i, v := range n[:drawn] {
			if seen[v] {
				t.Errorf("column %d: %#x was drawn by another process", i, v)
			}
			seen[v] = true
		}
		if n[elapsed] <= elapsedBefore || n[elapsed] > uint64(time.Hour) {
			t.Errorf("the guest's monotonic clock went from %d to %d", elapsedBefore, n[elapsed])
		}
		elapsedBefore = n[elapsed]
		e.Close()
	}
}
