package routing

import (
	"slices"
	"testing"
	"time"
)

func TestMembership(t *testing.T) {
	var m membership
	now := time.Unix(1, 0)
	a, b := member{"kvs", "b"}, member{"executor", "a"}
	if !m.appear(a, now) || !m.appear(b, now) || m.appear(a, now.Add(time.Hour)) {
		t.Fatal("a member is new once")
	}
	if m.since[a] != now {
		t.Fatal("a repeated token made the member younger")
	}
	if got := m.list(); !slices.Equal(got, []member{b, a}) {
		t.Fatalf("list %v", got)
	}
	if !m.vanish(a) || m.vanish(a) || len(m.list()) != 1 {
		t.Fatal("a member vanishes once")
	}
}
