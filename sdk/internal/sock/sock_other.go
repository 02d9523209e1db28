//go:build !linux || race

package sock

import "syscall"

// Read is read(2) on a descriptor that does not block; 0 is no error. Here the scheduler is told: the race detector learns from system calls
// what happens before what, and elsewhere than on Linux there are no direct ones.
func Read(fd uintptr, p []byte) (int, syscall.Errno) { return told(syscall.Read(int(fd), p)) }

// Write is write(2) on a descriptor that does not block; 0 is no error.
func Write(fd uintptr, p []byte) (int, syscall.Errno) { return told(syscall.Write(int(fd), p)) }
