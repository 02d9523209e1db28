package enginetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// prints has the guest write a line.
func (s *script) prints(line string) {
	at, n := s.data(line)
	for len(s.buffer)%4 != 0 {
		s.buffer = append(s.buffer, 0)
	}
	vec := ptr(len(s.buffer))
	s.buffer = append(s.buffer, make([]byte, 12)...)
	s.call("vector", vec, at, n) // its pointer is only known in the guest
	s.call("fd_write", 1, vec, 1, vec+8)
}

// testOutputOrder: what a guest has written was taken before anything that it does afterwards can be seen, however slowly it is
// taken, and before the call has ended.
func testOutputOrder(t *testing.T, open Open) {
	x := start(t, open, Options{})
	var (
		mu     sync.Mutex
		events []string
	)
	note := func(e string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	x.border.Before = func(ctx context.Context, op string, _ *engine.Origin, key []byte) error {
		if op == "output" {
			time.Sleep(5 * time.Millisecond)
			note("output")
		} else {
			note(op + " " + string(key))
		}
		return ctx.Err()
	}
	value := set("v")
	s := &script{}
	s.prints("one\n")
	p, n := s.data(value)
	s.key("essa_put_lattice", "own", p, n)
	s.prints("two\n")
	args := string(binary.LittleEndian.AppendUint32(nil, 6)) + "nested" + value
	handle, _ := s.start("put", args)
	s.prints("three\n")
	s.move(0, handle)
	s.call("essa_get_result_len", 0, s.space(4))
	s.prints("four\n")
	x.run(t, s, nil)
	note("end")
	mu.Lock()
	defer mu.Unlock()
	// The nested call may begin before or after the third line: nobody has waited for it by then. Where it has ended before that was
	// sent, the fourth goes with it.
	got := strings.Join(events, ", ")
	if !slices.Contains([]string{
		"output, merge own, output, merge nested, output, output, end",
		"output, merge own, output, output, merge nested, output, end",
		"output, merge own, output, merge nested, output, end",
	}, got) {
		t.Errorf("%s", got)
	}
	if got := x.border.Written(engine.Stdout); got != "one\ntwo\nthree\nfour\n" {
		t.Errorf("standard output is %q", got)
	}
}

// testOutputFails: a guest whose output nobody takes ends with that, before it does anything else that can be seen.
func testOutputFails(t *testing.T, open Open) {
	x := start(t, open, Options{})
	x.border.Before = func(ctx context.Context, op string, _ *engine.Origin, _ []byte) error {
		if op == "output" {
			return status.Errorf(status.Unavailable, "nobody reads this")
		}
		return ctx.Err()
	}
	for _, put := range []bool{true, false} {
		s := &script{}
		s.prints("one\n")
		if put {
			p, n := s.data(set("v"))
			s.key("essa_put_lattice", "own", p, n)
		}
		if _, err := x.try(s, nil); status.Of(err) != status.Unavailable || !strings.Contains(fmt.Sprint(err), "nobody reads this") {
			t.Errorf("put %v: %v", put, err)
		}
	}
	if _, ok := x.border.Value(testScope, "own"); ok {
		t.Error("it went on")
	}
}
