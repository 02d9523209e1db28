package plugin

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
)

// BenchmarkBorder compares an echo over the plugin border with what one could use instead, all with a second process: a
// bare multiplexer on a socketpair (the floor: no contexts, cancellation, limits, back-pressure, nothing decoded) and a
// unary gRPC call of go-plugin. One iteration is a round of each, so that a change of the machine's mood hits all alike;
// the figures are medians over the rounds. Run it with
//
//	go test -run '^$' -bench Border -benchtime 7x ./sdk/plugin
//
// Its rows: calls/s of the border, its ratio to the bare multiplexer's and to gRPC's, the ratios of the median times of
// one call, and those of the processor time that both processes spend on one, which tell most on a busy machine.
func BenchmarkBorder(b *testing.B) {
	floor := make([]byte, heapFloorBytes) // as the daemon and every plugin have it
	defer runtime.KeepAlive(floor)
	kinds := []string{"bare", "border", "stream", "grpc"}
	peers := map[string]benchPeer{}
	for _, k := range kinds {
		p := benchStart(b, k)
		defer p.stop()
		peers[k] = p
	}
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("size=%d/callers=%d", size, callers), func(b *testing.B) {
				rate, p50, cpu := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
				for b.Loop() {
					for _, k := range kinds {
						r, p, c := benchRound(b, size, callers, peers[k])
						rate[k], p50[k], cpu[k] = append(rate[k], r), append(p50[k], p), append(cpu[k], c)
					}
				}
				m := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(m(rate["border"]), "calls/s")
				b.ReportMetric(m(p50["border"]), "p50-us")
				b.ReportMetric(m(rate["border"])/m(rate["bare"]), "rate/bare")
				b.ReportMetric(m(rate["border"])/m(rate["grpc"]), "rate/grpc")
				b.ReportMetric(m(p50["border"])/m(p50["bare"]), "p50/bare")
				b.ReportMetric(m(p50["border"])/m(p50["grpc"]), "p50/grpc")
				b.ReportMetric(m(cpu["border"])/m(cpu["bare"]), "cpu/bare")
				b.ReportMetric(m(cpu["border"])/m(cpu["grpc"]), "cpu/grpc")
				b.ReportMetric(m(rate["stream"])/m(rate["grpc"]), "stream/grpc")
			})
		}
	}
}

const benchRoundTime = 250 * time.Millisecond

// benchPeer is a second process that echoes.
type benchPeer struct {
	call func([]byte) error
	stop func()
	pid  int
}

// cpuTime is what this process and the peer have used so far.
func (p benchPeer) cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, pid := range []int{os.Getpid(), p.pid} {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^uint32(pid)<<3|2), &t); err != nil { // the clock of a process: see clock_getcpuclockid(3)
			b.Fatal(err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum
}

func benchRound(b *testing.B, size, callers int, peer benchPeer) (perSecond, p50, cpu float64) {
	var stop atomic.Bool
	var total atomic.Int64
	times := make([][]float64, callers)
	var wg sync.WaitGroup
	start, used := time.Now(), peer.cpuTime(b)
	for w := range callers {
		wg.Go(func() {
			p := make([]byte, size)
			for t := time.Now(); !stop.Load(); {
				if err := peer.call(p); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				times[w] = append(times[w], now.Sub(t).Seconds()*1e6)
				t = now
			}
			total.Add(int64(len(times[w])))
		})
	}
	time.Sleep(benchRoundTime)
	stop.Store(true)
	wg.Wait()
	took := time.Since(start).Seconds()
	used = peer.cpuTime(b) - used
	all := slices.Concat(times...)
	slices.Sort(all)
	if len(all) == 0 {
		b.Fatal("no call came back")
	}
	return float64(total.Load()) / took, all[len(all)/2], used.Seconds() / float64(total.Load())
}

const envBenchServer = "PLUGIN_BENCH_SERVER"

// benchServers are what this test's own program does as the second process.
var benchServers = map[string]func(){
	"bare": func() {
		c, err := net.FileConn(os.NewFile(3, "peer"))
		if err != nil {
			panic(err)
		}
		bareServe(c)
	},
	"border": benchServeEngine,
	"stream": func() {
		os.Unsetenv(EnvDescriptor)
		benchServeEngine()
	},
	"grpc": func() {
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: Handshake, Plugins: goplugin.PluginSet{"echo": unaryPlugin{}}, Logger: hclog.NewNullLogger(),
			GRPCServer: goplugin.DefaultGRPCServer,
		})
	},
}

