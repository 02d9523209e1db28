package runtime

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestNestedOrder: the guest that made a call last comes first, and its newest call; who is dropped leaves the others alone.
func TestNestedOrder(t *testing.T) {
	var n nestedCalls
	a, b := &Guest{}, &Guest{}
	a1, b1, b2, a2 := &future{parent: a}, &future{parent: b}, &future{parent: b}, &future{parent: a}
	for _, f := range []*future{a1, b1, b2, a2} {
		n.push(f)
	}
	if !n.claim(a1) || n.claim(a1) {
		t.Error("a call was not to be had, or twice")
	}
	for _, want := range []*future{a2, b2} {
		if got := n.pop(); got != want {
			t.Errorf("got %p, want %p", got, want)
		}
	}
	if begun := n.drop(b); begun != 1 {
		t.Errorf("%d calls of the dropped guest were begun", begun)
	}
	if n.queued != 0 || n.newest != nil || n.pop() != nil {
		t.Errorf("%d calls are left", n.queued)
	}
}

// TestNestedModel holds the queue to what it is: calls by guest, claimed in whatever order.
func TestNestedModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var (
			n      nestedCalls
			order  []*Guest // the one that made a call last is the last
			left   = map[*Guest][]*future{}
			begun  = map[*Guest]int{}
			guests = []*Guest{{}, {}, {}, {}}
		)
		take := func(f *future) {
			g := f.parent
			left[g] = slices.DeleteFunc(left[g], func(o *future) bool { return o == f })
			begun[g]++
		}
		for range 1000 {
			g := guests[r.IntN(len(guests))]
			switch r.IntN(8) {
			default:
				f := &future{parent: g}
				n.push(f)
				left[g] = append(left[g], f)
				order = append(slices.DeleteFunc(order, func(o *Guest) bool { return o == g }), g)
			case 0, 1, 2:
				if calls := left[g]; len(calls) > 0 {
					f := calls[r.IntN(len(calls))]
					if !n.claim(f) || n.claim(f) {
						t.Fatal("a call was not to be had, or twice")
					}
					take(f)
				}
			case 3, 4:
				order = slices.DeleteFunc(order, func(o *Guest) bool { return len(left[o]) == 0 })
				f := n.pop()
				if len(order) == 0 {
					if f != nil {
						t.Fatal("a call came from nowhere")
					}
					continue
				}
				last := order[len(order)-1]
				if want := left[last][len(left[last])-1]; f != want {
					t.Fatalf("got %p, want %p", f, want)
				}
				take(f)
			case 5:
				if r.IntN(20) == 0 {
					if got := n.drop(g); got != begun[g] {
						t.Fatalf("%d were begun, and not %d", got, begun[g])
					}
					left[g] = nil
				}
			}
			total := 0
			for _, g := range guests {
				total += len(left[g])
				if q := &g.queue; len(q.calls) > 2*len(left[g])+129 {
					t.Fatalf("a queue of %d for %d calls", len(q.calls), len(left[g]))
				}
			}
			if n.queued != total {
				t.Fatalf("%d calls are queued, and not %d", n.queued, total)
			}
		}
	}
}
