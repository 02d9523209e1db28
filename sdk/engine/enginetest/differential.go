package enginetest

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// The differential run: the same modules are given the same inputs on every engine, and must give the same results, make the
// same writes, print the same output, fail with the same classes and use the same fuel. What they give is kept beside the
// guests, so engines that cannot be on one machine are held to the same.

var updateDifferential = flag.Bool("enginetest.update", false, "write what the differential run gives to enginetest's testdata")

const (
	differentialFile  = "testdata/differential.txt"
	scriptSeeds       = 400
	numberSeeds       = 60
	differentialSteps = 24 // host calls of a script
)

func testDifferential(t *testing.T, open Open) {
	var lines []string
	x := start(t, open, Options{})
	for seed := range uint64(scriptSeeds) {
		lines = append(lines, x.scriptLine(seed))
	}
	x = startWith(t, open, Options{}, &Border{}, "numbers.wasm")
	lines = append(lines, x.numberLines()...)
	got := strings.Join(lines, "\n") + "\n"
	if *updateDifferential {
		if err := os.WriteFile(filepath.Join("..", "..", "sdk", "engine", "enginetest", differentialFile), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := strings.Split(string(Wasm("differential.txt")), "\n")
	wrong := 0
	for i, line := range lines {
		if i >= len(want) || want[i] != line {
			if wrong++; wrong <= 10 {
				t.Errorf("line %d:\ngot  %s\nwant %s", i+1, line, want[min(i, len(want)-1)])
			}
		}
	}
	if wrong > 10 || len(want) != len(lines)+1 {
		t.Errorf("%d lines differ; there are %d, and %d are wanted", wrong, len(lines), len(want)-1)
	}
}

// scriptLine runs a random list of host calls and tells all that it gave.
func (x *fixture) scriptLine(seed uint64) string {
	g := &calls{Rand: rand.New(rand.NewPCG(seed, 2))}
	s := g.script()
	c := x.function("script", s.args())
	c.Scope = fmt.Sprint("seed", seed)
	if g.IntN(4) == 0 {
		c.Limits = engine.Limits{HostCalls: int64(1 + g.IntN(30))}
	}
	before := len(x.border.Written(engine.Stdout))
	r, err := x.invoke(c)
	said := x.border.Written(engine.Stdout)[before:]
	return fmt.Sprintf("script %d: %s, %d bytes said, state %s", seed, told(r, err), len(said), x.state(c.Scope, g.keys))
}

// told tells of a result what engines have to agree on.
func told(r *engine.Result, err error) string {
	if err != nil {
		return strings.TrimSuffix(fmt.Sprintf("%v/%s", status.Of(err), status.DetailOf(err)), "/")
	}
	var keys []string
	for _, w := range r.Writes {
		keys = append(keys, fmt.Sprintf("%.12q", w.Key))
	}
	slices.Sort(keys)
	return fmt.Sprintf("%d bytes %s, wrote %s, fuel %d, %d host calls, %d nested", len(r.Value), hash(r.Value), strings.Join(keys, " "),
		r.Stats.Fuel, r.Stats.HostCalls, r.Stats.Nested)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:6])
}

// state is the hash of what a scope holds.
func (x *fixture) state(scope string, keys []string) string {
	var b []byte
	for _, k := range keys {
		v, ok := x.border.Value(scope, k)
		b = append(b, k...)
		if ok {
			b = append(b, v.Data...)
		}
	}
	return hash(b)
}

// calls writes random host calls that say the same on every run: what depends on the time, or on random numbers, is put
// where nothing looks.
type calls struct {
	*rand.Rand
	s       script
	hidden  ptr // what clock, random and poll write
	open    []ptr
	handles []ptr
	keys    []string
}

func (g *calls) script() *script {
	g.hidden = g.s.space(256)
	g.keys = []string{"a", "b", "a/b", "", "nul\x00nul", strings.Repeat("k", 300)}
	shown := g.s.space(2048)
	for range 8 {
		g.open = append(g.open, shown+ptr(g.IntN(2000)))
	}
	for range differentialSteps {
		g.step()
	}
	g.s.dump(shown, 2048)
	return &g.s
}

func pick[T any](g *calls, list ...T) T { return list[g.IntN(len(list))] }

// place is where a result goes; seldom it is out of bounds, which traps.
func (g *calls) place() any {
	if g.IntN(250) == 0 {
		return pick(g, uint32(0xfffffff0), uint32(0x7fffffff), uint32(1<<30))
	}
	return pick(g, g.open...)
}

