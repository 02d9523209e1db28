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
// Asking the kernel takes a good part of what a short call takes, so the first question is left out where it can be: what the
// last Watch of the same thread has read is what the thread has taken so far, or less. A fault in between, which has nothing
// to do with the guest, makes an answer that is on the safe side and costs one scan; a thread that had one is asked twice
// again for a while.
type Watch struct {
	thread *thread
	faults int64 // that it had taken at Begin, or earlier; -1: nobody knows
}

// Begin begins to look at the calling thread.
func (w *Watch) Begin() {
	if w.thread = self(); w.thread != nil {
		if w.faults = w.thread.last(); w.faults > 0 {
			return
		}
	}
	w.faults = Faults()
}

// Quiet tells whether the thread has taken no page fault since Begin. True is certain.
func (w *Watch) Quiet() bool {
	now := Faults()
	quiet := now >= 0 && now == w.faults
	if w.thread != nil {
		w.thread.learn(now, quiet)
	}
	return quiet
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
