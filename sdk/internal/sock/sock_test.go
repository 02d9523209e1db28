package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a unix socket, as this package's.
func pair(t *testing.T) (a, b *Unix) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Unix
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		u, err := Own(c.(*net.UnixConn))
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("the old connection can still be written to: %v", err)
		}
		t.Cleanup(func() { _ = u.Close() })
		ends[i] = u
	}
	return ends[0], ends[1]
}

// What does not fit the socket waits for room and arrives whole, by a Unix's own methods and by a Conn over it.
func TestUnixCarriesMoreThanFits(t *testing.T) {
	a, b := pair(t)
	over := func(u *Unix) io.ReadWriter {
		c, err := New(u)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, way := range []struct {
		name     string
		from, to io.ReadWriter
	}{{"net.Conn", a, b}, {"Conn", over(b), over(a)}} {
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := way.from.Write(sent); n != len(sent) || err != nil {
				t.Errorf("%s: wrote %d: %v", way.name, n, err)
			}
		})
		time.Sleep(20 * time.Millisecond) // it is full
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(way.to, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: what arrived is not what was sent: %v", way.name, err)
		}
		wg.Wait()
	}
}

// Whoever waits is told of the end: the peer's, one's own by Close, and that of the time.
func TestUnixEnds(t *testing.T) {
	full := func(t *testing.T, u *Unix) error { _, err := u.Write(make([]byte, 16<<20)); return err }
	read := func(t *testing.T, u *Unix) error { _, err := u.Read(make([]byte, 1)); return err }
	for _, x := range []struct {
		name string
		wait func(*testing.T, *Unix) error
		end  func(a, b *Unix)
		want error
	}{
		{"peer closed while reading", read, func(_, b *Unix) { _ = b.Close() }, io.EOF},
		{"peer closed while writing", full, func(_, b *Unix) { _ = b.Close() }, syscall.EPIPE},
		{"peer ends its stream", read, func(_, b *Unix) { _ = b.CloseWrite() }, io.EOF},
		{"shut down while reading", read, func(a, _ *Unix) { _ = a.CloseRead() }, io.EOF},
		{"closed while reading", read, func(a, _ *Unix) { _ = a.Close() }, net.ErrClosed},
		{"closed while writing", full, func(a, _ *Unix) { _ = a.Close() }, net.ErrClosed},
		{"time over while reading", read, func(a, _ *Unix) { _ = a.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"time over while writing", full, func(a, _ *Unix) { _ = a.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := pair(t)
			done := make(chan error, 1)
			go func() { done <- x.wait(t, a) }()
			time.Sleep(20 * time.Millisecond)
			x.end(a, b)
			select {
			case err := <-done:
				if !errors.Is(err, x.want) {
					t.Errorf("got %v, want %v", err, x.want)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it still waits")
			}
		})
	}
}

func TestUnixAfterClose(t *testing.T) {
	a, _ := pair(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_, write := a.Write([]byte("x"))
	_, read := a.Read(make([]byte, 1))
	for what, err := range map[string]error{
		"Read": read, "Close": a.Close(), "Write": write, "CloseRead": a.CloseRead(), "CloseWrite": a.CloseWrite(), "SetWriteDeadline": a.SetWriteDeadline(time.Now()),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A descriptor is not left behind, whoever closes first and however often others are made and closed at the same time.
func TestUnixLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	pair(t)
	before := count()
	for range 50 {
		a, b := pair(t)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, b) })
		wg.Go(func() { _, _ = a.Write(make([]byte, 1<<20)) })
		wg.Go(func() { _ = a.Close() })
		wg.Wait()
		_ = b.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Reading and writing allocate nothing.
func TestConnAllocates(t *testing.T) {
	a, b := pair(t)
	from, err1 := New(a)
	to, err2 := New(b)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 64)
	n := testing.AllocsPerRun(100, func() {
		if _, err := from.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, p); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
