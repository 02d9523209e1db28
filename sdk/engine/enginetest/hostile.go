package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// attack is a module that means no good, or a function of the suite's guest that behaves like one.
type attack struct {
	name     string
	wasm     []byte // nil: the suite's guest
	function string // "f" where it is empty
	refused  string // the limit that keeps it out; "invalid" where it is not a module that runs
	harmless bool   // it ends well
	limits   engine.Limits
	args     []byte
	lasts    time.Duration // attackTime where it is zero
	typical  bool          // most tries have to keep the promise, not one
}

// Instructions that shapes are made of.
var (
	forever = []byte{0x03, 0x40, 0x0c, 0, 0x0b} // loop br 0 end
	drop    = []byte{0x1a}
)

// again makes a loop without end of some code.
func again(code ...[]byte) []byte {
	return join([]byte{0x03, 0x40}, join(code...), []byte{0x0c, 0, 0x0b})
}

func callOf(f uint64) []byte { return join([]byte{0x10}, uleb(f)) }

// bulk is n memory.fill (0x0b) or memory.copy of 1 MiB each, one after the other.
func bulk(n int) []byte {
	fill := join(i32c(0), i32c(7), i32c(1<<20), []byte{0xfc, 0x0b, 0})
	move := join(i32c(1<<20), i32c(0), i32c(1<<20), []byte{0xfc, 0x0a, 0, 0})
	return bytes.Repeat(join(fill, move), n/2)
}

func function(code ...[]byte) []body { return []body{{code: join(code...)}} }

// twice is a function that calls itself twice with one less, as often as there is anything left.
func twice(self uint64) []byte {
	less := join([]byte{0x20, 0}, i32c(1), []byte{0x6b}, callOf(self))
	return join([]byte{0x20, 0, 0x45, 0x04, 0x40, 0x0f, 0x0b}, less, less)
}

// wide is a function with so many locals of 64 bits that calls itself and needs them all afterwards.
func wide(n int) []body {
	var set, use []byte
	for i := range n {
		l := uleb(uint64(i + 1))
		set = join(set, []byte{0x20, 0, 0xac, 0x21}, l)
		use = join(use, []byte{0x20}, l, []byte{0xa7, 0x6a})
	}
	code := join(set, []byte{0x20, 0}, callOf(0), i32c(0), use, drop)
	return []body{{locals: [][]byte{join(uleb(uint64(n)), []byte{0x7e})}, code: code}}
}

// switches is a loop over a br_table of n targets.
func switches(n int) []byte {
	targets := join([]byte{0x0e}, uleb(uint64(n)), make([]byte, n), []byte{0})
	return join([]byte{0x03, 0x40, 0x20, 0}, targets, []byte{0x0b})
}

func many(n int, item func(int) []byte) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = item(i)
	}
	return list
}

func exported(n int) [][]byte {
	return many(n, func(i int) []byte { return join(named(fmt.Sprint("e", i)), []byte{0, 0}) })
}

