package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// corkLimit is how long, at most, what was sent waits for messages that are being handled. It counts only where a handler
// takes long, once until that handler is done. A shorter limit costs everybody: the runtime wakes a thread for each timer that
// is due before those it waits for, and with 2 ms a warm call through two links took a twelfth longer.
const corkLimit = 20 * time.Millisecond

// Manager has all the transports of one node.
type Manager struct {
	o Options
	h Handler

	mu         sync.Mutex
	transports map[wire.ID]*Transport
	listeners  map[*Listener]struct{}
	closed     bool
	ticking    bool
	emptied    chan struct{} // tells the clock that no transport is left
	life       context.Context
	end        context.CancelFunc
	running    sync.WaitGroup

	corks struct {
		sync.Mutex
		active int          // readers that are handing out messages
		ended  uint64       // how often one was done with that
		slow   uint64       // ended, plus 1, when those who were at it took too long
		held   []*Transport // those that were sent to meanwhile
		armed  bool
		timer  *time.Timer
	}

	pending atomic.Int64
	counts  struct{ accepted, dialled, refused, denied, malformed, expired, unresponsive atomic.Uint64 }
}

// Counts says what became of links so far.
type Counts struct {
	Accepted, Dialled uint64 // links that came to be
	Refused           uint64 // links of others that did not: their handshake failed
	Denied            uint64 // of these, those for a reason that Options.Present or Options.Users gave
	Malformed         uint64 // links ended for what the peer sent
	Expired           uint64 // links ended because the peer was silent
	Unresponsive      uint64 // transports ended because the peer took nothing
	Pending           int    // handshakes of others that are under way
}

// NewManager returns a manager, which does nothing by itself. Of o, only ID is required.
func NewManager(o Options, h Handler) *Manager {
	o.setDefaults()
	m := &Manager{o: o, h: h, transports: map[wire.ID]*Transport{}, listeners: map[*Listener]struct{}{}}
	m.emptied = make(chan struct{}, 1)
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

// Counts returns m's counters.
func (m *Manager) Counts() Counts {
	c := &m.counts
	return Counts{
		Accepted: c.accepted.Load(), Dialled: c.dialled.Load(), Refused: c.refused.Load(), Denied: c.denied.Load(),
		Malformed: c.malformed.Load(), Expired: c.expired.Load(), Unresponsive: c.unresponsive.Load(), Pending: int(m.pending.Load()),
	}
}

// Transports returns those that are up or about to be, in no order.
func (m *Manager) Transports() []*Transport {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*Transport, 0, len(m.transports))
	for _, t := range m.transports {
		all = append(all, t)
	}
	return all
}

// Close stops listening and dialling, ends every transport as Transport.Close does, and returns when all are gone and
// nothing of m runs any more. When ctx is done it waits for no peer any longer. A Handler must not call it.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.end()
	listeners := m.listeners
	m.listeners = nil
	m.mu.Unlock()
	for l := range listeners {
		_ = l.Close()
	}
	var err error
	all := m.Transports()
	for _, t := range all {
		t.Close(wire.ReasonGeneric)
	}
	for _, t := range all {
		select {
		case <-t.gone:
		case <-ctx.Done():
			err = ctx.Err()
			for _, t := range all {
				t.abort(ErrClosed)
			}
			<-t.gone
		}
	}
	m.running.Wait()
	m.corks.Lock()
	defer m.corks.Unlock()
	if m.corks.timer != nil {
		m.corks.timer.Stop()
	}
	return err
}

// enter counts an operation that Close is to wait for.
func (m *Manager) enter() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.running.Add(1)
	return nil
}

