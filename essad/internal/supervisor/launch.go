package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
)

// launcher starts processes from one thread. The kernel kills a process with Pdeathsig when the thread that started it
// ends, and Go ends threads as it likes, except one that a goroutine has locked.
type launcher struct {
	once sync.Once
	work chan func()
	done chan struct{}
}

func newLauncher() *launcher {
	return &launcher{work: make(chan func()), done: make(chan struct{})}
}

// start runs cmd.Start on the launcher's thread.
func (l *launcher) start(cmd *exec.Cmd) error {
	l.once.Do(func() {
		go func() {
			defer close(l.done)
			runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
			for f := range l.work {
				f()
			}
		}()
	})
	err := make(chan error, 1)
	l.work <- func() { err <- cmd.Start() }
	return <-err
}

// close ends the thread. All its processes must have ended.
func (l *launcher) close() {
	l.once.Do(func() { close(l.done) })
	close(l.work)
	<-l.done
}

// process is one process of a plugin, as go-plugin's runner.
type process struct {
	name     string
	cmd      *exec.Cmd
	launcher *launcher
	inherit  *os.File // the plugin's end of the socketpair
	out, err io.ReadCloser
	dir      string
	tail     tail
	id       atomic.Int64  // the pid, once there is one
	exited   chan struct{} // closed when the process was waited for

	mu     sync.Mutex
	reason string // why it was killed
}

var _ runner.Runner = (*process)(nil)

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	err := p.launcher.start(p.cmd)
	if err == nil {
		p.id.Store(int64(p.cmd.Process.Pid))
	}
	p.inherit.Close() // the plugin has it now
	return err
}

// Wait implements runner.Runner. go-plugin calls it once.
func (p *process) Wait(context.Context) error {
	err := p.cmd.Wait()
	close(p.exited)
	return err
}

// Kill implements runner.Runner. go-plugin calls it when a start fails, also of a process that has ended by itself: its own
// end is what is told then.
func (p *process) Kill(context.Context) error {
	p.kill("")
	return nil
}

// kill ends the process at once, with everything it started. The first reason is the one that is told.
func (p *process) kill(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return
	default:
	}
	if p.pid() == 0 {
		return
	}
	if p.reason == "" {
		p.reason = reason
	}
	// The process itself by its descriptor, which cannot name another one, then the rest of its group.
	_ = p.cmd.Process.Kill()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

func (p *process) killReason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// epitaph tells how the process ended, once it has.
func (p *process) epitaph() string {
	if r := p.killReason(); r != "" {
		return r
	}
	select {
	case <-p.exited:
		return p.cmd.ProcessState.String()
	default:
		return "its connection ended"
	}
}

// pid is 0 where the process was never started.
func (p *process) pid() int { return int(p.id.Load()) }

// Diagnose implements runner.Runner.
func (p *process) Diagnose(context.Context) string { return "" }

// Stdout implements runner.Runner.
func (p *process) Stdout() io.ReadCloser { return p.out }

// Stderr implements runner.Runner.
func (p *process) Stderr() io.ReadCloser { return p.err }

// Name implements runner.Runner. go-plugin names the plugin's logger so.
func (p *process) Name() string { return p.name }

// ID implements runner.Runner.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

// PluginToHost implements runner.Runner: both sides see the same sockets.
func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

// instance is a running plugin.
type instance struct {
	process *process
	client  *goplugin.Client
	conn    *plugin.Process // of engine or store
	engine  *plugin.Engine
	store   *plugin.Store
	started time.Time
	pings   sync.WaitGroup // of the health check; they end with the connection
	late    chan LateCall
	grace   time.Duration // EngineSpec.KillAfter

	capabilities []string // of an engine: what it says once it is configured
}

// notReady is why a process is killed that takes too long to start.
const notReady = "was not ready in time"

