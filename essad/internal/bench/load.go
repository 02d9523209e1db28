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
	return sample{
		perSecond: float64(all.TotalCount()) / d.Seconds(),
		p50:       float64(all.ValueAtQuantile(50)) / 1e3, p99: float64(all.ValueAtQuantile(99)) / 1e3,
	}, first
}

// alternate measures two loops in turns, so that a drift of the machine hits both, and returns the best-of-three medians.
func alternate(ctx context.Context, clients int, d time.Duration, product, floor func(int) error) (p, f sample, err error) {
	const turns = 3
	var ps, fs []sample
	for range turns {
		a, err := loop(ctx, clients, d/turns, product)
		if err != nil {
			return p, f, err
		}
		b, err := loop(ctx, clients, d/turns, floor)
		if err != nil {
			return p, f, err
		}
		ps, fs = append(ps, a), append(fs, b)
	}
	return middle(ps), middle(fs), nil
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
