package interop

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pythonEnv names the interpreters, see the package comment.
const pythonEnv = "ESSAD_INTEROP_PYTHON"

// patience is how long anything may take that should happen at once. It is never waited for where all is well.
const patience = 20 * time.Second

//go:embed driver.py
var driverScript []byte

// A python is an interpreter with the package in it.
type python struct{ path, version string }

// findPythons asks each interpreter for its version of the package, once.
var findPythons = sync.OnceValues(func() ([]python, error) {
	var found []python
	for _, path := range filepath.SplitList(os.Getenv(pythonEnv)) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := exec.CommandContext(ctx, path, "-c", //nolint:gosec // the path is the tester's own
			"import zenoh, importlib.metadata as m; print(m.version('eclipse-zenoh'))").CombinedOutput()
		cancel()
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w: %s", pythonEnv, path, err, out)
		}
		found = append(found, python{path, strings.TrimSpace(string(out))})
	}
	return found, nil
})

// withPythons runs f once for each version of the package, all at the same time.
func withPythons(t *testing.T, f func(t *testing.T, py python)) {
	t.Parallel()
	if os.Getenv(pythonEnv) == "" {
		t.Skip(pythonEnv + " is not set: no Python with the package eclipse-zenoh to test against")
	}
	all, err := findPythons()
	if err != nil {
		t.Fatal(err)
	}
	for _, py := range all {
		t.Run(py.version, func(t *testing.T) {
			t.Parallel()
			f(t, py)
		})
	}
}

// launcher starts processes on a thread that lives as long as the tests: the kernel ends a child when the thread that
// started it ends, and only a thread that a goroutine has locked stays.
var launcher = struct {
	once sync.Once
	work chan func()
}{work: make(chan func())}

func start(cmd *exec.Cmd) error {
	launcher.once.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range launcher.work {
				f()
			}
		}()
	})
	err := make(chan error, 1)
	launcher.work <- func() { err <- cmd.Start() }
	return <-err
}

// item is what the driver tells of a sample, a query or a reply, and what our own side is put into for the comparison.
type item struct {
	Key        string  `json:"key"`
	Kind       string  `json:"kind"` // put, delete or err
	Encoding   string  `json:"encoding"`
	Parameters string  `json:"parameters"`
	Size       int     `json:"size"`
	CRC        uint32  `json:"crc"`
	Hex        string  `json:"hex"` // of a payload of up to 256 bytes
	Attachment *string `json:"attachment"`
	Priority   int     `json:"priority"`
	Congestion string  `json:"congestion_control"`
	Express    bool    `json:"express"`
	Timestamp  string  `json:"timestamp"`
	Replier    string  `json:"replier"`
	ReplyError string  `json:"reply_error"`
}

// answer is the driver's answer to a command.
type answer struct {
	N       int      `json:"n"`
	On      string   `json:"on"`
	Error   string   `json:"error"`
	ZID     string   `json:"zid"`
	Replies []item   `json:"replies"`
	Routers []string `json:"routers"`
	Peers   []string `json:"peers"`
	SHM     []bool   `json:"shm"`
	QoS     []bool   `json:"qos"`
	Good    int      `json:"good"`
	Bad     int      `json:"bad"`
	Count   int      `json:"count"`
	Bytes   int      `json:"bytes"`
	Match   bool     `json:"matching"`
}

// process is a driver that runs.
type process struct {
	t      *testing.T
	zid    string
	cmd    *exec.Cmd
	exited chan struct{}

	mu      sync.Mutex
	stdin   io.WriteCloser
	lastN   int
	answers map[int]chan answer
	inboxes map[string]*inbox
	opened  chan answer
	stderr  strings.Builder
	dying   bool // no longer expected to answer
}

// command is one line to the driver.
type command map[string]any

