//go:build linux && !race

package sock

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Read is read(2) on a descriptor that does not block. 0 is no error.
func Read(fd uintptr, p []byte) (int, syscall.Errno) {
	if monitor.due() {
		return told(syscall.Read(int(fd), p))
	}
	return result(syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// Write is write(2) on a descriptor that does not block. 0 is no error.
func Write(fd uintptr, p []byte) (int, syscall.Errno) {
	return result(syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// writev is writev(2), likewise.
func writev(fd uintptr, p []syscall.Iovec) (int, syscall.Errno) {
	return result(syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

func result(n, _ uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// monitorNap is for how long the runtime's monitor may sleep while messages come. It takes a processor from whoever had it
// for 10 ms, so it is not much later for this.
const monitorNap = 5 * time.Millisecond

// alarm sees to it that the runtime's monitor sleeps no longer than monitorNap while anything is read.
//
// The monitor sleeps once all processors are idle, until the next timer or the next ordinary system call, which wakes it
// before anything else happens. A message that we read has woken a goroutine and not the monitor: if that one computes, and
// those that came before do on the other processors, nobody takes a processor away from any of them, and nobody polls for
// what else has come, such as word that they are to stop. It was seen to last for seconds, and could have for a minute.
//
// To wake it with every message would be what this package is there to avoid. So a read is an ordinary one where none was
// for monitorNap, and each of those leaves a timer, beyond which the monitor does not sleep until the next one is due.
type alarm struct {
	next  atomic.Int64 // when one is due, after begun
	timer *time.Timer
}

var (
	begun   = time.Now()
	monitor = newAlarm()
)

func newAlarm() *alarm {
	a := &alarm{timer: time.AfterFunc(time.Hour, func() {})}
	a.timer.Stop()
	return a
}

// due reports whether the next system call is to be an ordinary one.
func (a *alarm) due() bool {
	now, next := int64(time.Since(begun)), a.next.Load()
	if now < next || !a.next.CompareAndSwap(next, now+int64(monitorNap)) {
		return false
	}
	a.timer.Reset(monitorNap) // before the monitor is woken, for then it looks how long it may sleep
	return true
}
