package frame

import (
	"sync"
	"time"
)

// pending is the table of requests that wait for their reply. A request's id holds its slot's index, so that finding the
// waiter of a reply is an index and not a search.
type pending struct {
	side uint64 // 0 or sideBit
	max  Limits // what the peer accepts

	mu    sync.Mutex
	slots []*slot
	free  []*slot
	bytes uint64 // of unanswered requests
	err   error
}

type slotState uint8

const (
	slotFree slotState = iota
	slotWaiting
	slotAbandoned // the requester went away; the reply is still owed
)

type slot struct {
	id    uint64
	size  uint64
	state slotState
	since time.Time     // of being abandoned
	done  chan struct{} // receives once per request that is not abandoned
	reply Frame
	err   error
}

const (
	maxGeneration  = 1<<31 - 1
	firstOfSlot    = 1 << 32
	slotIndexMask  = 1<<32 - 1
	generationMask = maxGeneration << 32
)

// open takes a slot for a request with a body of size bytes.
func (p *pending) open(size int) (*slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	if p.bytes > 0 && p.bytes+uint64(size) > p.max.MaxRequestBytes {
		return nil, ErrBusy
	}
	var s *slot
	switch n := len(p.free); {
	case n > 0:
		s = p.free[n-1]
		p.free = p.free[:n-1]
		generation := (s.id & generationMask) + firstOfSlot
		if generation > generationMask {
			generation = firstOfSlot
		}
		s.id = s.id&^generationMask | generation
	case uint64(len(p.slots)) < uint64(p.max.MaxRequests):
		s = &slot{id: p.side | firstOfSlot | uint64(len(p.slots)), done: make(chan struct{}, 1)}
		p.slots = append(p.slots, s)
	default:
		return nil, ErrBusy
	}
	s.state, s.size = slotWaiting, uint64(size)
	p.bytes += s.size
	return s, nil
}

// complete hands a reply to its waiter. It reports whether there was such a request; the frame is released where nobody
// waits any more.
func (p *pending) complete(f Frame) bool {
	p.mu.Lock()
	i := f.ID & slotIndexMask
	if i >= uint64(len(p.slots)) || p.slots[i].id != f.ID || p.slots[i].state == slotFree {
		p.mu.Unlock()
		return false
	}
	s := p.slots[i]
	p.bytes -= s.size
	waiting := s.state == slotWaiting
	s.state = slotFree
	if waiting {
		s.reply = f
	} else {
		p.free = append(p.free, s)
	}
	p.mu.Unlock()
	if waiting {
		s.done <- struct{}{}
	} else {
		f.Release()
	}
	return true
}

// take returns what the waiter of s was woken with, and frees s.
func (p *pending) take(s *slot) (Frame, error) {
	f, err := s.reply, s.err
	s.reply = Frame{}
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
	return f, err
}

// abandon gives up waiting. It reports false if the reply came first; the waiter then takes it.
func (p *pending) abandon(s *slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state != slotWaiting {
		return false
	}
	s.state, s.since = slotAbandoned, time.Now()
	return true
}

// drop frees the slot of a request that was never sent. It reports false if the connection ended meanwhile.
func (p *pending) drop(s *slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state != slotWaiting {
		return false
	}
	s.state = slotFree
	p.bytes -= s.size
	p.free = append(p.free, s)
	return true
}

// end wakes every waiter with err; later requests get it at once.
func (p *pending) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	for _, s := range p.slots {
		if s.state == slotWaiting {
			s.state, s.err = slotFree, err
			s.done <- struct{}{}
		}
	}
}

// unanswered is the number of requests that wait for a reply.
func (p *pending) unanswered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.slots) - len(p.free)
}

// overdue is the request that was abandoned first of those that are.
func (p *pending) overdue() (id uint64, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.state == slotAbandoned && (id == 0 || s.since.Before(since)) {
			id, since = s.id, s.since
		}
	}
	return id, since
}

// owes reports whether the request with this id was abandoned and has no reply yet.
func (p *pending) owes(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := id &^ p.side & slotIndexMask
	return i < uint64(len(p.slots)) && p.slots[i].id == id && p.slots[i].state == slotAbandoned
}
