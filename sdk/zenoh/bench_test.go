package zenoh

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The benchmarks measure between processes: this test program, started again with a role in its environment, is the server
// or the hub; the benchmark itself is the client. A process ends with its standard input.
const (
	benchRoleVar    = "ZENOH_BENCH_ROLE"    // server, hub or bare
	benchConnectVar = "ZENOH_BENCH_CONNECT" // the hub that the server is a client of, where there is one
)

// benchRole is what such a process does.
func benchRole(role string) int {
	if err := runBenchRole(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runBenchRole(role string) error {
	if role == "bare" {
		return runBare()
	}
	c := Config{Listen: listenOn("tcp/127.0.0.1:0")}
	if hub := os.Getenv(benchConnectVar); hub != "" {
		c = Config{Mode: ModeClient, Connect: []string{hub}}
	}
	if role == "hub" {
		c.Mode = ModeRouter
	}
	s, err := Open(context.Background(), c)
	if err != nil {
		return err
	}
	defer s.Close()
	if role == "server" {
		if err := benchServe(s); err != nil {
			return err
		}
	}
	fmt.Println(strings.Join(s.Locators(), " "))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func benchServe(s *Session) error {
	echo := Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), q.Payload(), nil) }}
	if _, err := s.DeclareQueryable(key("bench/quick"), echo, &QueryableOptions{Complete: true, Quick: true}); err != nil {
		return err
	}
	if _, err := s.DeclareQueryable(key("bench/pool"), echo, &QueryableOptions{Complete: true}); err != nil {
		return err
	}
	var got atomic.Uint64
	count := Closure[Sample]{Call: func(Sample) { got.Add(1) }}
	if _, err := s.DeclareSubscriber(key("bench/sub"), count, nil); err != nil {
		return err
	}
	_, err := s.DeclareQueryable(key("bench/count"), Closure[*Query]{Call: func(q *Query) {
		_ = q.Reply(q.KeyExpr(), binary.LittleEndian.AppendUint64(nil, got.Load()), nil)
	}}, nil)
	return err
}

// startRole starts a process and returns its locators.
func startRole(b *testing.B, role, connect string) string {
	b.Helper()
	exe, err := os.Executable()
	must(b, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), benchRoleVar+"="+role, benchConnectVar+"="+connect)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(b, err)
	return strings.TrimSpace(line)
}

// benchLayouts are how client and server are connected.
var benchLayouts = []struct {
	name string
	open func(b *testing.B) *Session
}{
	{"peer", func(b *testing.B) *Session {
		return openTest(b, Config{Connect: []string{startRole(b, "server", "")}})
	}},
	{"hub", func(b *testing.B) *Session {
		hub := startRole(b, "hub", "")
		startRole(b, "server", hub)
		s := openTest(b, Config{Mode: ModeClient, Connect: []string{hub}})
		eventually(b, "the server", func() bool { _, ok := benchCount(b, s); return ok })
		return s
	}},
}

// benchCount asks how many samples have arrived.
func benchCount(b *testing.B, s *Session) (n uint64, ok bool) {
	all, err := s.Collect(context.Background(), key("bench/count"), "", 0, nil)
	must(b, err)
	if len(all) == 0 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(all[0].Sample.Payload), true
}

// BenchmarkRequest is a query and its reply of the same size, with so many in flight.
func BenchmarkRequest(b *testing.B) {
	for _, l := range benchLayouts {
		for _, handler := range []string{"quick", "pool"} {
			for _, size := range []int{64, 1 << 10, 64 << 10} {
				for _, callers := range []int{1, 64} {
					b.Run(fmt.Sprintf("%s/%s/%dB/%d", l.name, handler, size, callers), func(b *testing.B) {
						s := l.open(b)
						benchRequests(b, s, key("bench/"+handler), make([]byte, size), callers)
					})
				}
			}
		}
	}
}

func benchRequests(b *testing.B, s *Session, k KeyExpr, payload []byte, callers int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := GetOptions{Payload: payload, Consolidation: ConsolidationModeNone}
	benchCalls(b, callers, func() error {
		got := 0
		if err := s.Get(ctx, k, "", func(Reply) { got++ }, &o); err != nil {
			return err
		}
		if got != 1 {
			return fmt.Errorf("%d replies", got)
		}
		return nil
	})
}

// benchCalls has so many callers call f b.N times together.
func benchCalls(b *testing.B, callers int, f func() error) {
	took := make([][]time.Duration, callers)
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		all.Go(func() {
			took[i] = make([]time.Duration, 0, n)
			for range n {
				begin := time.Now()
				if err := f(); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	every := slices.Concat(took...)
	slices.Sort(every)
	if len(every) > 0 {
		b.ReportMetric(float64(every[len(every)/2].Nanoseconds())/1e3, "p50-us")
		b.ReportMetric(float64(every[len(every)*99/100].Nanoseconds())/1e3, "p99-us")
		b.ReportMetric(float64(len(every))/b.Elapsed().Seconds(), "req/s")
	}
}

// BenchmarkPublish is samples of 64 bytes with Block, until the last one has been handled.
func BenchmarkPublish(b *testing.B) {
	for _, l := range benchLayouts {
		b.Run(l.name, func(b *testing.B) {
			s := l.open(b)
			ctx := context.Background()
			p, err := s.DeclarePublisher(key("bench/sub"), &PublisherOptions{CongestionControl: CongestionControlBlock})
			must(b, err)
			eventually(b, "the subscriber", func() bool { return p.MatchingStatus().Matching })
			before, _ := benchCount(b, s)
			payload := make([]byte, 64)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := p.Put(ctx, payload, nil); err != nil {
					b.Fatal(err)
				}
			}
			for n := before; n < before+uint64(b.N); n, _ = benchCount(b, s) {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkBare is the floor under BenchmarkRequest: the simplest multiplexing over the same kind of connection. Frames of a
// length and an id are written under a lock, and answered by whoever reads them.
func BenchmarkBare(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dB/%d", size, callers), func(b *testing.B) {
				c, err := net.Dial("tcp", startRole(b, "bare", ""))
				must(b, err)
				m := &bare{conn: c, wait: map[uint32]chan struct{}{}}
				read := make(chan struct{})
				go func() {
					defer close(read)
					m.read()
				}()
				b.Cleanup(func() {
					_ = c.Close()
					<-read
				})
				payload := make([]byte, size)
				benchCalls(b, callers, func() error { return m.call(payload) })
			})
		}
	}
}

type bare struct {
	conn net.Conn
	mu   sync.Mutex
	next uint32
	wait map[uint32]chan struct{}
}

func bareFrame(id uint32, body []byte) []byte {
	b := make([]byte, 8, 8+len(body))
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], id)
	return append(b, body...)
}

func readBare(r *bufio.Reader) (id uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.LittleEndian.Uint32(head[:]))
	_, err = io.ReadFull(r, body)
	return binary.LittleEndian.Uint32(head[4:]), body, err
}

func (m *bare) call(p []byte) error {
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

func (m *bare) read() {
	r := bufio.NewReaderSize(m.conn, 64<<10)
	for {
		id, _, err := readBare(r)
		if err != nil {
			return
		}
		m.mu.Lock()
		ch := m.wait[id]
		delete(m.wait, id)
		m.mu.Unlock()
		ch <- struct{}{}
	}
}

// runBare answers the frames of one connection; what was read together is answered together.
func runBare() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10)
	for {
		id, body, err := readBare(r)
		if err != nil {
			return nil // the other end is done
		}
		if _, err := w.Write(bareFrame(id, body)); err != nil {
			return err
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}
