package frame

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkEcho measures a request and its reply between two ends in one process, beside a bare multiplexer: the same
// framing with neither contexts nor cancellation, limits or back-pressure, a goroutine per request.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		for _, callers := range []int{1, 64} {
			name := fmt.Sprintf("size=%d/callers=%d/", size, callers)
			b.Run(name+"bare", func(b *testing.B) {
				x, y := socketpair(b)
				m := newBareMux(x)
				defer m.close()
				go bareServe(y)
				run(b, size, callers, func(p []byte) error { return m.call(p) })
			})
			b.Run(name+"frame", func(b *testing.B) {
				c, s := pair(b, options(), options())
				defer s.Close()
				defer c.Close()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				run(b, size, callers, func(p []byte) error {
					f, err := c.Call(ctx, typeEcho, nil, p)
					if err == nil && len(f.Body) != len(p) {
						err = fmt.Errorf("%d bytes came back", len(f.Body))
					}
					f.Release()
					return err
				})
			})
		}
	}
}

func run(b *testing.B, size, callers int, call func([]byte) error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	var wg sync.WaitGroup
	for w := range callers {
		n := b.N / callers
		if w < b.N%callers {
			n++
		}
		wg.Go(func() {
			p := make([]byte, size)
			for range n {
				if err := call(p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric((cpuTime(b)-cpu).Seconds()*1e6/float64(b.N), "cpu-us/op")
}

// cpuTime is what this process has used so far. Where other programs compete for the machine it tells more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

type bareCall struct {
	id   uint64
	resp []byte
	done chan struct{}
}

type bareMux struct {
	conn net.Conn
	w    bareWriter
	mu   sync.Mutex
	tab  []*bareCall
	free []*bareCall
	end  chan struct{}
}

func newBareMux(c net.Conn) *bareMux {
	m := &bareMux{conn: c, w: bareWriter{conn: c}, end: make(chan struct{})}
	go func() {
		defer close(m.end)
		r := bufio.NewReaderSize(c, 256<<10)
		var h [12]byte
		for {
			if _, err := io.ReadFull(r, h[:]); err != nil {
				return
			}
			m.mu.Lock()
			p := m.tab[binary.LittleEndian.Uint64(h[4:])]
			m.mu.Unlock()
			if _, err := io.ReadFull(r, p.resp[:binary.LittleEndian.Uint32(h[:])]); err != nil {
				return
			}
			p.done <- struct{}{}
		}
	}()
	return m
}

func (m *bareMux) close() { m.conn.Close(); <-m.end }

func (m *bareMux) call(p []byte) error {
	m.mu.Lock()
	var c *bareCall
	if n := len(m.free); n > 0 {
		c = m.free[n-1]
		m.free = m.free[:n-1]
	} else {
		c = &bareCall{id: uint64(len(m.tab)), done: make(chan struct{}, 1)}
		m.tab = append(m.tab, c)
	}
	m.mu.Unlock()
	c.resp = p
	m.w.send(c.id, p)
	<-c.done
	m.mu.Lock()
	m.free = append(m.free, c)
	m.mu.Unlock()
	return nil
}

type bareWriter struct {
	conn       net.Conn
	mu         sync.Mutex
	buf, spare []byte
	writing    bool
}

func (w *bareWriter) send(id uint64, p []byte) {
	w.mu.Lock()
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(p)))
	w.buf = binary.LittleEndian.AppendUint64(w.buf, id)
	w.buf = append(w.buf, p...)
	if w.writing {
		w.mu.Unlock()
		return
	}
	w.writing = true
	for len(w.buf) > 0 {
		b := w.buf
		w.buf = w.spare[:0]
		w.mu.Unlock()
		_, _ = w.conn.Write(b)
		w.mu.Lock()
		w.spare = b
	}
	w.writing = false
	w.mu.Unlock()
}

var barePool = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

func bareServe(c net.Conn) {
	defer c.Close()
	w := &bareWriter{conn: c}
	r := bufio.NewReaderSize(c, 256<<10)
	var h [12]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		n, id := int(binary.LittleEndian.Uint32(h[:])), binary.LittleEndian.Uint64(h[4:])
		bp := barePool.Get().(*[]byte)
		if cap(*bp) < n {
			*bp = make([]byte, n)
		}
		*bp = (*bp)[:n]
		if _, err := io.ReadFull(r, *bp); err != nil {
			return
		}
		go func() {
			w.send(id, *bp)
			barePool.Put(bp)
		}()
	}
}
