// Demo shows what essad is for, with the real programs: functions that keep state through a kill -9 of everything, and the
// ancestors' demo module. `make demo` builds the programs and runs it.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "folder with essad and guests/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one showing: a folder for everything, and the daemon of the moment.
type demo struct {
	essad  string
	dir    string
	daemon *exec.Cmd
	ended  chan error
}

func run(ctx context.Context, bin string) error {
	dir, err := os.MkdirTemp("", "essad-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{essad: filepath.Join(bin, "essad"), dir: dir}
	guests := filepath.Join(bin, "guests")

	say("start one daemon with all roles; its engine and its store are processes of their own")
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.kill()
	say("deploy a guestbook, two functions in Go compiled to WebAssembly")
	if err := d.do(ctx, "deploy", "hello", filepath.Join(guests, "hello.wasm")); err != nil {
		return err
	}
	for _, name := range []string{"Ada", "Grace"} {
		if err := d.do(ctx, "call", "hello", "sign", "--arg", name, "--as", "result<vec<str>>"); err != nil {
			return err
		}
	}
	say("kill -9 the daemon, and start it again on the same folder: every acknowledged write is there")
	d.kill()
	if err := d.start(ctx); err != nil {
		return err
	}
	out, err := d.output(ctx, "call", "hello", "guests")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "Ada") || !strings.Contains(out, "Grace") {
		return fmt.Errorf("the guestbook lost its guests: %q", out)
	}
	fmt.Println("the guestbook still knows Ada and Grace")
	say("run the ancestors' demo: 132 calls of functions by functions, state merged by 65 of them at once")
	if err := d.do(ctx, "run", filepath.Join(guests, "test-function.wasm")); err != nil {
		return err
	}
	return d.stop()
}

func say(what string) { fmt.Printf("\n== %s\n", what) }

func (d *demo) socket() string { return filepath.Join(d.dir, "sock") }

// start starts the daemon and waits until it says that it is ready.
func (d *demo) start(ctx context.Context) error {
	d.daemon = exec.Command(d.essad, "dev", "--data", filepath.Join(d.dir, "data"), "--address", d.socket(), "--log-level", "warn")
	d.daemon.Stderr = os.Stderr
	out, err := d.daemon.StdoutPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := d.daemon.Start(); err != nil {
		return fmt.Errorf("%w (build it first: make build)", err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	d.ended = ended
	cmd := d.daemon
	go func() {
		lines := bufio.NewScanner(out)
		if lines.Scan() {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, out)
		ended <- cmd.Wait()
	}()
	select {
	case <-ready:
		fmt.Printf("ready after %v, pid %d\n", time.Since(begin).Round(time.Millisecond), d.daemon.Process.Pid)
		return nil
	case err := <-ended:
		return errors.Join(errors.New("the daemon ended before it was ready"), err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends the daemon the hard way, if there is one.
func (d *demo) kill() {
	if d.ended == nil {
		return
	}
	_ = d.daemon.Process.Kill()
	_ = <-d.ended
	d.ended = nil
}

// stop ends the daemon cleanly.
func (d *demo) stop() error {
	if err := d.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := <-d.ended
	d.ended = nil
	return err
}

// do shows a command line and runs it.
func (d *demo) do(ctx context.Context, args ...string) error {
	fmt.Printf("$ essad %s\n", strings.Join(args, " "))
	cmd := d.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("essad %s: %w", args[0], err)
	}
	return nil
}

func (d *demo) output(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ essad %s\n", strings.Join(args, " "))
	cmd := d.command(ctx, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}

func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.essad, args...)
	cmd.Env = append(os.Environ(), "ESSA_ADDRESS="+d.socket())
	return cmd
}
