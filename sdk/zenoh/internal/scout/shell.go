package scout

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// maxDatagram is what is read of a datagram at most: UDP has no more.
const maxDatagram = 65535

// Options say what a Scout does.
type Options struct {
	ID        wire.ID
	Group     string // address:port of the multicast group
	Interface string // "": every one that is up and can multicast, or the loopback where there is none
	// Self, where it is not nil, is what is answered to those who ask.
	Self *Self
	// What, where it is not 0, is the set of kinds (WhatAmI.Mask) that are asked for, again and again, and Found is called with
	// those who answer: also several times with the same, on goroutines of the Scout.
	What  uint8
	Found func(Found)
	Log   *slog.Logger
}

// Scout asks and answers by multicast.
type Scout struct {
	o       Options
	group   netip.AddrPort
	stop    context.CancelFunc
	running sync.WaitGroup
	conns   []*net.UDPConn
}

// Start begins.
func Start(o Options) (*Scout, error) {
	group, err := netip.ParseAddrPort(o.Group)
	if err != nil || !group.Addr().Is4() || !group.Addr().IsMulticast() {
		return nil, fmt.Errorf("scouting address %q is no IPv4 multicast address with a port", o.Group)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	interfaces, err := choose(o.Interface)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Scout{o: o, group: group, stop: stop}
	if err := s.open(ctx, interfaces); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends it and waits.
func (s *Scout) Close() {
	s.stop()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.running.Wait()
}

func (s *Scout) open(ctx context.Context, interfaces []netInterface) error {
	if s.o.Self != nil {
		c, err := join(s.group, interfaces)
		if err != nil {
			return fmt.Errorf("join the scouting group %s: %w", s.group, err)
		}
		s.conns = append(s.conns, c)
		s.running.Go(func() { s.answer(c) })
	}
	if s.o.What == 0 {
		return nil
	}
	asked := 0
	var last error
	for _, i := range interfaces {
		c, err := askFrom(i)
		if err != nil {
			s.o.Log.Debug("no scouting", "interface", i.name, "error", err)
			last = err
			continue
		}
		asked++
		s.conns = append(s.conns, c)
		s.running.Go(func() { s.listen(c) })
		s.running.Go(func() { s.ask(ctx, c) })
	}
	if asked == 0 {
		return fmt.Errorf("scouting on no interface: %w", last)
	}
	return nil
}

// answer answers those who ask, until the socket is closed.
func (s *Scout) answer(c *net.UDPConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		hello := s.o.Self.Answer(buf[:n], from.Addr().Unmap())
		if hello == nil {
			continue
		}
		if _, err := c.WriteToUDPAddrPort(hello, from); err != nil {
			s.o.Log.Debug("no answer to a scout", "to", from.String(), "error", err)
		}
	}
}

// listen takes the answers, until the socket is closed.
func (s *Scout) listen(c *net.UDPConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if f, ok := Heard(s.o.ID, buf[:n], from); ok {
			s.o.Found(f)
		}
	}
}

// ask asks again and again. Like other implementations it does not say who it is.
func (s *Scout) ask(ctx context.Context, c *net.UDPConn) {
	scout := wire.AppendScout(nil, &wire.Scout{What: s.o.What})
	for n := 0; ; n++ {
		if _, err := c.WriteToUDPAddrPort(scout, s.group); err != nil {
			s.o.Log.Debug("no scout was sent", "error", err)
		}
		t := time.NewTimer(AskPause(n))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// netInterface is one to scout on.
type netInterface struct {
	name string
	net  *net.Interface
	addr netip.Addr // IPv4
}

// choose returns the interfaces to scout on.
func choose(name string) ([]netInterface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	var out, loopback []netInterface
	for i := range all {
		x := &all[i]
		addr, ok := ipv4Of(x)
		if !ok || x.Flags&net.FlagUp == 0 || name != "" && x.Name != name {
			continue
		}
		y := netInterface{x.Name, x, addr}
		switch {
		case name != "" || x.Flags&net.FlagMulticast != 0 && x.Flags&net.FlagLoopback == 0:
			out = append(out, y)
		case x.Flags&net.FlagLoopback != 0:
			loopback = append(loopback, y)
		}
	}
	if len(out) == 0 {
		out = loopback
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no interface %q with an IPv4 address is up", name)
	}
	return out, nil
}

func ipv4Of(x *net.Interface) (netip.Addr, bool) {
	addrs, err := x.Addrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() {
				return ip.Unmap(), true
			}
		}
	}
	return netip.Addr{}, false
}

// join opens the socket that hears what is sent to the group, on all the interfaces.
func join(group netip.AddrPort, interfaces []netInterface) (*net.UDPConn, error) {
	c, err := net.ListenMulticastUDP("udp4", interfaces[0].net, net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces[1:] {
		if err := joinAlso(c, group.Addr(), i.addr); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

// askFrom opens a socket that sends to the group over one interface.
func askFrom(i netInterface) (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.addr, 0)))
	if err != nil {
		return nil, err
	}
	if err := sendOver(c, i.addr); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}