func benchServeEngine() {
	ServeEngine(func(cfg EngineConfig) (engine.Engine, error) { return &fakeEngine{cfg: cfg}, nil }, About{Name: "bench", Version: "1"})
}

// benchStart starts a second process of a kind.
func benchStart(b *testing.B, kind string) benchPeer {
	b.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	inherit, own := os.NewFile(uintptr(fds[1]), "peer"), os.NewFile(uintptr(fds[0]), "own")
	defer inherit.Close()
	defer own.Close()
	host, err := net.FileConn(own)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{envBenchServer + "=" + kind, EnvDescriptor + "=3", "TMPDIR=" + b.TempDir()}
	cmd.ExtraFiles = []*os.File{inherit}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if kind == "bare" {
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		m := newBareMux(host)
		return benchPeer{m.call, func() { m.close(); _ = cmd.Wait() }, cmd.Process.Pid}
	}
	sets := Versions()
	if kind == "grpc" {
		sets[ControlVersion] = goplugin.PluginSet{"echo": unaryPlugin{}}
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: Handshake, VersionedPlugins: sets, Cmd: cmd, SkipHostEnv: true, Logger: hclog.NewNullLogger(),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
	})
	if kind == "grpc" {
		host.Close()
		rpc, err := client.Client()
		if err != nil {
			b.Fatal(err)
		}
		raw, err := rpc.Dispense("echo")
		if err != nil {
			b.Fatal(err)
		}
		cc := raw.(*grpc.ClientConn)
		return benchPeer{func(p []byte) error {
			out := &wrapperspb.BytesValue{}
			return cc.Invoke(context.Background(), "/bench.Echo/Echo", &wrapperspb.BytesValue{Value: p}, out)
		}, client.Kill, cmd.Process.Pid}
	}
	e, err := DialEngine(context.Background(), DialOptions{Client: client, Conn: host, Name: "bench", Border: &fakeBorder{}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	module := fmt.Sprintf("%064d", 1)
	return benchPeer{func(p []byte) error {
		c := engine.Call{ID: hlc.ID{1}, Root: hlc.ID{1}, Module: module, Scope: "shop", Function: "echo", Args: p}
		r, err := e.Invoke(ctx, &c)
		if err == nil && len(r.Value) != len(p) {
			err = fmt.Errorf("%d bytes came back", len(r.Value))
		}
		return err
	}, func() {
		cancel()
		e.Close()
		client.Kill()
	}, cmd.Process.Pid}
}

// unaryPlugin is an echo as go-plugin's users write it.
type unaryPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (unaryPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.BytesValue{}
			return in, decode(in)
		}}},
	}, nil)
	return nil
}

func (unaryPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return cc, nil
}

// The bare multiplexer: frames of length, id and payload, a goroutine per request, one batching writer on each side.

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

// BenchmarkInvoke is both sides of the border in one process, for profiles.
func BenchmarkInvoke(b *testing.B) {
	e := startEngine(b, pluginv1.HotPath_DESCRIPTOR, DialOptions{Border: &fakeBorder{}}, func(cfg EngineConfig) (engine.Engine, error) {
		return &fakeEngine{cfg: cfg}, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	module, args := fmt.Sprintf("%064d", 1), make([]byte, 64)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := engine.Call{ID: hlc.ID{1}, Root: hlc.ID{1}, Module: module, Scope: "shop", Function: "echo", Args: args}
			if _, err := e.Invoke(ctx, &c); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
