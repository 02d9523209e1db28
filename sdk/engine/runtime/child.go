package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/status"
)

// Modules are admitted and compiled in a process of their own, which has bounds of memory and time: a module of 180 kB
// can take a compiler 15 seconds and 665 MB. It leaves what it made in the cache on disk, where the engine finds it.

// order is what the process is told, ahead of the module's bytes.
type order struct {
	Module string
	Making string // folder to compile into
	Dir    string
	Memory int64
	Time   time.Duration
	Admit  admit.Options
}

// answer is how it went. An error without a class is one of ours.
type answer struct{ Code, Text string }

// CompileModule is the main function of the process that Settings.Compiler names. make makes a backend that keeps native
// code in a folder. It returns the process's exit code.
func CompileModule(make func(nativeDir string) (Backend, error)) int {
	var reply answer
	if err := compileModule(os.Stdin, make); err != nil {
		reply = answer{status.Code(err), err.Error()}
	}
	if err := json.NewEncoder(os.Stdout).Encode(reply); err != nil {
		return 1
	}
	return 0
}

func compileModule(in io.Reader, make func(string) (Backend, error)) error {
	dec := json.NewDecoder(in)
	var o order
	if err := dec.Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	if err := confine(&o); err != nil {
		return err
	}
	wasm, err := io.ReadAll(io.MultiReader(dec.Buffered(), in))
	if err != nil || len(wasm) == 0 {
		return fmt.Errorf("read the module: %w", err)
	}
	wasm = wasm[1:] // the line break after the order
	a, err := admitModule(wasm, o.Admit, false)
	if err != nil {
		return err
	}
	b, err := make(o.Making)
	if err != nil {
		return err
	}
	code, _, err := b.Compile(context.Background(), a.admitted())
	if err != nil {
		return fmt.Errorf("compile module: %w", status.Wrap(status.Invalid, err))
	}
	if err := errors.Join(code.Close(), b.Close()); err != nil {
		return err
	}
	d, err := openDisk(o.Dir, 1<<62, b.Info(), o.Admit, func(string, ...any) {})
	if err != nil {
		return err
	}
	if _, ok := b.(Loader); ok {
		a.Wasm = nil
	}
	return d.store(o.Module, a, o.Making)
}

// confine bounds what this process may take.
func confine(o *order) error {
	seconds := (uint64(o.Time/time.Second) + 1) * uint64(goruntime.GOMAXPROCS(0))
	for _, l := range []struct {
		what int
		most uint64
	}{{unix.RLIMIT_CPU, seconds}, {unix.RLIMIT_DATA, uint64(o.Memory)}, {unix.RLIMIT_CORE, 0}} {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.most, Max: l.most}); err != nil {
			return fmt.Errorf("bound the compiler: %w", err)
		}
	}
	debug.SetMemoryLimit(o.Memory * 3 / 4)
	// Lower than the guests that run beside it.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 5)
	return nil
}

// childThreads is how many threads a compiler has; more make it hardly faster.
func childThreads() int { return min(2, goruntime.NumCPU()) }

// childMessages bounds how much of a failed compiler's output is kept.
const childMessages = 8 << 10

// compileOutside has a module admitted and compiled by the compiler's process.
func (ms *modules) compileOutside(ctx context.Context, id string, wasm []byte) error {
	set := &ms.rt.set
	making, err := ms.disk.making()
	if err != nil {
		return fmt.Errorf("compile module: %w", err)
	}
	defer os.RemoveAll(making)
	head, err := json.Marshal(order{
		Module: id, Making: making, Dir: set.CacheDir, Memory: set.CompileMemory,
		Time: set.CompileTime, Admit: set.Admit,
	})
	if err != nil {
		return fmt.Errorf("compile module: %w", err)
	}
	cmd := exec.CommandContext(ctx, set.Compiler[0], set.Compiler[1:]...)
	cmd.Stdin = io.MultiReader(bytes.NewReader(head), strings.NewReader("\n"), bytes.NewReader(wasm))
	var out, messages tail
	cmd.Stdout, cmd.Stderr = &out, &messages
	cmd.Env = []string{fmt.Sprintf("GOMAXPROCS=%d", childThreads()), "GOTRACEBACK=none"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	// The signal at a parent's death is at that of the thread which started the child.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	err = cmd.Run()
	var reply answer
	switch {
	case ctx.Err() != nil && ms.ctx.Err() != nil:
		return errClosed()
	case ctx.Err() == nil && err != nil && outOfMemory(cmd, messages.String(), set.CompileMemory):
		return status.LimitError("compile_memory", "compiling the module took more than %d bytes of memory", set.CompileMemory)
	case ctx.Err() != nil || killed(err):
		return status.LimitError("compile_time", "compiling the module took longer than %v", set.CompileTime)
	case err != nil:
		return fmt.Errorf("the compiler failed: %w: %s", err, messages.String())
	}
	if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
		return fmt.Errorf("the compiler's answer: %w", err)
	}
	if reply.Code != "" {
		return status.FromCode(reply.Code, reply.Text)
	}
	return nil
}

// killed tells whether a process ended by a signal, as one does that has used up its time.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	ws, ok := exit.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled()
}

// outOfMemory tells whether a process ended for want of memory: it says so, or crashed close to its bound. Go's runtime does
// not expect to be refused memory everywhere, and the ones of Rust and C++ end by a signal.
func outOfMemory(cmd *exec.Cmd, messages string, most int64) bool {
	for _, said := range []string{"out of memory", "cannot allocate memory", "memory allocation of", "std::bad_alloc"} {
		if strings.Contains(messages, said) {
			return true
		}
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return ok && cmd.ProcessState.ExitCode() == 2 && usage.Maxrss<<10 > most/2
}

// tail keeps the beginning of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if room := childMessages - t.Len(); room > 0 {
		t.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