// startDriver starts a driver whose session is to have the configuration in config: pairs of a key and JSON5. It returns at
// once; open waits.
func startDriver(t *testing.T, py python, mode string, config ...string) *process {
	t.Helper()
	p := &process{
		t: t, exited: make(chan struct{}), answers: map[int]chan answer{}, inboxes: map[string]*inbox{}, opened: make(chan answer, 1),
	}
	args := []string{"-c", string(driverScript), mode}
	for i := 0; i < len(config); i += 2 {
		args = append(args, config[i]+"="+config[i+1])
	}
	p.cmd = exec.Command(py.path, args...) //nolint:gosec // the path is the tester's own
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = &locked{mu: &p.mu, b: &p.stderr}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(p.cmd); err != nil {
		t.Fatalf("start %s: %v", py.path, err)
	}
	go func() {
		defer close(p.exited)
		p.read(stdout)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

// startPeer starts a driver and waits until its session is open.
func startPeer(t *testing.T, py python, mode string, config ...string) *process {
	t.Helper()
	p := startDriver(t, py, mode, config...)
	p.open()
	return p
}

// open waits for the session.
func (p *process) open() {
	p.t.Helper()
	if a := p.opening(); a.Error != "" {
		p.t.Fatalf("the driver's session does not open: %s\n%s", a.Error, p.errors())
	}
}

// opening waits until the session is open or failed to.
func (p *process) opening() answer {
	p.t.Helper()
	select {
	case a := <-p.opened:
		p.zid = a.ZID
		return a
	case <-p.exited:
		select {
		case a := <-p.opened:
			return a
		default:
		}
		p.t.Fatalf("the driver ended: %s", p.errors())
	case <-time.After(patience):
		p.t.Fatalf("the driver's session does not open\n%s", p.errors())
	}
	return answer{}
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// kill ends the process as kill -9 does, and waits for that.
func (p *process) kill() {
	p.mu.Lock()
	p.dying = true
	p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// read takes what the driver says until it ends.
func (p *process) read(stdout io.Reader) {
	lines := bufio.NewReaderSize(stdout, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		p.hear(line)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, c := range p.answers {
		close(c)
		delete(p.answers, n)
	}
}

func (p *process) hear(line []byte) {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		p.mu.Lock()
		fmt.Fprintf(&p.stderr, "not understood: %s (%v)\n", line, err)
		p.mu.Unlock()
		return
	}
	switch {
	case a.On == "open":
		p.opened <- a
	case a.On != "":
		var x item
		_ = json.Unmarshal(line, &x)
		p.inbox(a.On).add(x)
	default:
		p.mu.Lock()
		c := p.answers[a.N]
		delete(p.answers, a.N)
		p.mu.Unlock()
		if c != nil {
			c <- a
		}
	}
}

// inbox is where what is told of the entity with that name goes.
func (p *process) inbox(name string) *inbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inboxes[name] == nil {
		p.inboxes[name] = newInbox()
	}
	return p.inboxes[name]
}

// begin sends a command; its answer comes on the channel, which is closed without if the driver ends.
func (p *process) begin(do string, c command) <-chan answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastN++
	line := command{"n": p.lastN, "do": do}
	for k, v := range c {
		line[k] = v
	}
	b, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	ch := make(chan answer, 1)
	p.answers[p.lastN] = ch
	if _, err := p.stdin.Write(append(b, '\n')); err != nil {
		delete(p.answers, p.lastN)
		close(ch)
	}
	return ch
}

// do sends a command and waits for its answer, which must not be an error.
func (p *process) do(t *testing.T, do string, c command) answer {
	t.Helper()
	return p.wait(t, do, p.begin(do, c))
}

func (p *process) wait(t *testing.T, do string, ch <-chan answer) answer {
	t.Helper()
	select {
	case a, ok := <-ch:
		if !ok {
			t.Fatalf("%s: the driver ended: %s", do, p.errors())
		}
		if a.Error != "" {
			t.Fatalf("%s: %s", do, a.Error)
		}
		return a
	case <-time.After(patience):
		t.Fatalf("%s: no answer\n%s", do, p.errors())
	}
	return answer{}
}

// locked is a writer of text under somebody's lock.
type locked struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// Configurations of the driver.

// quoted is s as JSON.
func quoted(s ...string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// quiet is what every session has: it finds nobody by itself, opens at once, and dials again soon. It offers no shared memory,
// which two of theirs that are busy lose payloads in; with ours it makes no difference, see TestOffers.
var quiet = []string{
	"transport/shared_memory/enabled", "false",
	"scouting/multicast/enabled", "false",
	"scouting/delay", "0",
	"connect/retry", "{period_init_ms: 50, period_max_ms: 100, period_increase_factor: 1}",
}

func listening(endpoints ...string) []string {
	return append(append([]string(nil), quiet...), "listen/endpoints", quoted(endpoints...))
}

func dialling(endpoints ...string) []string {
	return append(append([]string(nil), quiet...), "listen/endpoints", "[]", "connect/endpoints", quoted(endpoints...),
		"connect/timeout_ms", "10000", "connect/exit_on_failure", "true")
}
