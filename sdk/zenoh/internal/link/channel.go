package link

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// channel is a connection during its handshake.
type channel struct {
	sock socket
	tls  *tls.Conn // nil: the socket is used as it is
	seal *sealer
	conn net.Conn // tls or sock

	in []byte // what was read, of which the first r bytes are used
	r  int
}

func newChannel(sock socket) *channel { return &channel{sock: sock, conn: sock} }

// secure puts TLS between the handshake and the socket.
func (c *channel) secure(wrap func(net.Conn) *tls.Conn) {
	c.seal = &sealer{socket: c.sock}
	c.tls = wrap(c.seal)
	c.conn = c.tls
}

// batch reads one batch, which is valid until the next call.
func (c *channel) batch() ([]byte, error) {
	if err := c.need(prefixBytes); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(c.in[c.r:]))
	if n > maxHandshakeBytes {
		return nil, refuse(wire.ReasonInvalid, "handshake message of %d bytes", n)
	}
	c.r += prefixBytes
	if err := c.need(n); err != nil {
		return nil, err
	}
	c.r += n
	return c.in[c.r-n : c.r], nil
}

// need reads until n bytes are there.
func (c *channel) need(n int) error {
	if c.r == len(c.in) {
		c.in, c.r = c.in[:0], 0
	}
	for len(c.in)-c.r < n {
		c.in = slices.Grow(c.in, 512)
		k, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+k]
		if err != nil && len(c.in)-c.r < n {
			return err
		}
	}
	return nil
}

// rest returns what was read beyond the handshake, as a stream: first behind, the end of the last batch.
func (c *channel) rest(behind []byte) []byte {
	var b []byte
	if len(behind) > 0 {
		b = rawBatch(behind)
	}
	return append(b, c.in[c.r:]...)
}

func (c *channel) send(p []byte) error {
	_, err := c.conn.Write(rawBatch(p))
	return err
}

// open does the handshake of who dials.
func (c *channel) open(h *opener) (*agreed, []byte, error) {
	if err := c.send(h.start()); err != nil {
		return nil, nil, err
	}
	rest, err := c.run(h.step)
	return &h.agreed, rest, err
}

// accept does the handshake of who was dialled, except for the OpenAck.
func (c *channel) accept(o *Options) (*acceptor, []byte, error) {
	h := &acceptor{o: o}
	rest, err := c.run(h.step)
	return h, rest, err
}

func (c *channel) run(step func([]byte) (out, rest []byte, err error)) ([]byte, error) {
	for {
		batch, err := c.batch()
		if err != nil {
			return nil, err
		}
		out, rest, err := step(batch)
		if err != nil {
			return nil, err
		}
		if rest != nil {
			return c.rest(rest), nil
		}
		if err := c.send(out); err != nil {
			return nil, err
		}
	}
}

// end closes the connection after err and tells the peer the reason, if the fault is with it.
func (c *channel) end(err error) {
	var r *refusal
	if errors.As(err, &r) {
		_ = c.send(wire.AppendClose(nil, wire.Close{Reason: r.reason}))
		if c.tls != nil {
			_ = c.tls.CloseWrite()
		}
		_ = c.sock.CloseWrite()
	}
	_ = c.sock.Close()
}
