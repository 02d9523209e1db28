package sock

import "syscall"

// told is what an ordinary system call returned, in our form.
func told(n int, err error) (int, syscall.Errno) {
	if err == nil {
		return n, 0
	}
	errno, ok := err.(syscall.Errno) //nolint:errorlint // it comes from the system call itself, which has no other errors
	if !ok {
		errno = syscall.EIO
	}
	return 0, errno
}
