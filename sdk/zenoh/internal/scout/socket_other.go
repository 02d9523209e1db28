//go:build !unix

package scout

import (
	"net"
	"net/netip"
)

// joinAlso leaves it at the first interface where there is no portable way.
func joinAlso(*net.UDPConn, netip.Addr, netip.Addr) error { return nil }

// sendOver leaves the choice to the system.
func sendOver(*net.UDPConn, netip.Addr) error { return nil }
