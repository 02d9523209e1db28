package hlc_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/hlc"
)

func TestClock(t *testing.T) {
	wall := uint64(1000)
	c := hlc.NewClockAt(50, func() uint64 { return wall })
	for i, want := range []uint64{1000, 1001, 1002} {
		if got := c.Now(); got != want {
			t.Errorf("reading %d: got %d, want %d", i, got, want)
		}
	}
	wall = 900 // the system's clock was set back
	if got := c.Now(); got != 1003 {
		t.Errorf("after a step back: %d", got)
	}
	wall = 2000
	if got := c.Peek(); got != 2000 || c.Peek() != 2000 {
		t.Errorf("peek: %d", got)
	}
	if err := c.Observe(2050); err != nil {
		t.Error(err)
	}
	if got := c.Now(); got != 2051 {
		t.Errorf("after observing 2050: %d", got)
	}
	if err := c.Observe(2051 + 1); !errors.Is(err, hlc.ErrSkew) {
		t.Errorf("2052 at 2000 with a skew of 50: %v", err)
	}
	if got := c.Now(); got != 2052 {
		t.Errorf("a refused reading moved the clock: %d", got)
	}
	if err := c.Observe(10); err != nil || c.Now() != 2053 {
		t.Errorf("an old reading: %v", err)
	}
	c.Restore(9000)
	if got := c.Now(); got != 9001 {
		t.Errorf("after a restart: %d", got)
	}
}

func TestClockNeverRepeats(t *testing.T) {
	c := hlc.NewClock(time.Minute)
	var (
		mu   sync.Mutex
		seen = map[uint64]bool{}
		wg   sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			last := uint64(0)
			own := make([]uint64, 0, 1000)
			for range 1000 {
				now := c.Now()
				if now <= last {
					t.Errorf("%d after %d", now, last)
				}
				last = now
				own = append(own, now)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, n := range own {
				if seen[n] {
					t.Errorf("%d was read twice", n)
				}
				seen[n] = true
			}
		})
	}
	wg.Wait()
}

func TestID(t *testing.T) {
	id := hlc.NewID()
	back, err := hlc.ParseID(id.String())
	if err != nil || back != id || id.IsZero() || !(hlc.ID{}).IsZero() {
		t.Errorf("%v %v", back, err)
	}
	for _, bad := range []string{"", "12", id.String() + "0", "zz" + id.String()[2:]} {
		if _, err := hlc.ParseID(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
