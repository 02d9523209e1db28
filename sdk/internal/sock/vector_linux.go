package sock

import (
	"net"
	"syscall"
	"unsafe"
)

// maxVector is how many pieces one system call takes (IOV_MAX of Linux).
const maxVector = 1024

// vector is a write of several pieces under way.
type vector struct {
	rest [][]byte
	iovs []syscall.Iovec
	n    int64
	err  error
}

// WriteBuffers writes all of bufs with as few system calls as there is room for. net.Buffers does so on connections of
// package net only: here it would write each piece on its own, and the first would wake the peer for half of a message.
func (u *Unix) WriteBuffers(bufs net.Buffers) (int64, error) {
	v := vector{rest: make([][]byte, 0, len(bufs)), iovs: make([]syscall.Iovec, 0, min(len(bufs), maxVector))}
	for _, b := range bufs {
		if len(b) > 0 {
			v.rest = append(v.rest, b)
		}
	}
	err := u.write(v.write)
	if err == nil {
		err = v.err
	}
	return v.n, err
}

func (v *vector) write(fd uintptr) (done bool) {
	for len(v.rest) > 0 {
		v.iovs = v.iovs[:0]
		for _, b := range v.rest[:min(len(v.rest), maxVector)] {
			iov := syscall.Iovec{Base: unsafe.SliceData(b)}
			iov.SetLen(len(b))
			v.iovs = append(v.iovs, iov)
		}
		n, errno := writev(fd, v.iovs)
		switch errno {
		case 0:
			v.written(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			v.err = errno
			return true
		}
	}
	return true
}

// written takes n bytes away from the front of what is left.
func (v *vector) written(n int) {
	v.n += int64(n)
	for n > 0 && n >= len(v.rest[0]) {
		n -= len(v.rest[0])
		v.rest = v.rest[1:]
	}
	if n > 0 {
		v.rest[0] = v.rest[0][n:]
	}
}
