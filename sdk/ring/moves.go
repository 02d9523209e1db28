package ring

import (
	"iter"
	"slices"
)

// Arc is the part of the circle from From (not in it) to To (in it), clockwise. Where both are the same it is the whole
// circle.
type Arc struct{ From, To uint64 }

// Contains tells whether a position lies in the arc.
func (a Arc) Contains(position uint64) bool {
	if a.From < a.To {
		return position > a.From && position <= a.To
	}
	return position > a.From || position <= a.To
}

// arcs returns the circle cut at every point.
func (r *Ring) arcs() []Arc {
	if r.Len() == 0 {
		return nil
	}
	return cut(slices.Compact(slices.Clone(r.points)))
}

func cut(at []uint64) []Arc {
	out := make([]Arc, len(at))
	for i, p := range at {
		out[i] = Arc{at[(i+len(at)-1)%len(at)], p}
	}
	return out
}

// Arcs yields the circle in parts with the n owners of each. Neighbours with the same owners in the same order are one.
// The slices must not be kept.
func (r *Ring) Arcs(n int) iter.Seq2[Arc, []string] {
	return func(yield func(Arc, []string) bool) {
		for m := range walk(r.arcs(), nil, 0, r, n) {
			if !yield(m.Arc, m.To) {
				return
			}
		}
	}
}

// Move is an arc whose owners change from From to To, which may be empty. The slices must not be kept.
type Move struct {
	Arc
	From []string
	To   []string
}

// Moves yields where the n owners differ between two rings: what has to be handed over when one follows the other.
// Owners in another order are a move too, since the first owner has duties of its own. An n that changes is a move to or
// from more owners: give both.
func Moves(from *Ring, fromN int, to *Ring, toN int) iter.Seq[Move] {
	return func(yield func(Move) bool) {
		var at []uint64
		for _, r := range []*Ring{from, to} {
			if r.Len() > 0 {
				at = append(at, r.points...)
			}
		}
		slices.Sort(at)
		for m := range walk(cut(slices.Compact(at)), from, fromN, to, toN) {
			if !slices.Equal(m.From, m.To) && !yield(m) {
				return
			}
		}
	}
}

// walk yields arcs with their owners in both rings and joins neighbours that have the same.
func walk(arcs []Arc, from *Ring, fromN int, to *Ring, toN int) iter.Seq[Move] {
	return func(yield func(Move) bool) {
		var last Move
		for i, a := range arcs {
			m := Move{Arc: a, From: from.OwnersAt(a.To, fromN), To: to.OwnersAt(a.To, toN)}
			switch {
			case i == 0:
				last = m
			case slices.Equal(m.From, last.From) && slices.Equal(m.To, last.To):
				last.Arc.To = a.To
			default:
				if !yield(last) {
					return
				}
				last = m
			}
		}
		if len(arcs) > 0 {
			yield(last)
		}
	}
}
