package plugin

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
)

// maxChunk bounds the data of one message of the stream.
const maxChunk = 1 << 20

// streamConn is a net.Conn over the gRPC stream of frames. One goroutine at a time may read, and one write, which is what
// a frame.Conn does.
type streamConn struct {
	send func(*pluginv1.Chunk) error
	recv func() (*pluginv1.Chunk, error)
	end  func()

	rest   []byte
	closed sync.Once
	done   chan struct{}
}

// dialStream opens the stream on the host's side.
func dialStream(ctl pluginv1.ControlClient) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := ctl.Frames(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return &streamConn{send: s.Send, recv: s.Recv, end: cancel, done: make(chan struct{})}, nil
}

// serverStream wraps the stream on the plugin's side. A receiver there is woken by nothing but the end of the stream's
// handler, which therefore returns when done is closed.
func serverStream(s grpc.BidiStreamingServer[pluginv1.Chunk, pluginv1.Chunk]) *streamConn {
	return &streamConn{send: s.Send, recv: s.Recv, end: func() {}, done: make(chan struct{})}
}

// Read implements net.Conn.
func (c *streamConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.recv()
		if err != nil {
			select {
			case <-c.done:
				return 0, net.ErrClosed
			default:
			}
			return 0, err
		}
		c.rest = m.GetData()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (c *streamConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		select {
		case <-c.done:
			return n, io.ErrClosedPipe
		default:
		}
		k := min(len(p), maxChunk)
		if err := c.send(&pluginv1.Chunk{Data: p[:k]}); err != nil {
			return n, err
		}
		p, n = p[k:], n+k
	}
	return n, nil
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.closed.Do(func() {
		close(c.done)
		c.end()
	})
	return nil
}

type streamAddr struct{}

func (streamAddr) Network() string { return "grpc" }
func (streamAddr) String() string  { return "plugin stream" }

// LocalAddr implements net.Conn.
func (c *streamConn) LocalAddr() net.Addr { return streamAddr{} }

// RemoteAddr implements net.Conn.
func (c *streamConn) RemoteAddr() net.Addr { return streamAddr{} }

// SetDeadline implements net.Conn. Streams have none; a frame.Conn closes instead.
func (c *streamConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *streamConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }
