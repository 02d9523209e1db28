package link

import (
	"errors"
	"time"
)

// How often leases, keep-alives and stalled transports are looked at: the shortest of these times needs a few looks.
const (
	looks   = 4
	minTick = 5 * time.Millisecond
	maxTick = 250 * time.Millisecond
	// keepAlives is how many keep-alives go into the lease that we announce.
	keepAlives = 4
)

// linkWatch is what the clock remembers of a link.
type linkWatch struct {
	rx, tx       uint64
	heard, spoke time.Time
}

// stallWatch is what the clock remembers of what a transport sends.
type stallWatch struct {
	moved uint64
	since time.Time // when moved was last seen to change, or nobody waited
	ended time.Time // when it was first seen that nothing can be sent any more
}

// tick watches all transports as long as there are any.
func (m *Manager) tick() {
	period := m.period()
	timer := time.NewTimer(period)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-timer.C:
		case <-m.emptied:
		}
		now := time.Now()
		late := now.Sub(last) > looks*period // this process was held up, not its peers
		last = now
		all := m.Transports()
		period = m.period()
		for _, t := range all {
			period = min(period, t.agreed.lease/(2*looks))
			t.look(now, late, period)
		}
		m.mu.Lock()
		if len(m.transports) == 0 {
			m.ticking = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		timer.Reset(max(period, minTick))
	}
}

func (m *Manager) period() time.Duration {
	return max(min(min(m.o.Lease/keepAlives, m.o.WaitBlock, closeGrace)/looks, maxTick), minTick)
}

// look does for t what is due at now, with the next look after period.
func (t *Transport) look(now time.Time, late bool, period time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stalled(now) {
		return
	}
	for i := len(t.links) - 1; i >= 0; i-- {
		l := t.links[i]
		w := &l.expiry
		if rx := l.rx.Load(); rx != w.rx || late || l.busy.Load() || w.heard.IsZero() {
			w.rx, w.heard = rx, now
		} else if now.Sub(w.heard) >= t.agreed.lease {
			t.m.counts.expired.Add(1)
			t.dropLink(l, ErrExpired)
			continue
		}
		if l.tx != w.tx || w.spoke.IsZero() {
			w.tx, w.spoke = l.tx, now
		} else if now.Sub(w.spoke)+period >= t.m.o.Lease/keepAlives && t.err == nil {
			t.keepAlive(i, l)
			w.tx, w.spoke = l.tx, now
		}
	}
}

// keepAlive lets l, which is silent, say something. Where something waits to be written there is no need: either it is
// about to be, or the peer takes nothing. t.mu is held.
func (t *Transport) keepAlive(i int, l *link) {
	if i == 0 && t.writing {
		return
	}
	n, err := l.write(keepAliveBatch, false)
	if n > 0 {
		l.tx++
		l.txBytes += uint64(n)
		t.moved += uint64(n)
	}
	switch {
	case errors.Is(err, errAgain) && l.pending():
		if i == 0 {
			t.writing = true
			t.m.running.Go(t.background)
		}
	case errors.Is(err, errAgain) && n == 0:
	case err != nil:
		t.mute(l, err)
	}
}

// stalled ends t if nothing moves any more that should, and reports whether it is over. t.mu is held.
func (t *Transport) stalled(now time.Time) bool {
	w := &t.watch
	idle := w.moved == t.moved
	if !idle || w.since.IsZero() || (t.blocked == 0 && t.err == nil) {
		w.moved, w.since = t.moved, now
	}
	since := now.Sub(w.since)
	switch {
	case t.err != nil && w.ended.IsZero():
		w.ended = now
	case t.err != nil && (since >= closeGrace || now.Sub(w.ended) >= maxClose):
		t.fail(t.err)
		return true
	case t.err == nil && since >= t.m.o.WaitBlock && t.blocked > 0:
		t.m.counts.unresponsive.Add(1)
		t.m.o.Log.Warn("transport ended: its peer takes no data", "id", t.agreed.id, "waiting", t.blocked)
		t.fail(ErrUnresponsive)
		return true
	case idle && !t.writing && t.err == nil:
		t.trim()
	}
	return false
}

// trim gives up memory that an idle transport need not keep. t.mu is held.
func (t *Transport) trim() {
	if t.off == len(t.cur.b) && !t.corked {
		t.queue.recycle(t.cur)
		t.cur, t.off = block{}, 0
		t.queue.trim()
	}
}
