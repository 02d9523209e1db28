package frame

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEcho(t *testing.T) {
	for name, connect := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"socketpair": socketpair,
		"pipe":       func(testing.TB) (net.Conn, net.Conn) { a, b := net.Pipe(); return a, b },
	} {
		t.Run(name, func(t *testing.T) {
			noise := rand.NewChaCha8([32]byte{1})
			x, y := connect(t)
			a, b := open(t, x, y, options(), options())
			for _, c := range []*Conn{a, b} {
				if c.Version() != 3 {
					t.Errorf("version %d", c.Version())
				}
				for _, n := range []int{0, 1, 100, byRef - 1, byRef, readBuffer - HeaderSize, readBuffer, 1 << 20, 1<<20 + 1, 5 << 20} {
					p := make([]byte, n)
					_, _ = noise.Read(p)
					f, err := c.Call(context.Background(), typeEcho, p[:n/3], p[n/3:])
					if err != nil || f.Type != typeEcho || !bytes.Equal(f.Body, p) {
						t.Fatalf("echo of %d bytes: %d bytes, %v", n, len(f.Body), err)
					}
					f.Release()
					f.Release()
				}
			}
			if a.Progress() == 0 || a.Unanswered() != 0 || b.Handling() != 0 {
				t.Errorf("progress %d, unanswered %d, handling %d", a.Progress(), a.Unanswered(), b.Handling())
			}
			if err := a.Ping(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBothSidesAtOnce: requests of both sides, some of which make a request in turn, with long and short bodies. Nothing
// may wait for anything forever, also where the stream has no buffer of its own.
func TestBothSidesAtOnce(t *testing.T) {
	x, y := net.Pipe()
	a, b := open(t, x, y, options(), options())
	var wg sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		for w := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 1))
				for i := range 20 {
					p := bytes.Repeat([]byte{byte(w), byte(i)}, r.IntN(40<<10))
					if i%10 == 0 {
						p = bytes.Repeat(p, 10)
					}
					typ := uint8(typeEcho)
					if i%3 == 0 {
						typ = typeBack
					}
					f, err := c.Call(context.Background(), typ, nil, p)
					if err != nil || !bytes.Equal(f.Body, p) {
						t.Errorf("%d bytes came back as %d, %v", len(p), len(f.Body), err)
						return
					}
					f.Release()
				}
			})
		}
	}
	wg.Wait()
}

// TestFullBuffers: both sides send more than all buffers hold, to handlers that answer with as much, while neither takes a
// reply before its own request is sent.
func TestFullBuffers(t *testing.T) {
	a, b := pair(t, options(), options())
	body := make([]byte, 3<<20)
	var wg sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		for range 8 {
			wg.Go(func() {
				f, err := c.Call(context.Background(), typeEcho, nil, body)
				if err != nil || len(f.Body) != len(body) {
					t.Errorf("%d bytes, %v", len(f.Body), err)
				}
			})
		}
	}
	wg.Wait()
}

func TestHelloRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		server Options
		err    error
		text   string
	}{
		{"versions", Options{Versions: Versions{4, 9}, Accepter: true}, ErrVersion, "this side speaks 1 to 3, the peer 4 to 9"},
		{"parts", Options{Versions: Versions{1, 3}}, ErrProtocol, "both sides take the same part"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := socketpair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if s, err := Open(context.Background(), y, c.server); err == nil {
					s.Close()
				}
			}()
			_, err := Open(context.Background(), x, options())
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v", err)
			}
			<-done
		})
	}
	t.Run("silence", func(t *testing.T) {
		x, y := socketpair(t)
		defer y.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := Open(ctx, x, options()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another protocol", func(t *testing.T) {
		x, y := socketpair(t)
		defer y.Close()
		_, _ = io.WriteString(y, "HTTP/1.1 400 Bad Request\r\n\r\n")
		if _, err := Open(context.Background(), x, options()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		x, y := socketpair(t)
		y.Close()
		if _, err := Open(context.Background(), x, options()); err == nil {
			t.Error("no error")
		}
	})
}

// raw is the other end of a connection, byte by byte.
type raw struct {
	net.Conn
	t testing.TB
}

func dialRaw(t testing.TB, o Options) (*Conn, *raw) {
	t.Helper()
	x, y := socketpair(t)
	l := Limits{MaxFrame: 1 << 20, MaxRequests: 4, MaxRequestBytes: 1 << 20}
	if _, err := y.Write(hello{Versions{1, 1}, l, true}.append(nil)); err != nil {
		t.Fatal(err)
	}
	c, err := Open(context.Background(), x, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); y.Close() })
	r := &raw{y, t}
	if _, err := readHello(y); err != nil {
		t.Fatal(err)
	}
	return c, r
}

