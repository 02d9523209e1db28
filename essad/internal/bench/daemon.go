package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
	fabric "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

// daemon is a running essad with all roles, its plugins processes of their own, reached over its socket.
type daemon struct {
	cmd     *exec.Cmd
	ended   chan error
	socket  string
	dir     string
	ready   time.Duration // from the start of the process to its word that it is ready
	session transport.Session
	client  *client.Client
	kvs     *client.KVS
}

var daemonSeq int

func (b *bench) daemon(ctx context.Context, dir string, flags ...string) (*daemon, error) {
	daemonSeq++
	if dir == "" {
		dir = filepath.Join(b.dir, "data"+strconv.Itoa(daemonSeq))
	}
	d := &daemon{
		dir: dir, ended: make(chan error, 1),
		socket: filepath.Join(os.TempDir(), fmt.Sprintf("essad-bench-%d-%d.sock", os.Getpid(), daemonSeq)),
	}
	args := append([]string{"dev", "--data", d.dir, "--address", d.socket, "--log-level", "error"}, flags...)
	d.cmd = exec.Command(filepath.Join(b.bin, "essad"), args...)
	d.cmd.Stderr = os.Stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		if s := bufio.NewScanner(out); s.Scan() {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, out)
		d.ended <- d.cmd.Wait()
	}()
	select {
	case <-ready:
		d.ready = time.Since(begin)
	case err := <-d.ended:
		return nil, errors.Join(errors.New("the daemon did not start"), err)
	case <-ctx.Done():
		_ = d.cmd.Process.Kill()
		return nil, ctx.Err()
	}
	c := zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{"unixsock-stream/" + d.socket}, NoReconnect: true}
	if d.session, err = fabric.Open(ctx, c); err != nil {
		return nil, err
	}
	d.client = client.New(d.session)
	d.kvs, err = client.NewKVS(d.session, client.Public)
	return d, err
}

func (d *daemon) stop() {
	_ = d.session.Close()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = <-d.ended
}

func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	_ = <-d.ended
	_ = d.session.Close()
}

// deploy uploads a guest and gives it a name.
func (d *daemon) deploy(ctx context.Context, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sha, err := d.client.Upload(ctx, f, nil)
	if err != nil {
		return err
	}
	_, err = d.client.Deploy(ctx, &client.Manifest{Name: name, Module: sha})
	return err
}

// pids returns the daemon's process and its plugins'.
func (d *daemon) pids() []int {
	pids := []int{d.cmd.Process.Pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	for _, f := range tasks {
		raw, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(s); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// pss sums the proportional set sizes of the daemon and its plugins, in MiB.
func (d *daemon) pss() float64 {
	var kib float64
	for _, pid := range d.pids() {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(raw)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				kib += v
			}
		}
	}
	return kib / 1024
}

// cpu sums the processor time that the daemon and its plugins have used.
func (d *daemon) cpu() time.Duration {
	var ticks int64
	for _, pid := range d.pids() {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(raw), ") ")
		f := strings.Fields(rest)
		if len(f) > 12 {
			u, _ := strconv.ParseInt(f[11], 10, 64)
			s, _ := strconv.ParseInt(f[12], 10, 64)
			ticks += u + s
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
