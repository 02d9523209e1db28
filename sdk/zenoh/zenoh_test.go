package zenoh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if f := os.Getenv("ZENOH_BENCH_ROLE"); f != "" {
		os.Exit(benchRole(f))
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

func testLog(testing.TB) *slog.Logger {
	if os.Getenv("ZENOH_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func openTest(t testing.TB, c Config) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.Log == nil {
		c.Log = testLog(t)
	}
	s, err := Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// layout makes two sessions that reach each other, as far apart as its name says.
type layout struct {
	name string
	open func(t testing.TB) (a, b *Session)
}

func listenOn(e string) []Listen { return []Listen{{Endpoint: e}} }

func peers(t testing.TB, endpoint string) (a, b *Session) {
	a = openTest(t, Config{Listen: listenOn(endpoint)})
	b = openTest(t, Config{Connect: a.Locators()[:1]})
	return a, b
}

var layouts = []layout{
	{"siblings", func(t testing.TB) (a, b *Session) {
		a = openTest(t, Config{})
		b, err := a.Sibling()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return a, b
	}},
	{"peers", func(t testing.TB) (a, b *Session) { return peers(t, "tcp/127.0.0.1:0") }},
	{"clients", func(t testing.TB) (a, b *Session) {
		hub := openTest(t, Config{Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0")})
		a = openTest(t, Config{Mode: ModeClient, Connect: hub.Locators()})
		b = openTest(t, Config{Mode: ModeClient, Connect: hub.Locators()})
		return a, b
	}},
	{"client and hub", func(t testing.TB) (a, b *Session) {
		b = openTest(t, Config{Mode: ModeRouter, Listen: listenOn("unixsock-stream/" + filepath.Join(t.TempDir(), "s"))})
		a = openTest(t, Config{Mode: ModeClient, Connect: b.Locators()})
		return a, b
	}},
	{"client and peer", func(t testing.TB) (a, b *Session) {
		a = openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0")})
		b = openTest(t, Config{Mode: ModeClient, Connect: a.Locators()})
		return a, b
	}},
}

func inLayouts(t *testing.T, f func(t *testing.T, a, b *Session)) {
	t.Helper()
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			a, b := l.open(t)
			f(t, a, b)
		})
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// settle waits until everything that from has declared is known to the others.
func settle(t testing.TB, from *Session, to ...*Session) {
	t.Helper()
	key := MustKeyExpr(fmt.Sprintf("barrier/%s/%d", from.ID(), time.Now().UnixNano()))
	tok, err := from.Liveliness().DeclareToken(key)
	must(t, err)
	defer tok.Undeclare()
	for _, s := range to {
		eventually(t, "the barrier", func() bool { return slices.Contains(alive(t, s, "barrier/**"), key.String()) })
	}
}

func alive(t testing.TB, s *Session, expr string) (keys []string) {
	t.Helper()
	must(t, s.Liveliness().Get(context.Background(), MustKeyExpr(expr), func(k KeyExpr) { keys = append(keys, k.String()) }, nil))
	slices.Sort(keys)
	return keys
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list collects what a handler gets.
type list[T any] struct {
	mu  sync.Mutex
	all []T
}

func (l *list[T]) take(x T) {
	l.mu.Lock()
	l.all = append(l.all, x)
	l.mu.Unlock()
}

func (l *list[T]) get() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

func (l *list[T]) len() int { return len(l.get()) }

func key(s string) KeyExpr { return MustKeyExpr(s) }

func TestPubSub(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		var got list[Sample]
		sub, err := b.DeclareSubscriber(key("demo/**"), Closure[Sample]{Call: got.take}, nil)
		must(t, err)
		settle(t, b, a)
		enc, err := ParseEncoding("text/plain;x")
		must(t, err)
		ctx := context.Background()
		must(t, a.Put(ctx, key("demo/a"), []byte("hello"), &PutOptions{
			Encoding: enc, Attachment: []byte("at"), CongestionControl: CongestionControlBlock, Priority: PriorityDataHigh, Express: true,
		}))
		eventually(t, "the sample", func() bool { return got.len() == 1 })
		x := got.get()[0]
		if x.KeyExpr != key("demo/a") || string(x.Payload) != "hello" || x.Encoding != enc || string(x.Attachment) != "at" ||
			x.Priority != PriorityDataHigh || x.CongestionControl != CongestionControlBlock || !x.Express || x.Kind != SampleKindPut ||
			x.Reliability != ReliabilityReliable {
			t.Errorf("the sample is %+v", x)
		}
		must(t, a.Delete(ctx, key("demo/b"), nil))
		eventually(t, "the delete", func() bool { return got.len() == 2 })
		if x := got.get()[1]; x.Kind != SampleKindDelete || x.KeyExpr != key("demo/b") || x.Payload != nil {
			t.Errorf("the sample is %+v", x)
		}
		must(t, sub.Undeclare())
		must(t, sub.Undeclare())
		must(t, a.Put(ctx, key("demo/c"), nil, nil))
		settle(t, a, b)
		if n := got.len(); n != 2 {
			t.Errorf("%d samples", n)
		}
	})
}

func TestQuery(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		_, err := b.DeclareQueryable(key("svc/*"), Closure[*Query]{Call: func(q *Query) {
			must(t, q.Reply(q.KeyExpr(), append([]byte(q.Parameters()+" "), q.Payload()...), nil))
			must(t, q.ReplyErr([]byte("oops"), nil))
			must(t, q.ReplyDel(key("svc/gone"), nil))
			if err := q.Reply(key("other"), nil, nil); !errors.Is(err, ErrReplyKey) {
				t.Errorf("a reply with another key: %v", err)
			}
		}}, &QueryableOptions{Complete: true})
		must(t, err)
		settle(t, b, a)
		all, err := a.Collect(context.Background(), key("svc/*"), "x=1", 0, &GetOptions{
			Consolidation: ConsolidationModeNone, Payload: []byte("p"),
		})
		must(t, err)
		if len(all) != 3 || string(all[0].Sample.Payload) != "x=1 p" || all[1].Err == nil || string(all[1].Err.Payload) != "oops" ||
			all[2].Sample.Kind != SampleKindDelete || all[2].Sample.KeyExpr != key("svc/gone") {
			t.Errorf("replies: %+v", all)
		}
		if all[0].Replier.ZID != b.ZID() {
			t.Errorf("the replier is %v", all[0].Replier)
		}
		all, err = a.Collect(context.Background(), key("nobody"), "", 0, nil)
		if err != nil || len(all) != 0 {
			t.Errorf("nobody: %v, %v", all, err)
		}
	})
}

func TestLiveliness(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		var got list[Sample]
		_, err := a.Liveliness().DeclareSubscriber(key("live/*"), Closure[Sample]{Call: got.take}, nil)
		must(t, err)
		settle(t, a, b)
		tok, err := b.Liveliness().DeclareToken(key("live/x"))
		must(t, err)
		eventually(t, "the token", func() bool { return got.len() == 1 })
		if keys := alive(t, a, "live/*"); !slices.Equal(keys, []string{"live/x"}) {
			t.Errorf("alive: %q", keys)
		}
		must(t, tok.Undeclare())
		eventually(t, "its loss", func() bool { return got.len() == 2 })
		if x := got.get(); x[0].Kind != SampleKindPut || x[1].Kind != SampleKindDelete || x[1].KeyExpr != key("live/x") {
			t.Errorf("events: %+v", x)
		}
	})
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
