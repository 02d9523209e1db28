package scout

import (
	"net/netip"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Self is what a node says to those who look for others.
type Self struct {
	ID wire.ID
	// As are what it may say it is; the first one that the asker looks for.
	As       []wire.WhatAmI
	Locators func() []string
}

// Answer returns the HELLO that answers a datagram from an address, or nil if there is nothing to say: it is no SCOUT, looks for
// others, or is our own.
func (s *Self) Answer(datagram []byte, from netip.Addr) []byte {
	var m wire.Scout
	if _, err := wire.DecodeScout(datagram, &m); err != nil || m.Version != wire.ProtocolVersion || m.ID == s.ID {
		return nil
	}
	for _, as := range s.As {
		if m.What&as.Mask() != 0 {
			return wire.AppendHello(nil, &wire.Hello{WhatAmI: as, ID: s.ID, Locators: reachable(s.Locators(), from)})
		}
	}
	return nil
}

// reachable leaves out the locators that lead nowhere from there: those on the loopback interface and unix sockets, where the asker
// is on another machine.
func reachable(locators []string, from netip.Addr) []string {
	if from.IsLoopback() {
		return locators
	}
	var out []string
	for _, l := range locators {
		if !isLocal(l) {
			out = append(out, l)
		}
	}
	return out
}

func isLocal(locator string) bool {
	proto, address, _ := strings.Cut(locator, "/")
	address, _, _ = strings.Cut(address, "?")
	if strings.HasPrefix(proto, "unix") {
		return true
	}
	if host, err := netip.ParseAddrPort(address); err == nil {
		return host.Addr().IsLoopback()
	}
	return strings.HasPrefix(address, "localhost:")
}

// Heard returns the node that a datagram tells of; ok is false where it is no HELLO, or our own. from is where it came from.
func Heard(own wire.ID, datagram []byte, from netip.AddrPort) (f Found, ok bool) {
	var m wire.Hello
	if _, err := wire.DecodeHello(datagram, &m); err != nil || m.Version != wire.ProtocolVersion || m.ID == own || m.ID.IsZero() {
		return Found{}, false
	}
	f = Found{ID: m.ID, WhatAmI: m.WhatAmI, Locators: keep(m.Locators)}
	if len(f.Locators) == 0 {
		f.Locators = []string{"udp/" + from.String()}
	}
	return f, true
}

const maxAskPause = 8 * time.Second

// AskPause is how long to wait before the SCOUT after the n-th, which is counted from 0: 1, 2, 4, 8, 8 ... seconds.
func AskPause(n int) time.Duration {
	if n > 3 {
		return maxAskPause
	}
	return time.Second << n
}