func (g *calls) length() uint32 { return pick(g, uint32(0), 1, 7, 16, 100, 900) }

func (g *calls) key() (ptr, uint32) {
	if g.IntN(100) == 0 {
		return g.s.data("\xff\xfe") // not UTF-8, which traps
	}
	return g.s.data(pick(g, g.keys...))
}

func (g *calls) step() {
	switch g.IntN(18) {
	case 0:
		g.s.call("essa_get_args", g.place(), g.length())
	case 1:
		g.s.call("essa_set_result", g.place(), g.length())
	case 2, 3:
		f := pick(g, "echo", "echo", "empty", "none", "trap", "nobody", "notfunction", "initialized", "")
		h, _ := g.s.start(f, strings.Repeat("x", g.IntN(40)))
		g.handles = append(g.handles, h)
	case 4:
		g.handle()
		g.s.call("essa_get_result_len", 0, g.place())
	case 5:
		g.handle()
		g.s.call("essa_get_result", 0, g.place(), g.length(), g.place())
	case 6, 7:
		p, n := g.key()
		v, m := g.s.data(g.value())
		g.s.call("essa_put_lattice", p, n, v, m)
	case 8:
		p, n := g.key()
		g.s.call("essa_get_lattice_len", p, n, g.place())
	case 9:
		p, n := g.key()
		g.s.call("essa_get_lattice_data", p, n, g.place(), g.length(), g.place())
	case 10:
		p, n := g.key()
		g.s.call("essa_get_value_len", p, n, g.place())
	case 11:
		p, n := g.key()
		g.s.call("essa_get_value_data", p, n, g.place(), g.length(), g.place())
	case 12:
		g.handle()
		g.s.call("essa_get_error", 0, g.place(), g.length(), g.place())
	case 13:
		g.s.call(pick(g, "args_sizes_get", "environ_sizes_get"), g.place(), g.place())
	case 14:
		if g.IntN(2) == 0 {
			g.s.call("random_get", g.hidden, g.IntN(256))
		} else {
			g.s.call("clock_time_get", g.IntN(6), uint64(0), g.hidden)
		}
	default:
		g.file()
	}
}

// handle makes a handle the first parameter of the next call: one that was given, or anything.
func (g *calls) handle() {
	if len(g.handles) > 0 && g.IntN(20) > 0 {
		g.s.move(0, pick(g, g.handles...))
		return
	}
	if g.IntN(4) > 0 {
		h, _ := g.s.start("echo", "echoed")
		g.handles = append(g.handles, h)
		g.s.move(0, h)
		return
	}
	g.s.move(0, pick(g, g.open...))
}

// file asks of files, of which there are the standard streams.
func (g *calls) file() {
	fd := g.IntN(5)
	switch g.IntN(5) {
	case 0:
		g.s.call("fd_fdstat_get", fd, pick(g, g.open...))
	case 1:
		g.s.call("fd_prestat_get", fd, g.place())
	case 2:
		g.s.call("fd_seek", fd, uint64(g.IntN(9)), g.IntN(4), g.place())
	case 3:
		g.s.call("fd_tell", fd, g.place())
	default:
		vec := g.s.space(8)
		text, n := g.s.data("said\n")
		g.s.call("vector", vec, text, n)
		g.s.call("fd_write", fd, vec, 1, g.place())
	}
}

// value is a lattice value in its encoding, or garbage.
func (g *calls) value() string {
	switch g.IntN(4) {
	case 0:
		return "garbage"
	case 1:
		return string(binary.LittleEndian.AppendUint32(nil, g.Uint32N(9)))
	default:
		return set(fmt.Sprint("member", g.IntN(5)))
	}
}

// numberLines runs arithmetic, and every trap.
func (x *fixture) numberLines() (lines []string) {
	for seed := range uint64(numberSeeds) {
		r, err := x.invoke(x.function("mix", binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, seed), 20_000)))
		lines = append(lines, fmt.Sprintf("numbers %d: %s", seed, told(r, err)))
	}
	for _, name := range []string{
		"divide", "divide_minimum", "truncate", "load", "store", "indirect_null", "indirect_far", "indirect_type", "unreachable",
	} {
		r, err := x.invoke(x.function(name, nil))
		lines = append(lines, fmt.Sprintf("trap %s: %s", name, told(r, err)))
	}
	return lines
}
