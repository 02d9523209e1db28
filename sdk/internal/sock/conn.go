package sock

import (
	"io"
	"syscall"
)

// Conn is an io.ReadWriter over a descriptor. One goroutine may read and one may write at a time.
type Conn struct {
	raw syscall.RawConn
	in  transfer
	out transfer
}

// transfer is one Read or Write under way. Its function is made once, so that nothing is allocated.
type transfer struct {
	p    []byte
	n    int
	err  error
	step func(fd uintptr) bool
}

// New returns a Conn over s, which still owns the descriptor.
func New(s syscall.Conn) (*Conn, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{raw: raw}
	c.in.step, c.out.step = c.in.read, c.out.write
	return c, nil
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.in.run(p, c.raw.Read)
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) { return c.out.run(p, c.raw.Write) }

func (t *transfer) run(p []byte, do func(func(uintptr) bool) error) (int, error) {
	t.p, t.n, t.err = p, 0, nil
	err := do(t.step)
	t.p = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

func (t *transfer) read(fd uintptr) (done bool) {
	for {
		n, errno := Read(fd, t.p)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			t.err = errno
		case n == 0:
			t.err = io.EOF
		default:
			t.n = n
		}
		return true
	}
}

func (t *transfer) write(fd uintptr) (done bool) {
	for t.n < len(t.p) {
		n, errno := Write(fd, t.p[t.n:])
		switch errno {
		case 0:
			t.n += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.err = errno
			return true
		}
	}
	return true
}
