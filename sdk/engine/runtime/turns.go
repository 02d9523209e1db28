package runtime

import (
	"slices"
	"time"
)

// Kinds of calls are measured in turns, for a machine's speed changes within seconds and what counts is how they compare.
const (
	turns     = 40
	mostTimes = 200_000 / turns // of one kind in a turn
)

// kind is a kind of call that is measured.
type kind struct {
	to   *float64
	once func() (time.Duration, error)
	per  int // calls in one

	took    []time.Duration
	medians []float64 // of each turn
}

// inTurns measures kinds of calls, each for so long in all.
func inTurns(long time.Duration, kinds []*kind) error {
	for range turns {
		for _, k := range kinds {
			if err := k.measure(long / turns); err != nil {
				return err
			}
		}
	}
	for _, k := range kinds {
		*k.to = median(k.took) / float64(k.per)
	}
	return nil
}

// measure is a turn: it repeats what is measured for a while.
func (k *kind) measure(long time.Duration) error {
	first := len(k.took)
	for end := time.Now().Add(long); len(k.took) == first || len(k.took)-first < mostTimes && time.Now().Before(end); {
		d, err := k.once()
		if err != nil {
			return err
		}
		k.took = append(k.took, d)
	}
	k.medians = append(k.medians, median(slices.Clone(k.took[first:]))/float64(k.per))
	return nil
}

// by returns what k takes by what other takes: the median of the ratios of turns that followed each other.
func (k *kind) by(other *kind) float64 {
	ratios := make([]float64, 0, turns)
	for n, m := range k.medians {
		ratios = append(ratios, m/other.medians[n])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func micros(d time.Duration) float64 { return d.Seconds() * 1e6 }

// median returns the median in microseconds, and leaves the times sorted.
func median(took []time.Duration) float64 {
	slices.Sort(took)
	return micros(took[len(took)/2])
}
