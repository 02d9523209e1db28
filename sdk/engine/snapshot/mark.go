package snapshot

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// How does a thread learn without a system call that it has taken no page fault? By the segment register ES, which programs of
// 64 bits have no use for: what it holds has no effect, and it is the thread's own, kept by the kernel when threads change. It
// holds 0. The numbers 1 to 3 are null selectors as well, so a program may load one of them; and when the processor returns
// from the kernel by the instruction IRET it sets null selectors to 0 (Intel's and AMD's manuals: "return to outer privilege
// level"). From faults and interrupts there is no other way back, for all the program's registers must be what they were,
// while system calls return by SYSRET, which leaves ES alone. So a thread that finds the mark has been interrupted by nothing
// since it was set: not by a fault of a page that it touched itself, that is. An interrupt takes the mark away for no reason,
// some hundred times a second.
//
// Processors that return from faults otherwise (FRED), and whatever stands in for a processor, are found out: marks tries it.
// There the kernel is asked.

// marks tells whether faults take marks away on this machine, and nothing else does all the time.
var marks = sync.OnceValue(func() bool {
	if !threadPointerBuilt {
		return false
	}
	const tries = 16
	probe, err := unix.Mmap(-1, 0, 2*tries*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(probe) }()
	_ = unix.Madvise(probe, unix.MADV_NOHUGEPAGE) // each page is to be a fault; without large pages it is
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stayed := 0
	for n := range tries {
		setMark()
		_ = unix.Getppid() // returns by SYSRET
		if marked() {
			stayed++
		}
		for _, page := range []int{2 * n, 2*n + 1} {
			setMark()
			if page%2 == 0 {
				if probe[page*pageSize] != 0 || marked() { // the first fault shows zeros, the second one is for writing
					return false
				}
				setMark()
			}
			probe[page*pageSize] = 1
			if marked() {
				return false
			}
		}
	}
	return stayed > tries/2
})