func attacks() []attack {
	shapes := []struct {
		name    string
		s       shape
		refused string
		well    bool
	}{
		{"loop", shape{funcs: function(forever)}, "", false},
		{"calls without loops, 2^34", shape{funcs: []body{{code: join(i32c(34), callOf(1))}, {code: twice(1)}}}, "", false},
		{"calls without loops, 2^60", shape{funcs: []body{{code: join(i32c(60), callOf(1))}, {code: twice(1)}}}, "", false},
		{"recursion", shape{funcs: function([]byte{0x20, 0}, callOf(0))}, "", false},
		{"recursion with 16 locals", shape{funcs: wide(16)}, "", false},
		{"recursion with 1000 locals", shape{funcs: wide(1000)}, "", false},
		{"memory", shape{funcs: function(again(i32c(1), []byte{0x40, 0}, drop))}, "", false},
		{"6000 fills", shape{pages: 32, funcs: function(bulk(6000))}, "", false},
		{"20000 fills", shape{pages: 32, funcs: function(bulk(20000))}, "", false},
		{"widest switch", shape{funcs: function(switches(widestSwitch))}, "", false},
		{"switch of 65537", shape{funcs: function(switches(1<<16 + 1))}, "branch_targets", false},
		{"50000 locals", shape{funcs: []body{{locals: [][]byte{join(uleb(50_000), []byte{0x7f})}}}}, "locals", false},
		{"elements", shape{
			tables: [][]byte{{0x70, 0, 1}}, funcs: function(),
			elems: [][]byte{join([]byte{1, 0}, uleb(1<<20+1), make([]byte, 1<<20+1))},
		}, "elements", false},
		{"a million data segments", shape{funcs: function(), data: many(1_000_000, func(int) []byte { return []byte{1, 0} })}, "data_segments", false},
		{"10000 exports", shape{funcs: function(), exports: exported(10_000)}, "", true},
		{"30000 exports", shape{funcs: function(), exports: exported(30_000)}, "exports", false},
		{"blocks within blocks", shape{funcs: function(bytes.Repeat([]byte{0x02, 0x40}, 60_000), bytes.Repeat([]byte{0x0b}, 60_000))}, "nesting", false},
		{"names that are garbage", shape{funcs: function(), customs: [][]byte{join(named("name"), bytes.Repeat([]byte{0xff}, 100_000))}}, "", true},
		{"start function without end", shape{
			types: [][]byte{{0x60, 0, 0}}, funcs: []body{{}, {typ: 1, code: forever}}, start: []byte{1},
		}, "", false},
		{"initialisation without end", shape{
			types: [][]byte{{0x60, 0, 0}}, funcs: []body{{}, {typ: 1, code: forever}},
			exports: [][]byte{join(named("_initialize"), []byte{0, 1})},
		}, "", false},
		{"table", shape{
			tables: [][]byte{{0x70, 0, 1}},
			funcs:  function(again([]byte{0xd0, 0x70}, i32c(1000), []byte{0xfc, 0x0f, 0}, drop)),
		}, "", false},
		{"shared memory", shape{funcs: function(), memory: []byte{3, 1, 1}}, "invalid", false},
		{"wait on shared memory", shape{funcs: function(i32c(0), i32c(0), []byte{0x42, 0x7f, 0xfe, 0x01, 2, 0}, drop)}, "invalid", false},
	}
	var list []attack
	for _, s := range shapes {
		list = append(list, attack{name: s.name, wasm: s.s.wasm(), refused: s.refused, harmless: s.well})
	}
	overlong := []byte("\x00asm\x01\x00\x00\x00\x01\x80\x80\x80\x80\x80\x00")
	list = append(list, attack{name: "numbers longer than they may be", wasm: overlong, refused: "invalid"})
	free := engine.Limits{Log: -1, HostCalls: -1, CallDepth: 100, Handles: -1}
	for _, f := range []string{
		"spin", "storm", "expo", "fill", "bomb", "overflow", "flood", "randoms", "forkbomb", "waiter", "sleeper", "child_spins",
	} {
		list = append(list, attack{name: "guest " + f, function: f, limits: free})
	}
	// Calls that make two each and wait for them, for long enough that very many instances wait when it ends.
	list = append(list, attack{
		name: "guest tree", function: "tree", args: []byte{0, 0, 1, 0, 2, 0, 0, 0}, lasts: time.Second, typical: true,
	})
	return append(list, attack{name: "guest openhandles", function: "openhandles", limits: engine.Limits{Handles: 10_000}})
}

// testHostile: whatever a module does, it is kept out or ended at its deadline, by name, and a neighbour does not wait for it.
func testHostile(t *testing.T, open Open) {
	// Where the engine is in this process, guests hold Go's processors that the test would look on with. An engine's own process
	// gets one more when it has to (Settings.Share of package runtime).
	more := goruntime.GOMAXPROCS(0)
	goruntime.GOMAXPROCS(more + 1)
	defer goruntime.GOMAXPROCS(more)
	x := start(t, open, Options{Workers: 2})
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) { x.attack(t, &a) })
	}
	x.working(t)
}