// deadline bounds a dial or a handshake; it ends with m, too.
func (m *Manager) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, m.o.OpenTimeout)
	stop := context.AfterFunc(m.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// errHave is why a link that we dialled is not needed: there is one to that node already.
var errHave = errors.New("there is a link to that node already")

// join finds or makes the transport that a link with the handshake a belongs to, and reserves the link's place there.
func (m *Manager) join(ctx context.Context, a *agreed, dialled bool) (t *Transport, first bool, err error) {
	for {
		t, first, err := m.find(a, dialled)
		if err != nil || first {
			return t, first, err
		}
		select {
		case <-t.up:
		case <-t.gone:
			continue
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		err = t.reserve(a, dialled)
		if err == nil || !errors.Is(err, ErrClosed) {
			return t, false, err
		}
		select { // the old one makes place
		case <-t.gone:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (m *Manager) find(a *agreed, dialled bool) (t *Transport, first bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, ErrClosed
	}
	if t := m.transports[a.id]; t != nil {
		return t, false, nil
	}
	if len(m.transports) >= m.o.MaxSessions {
		return nil, false, refuse(wire.ReasonMaxSessions, "there are %d sessions already", m.o.MaxSessions)
	}
	t = newTransport(m, a)
	*t.linkCount(dialled) = 1
	m.transports[a.id] = t
	if !m.ticking {
		m.ticking = true
		m.running.Go(m.tick)
	}
	return t, true, nil
}

// reserve makes place for another link; ErrClosed says that t is going.
func (t *Transport) reserve(a *agreed, dialled bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, limit := t.linkCount(dialled), maxLinksIn
	if dialled {
		limit = maxLinksOut
	}
	switch {
	case t.err != nil:
		return ErrClosed
	case *n >= limit && dialled:
		return &refusal{wire.ReasonMaxLinks, errHave}
	case *n >= limit:
		return refuse(wire.ReasonMaxLinks, "there is a link from that node already")
	case !t.agreed.matches(a):
		return refuse(wire.ReasonInvalid, "another link to that node has other parameters")
	}
	*n++
	return nil
}

// release gives up what join reserved.
func (m *Manager) release(t *Transport, first, dialled bool) {
	t.mu.Lock()
	*t.linkCount(dialled)--
	t.mu.Unlock()
	if first {
		t.abort(ErrLost)
		m.forget(t)
		close(t.gone)
	}
}

func (m *Manager) forget(t *Transport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.transports[t.agreed.id] == t {
		delete(m.transports, t.agreed.id)
	}
	if len(m.transports) == 0 {
		select {
		case m.emptied <- struct{}{}:
		default:
		}
	}
}

// start brings a link up whose place is reserved.
func (m *Manager) start(t *Transport, first bool, c *channel, info LinkInfo, rest []byte) error {
	l, err := newLink(m, c, info, rest)
	if err == nil && !t.addLink(l) {
		err = ErrClosed
	}
	if err != nil {
		m.release(t, first, info.Dialled)
		return fmt.Errorf("transport to %s: %w", t.agreed.id, err)
	}
	m.o.Log.Debug("link up", "remote", info.Remote, "id", t.agreed.id, "dialled", info.Dialled)
	if first {
		c := m.h.Up(t)
		t.context.Store(&c)
		close(t.up)
	}
	m.running.Go(func() { t.read(l) })
	return nil
}

// cork says that messages are being handed out: what is sent until uncork is written then.
func (m *Manager) cork() {
	m.corks.Lock()
	m.corks.active++
	m.corks.Unlock()
}

// leave leaves it to those who hand out messages to write what t has to send. It reports false if there are none, or if
// they take too long over it. t.mu is held.
func (m *Manager) leave(t *Transport) bool {
	m.corks.Lock()
	defer m.corks.Unlock()
	if m.corks.active == 0 || m.corks.slow == m.corks.ended+1 {
		return false
	}
	m.corks.held = append(m.corks.held, t)
	if !m.corks.armed {
		m.corks.armed = true
		if m.corks.timer == nil {
			m.corks.timer = time.AfterFunc(corkLimit, m.overdue)
		} else {
			m.corks.timer.Reset(corkLimit)
		}
	}
	return true
}

func (m *Manager) uncork() {
	m.corks.Lock()
	m.corks.active--
	m.corks.ended++
	m.corks.Unlock()
	m.flush()
}

func (m *Manager) overdue() {
	m.corks.Lock()
	m.corks.armed = false
	if m.corks.active > 0 && len(m.corks.held) > 0 {
		m.corks.slow = m.corks.ended + 1
	}
	m.corks.Unlock()
	m.flush()
}

// flush writes what is held back.
func (m *Manager) flush() {
	var some [8]*Transport
	for more := true; more; {
		m.corks.Lock()
		rest := max(len(m.corks.held)-len(some), 0)
		n := copy(some[:], m.corks.held[rest:])
		clear(m.corks.held[rest:])
		m.corks.held = m.corks.held[:rest]
		m.corks.Unlock()
		more = rest > 0
		for _, t := range some[:n] {
			t.uncork()
		}
	}
}
