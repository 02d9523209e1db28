package route

import (
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// MaxClockSkew is how far ahead of our clock a time stamp may be.
const MaxClockSkew = 500 * time.Millisecond

// counterMask are the bits of a time stamp that are no time but tell stamps of the same time apart.
const counterMask = 0xf

// clock is a hybrid logical clock.
type clock struct {
	id   wire.ID
	last atomic.Uint64 // the latest stamp given or seen
}

// ntp64 is a time as seconds since 1970 in the upper half and their fraction in the lower.
func ntp64(t time.Time) uint64 {
	return uint64(t.Unix())<<32 | uint64(t.Nanosecond())<<32/1e9
}

// next returns a stamp later than all that were given or seen.
func (c *clock) next(now time.Time) uint64 {
	t := ntp64(now) &^ counterMask
	for {
		last := c.last.Load()
		n := max(t, last+1)
		if c.last.CompareAndSwap(last, n) {
			return n
		}
	}
}

// stamp puts a time on a PUT that has none, and a new one on what is from too far in the future, or reports false where
// that is to be dropped. A Del without a time is left without.
func (c *clock) stamp(m *wire.Message, now time.Time, dropFuture bool) bool {
	b := &m.Body
	if ts := b.Timestamp; ts.Time != 0 || !ts.ID.IsZero() {
		if ts.Time <= ntp64(now.Add(MaxClockSkew)) {
			for last := c.last.Load(); ts.Time > last && !c.last.CompareAndSwap(last, ts.Time); {
				last = c.last.Load()
			}
			return true
		}
		if dropFuture {
			return false
		}
	} else if b.Kind != wire.Put {
		return true
	}
	b.Timestamp = wire.Timestamp{Time: c.next(now), ID: c.id}
	b.Raw = nil
	return true
}