const (
	// attackTime is how long an attack may go on before it is ended.
	attackTime = 100 * time.Millisecond
	// promise is what every attack is held to beside overrun and neighbourBound, which hold always: it ends within that of its
	// deadline, and no neighbour waits longer. Others share the machine, so one of some tries has to show it, each measured
	// against how late the machine was with something else meanwhile. Where an engine has much to do to end a guest a single
	// try says little: then more have to keep it than do not, and at least so many.
	promise = 20 * time.Millisecond
	tries   = 9
	fewest  = 3
)

func (x *fixture) attack(t *testing.T, a *attack) {
	id := x.module
	if a.wasm != nil {
		began := time.Now()
		_, err := prepare(x.engine, a.wasm)
		if took := time.Since(began); took > compileBound {
			t.Errorf("it took %v to prepare it: %v", took, err)
		}
		switch {
		case a.refused == "invalid":
			wantError(t, err, status.Invalid, "")
			return
		case a.refused != "":
			wantError(t, err, status.Limit, a.refused)
			return
		case status.Of(err) == status.Limit && status.DetailOf(err) == "compile_time" || status.DetailOf(err) == "compile_memory":
			t.Logf("kept out: %v", err)
			return
		case err != nil:
			t.Fatalf("prepare: %v", err)
		}
		id = ModuleOf(a.wasm).SHA256
	}
	kept, broken := 0, 0
	for range tries {
		if x.once(t, a, id) {
			kept++
		} else {
			broken++
		}
		if t.Failed() || slow || kept > 0 && (!a.typical || kept >= fewest && kept > broken) {
			return
		}
	}
	t.Errorf("%d of %d times it ended late, or a neighbour waited", broken, tries)
}

// once attacks once. It tells whether the promise was kept, by how much later than its deadline the attack ended, how long a
// neighbour waited, and how late the machine was with waking us: after the deadline, and at any time.
func (x *fixture) once(t *testing.T, a *attack, id string) bool {
	c := x.function(a.function, a.args)
	if a.function == "" {
		c.Function = "f"
	}
	c.Module, c.Limits = id, a.limits
	c.Deadline = time.Now().Add(cmp.Or(a.lasts, attackTime))
	stalls, lateness := x.neighbour(t), oversleep(c.Deadline)
	_, err := x.invoke(c)
	late := time.Since(c.Deadline)
	waited := stalls()
	then, ever := lateness()
	t.Logf("%v after its deadline: %v; the neighbour waited %v at most, and the machine was up to %v late, and then %v", late, err,
		waited, ever, then)
	if a.harmless && err != nil {
		t.Errorf("it does no harm, and ended with %v", err)
	}
	if !a.harmless && err == nil {
		t.Error("it ended well")
	}
	switch status.Of(err) {
	case status.OK, status.Deadline, status.Limit, status.GuestFault:
	default:
		t.Errorf("ended with %v", err)
	}
	if late > overrun {
		t.Errorf("ended %v after its deadline", late)
	}
	return late <= promise+then && waited <= promise+ever
}

// oversleep sleeps again and again until the function that it returns is called, which tells the most by which that was longer
// than it was meant to be: after a time, and ever.
func oversleep(after time.Time) func() (then, ever time.Duration) {
	const short = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var (
		wg         sync.WaitGroup
		then, ever time.Duration
	)
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(short)
			over := time.Since(began) - short
			if ever = max(ever, over); time.Now().After(after) {
				then = max(then, over)
			}
		}
	})
	return func() (time.Duration, time.Duration) {
		cancel()
		wg.Wait()
		return then, ever
	}
}

// neighbour makes calls until the function that it returns is called, which tells the longest time that one took.
func (x *fixture) neighbour(t testing.TB) func() time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	var (
		wg      sync.WaitGroup
		longest time.Duration
	)
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			x.mustInvoke(t, x.function("echo", []byte("x")))
			longest = max(longest, time.Since(began))
			time.Sleep(time.Millisecond)
		}
	})
	return func() time.Duration {
		cancel()
		wg.Wait()
		if longest > neighbourBound {
			t.Errorf("a neighbour's call took %v", longest)
		}
		return longest
	}
}

// compileBound is how long preparing a hostile module may take, refused or not.
const compileBound = 30 * time.Second
