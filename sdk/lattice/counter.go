package lattice

import (
	"math"
	"strings"

	"github.com/essa-project/essad/sdk/bincode"
)

// Counter counts up and down. Each writer, named by an id that nobody else uses, keeps two totals that only grow; the
// merge takes the greater ones.
type Counter struct{ entries []CounterEntry }

// CounterEntry is what one writer has added and subtracted in all.
type CounterEntry struct {
	ID       string
	Up, Down uint64
}

func compareCounters(a, b CounterEntry) int { return strings.Compare(a.ID, b.ID) }

// NewCounter returns the counter with these entries; of equal ids the last one counts.
func NewCounter(entries ...CounterEntry) Counter {
	return Counter{lastOfEach(entries, compareCounters)}
}

// Tag returns TagCounter.
func (Counter) Tag() Tag { return TagCounter }

// Entries returns the entries by ascending id.
func (c Counter) Entries() []CounterEntry { return c.entries }

// Value returns the sum, the nearest int64 where it holds no more.
func (c Counter) Value() int64 {
	var up, down sum
	for _, e := range c.entries {
		up.add(e.Up)
		down.add(e.Down)
	}
	return up.minus(down)
}

// sum is a 128-bit total, so that no order of adding overflows.
type sum struct{ hi, lo uint64 }

func (s *sum) add(n uint64) {
	s.lo += n
	if s.lo < n {
		s.hi++
	}
}

func (s sum) minus(o sum) int64 {
	hi, lo := s.hi-o.hi, s.lo-o.lo
	if s.lo < o.lo {
		hi--
	}
	switch {
	case hi == 0 && lo <= math.MaxInt64, hi == math.MaxUint64 && lo > math.MaxInt64:
		return int64(lo)
	case int64(hi) >= 0:
		return math.MaxInt64
	}
	return math.MinInt64
}

// Add returns the counter after the writer id has added n. Totals stop at the greatest uint64.
func (c Counter) Add(id string, n int64) Counter {
	e := CounterEntry{ID: id}
	for _, have := range c.entries {
		if have.ID == id {
			e = have
		}
	}
	if n >= 0 {
		e.Up = addSaturated(e.Up, uint64(n))
	} else {
		e.Down = addSaturated(e.Down, uint64(-(n+1))+1)
	}
	return NewCounter(append(append([]CounterEntry(nil), c.entries...), e)...)
}

func addSaturated(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

func (c Counter) appendBody(b []byte) []byte {
	b = bincode.AppendUint64(b, uint64(len(c.entries)))
	for _, e := range c.entries {
		b = bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(b, e.ID), e.Up), e.Down)
	}
	return b
}

func decodeCounter(d *bincode.Decoder) Counter {
	n := d.Count(24)
	out := make([]CounterEntry, 0, min(n, 1024))
	for range n {
		out = append(out, CounterEntry{d.String(), d.Uint64(), d.Uint64()})
		if d.Err() != nil {
			return Counter{}
		}
	}
	return NewCounter(out...)
}

func (c Counter) join(other Value, _ bool) (Value, error) {
	return Counter{union(c.entries, other.(Counter).entries, compareCounters, func(a, b CounterEntry) CounterEntry {
		return CounterEntry{a.ID, max(a.Up, b.Up), max(a.Down, b.Down)}
	})}, nil
}
