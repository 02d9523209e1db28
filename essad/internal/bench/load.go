package main

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// sample is the outcome of one closed loop.
type sample struct {
	perSecond float64
	p50, p99  float64 // microseconds
}

// loop runs op from so many clients at once for d, after a warm-up of a quarter of it.
func loop(ctx context.Context, clients int, d time.Duration, op func(client int) error) (sample, error) {
	start := time.Now().Add(d / 4)
	end := start.Add(d)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   = hdrhistogram.New(1, int64(10*time.Minute), 3)
		first error
	)
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := hdrhistogram.New(1, int64(10*time.Minute), 3)
			for ctx.Err() == nil {
				t := time.Now()
				if !t.Before(end) {
					break
				}
				if err := op(c); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					return
				}
				if !t.Before(start) {
					_ = mine.RecordValue(int64(time.Since(t)))
				}
			}
			mu.Lock()
			all.Merge(mine)
			mu.Unlock()
		}()
	}
	wg.Wait()
	if first == nil {
		first = ctx.Err() // what was cut short is no figure
	}
	return sample{
		perSecond: float64(all.TotalCount()) / d.Seconds(),
		p50:       float64(all.ValueAtQuantile(50)) / 1e3, p99: float64(all.ValueAtQuantile(99)) / 1e3,
	}, first
}

// alternate measures two loops in turns.
func alternate(ctx context.Context, clients int, d time.Duration, product, floor func(int) error) (p, f sample, err error) {
	s, err := turns(ctx, clients, d, product, floor)
	if err != nil {
		return p, f, err
	}
	return s[0], s[1], nil
}

// turns measures loops in turns, so that a drift of the machine hits all of them, and returns the medians of each. d is how
// long one of them runs in all.
func turns(ctx context.Context, clients int, d time.Duration, ops ...func(int) error) ([]sample, error) {
	const rounds = 3
	all := make([][]sample, len(ops))
	for range rounds {
		for i, op := range ops {
			s, err := loop(ctx, clients, d/rounds, op)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], s)
		}
	}
	medians := make([]sample, len(ops))
	for i := range all {
		medians[i] = middle(all[i])
	}
	return medians, nil
}

// middle takes the median of each figure.
func middle(s []sample) sample {
	pick := func(get func(sample) float64) float64 {
		v := make([]float64, len(s))
		for i := range s {
			v[i] = get(s[i])
		}
		for i := range v {
			for j := i; j > 0 && v[j] < v[j-1]; j-- {
				v[j], v[j-1] = v[j-1], v[j]
			}
		}
		return v[len(v)/2]
	}
	return sample{
		perSecond: pick(func(x sample) float64 { return x.perSecond }),
		p50:       pick(func(x sample) float64 { return x.p50 }),
		p99:       pick(func(x sample) float64 { return x.p99 }),
	}
}
