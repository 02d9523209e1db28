package link

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/internal/sock"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

const (
	// readBytes is how much is read in one go; it holds the largest batch.
	readBytes = 128 << 10
	// stashBytes bounds the beginning of a batch that is copied out of the way while a link waits for the rest of it, so
	// that its read buffer can serve others.
	stashBytes = 8 << 10
	// corkedReads bounds how often a link is read before what is to be sent in answer is written.
	corkedReads = 4
	// sealBytes is how much is encrypted before it is written.
	sealBytes = 32 << 10
)

// errAgain says that the link takes no more at the moment.
var errAgain = errors.New("link is full")

// Batches that are written beside the queue, on links that are not written to otherwise.
var (
	keepAliveBatch = rawBatch(wire.AppendKeepAlive(nil))
	closeBatch     = rawBatch(wire.AppendClose(nil, wire.Close{Reason: wire.ReasonGeneric}))
)

func rawBatch(p []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(p))), p...)
}

type readBuffer [readBytes]byte

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// socket is what *net.TCPConn and *net.UnixConn have in common.
type socket interface {
	net.Conn
	syscall.Conn
	CloseRead() error
	CloseWrite() error
}

// link is one connection. Reading belongs to its reader; writing to whom the transport's writing stands for.
type link struct {
	info   LinkInfo
	joined time.Time
	sock   socket
	raw    syscall.RawConn
	tls    *tls.Conn // nil: the socket is used as it is
	seal   *sealer   // between tls and the socket

	m       *Manager
	corked  int         // reads since the reader has held back what is sent, 0 if it does not
	buf     *readBuffer // nil while nothing is read
	r, w    int         // what is in buf, or in stash
	stash   []byte
	readFn  func(fd uintptr) bool
	readErr error

	out      []byte // what is being written
	sealed   []byte // what of it is encrypted
	wrote    int
	wait     bool
	writeFn  func(fd uintptr) bool
	writeErr error

	rx      atomic.Uint64 // reads that brought something
	rxBytes atomic.Uint64
	busy    atomic.Bool // messages are being handled
	tx      uint64      // writes; under the transport's mutex, as txBytes is
	txBytes uint64

	cause  atomic.Pointer[error] // why it was killed
	expiry linkWatch             // the clock's
}

// newLink makes a link of a connection whose handshake is done; rest is what was read beyond it.
func newLink(m *Manager, c *channel, info LinkInfo, rest []byte) (*link, error) {
	if u, ok := c.sock.(*net.UnixConn); ok {
		if own, err := sock.Own(u); err == nil {
			c.sock = own
		}
	}
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &link{m: m, info: info, joined: time.Now(), sock: c.sock, raw: raw, tls: c.tls, seal: c.seal}
	if len(rest) > 0 {
		l.stash, l.w = rest, len(rest)
	}
	if l.seal != nil {
		l.seal.hold()
	}
	l.readFn, l.writeFn = l.tryRead, l.tryWrite
	return l, nil
}

// next returns the next whole batch that was read.
func (l *link) next() ([]byte, bool) {
	if l.w-l.r < prefixBytes {
		return nil, false
	}
	l.unpark()
	b := l.buf[l.r:l.w]
	n := int(binary.LittleEndian.Uint16(b))
	if len(b) < prefixBytes+n {
		return nil, false
	}
	l.r += prefixBytes + n
	return b[prefixBytes : prefixBytes+n], true
}

// fill reads more, at least a byte.
func (l *link) fill() error {
	if l.r > 0 {
		if l.r < l.w {
			copy(l.buf[:], l.buf[l.r:l.w])
		}
		l.r, l.w = 0, l.w-l.r
	}
	before := l.w
	err := l.fillFrom()
	if n := l.w - before; n > 0 {
		l.rx.Add(1)
		l.rxBytes.Add(uint64(n))
	}
	return err
}

func (l *link) fillFrom() error {
	if l.tls != nil {
		return l.fillTLS()
	}
	if err := l.raw.Read(l.readFn); err != nil {
		return err
	}
	return l.readErr
}

// tryRead reads from the socket if there is something, and gives the read buffer away if there is not.
func (l *link) tryRead(fd uintptr) bool {
	l.unpark()
	for {
		n, errno := sock.Read(fd, l.buf[l.w:])
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			l.uncork()
			l.park()
			return false
		case errno != 0:
			l.readErr = errno
		case n == 0:
			l.readErr = io.EOF
		default:
			l.w += n
		}
		return true
	}
}

// cork holds back what is sent, by anybody, while messages of this link are handled and more of them are there to be read: so many answers
// leave in one write, and wake their receiver once.
func (l *link) cork() {
	if l.corked == 0 {
		l.m.cork()
	}
	l.corked++
}

