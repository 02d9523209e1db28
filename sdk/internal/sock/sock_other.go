//go:build !linux || race

package sock

import "syscall"

// Read is read(2) on a descriptor that does not block; 0 is no error. Here the scheduler is told: the race detector learns from system calls
// what happens before what, and elsewhere than on Linux there are no direct ones.
func Read(fd uintptr, p []byte) (int, syscall.Errno) { return result(syscall.Read(int(fd), p)) }

// Write is write(2) on a descriptor that does not block; 0 is no error.
func Write(fd uintptr, p []byte) (int, syscall.Errno) { return result(syscall.Write(int(fd), p)) }

func result(n int, err error) (int, syscall.Errno) {
	if err == nil {
		return n, 0
	}
	errno, ok := err.(syscall.Errno) //nolint:errorlint // it comes from the system call itself, which has no other errors
	if !ok {
		errno = syscall.EIO
	}
	return 0, errno
}
