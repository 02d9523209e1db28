package link

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(echoEnv) != "" {
		if err := serveEcho(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// soon bounds what must happen but says nothing of when.
const soon = 20 * time.Second

func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not: %s", what)
		}
	}
}

// raw is a peer made by hand: it has done the handshake and is on its own from there.
type raw struct {
	t testing.TB
	*channel
	agreed *agreed
	rest   []byte
}

// dialRaw dials at as a node with what else o says.
func dialRaw(t testing.TB, at string, change func(*Options)) *raw {
	t.Helper()
	o := testOptions(wire.NewID(), wire.Client, change)
	c := rawConn(t, at)
	a, rest, err := c.open(&opener{o: o})
	if err != nil {
		t.Fatal(err)
	}
	return &raw{t, c, a, rest}
}

func rawConn(t testing.TB, at string) *channel {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(at, "tcp/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newChannel(conn.(socket))
}

func (r *raw) frame(m ...*wire.Message) {
	if err := r.send(frame(r.agreed.ownSN, m...)); err != nil {
		r.t.Error(err)
	}
	r.agreed.ownSN = (r.agreed.ownSN + 1) & r.agreed.mask
}