// uncork writes what was held back.
func (l *link) uncork() {
	if l.corked > 0 {
		l.corked = 0
		l.m.uncork()
	}
}

// fillTLS waits for the first byte without a read buffer, since TLS keeps one of its own.
func (l *link) fillTLS() error {
	if l.w == 0 {
		l.park()
		var one [1]byte
		if _, err := io.ReadFull(l.tls, one[:]); err != nil {
			return err
		}
		l.unpark()
		l.buf[0], l.w = one[0], 1
	}
	l.unpark()
	n, err := l.tls.Read(l.buf[l.w:])
	l.w += n
	return err
}

// park gives the read buffer away, unless much of a batch is in it.
func (l *link) park() {
	if l.buf == nil || l.w > stashBytes {
		return
	}
	if l.w > 0 {
		l.stash = append(l.stash[:0], l.buf[:l.w]...)
	} else {
		l.stash = nil
	}
	readBuffers.Put(l.buf)
	l.buf = nil
}

// unpark gets a read buffer.
func (l *link) unpark() {
	if l.buf == nil {
		l.buf = readBuffers.Get().(*readBuffer)
		copy(l.buf[:], l.stash[:l.w])
	}
}

// write writes from p what the link takes at once: errAgain says that it was not all. With wait it waits until it takes
// something.
func (l *link) write(p []byte, wait bool) (n int, err error) {
	if l.tls == nil {
		return l.writeRaw(p, wait)
	}
	if len(l.sealed) == 0 {
		if len(p) > 0 {
			if n, err = l.tls.Write(p[:min(len(p), sealBytes)]); err != nil {
				return n, err
			}
		}
		l.sealed = l.seal.take()
	}
	k, err := l.writeRaw(l.sealed, wait)
	l.sealed = l.sealed[k:]
	l.seal.wrote(k)
	return n, err
}

// pending reports whether there is something that TLS has encrypted and the socket has not taken.
func (l *link) pending() bool { return l.tls != nil && l.seal.holds() }

func (l *link) writeRaw(p []byte, wait bool) (int, error) {
	l.out, l.wait, l.wrote, l.writeErr = p, wait, 0, nil
	err := l.raw.Write(l.writeFn)
	l.out = nil
	if err == nil {
		err = l.writeErr
	}
	return l.wrote, err
}

func (l *link) tryWrite(fd uintptr) bool {
	for len(l.out) > 0 {
		n, errno := sock.Write(fd, l.out)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN && l.wait:
			return l.wrote > 0
		case errno == syscall.EAGAIN:
			l.writeErr = errAgain
			return true
		case errno != 0:
			l.writeErr = errno
			return true
		default:
			l.wrote += n
			l.out = l.out[n:]
		}
	}
	return true
}

// kill ends the connection, at once and without waiting for anybody: its reader, which sees it, closes the socket.
func (l *link) kill(cause error) {
	if !l.cause.CompareAndSwap(nil, &cause) {
		return
	}
	_ = l.sock.SetDeadline(time.Unix(1, 0))
	_ = l.sock.CloseRead()
	_ = l.sock.CloseWrite()
}

// closeWrite tells the peer that nothing more comes.
func (l *link) closeWrite() {
	if l.tls != nil {
		_ = l.tls.CloseWrite()
		_, _ = l.write(nil, false)
	}
	_ = l.sock.CloseWrite()
}

// close is the reader's last act.
func (l *link) close() {
	l.w, l.r = 0, 0
	l.park()
	_ = l.sock.Close()
}

// maxHeld bounds what TLS has encrypted and the socket has not taken: more comes only of a peer that asks for new keys
// and does not read the answers.
const maxHeld = 8 * sealBytes

var errHeld = errors.New("the peer asks for more than it reads")

// sealer lies between TLS and the socket: it keeps what is encrypted, once it holds, so that TLS never waits for the
// socket.
type sealer struct {
	socket
	mu      sync.Mutex
	holding bool
	held    []byte
	taken   int // bytes that were taken and are not written yet
}

// Write writes, or keeps, p.
func (s *sealer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding {
		return s.socket.Write(p)
	}
	if len(s.held) > maxHeld {
		return 0, errHeld
	}
	s.held = append(s.held, p...)
	return len(p), nil
}

func (s *sealer) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = true
}

// holds reports whether not all is written.
func (s *sealer) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken+len(s.held) > 0
}

func (s *sealer) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.held
	s.held, s.taken = nil, len(b)
	return b
}

func (s *sealer) wrote(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken -= n
}
