package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
)

// taker is a Border that tells of each piece of output, and takes it when it is answered.
type taker struct {
	engine.Border
	come   chan string
	answer chan error
}

func (b *taker) Output(ctx context.Context, _ *engine.Origin, s engine.Stream, p []byte) error {
	b.come <- fmt.Sprint(s, " ", string(p))
	select {
	case err := <-b.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newOutput returns an output whose first line is on its way.
func newOutput(ctx context.Context, t *testing.T) (*output, *taker) {
	t.Helper()
	b := &taker{come: make(chan string, 100), answer: make(chan error, 100)}
	o := &output{border: b, less: make(chan struct{}, 1), bug: func(where string, p any) error { return fmt.Errorf("%s: %v", where, p) }}
	if full, err := o.add(ctx, engine.Stdout, []byte("first\n")); full || err != nil {
		t.Fatal(full, err)
	}
	if got := <-b.come; got != fmt.Sprint(engine.Stdout, " first\n") {
		t.Fatal(got)
	}
	return o, b
}

// Lines gather to one piece while another is on its way, but for the other stream's, and what follows a part of a line.
func TestOutputGathers(t *testing.T) {
	o, b := newOutput(t.Context(), t)
	for _, p := range []outputPiece{
		{engine.Stdout, []byte("b\n")},
		{engine.Stdout, []byte("c\n")},
		{engine.Stderr, []byte("d\n")},
		{engine.Stderr, []byte("long")},
		{engine.Stderr, []byte("er\n")},
		{engine.Stderr, []byte("e\n")},
		{engine.Stdout, []byte("f\n")},
	} {
		if full, err := o.add(t.Context(), p.stream, p.data); full || err != nil {
			t.Fatal(full, err)
		}
		clear(p.data) // it is the guest's
	}
	close(b.answer)
	if err := o.wait(t.Context(), 0); err != nil || !o.idle() {
		t.Fatal(err)
	}
	close(b.come)
	out, err := engine.Stdout, engine.Stderr
	want := []string{
		fmt.Sprint(out, " b\nc\n"), fmt.Sprint(err, " d\nlong"), fmt.Sprint(err, " er\ne\n"), fmt.Sprint(out, " f\n"),
	}
	var got []string
	for p := range b.come {
		got = append(got, p)
	}
	if !slices.Equal(got, want) {
		t.Errorf("pieces %q, want %q", got, want)
	}
}

// Beyond the window the guest is told to wait, until half of it was taken.
func TestOutputWindow(t *testing.T) {
	o, b := newOutput(t.Context(), t)
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	lines := 0
	for {
		full, err := o.add(t.Context(), engine.Stdout, line)
		if err != nil {
			t.Fatal(err)
		}
		if lines++; full {
			break
		}
		if lines > 2*outputWindow/len(line) {
			t.Fatal("it has no bound")
		}
	}
	if n := lines * len(line); n < outputWindow-len(line) {
		t.Errorf("full with %d bytes", n)
	}
	close(b.answer)
	if err := o.wait(t.Context(), outputWindow/2); err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes > outputWindow/2 {
		t.Errorf("%d bytes are left", o.bytes)
	}
}

// An error of the border, or its panic, ends the guest at what it does next; what has gathered is not sent any more.
func TestOutputError(t *testing.T) {
	o, b := newOutput(t.Context(), t)
	if _, err := o.add(t.Context(), engine.Stdout, []byte("second\n")); err != nil {
		t.Fatal(err)
	}
	b.answer <- errors.New("nobody is there")
	for _, err := range []error{
		o.wait(t.Context(), 0),
		func() error { _, err := o.add(t.Context(), engine.Stdout, []byte("third\n")); return err }(),
	} {
		if end := (*abi.End)(nil); !errors.As(err, &end) || end.Err.Error() != "nobody is there" {
			t.Errorf("%v", err)
		}
	}
	if o.idle() || len(o.rest(t.Context())) > 0 || len(b.come) > 0 {
		t.Error("the rest is sent")
	}
	o.border = nil
	if err := o.pass(t.Context(), outputPiece{}); err == nil {
		t.Error("a panic is no error")
	}
}

// Where the invocation is ended its sender stops, and leaves what has gathered to the last words.
func TestOutputOfAnEndedGuest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o, _ := newOutput(ctx, t)
	if _, err := o.add(ctx, engine.Stdout, []byte("second\n")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := o.wait(ctx, 0); err != nil {
		t.Errorf("%v", err)
	}
	rest := o.rest(t.Context())
	if len(rest) != 1 || string(rest[0].data) != "second\n" {
		t.Errorf("%q", rest)
	}
	if (*output)(nil).rest(t.Context()) != nil || (*output)(nil).wait(t.Context(), 0) != nil {
		t.Error("one that has written nothing has something left")
	}
}
