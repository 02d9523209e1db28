package main

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets Pebble compact as much as its options allow, but not before the store is open. After a crash there is
// much to compact, and Pebble would begin at once and wait, in its opening, for what it began: seconds.
//
// It differs from Pebble's own scheduler in that, and in looking around once a second instead of ten times.
type scheduler struct {
	db      pebble.DBForCompaction
	look    chan struct{} // something may have changed
	ended   chan struct{} // closed by Unregister
	end     sync.Once
	working sync.WaitGroup

	mu      sync.Mutex
	started bool
	running int
}

const schedulerPeriod = time.Second

func newScheduler() *scheduler {
	return &scheduler{look: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start allows compactions.
func (s *scheduler) start() {
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	s.poke()
}

func (s *scheduler) poke() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	s.working.Add(1)
	go s.work()
}

// Unregister implements pebble.CompactionScheduler. It may be called again, and without Register.
func (s *scheduler) Unregister() {
	s.end.Do(func() { close(s.ended) })
	s.working.Wait()
}

func (s *scheduler) work() {
	defer s.working.Done()
	period := time.NewTicker(schedulerPeriod)
	defer period.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-s.look:
		case <-period.C:
		}
		for s.room() && s.grant() {
		}
	}
}

// room tells whether one more compaction may run.
func (s *scheduler) room() bool {
	select {
	case <-s.ended:
		return false
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started && s.running < s.db.GetAllowedWithoutPermission()
}

// grant starts a compaction that waits, if there is one. Pebble takes locks of its own meanwhile that come before ours.
func (s *scheduler) grant() bool {
	if waiting, _ := s.db.GetWaitingCompaction(); !waiting || !s.db.Schedule(s) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	return true
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.room() {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() { s.poke() }

// Started implements pebble.CompactionGrantHandle.
func (s *scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (s *scheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.poke()
}
