package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// keyAuth, in the config of an endpoint to listen on, says whether Options.Users are asked for there: "users", or "none" for a
// unix socket whose permissions say who may come.
const keyAuth = "auth"

// maxAcceptPause bounds the pause after an accept that failed, as it does while there are too many open files.
const maxAcceptPause = time.Second

// Listener lets others dial us.
type Listener struct {
	m    *Manager
	e    Endpoint
	o    *Options // for those who dial here
	ln   net.Listener
	tls  *tls.Config
	done chan struct{}
	once sync.Once
}

// Listen listens on e until the listener or m is closed. ctx bounds only the beginning. A wildcard address is every one
// of this machine, and port 0 a free one.
func (m *Manager) Listen(ctx context.Context, e Endpoint) (*Listener, error) {
	l := &Listener{m: m, e: e, o: &m.o, done: make(chan struct{})}
	if err := m.enter(); err != nil {
		return nil, err
	}
	defer m.running.Done()
	if err := l.open(ctx); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: %w", ErrInUse, err)
		}
		return nil, fmt.Errorf("listen on %s: %w", e.Locator(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = l.ln.Close()
		return nil, ErrClosed
	}
	m.listeners[l] = struct{}{}
	m.running.Go(l.accept)
	return l, nil
}

func (l *Listener) open(ctx context.Context) (err error) {
	switch auth, given := l.e.Config[keyAuth]; {
	case !given || auth == "users":
	case auth == "none":
		o := l.m.o
		o.Users = nil
		l.o = &o
	default:
		return fmt.Errorf("%s=%s is neither users nor none", keyAuth, auth)
	}
	switch l.e.Proto {
	case protoUnix:
		l.ln, err = listenUnix(l.e.Address, l.m.o.Unix)
		return err
	case protoTLS:
		if l.tls, err = l.m.o.TLS.with(l.e.Config).server(); err != nil {
			return err
		}
	}
	address := l.e.Address
	if host, port, err := net.SplitHostPort(address); err == nil && host == "::" {
		address = ":" + port // the same, but also where there is no IPv6
	}
	var lc net.ListenConfig
	l.ln, err = lc.Listen(ctx, "tcp", address)
	return err
}

// Close stops listening. Transports stay.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = l.ln.Close()
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.listeners, l)
	})
	return err
}

// Locators returns where others reach this listener: for a wildcard address every address of this machine, those of the
// loopback interface last.
func (l *Listener) Locators() []string {
	if l.e.Proto == protoUnix {
		return []string{l.e.Locator()}
	}
	at := l.ln.Addr().(*net.TCPAddr).AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if !at.Addr().IsUnspecified() {
		return []string{l.locator(at)}
	}
	var out, loopback []string
	for _, ip := range interfaceAddrs() {
		if at.Addr().Is4() && !ip.Is4() {
			continue
		}
		if s := l.locator(netip.AddrPortFrom(ip, at.Port())); ip.IsLoopback() {
			loopback = append(loopback, s)
		} else {
			out = append(out, s)
		}
	}
	return append(out, loopback...)
}

func (l *Listener) locator(at netip.AddrPort) string {
	return Endpoint{Proto: l.e.Proto, Address: at.String(), Meta: l.e.Meta}.Locator()
}

// interfaceAddrs returns the addresses of all interfaces, except those that mean something only with their interface.
func interfaceAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// accept takes connections until the listener is closed.
func (l *Listener) accept() {
	pause := 5 * time.Millisecond
	for {
		conn, err := l.ln.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			l.m.greet(l, conn.(socket))
			continue
		}
		select {
		case <-l.done:
			return
		default:
		}
		l.m.o.Log.Warn("accept failed", "listener", l.e.Locator(), "error", err)
		select {
		case <-l.done:
			return
		case <-time.After(pause):
			pause = min(2*pause, maxAcceptPause)
		}
	}
}

// greet begins the handshake with somebody who dialled, unless there are too many at it.
func (m *Manager) greet(l *Listener, sock socket) {
	if m.pending.Add(1) > int64(m.o.MaxPending) {
		m.pending.Add(-1)
		m.counts.refused.Add(1)
		_ = sock.Close()
		return
	}
	m.running.Go(func() {
		defer m.pending.Add(-1)
		info := LinkInfo{Listener: l, Local: l.e.Proto + "/" + sock.LocalAddr().String(), Since: time.Now()}
		info.Remote = l.e.Proto + "/" + sock.RemoteAddr().String()
		if u, ok := sock.(*net.UnixConn); ok {
			info.Local, info.Remote, info.Cred = l.e.Locator(), "", peerCred(u)
		}
		ctx, cancel := m.deadline(context.Background())
		defer cancel()
		c := newChannel(sock)
		err := m.admit(ctx, l, c, info)
		if err == nil {
			m.counts.accepted.Add(1)
			return
		}
		m.counts.refused.Add(1)
		var r *refusal
		if errors.As(err, &r) && (r.reason == wire.ReasonUnsupported || r.reason == wire.ReasonGeneric) {
			m.counts.denied.Add(1)
		}
		m.o.Log.Warn("link refused", "listener", l.e.Locator(), "remote", info.Remote, "error", err)
		c.end(err)
	})
}

// admit does the handshake with who dialled and brings the link up.
func (m *Manager) admit(ctx context.Context, l *Listener, c *channel, info LinkInfo) error {
	interrupt := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	defer interrupt()
	if l.tls != nil {
		c.secure(func(n net.Conn) *tls.Conn { return tls.Server(n, l.tls) })
		if err := c.tls.HandshakeContext(ctx); err != nil {
			return err
		}
		info.CommonName = commonName(c.tls)
	}
	h, rest, err := c.accept(l.o)
	if err != nil {
		return err
	}
	info.BatchSize = h.batch
	t, first, err := m.join(ctx, &h.agreed, false)
	if err != nil {
		return err
	}
	if err := c.send(h.ack()); err != nil {
		m.release(t, first, false)
		return err
	}
	if !interrupt() { // the deadline has passed
		m.release(t, first, false)
		return ctx.Err()
	}
	return m.start(t, first, c, info, rest)
}