func (r *raw) send(typ, flags uint8, id uint64, body string) {
	r.t.Helper()
	b := append(Header{uint32(len(body)), typ, flags, id}.AppendTo(nil), body...)
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) receive() (Header, []byte) {
	r.t.Helper()
	var b [HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		r.t.Fatal(err)
	}
	h := ParseHeader(b[:])
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(r, body); err != nil {
		r.t.Fatal(err)
	}
	return h, body
}

func TestBrokenRulesEndTheConnection(t *testing.T) {
	const peer = sideBit | firstOfSlot
	for name, send := range map[string]func(*raw){
		"unknown request":       func(r *raw) { r.send(typeFuture, 0, peer, "") },
		"unknown notice":        func(r *raw) { r.send(typeFuture, 0, 0, "") },
		"second hello":          func(r *raw) { r.send(TypeHello, 0, helloID, "") },
		"reply to nothing":      func(r *raw) { r.send(typeEcho, FlagReply, firstOfSlot, "") },
		"reply to another side": func(r *raw) { r.send(typeEcho, FlagReply, peer, "") },
		"request with our id":   func(r *raw) { r.send(typeEcho, 0, firstOfSlot, "") },
		"slot out of range":     func(r *raw) { r.send(typeEcho, 0, peer|1<<20, "") },
		"slot in use":           func(r *raw) { r.send(typeWait, 0, peer, ""); r.send(typeWait, 0, peer+firstOfSlot, "") },
		"too many bytes": func(r *raw) {
			r.send(typeWait, 0, peer, strings.Repeat("x", 900))
			r.send(typeWait, 0, peer|1, strings.Repeat("x", 900))
		},
		"frame over the limit":    func(r *raw) { _, _ = r.Write(Header{1025, typeEcho, 0, peer}.AppendTo(nil)) },
		"frame of four gigabytes": func(r *raw) { _, _ = r.Write(Header{1<<32 - 1, typeEcho, 0, peer}.AppendTo(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Limits = Limits{MaxFrame: 1024, MaxRequests: 16, MaxRequestBytes: 1024}
			c, r := dialRaw(t, o)
			send(r)
			select {
			case <-c.Done():
			case <-time.After(5 * time.Second):
				t.Fatal("the connection goes on")
			}
			if err := c.Err(); !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrEnded) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestIgnorable(t *testing.T) {
	c, r := dialRaw(t, options())
	r.send(typeFuture, FlagIgnorable, 0, "news")
	r.send(typeFuture, FlagIgnorable, sideBit|firstOfSlot, "question")
	if h, _ := r.receive(); h.Type != TypeUnhandled || h.Flags != FlagReply || h.ID != sideBit|firstOfSlot {
		t.Errorf("answer %+v", h)
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), typeFuture, nil, nil)
		result <- err
	}()
	h, _ := r.receive()
	r.send(TypeUnhandled, FlagReply, h.ID, "")
	if err := <-result; !errors.Is(err, ErrUnhandled) {
		t.Errorf("%v", err)
	}
}

func TestNotices(t *testing.T) {
	got := make(chan string, 3)
	o := options()
	o.Notice = func(f Frame) {
		got <- string(f.Body)
		f.Release()
	}
	a, b := pair(t, o, options())
	_ = a
	for _, s := range []string{"one", "two", ""} {
		if err := b.Notify(context.Background(), typeNote, 0, []byte(s)); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != s {
			t.Errorf("%q came as %q", s, g)
		}
	}
}

// TestStaleReply: the reply of a cancelled request does not reach the next request, and its slot is not used before.
func TestStaleReply(t *testing.T) {
	c, r := dialRaw(t, options())
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, typeEcho, nil, []byte("first"))
		result <- err
	}()
	first, _ := r.receive()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if h, _ := r.receive(); h.Type != TypeCancel || h.ID != first.ID {
		t.Errorf("not a cancellation: %+v", h)
	}
	call := func(text string) Header {
		go func() {
			f, err := c.Call(context.Background(), typeEcho, nil, []byte(text))
			if err == nil && string(f.Body) != "reply to "+text {
				err = fmt.Errorf("%s got %q", text, f.Body)
			}
			result <- err
		}()
		h, _ := r.receive()
		return h
	}
	second := call("second")
	if second.ID&slotIndexMask == first.ID&slotIndexMask {
		t.Error("the slot was used again before its reply")
	}
	if id, since := c.Overdue(); id != first.ID || since.IsZero() {
		t.Errorf("overdue is %d since %v, and the cancelled request is %d", id, since, first.ID)
	}
	r.send(typeEcho, FlagReply, first.ID, "late")
	r.send(typeEcho, FlagReply, second.ID, "reply to second")
	if err := <-result; err != nil {
		t.Error(err)
	}
	third := call("third")
	if third.ID == first.ID || third.ID == second.ID {
		t.Error("an id was used twice")
	}
	r.send(typeEcho, FlagReply, third.ID, "reply to third")
	if err := <-result; err != nil {
		t.Error(err)
	}
	if id, since := c.Overdue(); c.Unanswered() != 0 || id != 0 || !since.IsZero() {
		t.Errorf("unanswered %d, overdue %d since %v", c.Unanswered(), id, since)
	}
}

