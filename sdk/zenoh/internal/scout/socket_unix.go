//go:build unix

package scout

import (
	"net"
	"net/netip"
	"syscall"
)

// joinAlso makes c hear the group on another interface, too.
func joinAlso(c *net.UDPConn, group, on netip.Addr) error {
	m := syscall.IPMreq{Multiaddr: group.As4(), Interface: on.As4()}
	return control(c, func(fd int) error {
		return syscall.SetsockoptIPMreq(fd, syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP, &m)
	})
}

// sendOver makes c send to groups over one interface.
func sendOver(c *net.UDPConn, addr netip.Addr) error {
	return control(c, func(fd int) error {
		return syscall.SetsockoptInet4Addr(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, addr.As4())
	})
}

func control(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil { //nolint:gosec // a descriptor fits
		return err
	}
	return inner
}
