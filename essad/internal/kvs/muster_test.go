package kvs

import (
	"context"
	"math"
	"testing"
	"time"

	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
)

// A batch waits for those who were in the last one, no longer than they have lately taken, and not at all where they do not
// come.
func TestMuster(t *testing.T) {
	with := func(company, asked int64) *lane {
		l := newLane(&Role{durability: annav1.Durability_SYNC}, 0)
		l.company, l.took = company, time.Second
		l.asked.Store(asked)
		return l
	}
	muster := func(l *lane) time.Duration {
		began := time.Now()
		l.gatherCompany(context.Background())
		if w := l.wanted.Load(); w != math.MaxInt64 {
			t.Errorf("it still waits for %d", w)
		}
		return time.Since(began)
	}
	t.Run("alone", func(t *testing.T) {
		for _, company := range []int64{0, 1} {
			if took := muster(with(company, 0)); took >= musterMin {
				t.Errorf("a company of %d was waited for, for %v", company, took)
			}
		}
	})
	t.Run("there already", func(t *testing.T) {
		if took := muster(with(5, 5)); took >= musterMin {
			t.Errorf("it waited for %v", took)
		}
	})
	t.Run("on its way", func(t *testing.T) {
		l := with(3, 1)
		l.patience = time.Hour // the last of them ends the wait
		go func() { l.ask(); time.Sleep(time.Millisecond); l.ask() }()
		if took := muster(l); took > 500*time.Millisecond {
			t.Errorf("it waited for %v", took)
		}
		if l.asked.Load() != 3 {
			t.Errorf("it left with %d", l.asked.Load())
		}
	})
	t.Run("never", func(t *testing.T) {
		l := with(3, 1)
		waits := 0
		for range 2 * musterTrial {
			l.batch++
			if muster(l) >= musterMin {
				waits++
			}

			l.asked.Store(1)
		}
		if waits < 2 || waits > 12 {
			t.Errorf("it waited %d times of %d, although it never paid", waits, 2*musterTrial)
		}
	})
	t.Run("end", func(t *testing.T) {
		l := with(3, 1)
		l.patience = time.Hour
		l.took = time.Hour
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Millisecond, cancel)
		l.gatherCompany(ctx)
	})
}
