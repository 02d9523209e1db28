package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// batch is a line of the recorded traffic.
type batch struct {
	where string // scenario and line, for messages
	side  byte   // '>', '<', or 'u' for a datagram
	fresh bool   // the first of its connection
	b     []byte
}

func readCaptures(tb testing.TB) (batches []batch) {
	tb.Helper()
	text, err := os.ReadFile("testdata/captures.txt")
	if err != nil {
		tb.Fatal(err)
	}
	scenario, fresh := "", false
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		switch line[0] {
		case '#':
		case '=':
			scenario = line[2:]
		case '-':
			fresh = true
		default:
			b, err := parseBatch(line[2:])
			if err != nil {
				tb.Fatalf("line %d: %v", i+1, err)
			}
			batches = append(batches, batch{fmt.Sprintf("%s, line %d", scenario, i+1), line[0], fresh, b})
			fresh = false
		}
	}
	return batches
}

func parseBatch(s string) (b []byte, err error) {
	for s != "" {
		if s[0] != '[' {
			i := strings.IndexByte(s+"[", '[')
			p, err := hex.DecodeString(s[:i])
			if err != nil {
				return nil, err
			}
			b, s = append(b, p...), s[i:]
			continue
		}
		var from, n int
		if _, err := fmt.Sscanf(s, "[%d:%d]", &from, &n); err != nil {
			return nil, err
		}
		for k := range n {
			b = append(b, byte((from+k)%251))
		}
		_, s, _ = strings.Cut(s, "]")
	}
	return b, nil
}

// capture counts what was seen in recorded traffic, and holds what waits for its other fragments.
type capture struct {
	kinds                                   map[Kind]int
	inits, opens, closes, frames, datagrams int
	joined, refused                         int
	partial                                 map[string][]byte // by side and lane
}

// Every recorded batch is read to its end, and what was read is written with the same bytes. The recorded writer is the Rust
// implementation, so its order of extensions is ours, and no line is an exception to that. A PUT in shared memory is
// refused, as it must be by who has not agreed to that.
func TestCaptures(t *testing.T) {
	c := capture{kinds: map[Kind]int{}, partial: map[string][]byte{}}
	for _, x := range readCaptures(t) {
		if x.fresh {
			clear(c.partial)
		}
		if err := c.batch(x); err != nil {
			t.Errorf("%s: %v\n% x", x.where, err, x.b[:min(len(x.b), 200)])
		}
	}
	got := fmt.Sprint(c.kinds, c.inits, c.opens, c.closes, c.frames, c.datagrams, c.joined, c.refused)
	if want := "map[25:53 26:62 27:78 28:67 29:291 30:312 31:39] 78 72 1 656 6 7 4"; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
}

func (c *capture) batch(x batch) error {
	if x.side == 'u' {
		c.datagrams++
		return sameDatagram(x.b)
	}
	for b := x.b; len(b) > 0; {
		n, err := c.transport(b, x)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func sameDatagram(b []byte) error {
	if TransportID(b[0]) == ScoutID {
		var m Scout
		n, err := DecodeScout(b, &m)
		if len(b) == 4 { // the one with an extension that nobody knows
			return same(b, n, err, append(AppendScout(nil, &m), 0x0c), 0x80)
		}
		return same(b, n, err, AppendScout(nil, &m), 0)
	}
	var m Hello
	n, err := DecodeHello(b, &m)
	return same(b, n, err, AppendHello(nil, &m), 0)
}

// same compares what was written with what was read, which is the first n bytes of b; flags are in the first byte of those
// but not of what was written.
func same(b []byte, n int, err error, written []byte, flags byte) error {
	if err != nil {
		return err
	}
	if len(written) > 0 {
		written[0] |= flags
	}
	if !bytes.Equal(written, b[:n]) {
		return fmt.Errorf("% x is written as % x", b[:n], written)
	}
	return nil
}

// transport reads one transport message, of a FRAME with what is in it.
func (c *capture) transport(b []byte, x batch) (int, error) {
	switch TransportID(b[0]) {
	case InitKind:
		c.inits++
		var m Init
		n, err := DecodeInit(b, &m)
		return n, same(b, n, err, AppendInit(nil, &m), 0)
	case OpenKind:
		c.opens++
		var m Open
		n, err := DecodeOpen(b, &m)
		return n, same(b, n, err, AppendOpen(nil, &m), 0)
	case CloseKind:
		c.closes++
		var m Close
		n, err := DecodeClose(b, &m)
		return n, same(b, n, err, AppendClose(nil, m), 0)
	case KeepAlive:
		n, err := DecodeKeepAlive(b)
		return n, same(b, n, err, AppendKeepAlive(nil), 0)
	case Frame:
		c.frames++
		var m FrameHeader
		n, err := DecodeFrameHeader(b, &m)
		if err := same(b, n, err, AppendFrameHeader(nil, m), 0); err != nil {
			return 0, err
		}
		return c.messages(b, n)
	case Fragment:
		return len(b), c.fragment(b, x)
	}
	return 0, ErrUnknown
}

// messages reads the network messages that begin at n.
func (c *capture) messages(b []byte, n int) (int, error) {
	for n < len(b) && IsNetwork(b[n]) {
		k, err := c.message(b[n:])
		if err == ErrMandatory {
			c.refused++
			return len(b), nil
		}
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}

func (c *capture) message(b []byte) (int, error) {
	var m Message
	n, err := DecodeMessage(b, &m)
	if err != nil {
		return 0, err
	}
	c.kinds[m.Kind]++
	if err := same(b, n, nil, AppendMessage(nil, &m), 0); err != nil {
		return 0, err
	}
	m.Body.Raw = nil
	if err := same(b, n, nil, AppendMessage(nil, &m), 0); err != nil {
		return 0, err
	}
	if m.Kind == OAM && m.OAMID == OAMLinkState {
		list, err := DecodeLinkStates(m.OAMBody)
		return n, same(m.OAMBody, len(m.OAMBody), err, AppendLinkStates(nil, list), 0)
	}
	return n, nil
}

func (c *capture) fragment(b []byte, x batch) error {
	var m FragmentHeader
	n, err := DecodeFragmentHeader(b, &m)
	if err := same(b, n, err, AppendFragmentHeader(nil, m), 0); err != nil {
		return err
	}
	lane := fmt.Sprint(x.side, m.Reliable, m.Priority)
	if m.First {
		delete(c.partial, lane)
	}
	c.partial[lane] = append(c.partial[lane], b[n:]...)
	if m.More {
		return nil
	}
	whole := c.partial[lane]
	delete(c.partial, lane)
	if n, err := c.message(whole); err != nil || n != len(whole) {
		return fmt.Errorf("%d of %d joined bytes: %v", n, len(whole), err)
	}
	c.joined++
	return nil
}
