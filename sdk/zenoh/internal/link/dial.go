package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// ErrOther is in the error of a Dial that has reached another node than the one that was expected.
var ErrOther = errors.New("another node is there")

// Dial connects to the node at e, which must be expect unless that is zero. Where a link to that node was dialled before
// and still is, Dial returns its transport. Options.OpenTimeout bounds it all.
func (m *Manager) Dial(ctx context.Context, e Endpoint, expect wire.ID) (*Transport, error) {
	if err := m.enter(); err != nil {
		return nil, err
	}
	defer m.running.Done()
	if t := m.dialled(expect); t != nil {
		return t, nil
	}
	ctx, cancel := m.deadline(ctx)
	defer cancel()
	t, err := m.dial(ctx, e, expect)
	if err != nil {
		if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, fmt.Errorf("dial %s: %w", e.Locator(), err)
	}
	return t, nil
}

// dialled returns the transport that a link to id was dialled for.
func (m *Manager) dialled(id wire.ID) *Transport {
	if id.IsZero() {
		return nil
	}
	m.mu.Lock()
	t := m.transports[id]
	m.mu.Unlock()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.readers == 0 || t.byUs == 0 {
		return nil
	}
	return t
}

func (m *Manager) dial(ctx context.Context, e Endpoint, expect wire.ID) (*Transport, error) {
	c, info, err := m.connect(ctx, e)
	if err != nil {
		return nil, err
	}
	interrupt := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	defer interrupt()
	var have *Transport
	a, rest, err := c.open(&opener{o: &m.o, expect: expect, known: func(id wire.ID) bool {
		have = m.dialled(id)
		return have != nil
	}})
	if err != nil {
		c.end(err)
		if errors.Is(err, errHave) {
			return have, nil
		}
		return nil, err
	}
	info.BatchSize = a.batch
	t, first, err := m.join(ctx, a, true)
	if err != nil {
		c.end(err)
		if errors.Is(err, errHave) {
			return t, nil
		}
		return nil, err
	}
	if !interrupt() { // the deadline has passed
		m.release(t, first, true)
		c.end(ctx.Err())
		return nil, ctx.Err()
	}
	if err := m.start(t, first, c, info, rest); err != nil {
		c.end(err)
		return nil, err
	}
	m.counts.dialled.Add(1)
	return t, nil
}

// connect connects to e, with TLS where that is asked for.
func (m *Manager) connect(ctx context.Context, e Endpoint) (*channel, LinkInfo, error) {
	info := LinkInfo{Dialled: true, Remote: e.Locator(), Since: time.Now()}
	var config *tls.Config
	if e.Proto == protoTLS {
		var err error
		if config, err = m.o.TLS.with(e.Config).client(e); err != nil {
			return nil, info, err
		}
	}
	network := "tcp"
	if e.Proto == protoUnix {
		network = "unix"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, e.Address)
	if err != nil {
		return nil, info, err
	}
	c := newChannel(conn.(socket))
	info.Local = e.Proto + "/" + conn.LocalAddr().String()
	if u, ok := conn.(*net.UnixConn); ok {
		info.Local, info.Cred = "", peerCred(u)
	}
	if config != nil {
		c.secure(func(n net.Conn) *tls.Conn { return tls.Client(n, config) })
		if err := c.tls.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, info, err
		}
		info.CommonName = commonName(c.tls)
	}
	return c, info, nil
}
