//go:build linux && !race

package sock

import (
	"syscall"
	"unsafe"
)

// Read is read(2) on a descriptor that does not block. 0 is no error.
func Read(fd uintptr, p []byte) (int, syscall.Errno) {
	return result(syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// Write is write(2) on a descriptor that does not block. 0 is no error.
func Write(fd uintptr, p []byte) (int, syscall.Errno) {
	return result(syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

func result(n, _ uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
