//go:build race

package sock

import (
	"syscall"
	"unsafe"
)

// writev writes the first of p only: the race detector learns what happens before what from Write, and nothing from writev(2).
func writev(fd uintptr, p []syscall.Iovec) (int, syscall.Errno) {
	return Write(fd, unsafe.Slice(p[0].Base, p[0].Len))
}