func TestGenerationsWrap(t *testing.T) {
	p := pending{max: DefaultLimits}
	s, err := p.open(0)
	if err != nil {
		t.Fatal(err)
	}
	s.id |= generationMask
	p.drop(s)
	if s, _ = p.open(0); s.id == 0 || s.id&generationMask != firstOfSlot {
		t.Errorf("id %#x", s.id)
	}
}

func TestLimitsOfThePeer(t *testing.T) {
	c, r := dialRaw(t, options()) // allows 4 requests of 1 MiB together
	_ = r
	if _, err := c.Call(context.Background(), typeEcho, nil, make([]byte, 1<<20+1)); !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrNotSent) {
		t.Errorf("too large: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { _, _ = c.Call(ctx, typeEcho, nil, make([]byte, 1<<10)) })
	}
	for c.Unanswered() < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Call(ctx, typeEcho, nil, make([]byte, 1<<20)); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrNotSent) {
		t.Errorf("too many bytes: %v", err)
	}
	wg.Go(func() { _, _ = c.Call(ctx, typeEcho, nil, nil) })
	for c.Unanswered() < 4 {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Call(ctx, typeEcho, nil, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("too many: %v", err)
	}
	cancel()
	wg.Wait()
	if c.Err() != nil {
		t.Error(c.Err())
	}
}

func TestContexts(t *testing.T) {
	o := options()
	handled, answer := make(chan error, 1), make(chan struct{})
	o.Handle = func(r *Request) {
		go func() {
			if r.Type == typeEcho {
				r.SetDeadline(time.Now().Add(20 * time.Millisecond))
			}
			ctx, cancel := context.WithCancel(r.Context()) // attaches without a goroutine
			defer cancel()
			<-ctx.Done()
			handled <- r.Context().Err()
			<-answer
			_ = r.Reply(r.Type, nil, nil)
		}()
	}
	a, b := pair(t, options(), o)
	waiting := func(ctx context.Context, typ uint8) chan error {
		returned := make(chan error, 1)
		go func() {
			_, err := a.Call(ctx, typ, nil, nil)
			returned <- err
		}()
		for b.Handling() == 0 {
			time.Sleep(time.Millisecond)
		}
		return returned
	}
	returned := waiting(context.Background(), typeEcho)
	if err := <-handled; err != context.DeadlineExceeded {
		t.Errorf("a deadline: %v", err)
	}
	answer <- struct{}{}
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	returned = waiting(ctx, typeWait)
	cancel()
	if err := <-handled; err != context.Canceled {
		t.Errorf("a cancellation: %v", err)
	}
	if err := <-returned; !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotSent) {
		t.Errorf("%v", err)
	}
	answer <- struct{}{}
	if _, err := a.Call(ctx, typeWait, nil, nil); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotSent) {
		t.Errorf("cancelled before: %v", err)
	}
	for b.Handling() != 0 {
		time.Sleep(time.Millisecond)
	}
	returned = waiting(context.Background(), typeWait)
	a.Close()
	<-handled // the connection's end is the end of the request's context
	if err := <-returned; !errors.Is(err, ErrEnded) {
		t.Errorf("closed: %v", err)
	}
	close(answer)
}

