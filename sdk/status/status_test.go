package status

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestEveryClassSurvivesTheWire(t *testing.T) {
	for _, c := range Classes() {
		in := Errorf(c, "kvs: %s happened", c)
		out := FromCode(Code(fmt.Errorf("wrapped: %w", in)), in.Error())
		if Of(out) != c || out.Error() != in.Error() {
			t.Errorf("class %v came back as %v %q", c, Of(out), out)
		}
		if FromGRPC(c.GRPC()) != c {
			t.Errorf("class %v: gRPC code %d maps to %v", c, c.GRPC(), FromGRPC(c.GRPC()))
		}
		if g := c.Guest(); g != -1 && g != -4 {
			t.Errorf("class %v: guest code %d would make an upstream guest panic", c, g)
		}
	}
}

func TestNoTwoClassesShareAForm(t *testing.T) {
	exits, codes := map[int]Class{}, map[uint32]Class{}
	for _, c := range Classes() {
		if o, dup := exits[c.ExitCode()]; dup {
			t.Errorf("%v and %v share exit code %d", c, o, c.ExitCode())
		}
		if o, dup := codes[c.GRPC()]; dup {
			t.Errorf("%v and %v share gRPC code %d", c, o, c.GRPC())
		}
		exits[c.ExitCode()], codes[c.GRPC()] = c, c
	}
}

func TestLimitKeepsItsName(t *testing.T) {
	err := fmt.Errorf("call 7: %w", LimitError("memory", "memory limit of 64 MiB exceeded"))
	back := FromCode(Code(err), err.Error())
	if Code(back) != "limit/memory" {
		t.Fatalf("code %q", Code(back))
	}
	if !errors.Is(back, &Error{Class: Limit}) || !errors.Is(back, &Error{Class: Limit, Detail: "memory"}) {
		t.Fatal("errors.Is does not see the class")
	}
	if errors.Is(back, &Error{Class: Limit, Detail: "wall_time"}) {
		t.Fatal("errors.Is sees another limit")
	}
}

func TestContextErrorsAndUnknowns(t *testing.T) {
	for err, want := range map[error]Class{
		nil: OK, context.Canceled: Cancelled, context.DeadlineExceeded: Deadline, errors.New("x"): Internal,
	} {
		if got := Of(err); got != want {
			t.Errorf("Of(%v) = %v, want %v", err, got, want)
		}
	}
	if e := FromCode("fantasy", "boo"); e.Class != Internal || e.Text == "boo" {
		t.Errorf("unknown class came back as %v %q", e.Class, e.Text)
	}
	if err := Wrap(Unavailable, Errorf(NotFound, "x")); Of(err) != NotFound {
		t.Error("Wrap replaced a class")
	}
}
