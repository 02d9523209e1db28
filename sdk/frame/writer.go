package frame

import (
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// byRef is the size from which a tail is handed to the kernel where it lies instead of being copied: its sender then
	// waits until that is done, which costs about as much as copying this many bytes.
	byRef = 16 << 10
	// maxPending bounds what waits to be written. A sender beyond it waits; a frame larger than it goes alone.
	maxPending = 1 << 20
	// maxRounds bounds how many batches a sender writes for others before it leaves that to a goroutine.
	maxRounds = 16
	// maxGather is how long senders may wait on the average for others to append; beyond it only every trialAfter-th does.
	maxGather  = 100 * time.Microsecond
	trialAfter = 16
)

// writer batches frames. A sender that finds nobody writing writes, and with its own frame whatever others append
// meanwhile; everyone else appends and goes its way, so that under load one system call carries many frames.
type writer struct {
	conn  net.Conn
	small io.Writer   // the same, for what is in one piece
	fail  func(error) // ends the connection

	mu       sync.Mutex
	next     batch
	spare    []byte // the last batch's buffer
	reserved int    // bytes of senders that were let in and have not appended yet
	waiting  []*sender
	writing  bool
	yield    time.Duration // what gathering takes, on the average
	hurried  int           // writes without it since the last trial
	err      error
}

// batch is what one write carries: buf, with each tail after the first cut.at bytes of it.
type batch struct {
	buf  []byte
	cuts []cut
	size int
	done chan struct{} // closed when it is written; made only where a tail must wait for that
}

type cut struct {
	at   int
	tail []byte
}

// sender is one that waits for room.
type sender struct {
	size int
	in   chan struct{} // closed when size is reserved or the connection ended
}

// sending says how a frame is sent.
type sending struct {
	urgent bool            // never waits for room; such frames are small and bounded otherwise
	crowd  bool            // others may be about to send, so that waiting for them a moment pays
	cancel <-chan struct{} // ends the wait for room
}

// send queues a frame and perhaps writes. Neither head nor tail is referenced after it returned. It waits for room until
// it is cancelled, then reports false.
func (w *writer) send(h Header, head, tail []byte, how sending) (sent bool, err error) {
	size := HeaderSize + len(head) + len(tail)
	w.mu.Lock()
	if !how.urgent && w.err == nil && (len(w.waiting) > 0 || !w.fits(size)) {
		if sent, err := w.wait(size, how.cancel); !sent {
			w.mu.Unlock()
			return false, err
		}
	}
	if w.err != nil {
		defer w.mu.Unlock()
		return false, w.err
	}
	b := &w.next
	b.buf = append(h.AppendTo(b.buf), head...)
	b.size += size
	var done chan struct{}
	if len(tail) < byRef {
		b.buf = append(b.buf, tail...)
	} else {
		b.cuts = append(b.cuts, cut{len(b.buf), tail})
		if w.writing {
			if b.done == nil {
				b.done = make(chan struct{})
			}
			done = b.done
		}
	}
	if w.writing {
		w.mu.Unlock()
		if done != nil {
			<-done
		}
		return true, nil
	}
	w.writing = true
	if how.crowd {
		w.gather()
	}
	w.run(maxRounds)
	err = w.err
	w.mu.Unlock()
	return true, err
}

// gather lets others append before the first batch is written. Where many requests are under way, those who are ready to
// run are about to send: one yield doubles what a machine gets through. Who is alone does not come here, since a yield wakes
// another thread, which then gets in the way of the very peer that is to answer. Where yields take long as a rule, others compute
// instead and the yield is only a delay; then it is left out but for a trial now and then. It is called and returns with
// the lock held, writing set.
func (w *writer) gather() {
	if w.yield > maxGather {
		if w.hurried++; w.hurried < trialAfter {
			return
		}
		w.hurried = 0
	}
	w.mu.Unlock()
	start := time.Now()
	runtime.Gosched()
	took := time.Since(start)
	w.mu.Lock()
	w.yield += (min(took, 4*maxGather) - w.yield) / 8 // bounded, so that one pause of the whole process counts little
}

func (w *writer) fits(size int) bool {
	used := w.next.size + w.reserved
	return used == 0 || used+size <= maxPending
}

// wait queues the caller until its size is reserved. It is called and returns with the lock held.
func (w *writer) wait(size int, cancel <-chan struct{}) (bool, error) {
	s := &sender{size: size, in: make(chan struct{})}
	w.waiting = append(w.waiting, s)
	w.mu.Unlock()
	var cancelled bool
	select {
	case <-s.in:
	case <-cancel:
		cancelled = true
	}
	w.mu.Lock()
	if !cancelled {
		if w.err == nil {
			w.reserved -= size
		}
		return w.err == nil, w.err
	}
	select {
	case <-s.in: // let in at the same moment: give the room to the next
		if w.err == nil {
			w.reserved -= size
			w.admit()
		}
	default:
		for i := range w.waiting {
			if w.waiting[i] == s {
				w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
				break
			}
		}
		w.admit() // a smaller one behind it may fit
	}
	return false, w.err
}

// admit lets waiting senders in, first come first served, as far as there is room.
func (w *writer) admit() {
	n := 0
	for n < len(w.waiting) && w.fits(w.waiting[n].size) {
		w.reserved += w.waiting[n].size
		close(w.waiting[n].in)
		n++
	}
	if n > 0 {
		w.waiting = append(w.waiting[:0], w.waiting[n:]...)
	}
}

// run writes batches until there are none or rounds are over. It is called and returns with the lock held, writing set.
func (w *writer) run(rounds int) {
	for ; len(w.next.buf) > 0 && w.err == nil; rounds-- {
		if rounds == 0 {
			go func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.run(-1)
			}()
			return
		}
		b := w.next
		w.next = batch{buf: w.spare[:0]}
		w.spare = nil
		w.admit()
		w.mu.Unlock()
		err := b.write(w.conn, w.small)
		if b.done != nil {
			close(b.done)
		}
		if err != nil {
			w.fail(err) // calls end, which takes the lock
		}
		w.mu.Lock()
		if cap(b.buf) <= 2*maxPending {
			w.spare = b.buf
		}
	}
	w.writing = false
}

// vectorWriter is a connection that writes several pieces in one system call.
type vectorWriter interface {
	WriteBuffers(net.Buffers) (int64, error)
}

func (b *batch) write(c net.Conn, small io.Writer) error {
	if len(b.cuts) == 0 {
		_, err := small.Write(b.buf)
		return err
	}
	bufs := make(net.Buffers, 0, 2*len(b.cuts)+1)
	at := 0
	for _, cut := range b.cuts {
		bufs = append(bufs, b.buf[at:cut.at], cut.tail)
		at = cut.at
	}
	if at < len(b.buf) {
		bufs = append(bufs, b.buf[at:])
	}
	if v, ok := c.(vectorWriter); ok {
		_, err := v.WriteBuffers(bufs)
		return err
	}
	_, err := bufs.WriteTo(c)
	return err
}

// end makes every send fail with err, those that wait too. The connection is closed already, so that no write hangs.
func (w *writer) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = err
	for _, s := range w.waiting {
		close(s.in)
	}
	w.waiting = nil
	if w.next.done != nil {
		close(w.next.done)
	}
	w.next = batch{}
}
