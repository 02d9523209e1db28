package frame

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketpair returns two connected unix sockets, as the daemon and a plugin have them.
func socketpair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return conn(fds[0]), conn(fds[1])
}

const (
	typeEcho = FirstType + iota
	typeWait
	typeNote
	typeFuture
	typeBack
)

var types = []uint8{typeEcho, typeWait, typeNote, typeBack}

func options() Options {
	return Options{Versions: Versions{1, 3}, Types: types, Handle: serve}
}

// serve echoes, waits for a cancellation, or calls back.
func serve(r *Request) {
	go func() {
		switch r.Type {
		case typeWait:
			<-r.Context().Done()
			_ = r.Reply(typeWait, nil, nil)
		case typeBack:
			f, err := r.Conn().Call(r.Context(), typeEcho, r.Body, nil)
			if err != nil {
				_ = r.Reply(typeBack, []byte(err.Error()), nil)
				return
			}
			_ = r.Reply(typeBack, f.Body, nil)
			f.Release()
		default:
			_ = r.Reply(r.Type, nil, r.Body)
			r.Release()
		}
	}()
}

// open returns both ends of a connection over a and b.
func open(t testing.TB, a, b net.Conn, oa, ob Options) (*Conn, *Conn) {
	t.Helper()
	type result struct {
		c   *Conn
		err error
	}
	ch := make(chan result, 1)
	ob.Accepter = true
	go func() {
		c, err := Open(context.Background(), b, ob)
		ch <- result{c, err}
	}()
	ca, err := Open(context.Background(), a, oa)
	if err != nil {
		t.Fatal(err)
	}
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { ca.Close(); r.c.Close() })
	return ca, r.c
}

func pair(t testing.TB, oa, ob Options) (*Conn, *Conn) {
	t.Helper()
	a, b := socketpair(t)
	return open(t, a, b, oa, ob)
}
