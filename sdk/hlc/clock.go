package hlc

import (
	"errors"
	"sync/atomic"
	"time"
)

// ErrSkew means that a remote clock is further ahead of this one than allowed.
var ErrSkew = errors.New("hlc: the other clock is too far ahead")

// Clock is a hybrid logical clock: its readings are nanoseconds since 1970, never repeat and never go back, and are later
// than every reading it was shown. All methods may be called concurrently.
type Clock struct {
	last    atomic.Uint64
	wall    func() uint64
	maxSkew uint64
}

// NewClock returns a clock over the system's. maxSkew is how far ahead the clocks of others may be.
func NewClock(maxSkew time.Duration) *Clock {
	return NewClockAt(maxSkew, func() uint64 { return uint64(time.Now().UnixNano()) })
}

// NewClockAt returns a clock over wall, which reads nanoseconds since 1970.
func NewClockAt(maxSkew time.Duration, wall func() uint64) *Clock {
	return &Clock{wall: wall, maxSkew: uint64(max(maxSkew, 0))}
}

// Now returns a reading later than all before it: the time, or one more than the last reading.
func (c *Clock) Now() uint64 {
	wall := c.wall()
	for {
		last := c.last.Load()
		next := max(wall, last+1)
		if c.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Peek returns the time as Now would, without making it a reading: two calls may return the same.
func (c *Clock) Peek() uint64 { return max(c.wall(), c.last.Load()) }

// Check returns ErrSkew where remote is more than the allowed skew ahead of the system's clock.
func (c *Clock) Check(remote uint64) error {
	if remote > c.wall()+c.maxSkew {
		return ErrSkew
	}
	return nil
}

// Observe makes every reading from now on later than remote. A remote reading too far ahead is ErrSkew and changes
// nothing, so that one wrong clock cannot carry the others away.
func (c *Clock) Observe(remote uint64) error {
	if err := c.Check(remote); err != nil {
		return err
	}
	c.Restore(remote)
	return nil
}

// Restore makes every reading from now on later than last, an own reading from before a restart, however far ahead.
func (c *Clock) Restore(last uint64) {
	for {
		have := c.last.Load()
		if have >= last || c.last.CompareAndSwap(have, last) {
			return
		}
	}
}