// launch starts a process and connects to it. Where it fails nothing is left behind.
func (s *Supervisor) launch(ctx context.Context, p *supervised) (_ *instance, err error) {
	path, err := s.find(&p.program)
	if err != nil {
		return nil, err
	}
	p.setPath(path)
	if err := checksum(path, p.sha256); err != nil {
		return nil, err
	}
	host, inherit, err := socketpair()
	if err != nil {
		return nil, status.Errorf(status.Unavailable, "plugin %q: %w", p.name, err)
	}
	proc := &process{name: p.name, launcher: s.launcher, inherit: inherit, exited: make(chan struct{})}
	in := &instance{late: make(chan LateCall, maxLate), process: proc, started: time.Now()}
	// What a plugin prints besides logging comes here.
	said := s.log.Named(p.name).StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true})
	in.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  plugin.Handshake,
		VersionedPlugins: plugin.Versions(),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			return proc, proc.prepare(path, p.env, spec.Env, s.log.GetLevel(), dir)
		},
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: s.dir},
		StartTimeout:     s.opts.StartTimeout + time.Second, // ours comes first, and covers more
		SkipHostEnv:      true,
		Logger:           quiet{s.log},
		Stderr:           &proc.tail,
		SyncStdout:       said,
		SyncStderr:       said,
	})
	defer func() {
		if err != nil {
			host.Close()
			s.bury(in)
			err = in.explain(p, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.opts.StartTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { proc.kill(notReady) })
	defer stop()
	if _, err = in.client.Start(); err != nil {
		return nil, err
	}
	if err = p.dial(ctx, in, host); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return in, nil
}

// prepare makes the command. The plugin's environment is a minimal one, what go-plugin needs, and what was configured.
func (p *process) prepare(path string, env, handshake []string, level hclog.Level, dir string) (err error) {
	p.dir = dir
	p.cmd = exec.Command(path)
	p.cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
		plugin.EnvDescriptor + "=3", plugin.EnvLogLevel + "=" + level.String(),
	}
	p.cmd.Env = append(append(p.cmd.Env, env...), handshake...)
	p.cmd.ExtraFiles = []*os.File{p.inherit}
	// A group of its own keeps a terminal's signals from it, and lets its children die with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return err
	}
	p.err, err = p.cmd.StderrPipe()
	return err
}

// bury ends what is left of a process and waits for it.
func (s *Supervisor) bury(in *instance) {
	if in.conn != nil {
		in.conn.Disconnect()
	}
	in.pings.Wait()
	in.process.inherit.Close()
	if in.process.pid() == 0 {
		os.RemoveAll(in.process.dir)
		return
	}
	select {
	case <-in.process.exited:
	case <-time.After(s.opts.StopTimeout):
		in.process.kill("did not end in time")
	}
	in.client.Kill() // does not wait: the process is gone or about to be
	<-in.process.exited
}

// explain makes an error of a failed start readable.
func (in *instance) explain(p *supervised, err error) error {
	class := status.Of(err)
	if e := (*status.Error)(nil); !errors.As(err, &e) && !errors.Is(err, context.Canceled) {
		class = status.Unavailable // go-plugin's own errors have no class
	}
	text := strings.TrimSpace(err.Error())
	said, other := strings.CutPrefix(text, "Unrecognized remote plugin message:")
	said, _, _ = strings.Cut(said, "\n")
	said = strings.TrimSpace(said)
	var how string
	switch {
	case in.process.killReason() == notReady:
		text = "it " + notReady
	case other && said != "":
		text = "it does not speak as a plugin does; it said " + strconv.Quote(said)
	default:
		if other {
			text = "it ended before it was ready"
		}
		select {
		case <-in.process.exited:
			how = "; the process: " + in.process.epitaph()
		default:
		}
	}
	if said := in.process.tail.String(); said != "" && class == status.Unavailable {
		how += "; it wrote: " + said
	}
	out := status.Errorf(class, "start %s plugin %q (%s): %s%s", p.kind, p.name, p.status().Path, text, how)
	out.Detail = status.DetailOf(err)
	return out
}

func socketpair() (host net.Conn, inherit *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "plugin")
	host, err = net.FileConn(f)
	f.Close()
	inherit = os.NewFile(uintptr(fds[1]), "host")
	if err != nil {
		inherit.Close()
		return nil, nil, err
	}
	return host, inherit, nil
}

// tail keeps the end of what a process writes to its standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// maxTail bounds it.
const maxTail = 2 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-maxTail):]...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// String returns the last lines as one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(strings.ReplaceAll(string(t.b), "\n", " | ")), " ")
}

// quiet keeps go-plugin's own news about processes out of the log: the supervisor tells them better. Loggers that are named
// after the plugin carry the plugin's logs and are left alone.
type quiet struct{ hclog.Logger }

func (q quiet) Info(string, ...any)  {}
func (q quiet) Warn(string, ...any)  {}
func (q quiet) Error(string, ...any) {}

// Debug passes on what only an investigation needs.
func (q quiet) Debug(msg string, args ...any) { q.Logger.Trace("go-plugin: "+msg, args...) }
