package local

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// BenchmarkRoundTrip is a query of 64 bytes and its reply between a client and a handler inside the daemon, beside what a
// bare socket with the simplest multiplexing takes for an echo.
func BenchmarkRoundTrip(b *testing.B) {
	payload := make([]byte, 64)
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("bare/%d", callers), func(b *testing.B) {
			m := newBareMux(b)
			spread(b, callers, func() error { return m.call(payload) })
		})
		b.Run(fmt.Sprintf("session/%d", callers), func(b *testing.B) {
			d := startDaemon(b, Options{Allow: topic.Default.ClientPolicy(topic.Operator)})
			inside := d.bus.Open()
			defer inside.Close()
			if _, err := inside.Queryable("essa/call/**", transport.QueryableOptions{Complete: true, Inline: true},
				func(q transport.Query) { _ = q.Reply(q.KeyExpr(), q.Payload(), transport.ReplyOptions{}) }); err != nil {
				b.Fatal(err)
			}
			s := d.dial(b)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			sel := transport.Selector{KeyExpr: "essa/call/shop/total/-"}
			spread(b, callers, func() error {
				_, err := transport.Ask(ctx, s, sel, transport.GetOptions{Payload: payload, Timeout: -1})
				return err
			})
		})
	}
}

// BenchmarkSample is one sample from a client to a subscription of another.
func BenchmarkSample(b *testing.B) {
	d := startDaemon(b, Options{})
	from, to := d.dial(b), d.dial(b)
	got := make(chan struct{}, 1)
	if _, err := to.Subscribe("x", transport.SubscribeOptions{}, func(transport.Sample) { got <- struct{}{} }); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := from.Put(context.Background(), "x", payload, transport.PutOptions{Congestion: transport.Block}); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}

// spread has callers goroutines call f b.N times together.
func spread(b *testing.B, callers int, f func() error) {
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		all.Add(1)
		go func() {
			defer all.Done()
			for range n {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	all.Wait()
}

// bareMux writes frames of a length, an id and a body under a lock and wakes whoever waits for the id.
type bareMux struct {
	conn net.Conn
	mu   sync.Mutex
	next uint32
	wait map[uint32]chan struct{}
}

func newBareMux(b *testing.B) *bareMux {
	path := filepath.Join(b.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := ln.Accept()
		if err == nil {
			bareServe(c)
		}
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	m := &bareMux{conn: c, wait: map[uint32]chan struct{}{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		r := bufio.NewReaderSize(c, 64<<10)
		for {
			id, _, err := bareRead(r)
			if err != nil {
				return
			}
			m.mu.Lock()
			ch := m.wait[id]
			delete(m.wait, id)
			m.mu.Unlock()
			ch <- struct{}{}
		}
	}()
	b.Cleanup(func() {
		c.Close()
		ln.Close()
		<-served
		<-read
	})
	return m
}

func bareRead(r *bufio.Reader) (id uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.LittleEndian.Uint32(head[:]))
	_, err = io.ReadFull(r, body)
	return binary.LittleEndian.Uint32(head[4:]), body, err
}

func bareFrame(id uint32, body []byte) []byte {
	b := make([]byte, 8, 8+len(body))
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], id)
	return append(b, body...)
}

// bareServe answers each frame from a goroutine of its own, as a daemon has to.
func bareServe(c net.Conn) {
	defer c.Close()
	var mu sync.Mutex
	var all sync.WaitGroup
	defer all.Wait()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		id, body, err := bareRead(r)
		if err != nil {
			return
		}
		all.Add(1)
		go func() {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			_, _ = c.Write(bareFrame(id, body))
		}()
	}
}

func (m *bareMux) call(p []byte) error {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	m.next++
	id := m.next
	m.wait[id] = ch
	_, err := m.conn.Write(bareFrame(id, p))
	m.mu.Unlock()
	if err == nil {
		<-ch
	}
	return err
}