func TestRequestContext(t *testing.T) {
	c := &requestContext{}
	ran := make(chan int, 4)
	stop := c.AfterFunc(func() { ran <- 1 })
	c.AfterFunc(func() { ran <- 2 })
	if !stop() || stop() {
		t.Error("stop")
	}
	if _, ok := c.Deadline(); ok || c.Err() != nil || c.Value(1) != nil {
		t.Error("a new context has a deadline, an error or a value")
	}
	done := c.Done()
	c.end(context.Canceled)
	c.end(context.DeadlineExceeded)
	<-done
	<-c.Done()
	if c.Err() != context.Canceled {
		t.Error(c.Err())
	}
	if n := <-ran; n != 2 {
		t.Errorf("function %d ran", n)
	}
	c.AfterFunc(func() { ran <- 3 })
	if n := <-ran; n != 3 {
		t.Errorf("function %d ran", n)
	}
	one := &requestContext{}
	stop = one.AfterFunc(func() { ran <- 4 })
	one.end(context.Canceled)
	if n := <-ran; n != 4 || stop() {
		t.Errorf("function %d ran, or could be stopped after that", n)
	}
	past := &requestContext{}
	past.setDeadline(time.Now().Add(-time.Second))
	if past.Err() != context.DeadlineExceeded {
		t.Error(past.Err())
	}
}

