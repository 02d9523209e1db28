package wasi

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// fakeEnv is an Env whose time passes by sleeping.
type fakeEnv struct {
	out   [3]bytes.Buffer
	calls int
	now   int64
}

func (e *fakeEnv) Output(stream int, p []byte) error {
	e.calls++
	e.out[stream].Write(p)
	return nil
}
func (e *fakeEnv) Input(int) ([]byte, error)   { return nil, io.EOF }
func (e *fakeEnv) Realtime() int64             { return e.now }
func (e *fakeEnv) Monotonic() int64            { return e.now }
func (e *fakeEnv) Random([]byte) error         { return nil }
func (e *fakeEnv) Sleep(d time.Duration) error { e.now += int64(d); return nil }
func (e *fakeEnv) Yield() error                { return nil }

// FuzzFunctions: whatever a guest passes, the functions do not panic and only proc_exit ends it.
func FuzzFunctions(f *testing.F) {
	f.Add([]byte{0, 8, 16}, uint16(64), false)
	f.Add([]byte{8, 0, 100, 2, 90, 31, 1, 0, 2, 60}, uint16(512), true)
	f.Fuzz(func(t *testing.T, program []byte, size uint16, old bool) {
		module := Preview1
		if old {
			module = Unstable
		}
		mem := make([]byte, size)
		copy(mem, program)
		s := &State{Env: &fakeEnv{}, Args: []string{"a", "bc"}, Environ: []string{"K=V"}, Line: 16}
		funcs := Funcs(module)
		for steps := 0; len(program) > 0 && steps < 1000; steps++ {
			fn := funcs[int(program[0])%len(funcs)]
			program = program[1:]
			stack := make([]uint64, max(len(fn.Params), 1))
			for i := range stack {
				if len(program) == 0 {
					break
				}
				b := program[0]
				program = program[1:]
				switch {
				case b < 200:
					stack[i] = uint64(b)
				case b < 230:
					stack[i] = uint64(uint32(size) - uint32(b-200))
				default:
					stack[i] = 0xdeadbeef<<32 | uint64(0xffffffff-uint32(b-230))
				}
			}
			err := fn.Call(s, mem, stack)
			if exit := (*Exit)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatalf("%s: %v", fn.Name, err)
			}
			if err == nil && fn.Result && stack[0] > 76 {
				t.Fatalf("%s returned %d", fn.Name, stack[0])
			}
		}
	})
}

// TestWrite: however output is cut into writes, it arrives whole and in order, and in few pieces.
func TestWrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var text strings.Builder
		for range rng.IntN(40) {
			text.WriteString(strings.Repeat("x", rng.IntN(50)))
			if rng.IntN(3) > 0 {
				text.WriteByte('\n')
			}
		}
		e := &fakeEnv{}
		s := &State{Env: e, Line: 1 + rng.IntN(30)}
		for rest := text.String(); rest != ""; {
			n := 1 + rng.IntN(len(rest))
			if err := s.write(1, []byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := e.out[1].String(); got != text.String() {
			t.Fatalf("line limit %d: %q arrived as %q", s.Line, text.String(), got)
		}
	}
	// A thousand short lines in one write are not a thousand pieces.
	e := &fakeEnv{}
	s := &State{Env: e, Line: 1024}
	if err := s.write(1, []byte(strings.Repeat("line\n", 1000))); err != nil || e.calls != 1 {
		t.Errorf("%d pieces, %v", e.calls, err)
	}
}

// TestEveryFunction: both modules have each function once, and none is missing.
func TestEveryFunction(t *testing.T) {
	for module, want := range map[string]int{Preview1: 46, Unstable: 45} {
		seen := map[string]bool{}
		for _, f := range Funcs(module) {
			if seen[f.Name] || strings.Trim(f.Params, "iI") != "" {
				t.Errorf("%s %s %q", module, f.Name, f.Params)
			}
			seen[f.Name] = true
		}
		if len(seen) != want {
			t.Errorf("%s has %d functions, want %d", module, len(seen), want)
		}
	}
}
