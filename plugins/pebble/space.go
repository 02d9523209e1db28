package main

import (
	"context"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

const (
	askSpaceEvery = 100 * time.Millisecond
	// fullDiskPause is how long a write that found no room waits before it tries again.
	fullDiskPause = 200 * time.Millisecond
	// leastFree is the room that must be there again after a write found none, where the setting min_free asks for less.
	leastFree = 4 << 20
)

// space answers whether the disk has room for writes. It asks the system seldom, and knows of writes that found none.
type space struct {
	min   uint64
	avail func() (uint64, error)

	mu      sync.Mutex
	asked   time.Time
	low     *status.Error
	waiting int // writes that wait for room
	// full ends when the first of them begins.
	full context.Context
	fill context.CancelFunc
}

// check refuses a write if there is little room.
func (sp *space) check() error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if now := time.Now(); sp.waiting == 0 && (sp.min > 0 || sp.low != nil) && now.Sub(sp.asked) > askSpaceEvery {
		sp.asked = now
		sp.ask()
	}
	if sp.low != nil {
		return sp.low
	}
	return nil
}

func (sp *space) ask() {
	avail, err := sp.avail()
	need := sp.min
	if sp.low != nil {
		need = max(need, leastFree)
	}
	if err != nil || avail >= need { // a file system that cannot tell is used until it says no
		sp.low = nil
		return
	}
	sp.low = status.Errorf(status.Overloaded, "the disk has only %d MiB of room left and the store wants %d MiB free (setting \"min_free\"): make room, then try again", avail>>20, need>>20)
}

// roomFor tells whether a file of so many bytes, which could be done without, would leave enough room for others.
func (sp *space) roomFor(bytes int64) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	avail, err := sp.avail()
	return sp.low == nil && (err != nil || avail >= sp.min+uint64(bytes))
}

// filled ends as soon as a write waits for room.
func (sp *space) filled() context.Context {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.full == nil {
		sp.full, sp.fill = context.WithCancel(context.Background())
	}
	return sp.full
}

// wait records that a write found no room, until end is called.
func (sp *space) wait(err error) (end func()) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.asked = time.Now()
	sp.low = status.Errorf(status.Overloaded, "the disk is full (%w): make room, then try again", err)
	if sp.waiting++; sp.waiting == 1 && sp.full != nil {
		sp.fill()
		sp.full = nil
	}
	return func() {
		sp.mu.Lock()
		defer sp.mu.Unlock()
		sp.waiting--
	}
}

// pauseIfFull slows down Pebble's retries of a flush that finds no room.
func (sp *space) pauseIfFull(err error) {
	if full(err) {
		end := sp.wait(err)
		time.Sleep(fullDiskPause)
		end()
	}
}

// waitForRoom is called by a write that found no room; it tells whether to try again. While a store is being opened or
// closed, nobody waits.
func (s *Store) waitForRoom(err error) bool {
	if !s.opened.Load() {
		return false
	}
	defer s.space.wait(err)()
	select {
	case <-time.After(fullDiskPause):
		return true
	case <-s.leaving:
		return false
	case <-s.dead.Done():
		return false
	}
}

// lowSpace is what callers are told who wait for a write that found no room.
func (sp *space) lowSpace() error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.low == nil {
		return status.Errorf(status.Overloaded, "the disk was full for a moment: try again")
	}
	return sp.low
}