// TestEnd: when the peer is gone every waiter ends, all with the same error, and later requests end at once.
func TestEnd(t *testing.T) {
	a, b := pair(t, options(), options())
	errs := make(chan error, 50)
	for range cap(errs) {
		go func() {
			_, err := a.Call(context.Background(), typeWait, nil, nil)
			errs <- err
		}()
	}
	for b.Handling() < cap(errs) {
		time.Sleep(time.Millisecond)
	}
	b.Close()
	first := <-errs
	if !errors.Is(first, ErrEnded) || errors.Is(first, ErrNotSent) {
		t.Errorf("%v", first)
	}
	for range cap(errs) - 1 {
		if err := <-errs; err != first {
			t.Errorf("%v, not %v", err, first)
		}
	}
	if _, err := a.Call(context.Background(), typeWait, nil, nil); !errors.Is(err, ErrEnded) || !errors.Is(err, ErrNotSent) {
		t.Errorf("after the end: %v", err)
	}
	if err := a.Notify(context.Background(), typeNote, 0, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
	if !errors.Is(a.Err(), io.EOF) {
		t.Errorf("%v", a.Err())
	}
}

// TestPeerThatDoesNotRead: senders wait for room no longer than their contexts, and not at all when the connection ends.
func TestPeerThatDoesNotRead(t *testing.T) {
	c, r := dialRawLimits(t)
	writes := make(chan error, 1)
	go func() { // more than the socket takes: this one writes until the end
		_, err := c.Call(context.Background(), typeEcho, nil, make([]byte, 8<<20))
		writes <- err
	}()
	for c.Unanswered() == 0 || !stuckWriting(c) {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	body := make([]byte, 8<<10)
	for range 400 { // 3.2 MiB: more than the buffer takes
		wg.Go(func() {
			if _, err := c.Call(ctx, typeEcho, nil, body); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("one that waits: %v", err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-writes:
		t.Errorf("the one who writes came back, although nobody reads: %v", err)
	default:
	}
	before := c.Unanswered()
	for range 8 { // these find no room, or wait for their reply
		wg.Go(func() {
			if _, err := c.Call(context.Background(), typeEcho, nil, make([]byte, 1<<20)); !errors.Is(err, ErrEnded) {
				t.Errorf("one that waits for ever: %v", err)
			}
		})
	}
	for c.Unanswered() < before+8 {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	if err := <-writes; !errors.Is(err, ErrEnded) {
		t.Errorf("the one who writes: %v", err)
	}
	wg.Wait()
}

// stuckWriting reports whether a batch is being written while nothing waits behind it.
func stuckWriting(c *Conn) bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.w.writing && len(c.w.next.buf) == 0
}

func dialRawLimits(t testing.TB) (*Conn, net.Conn) {
	t.Helper()
	x, y := socketpair(t)
	_, err := y.Write(hello{Versions{1, 1}, DefaultLimits, true}.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(context.Background(), x, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); y.Close() })
	return c, y
}

func TestReplyTooLarge(t *testing.T) {
	o := options()
	second := make(chan error, 1)
	o.Handle = func(r *Request) {
		go func() {
			if err := r.Reply(typeEcho, nil, make([]byte, 4096)); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%v", err)
			}
			second <- r.Reply(typeEcho, []byte("sorry"), nil)
		}()
	}
	small := options()
	small.Limits = Limits{MaxFrame: 1024}
	a, _ := pair(t, small, o)
	f, err := a.Call(context.Background(), typeEcho, nil, nil)
	if err != nil || string(f.Body) != "sorry" {
		t.Errorf("%q, %v", f.Body, err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestCallGrace(t *testing.T) {
	o := options()
	o.Handle = func(r *Request) {
		go func() {
			<-r.Context().Done()
			if r.Type == typeWait {
				time.Sleep(200 * time.Millisecond)
			}
			_ = r.Reply(r.Type, []byte("ended"), nil)
		}()
	}
	a, _ := pair(t, options(), o)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if f, err := a.CallGrace(ctx, 100*time.Millisecond, typeEcho, nil, nil); err != nil || string(f.Body) != "ended" {
		t.Errorf("within grace: %q, %v", f.Body, err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := a.CallGrace(ctx, 20*time.Millisecond, typeWait, nil, nil)
	late := (*AbandonedError)(nil)
	if !errors.Is(err, ErrLate) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &late) {
		t.Fatalf("beyond grace: %v", err)
	}
	if !a.Owes(late.ID) || a.Owes(late.ID+1) || a.Owes(late.ID+firstOfSlot) || a.Owes(late.ID|sideBit) {
		t.Errorf("of request %#x it is not known that it has no reply", late.ID)
	}
	for end := time.Now().Add(5 * time.Second); a.Owes(late.ID); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a late reply does not settle what is owed")
		}
	}
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	start := time.Now()
	if _, err := a.CallGrace(ctx, time.Minute, typeWait, nil, nil); !errors.Is(err, context.Canceled) || time.Since(start) > 150*time.Millisecond {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBuffers(t *testing.T) {
	last := -1
	for n := range 1<<20 + 1 {
		class, size := bufferClass(n)
		if size < n || n > 64 && size > n+n/4+1 || class < last || class > last+1 || class >= len(buffers) {
			t.Fatalf("%d bytes: class %d after %d, size %d", n, class, last, size)
		}
		last = class
	}
	if last != len(buffers)-1 {
		t.Errorf("the last class is %d of %d", last, len(buffers))
	}
	for _, n := range []int{0, 1, 64, 65, 1 << 20} {
		b := getBuffer(n)
		if len(b.b) != n {
			t.Errorf("%d: %d of %d", n, len(b.b), cap(b.b))
		}
		b.put()
	}
	if getBuffer(1<<20+1) != nil {
		t.Error("a large buffer is pooled")
	}
}

func FuzzHello(f *testing.F) {
	f.Add(hello{Versions{1, 2}, DefaultLimits, true}.append(nil)[HeaderSize:])
	f.Add([]byte{0x0a, 0x01, 0x00, 0x0d, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseHello(h.append(nil)[HeaderSize:])
		if err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

// FuzzConn gives a connection any bytes: it ends, and nothing else happens.
func FuzzConn(f *testing.F) {
	f.Add(Header{0, TypePing, 0, sideBit | firstOfSlot}.AppendTo(nil))
	f.Add(append(Header{3, typeEcho, 0, sideBit | firstOfSlot}.AppendTo(nil), "abc"...))
	f.Add(Header{0, TypeCancel, FlagIgnorable, sideBit | firstOfSlot}.AppendTo(Header{0, typeWait, 0, sideBit | firstOfSlot}.AppendTo(nil)))
	f.Add(Header{1 << 31, typeEcho, FlagReply, firstOfSlot}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, y) }()
		go func() {
			_, _ = y.Write(hello{Versions{1, 1}, DefaultLimits, true}.append(nil))
			_, _ = y.Write(b)
			y.Close()
		}()
		o := options()
		o.Limits = Limits{MaxFrame: 1 << 16, MaxRequests: 16, MaxRequestBytes: 1 << 16}
		c, err := Open(context.Background(), x, o)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		c.Close()
	})
}

// Who gets the error of a connection that has ended, and asks it at once, is told that it has.
func TestEndIsKnownToThoseItEnds(t *testing.T) {
	for range 50 {
		a, b := pair(t, options(), options())
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, err := a.Call(context.Background(), typeWait, nil, nil)
				if !errors.Is(err, ErrEnded) || a.Err() == nil {
					t.Errorf("a call ended with %v, and its connection says %v", err, a.Err())
				}
			})
		}
		for end := time.Now().Add(20 * time.Second); a.Unanswered() < 200 && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
		_ = b.Close()
		wg.Wait()
	}
}
