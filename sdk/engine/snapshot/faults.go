package snapshot

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Watch tells whether a thread takes page faults. Its goroutine is locked to its thread from Begin to Quiet.
//
// Asking the kernel takes a fifth of what a short call takes, so it is asked as seldom as can be. What it has said once is true
// until the thread comes back from a fault, and a thread can be marked so that the processor itself takes the mark away then
// (see marks). Where that does not work the first question is left out: what the last Watch of the same thread has read is
// what the thread has taken so far, or less. A fault in between, which has nothing to do with the guest, makes an answer that
// is on the safe side and costs one scan; a thread that had one is asked twice again for a while.
//
// What the kernel itself writes into a page on the thread's behalf, as read(2) does, goes unseen where the page is not private
// yet: whoever hands memory that is watched to the kernel calls Touch first.
type Watch struct {
	thread *thread
	faults int64 // that it had taken at Begin, or earlier; -1: nobody knows
}

// Begin begins to look at the calling thread.
func (w *Watch) Begin() {
	w.thread = self()
	switch {
	case w.thread == nil:
	case marks():
		w.faults = w.thread.count()
		return
	default:
		if w.faults = w.thread.last(); w.faults > 0 {
			return
		}
	}
	w.faults = Faults()
}

// Quiet tells whether the thread has taken no page fault since Begin. True is certain.
func (w *Watch) Quiet() bool {
	if w.thread != nil && marks() {
		now := w.thread.count()
		return now >= 0 && now == w.faults
	}
	now := Faults()
	quiet := now >= 0 && now == w.faults
	if w.thread != nil {
		w.thread.learn(now, quiet)
	}
	return quiet
}

// Touch makes the pages of p the mapping's own. It writes zeros into some of p, which is about to be overwritten.
func Touch(p []byte) {
	for at := 0; at < len(p); at += pageSize {
		p[at] = 0
	}
	if len(p) > 0 {
		p[len(p)-1] = 0
	}
}

// Faults returns the number of page faults that the calling thread has taken, or -1.
func Faults() int64 {
	var u unix.Rusage
	// It takes the kernel no time, so Go's scheduler need not know.
	if _, _, errno := unix.RawSyscall(unix.SYS_GETRUSAGE, unix.RUSAGE_THREAD, uintptr(unsafe.Pointer(&u)), 0); errno != 0 {
		return -1
	}
	return u.Minflt + u.Majflt
}

// thread is what is known of a thread. Only that thread reads and writes it, but for its id; goroutines come and go on it, so
// all is atomic.
//
// Go ends a thread only with a goroutine that ends while it is locked to it, which nothing in an engine's process does: so an
// id stands for one thread as long as the process lives.
type thread struct {
	id     atomic.Uintptr
	faults atomic.Int64 // that it had taken when they were last counted; 0: they never were
	asks   atomic.Int64 // how many times more it is asked at Begin
	_      [40]byte     // so that threads share no cache line
}

// asksAfter is how many times a thread is asked at Begin which took a fault between two guests.
const asksAfter = 32

// last returns what the thread had taken when that was last looked at, or 0 where it is to be asked.
func (t *thread) last() int64 {
	if n := t.asks.Load(); n > 0 {
		t.asks.Store(n - 1)
		return 0
	}
	return t.faults.Load()
}

func (t *thread) learn(faults int64, quiet bool) {
	if t.faults.Load() != faults {
		t.faults.Store(faults)
	}
	if !quiet {
		t.asks.Store(asksAfter)
	}
}

// count returns what the thread has taken: what it was when it was marked, if the mark is still there. It is marked before the
// kernel is asked, so that a fault in between is counted or takes the mark away.
func (t *thread) count() int64 {
	if marked() {
		if n := t.faults.Load(); n > 0 {
			return n
		}
	}
	setMark()
	n := Faults()
	t.faults.Store(n)
	return n
}

// threads are the threads that have run guests, by id. Where there are more the rest is asked twice.
var threads [1 << threadBits]thread

const threadBits = 8

// self returns what is known of the calling thread, or nil where threads cannot be told apart without the kernel.
func self() *thread {
	if !hasThreadPointer() {
		return nil
	}
	id := threadPointer()
	if id == 0 {
		return nil
	}
	at := uint32(id>>4) * 0x9e3779b1 >> (32 - threadBits)
	for n := range uint32(8) {
		t := &threads[(at+n)%uint32(len(threads))]
		if have := t.id.Load(); have == id || have == 0 && t.id.CompareAndSwap(0, id) {
			return t
		}
	}
	return nil
}

// hasThreadPointer tells whether threadPointer can be called.
var hasThreadPointer = sync.OnceValue(func() bool {
	if !threadPointerBuilt {
		return false
	}
	const tag, bit = 26, 1 << 1 // AT_HWCAP2, and in it on amd64: programs may read the base of FS
	b, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return false
	}
	le := binary.LittleEndian
	for ; len(b) >= 16; b = b[16:] {
		if le.Uint64(b) == tag {
			return le.Uint64(b[8:])&bit != 0
		}
	}
	return false
})
