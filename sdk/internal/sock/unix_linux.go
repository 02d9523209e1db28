package sock

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Unix is a connected unix stream socket. It is a net.Conn and a syscall.Conn; one goroutine may read and one may write at a
// time.
type Unix struct {
	local, remote net.Addr
	fd            int
	in            *poll // for reading

	reading sync.Mutex
	next    func(fd uintptr) bool // what reads
	step    func(uintptr) bool    // calls it; made once, so that nothing is allocated

	writing sync.Mutex // held while one writes, and by Close before the descriptor is closed

	mu       sync.Mutex
	out      *poll     // for writing; made when the socket is full for the first time, and armed only while somebody waits
	deadline time.Time // out's
	closed   bool
}

// poll waits for one kind of event on a descriptor. It is an epoll of its own for that descriptor and that event, which the
// runtime waits for as it does for any other descriptor.
type poll struct {
	file *os.File
	raw  syscall.RawConn
}

func newPoll(fd int, events uint32) (*poll, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
	if err == nil {
		err = syscall.SetNonblock(ep, true) // what tells os.NewFile that it can be waited for
	}
	if err != nil {
		_ = syscall.Close(ep)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	p := &poll{file: os.NewFile(uintptr(ep), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetDeadline(time.Time{}) // fails where the runtime cannot wait for it
	}
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	return p, nil
}

// arm changes what p waits for on fd: nothing, while nobody does.
func (p *poll) arm(fd int, events uint32) error {
	var err error
	ctl := p.raw.Control(func(ep uintptr) {
		err = syscall.EpollCtl(int(ep), syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
	})
	if ctl != nil {
		return ctl
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// Own makes a Unix of c, which it then owns. After an error c is as it was.
func Own(c *net.UnixConn) (*Unix, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	u := &Unix{local: c.LocalAddr(), remote: c.RemoteAddr(), fd: -1}
	// Closing c takes its descriptor out of the runtime's polling, and leaves the socket to this one.
	if ctl := raw.Control(func(fd uintptr) { u.fd, err = dup(fd) }); ctl != nil {
		return nil, ctl
	}
	if err != nil {
		return nil, err
	}
	if u.in, err = newPoll(u.fd, syscall.EPOLLIN|syscall.EPOLLRDHUP); err != nil {
		_ = syscall.Close(u.fd)
		return nil, fmt.Errorf("poll a unix socket: %w", err)
	}
	u.step = func(uintptr) bool { return u.next(uintptr(u.fd)) }
	_ = c.Close()
	return u, nil
}

func dup(fd uintptr) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("fcntl", errno)
	}
	return int(n), nil
}

// Read implements net.Conn.
func (u *Unix) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var t transfer
	return t.run(p, func(func(uintptr) bool) error { return u.read(t.read) })
}

// Write implements net.Conn.
func (u *Unix) Write(p []byte) (int, error) {
	var t transfer
	return t.run(p, func(func(uintptr) bool) error { return u.write(t.write) })
}

// read calls f until it is done, and waits in between until there is something to read.
func (u *Unix) read(f func(fd uintptr) bool) error {
	u.reading.Lock()
	defer u.reading.Unlock()
	u.next = f
	return u.why(u.in.raw.Read(u.step))
}

// why says of an error of a poll what happened to u.
func (u *Unix) why(err error) error {
	if err == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return net.ErrClosed
	}
	return err
}

// write calls f until it is done, and waits in between until there is room.
func (u *Unix) write(f func(fd uintptr) bool) error {
	u.writing.Lock()
	defer u.writing.Unlock()
	if err := u.mayWrite(); err != nil {
		return err
	}
	if f(uintptr(u.fd)) {
		return nil
	}
	out, err := u.pollOut()
	if err != nil {
		return err
	}
	if err := out.arm(u.fd, syscall.EPOLLOUT); err != nil {
		return u.why(err)
	}
	// Left armed it would wake a thread each time that the peer reads, for as long as the connection lasts.
	defer func() { _ = out.arm(u.fd, 0) }()
	return u.why(out.raw.Read(func(uintptr) bool { return f(uintptr(u.fd)) }))
}

func (u *Unix) mayWrite() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return net.ErrClosed
	case !u.deadline.IsZero() && !time.Now().Before(u.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (u *Unix) pollOut() (*poll, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, net.ErrClosed
	}
	if u.out != nil {
		return u.out, nil
	}
	out, err := newPoll(u.fd, 0)
	if err == nil {
		err = out.file.SetReadDeadline(u.deadline)
	}
	if err != nil {
		return nil, fmt.Errorf("poll a unix socket: %w", err)
	}
	u.out = out
	return out, nil
}

// Close implements net.Conn. It waits until nobody uses the descriptor any more.
func (u *Unix) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return net.ErrClosed
	}
	u.closed = true
	out := u.out
	u.mu.Unlock()
	_ = u.in.file.Close() // whoever waits there returns, and is waited for
	if out != nil {
		_ = out.file.Close()
	}
	u.writing.Lock()
	defer u.writing.Unlock()
	return os.NewSyscallError("close", syscall.Close(u.fd))
}

// CloseRead shuts down the reading half.
func (u *Unix) CloseRead() error { return u.shutdown(syscall.SHUT_RD) }

// CloseWrite shuts down the writing half: the peer reads an end.
func (u *Unix) CloseWrite() error { return u.shutdown(syscall.SHUT_WR) }

func (u *Unix) shutdown(how int) error {
	u.mu.Lock() // Close sets closed under it, before the descriptor is closed
	defer u.mu.Unlock()
	if u.closed {
		return net.ErrClosed
	}
	return os.NewSyscallError("shutdown", syscall.Shutdown(u.fd, how))
}

// LocalAddr implements net.Conn.
func (u *Unix) LocalAddr() net.Addr { return u.local }

// RemoteAddr implements net.Conn.
func (u *Unix) RemoteAddr() net.Addr { return u.remote }

// SetDeadline implements net.Conn.
func (u *Unix) SetDeadline(t time.Time) error {
	if err := u.SetReadDeadline(t); err != nil {
		return err
	}
	return u.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (u *Unix) SetReadDeadline(t time.Time) error { return u.in.file.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (u *Unix) SetWriteDeadline(t time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return net.ErrClosed
	}
	u.deadline = t
	if u.out == nil {
		return nil
	}
	return u.out.file.SetReadDeadline(t)
}

// SyscallConn implements syscall.Conn.
func (u *Unix) SyscallConn() (syscall.RawConn, error) { return rawUnix{u}, nil }

// rawUnix is a Unix as a syscall.RawConn.
type rawUnix struct{ u *Unix }

func (r rawUnix) Read(f func(fd uintptr) bool) error  { return r.u.read(f) }
func (r rawUnix) Write(f func(fd uintptr) bool) error { return r.u.write(f) }

func (r rawUnix) Control(f func(fd uintptr)) error {
	return r.u.in.raw.Control(func(uintptr) { f(uintptr(r.u.fd)) })
}
