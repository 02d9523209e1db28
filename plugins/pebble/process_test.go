package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/storagetest"
)

// pluginBinary builds the plugin once per test run.
var pluginBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "essad-plugin-pebble-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "essad-plugin-pebble")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the plugin: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := pluginBinary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is a running plugin.
type process struct {
	*plugin.Store
	client *goplugin.Client
	cmd    *exec.Cmd
}

func startProcess(t testing.TB, settings map[string]string) (*process, error) {
	t.Helper()
	path, err := pluginBinary()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "plugin's end")
	ours := os.NewFile(uintptr(pair[0]), "our end")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	cmd := exec.Command(path)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = []string{plugin.EnvDescriptor + "=3", plugin.EnvLogLevel + "=error"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: plugin.Handshake, VersionedPlugins: plugin.Versions(), Cmd: cmd, SkipHostEnv: true,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	_, err = client.Client()
	_ = theirs.Close()
	if err != nil {
		client.Kill()
		t.Fatalf("start the plugin: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	st, err := plugin.DialStore(ctx, plugin.DialOptions{Client: client, Conn: conn, Name: "pebble", Settings: settings})
	if err != nil {
		client.Kill()
		return nil, err
	}
	return &process{st, client, cmd}, nil
}

// Close closes the store and waits for the process, so that its lock is free.
func (p *process) Close() error {
	err := p.Store.Close()
	p.Disconnect()
	p.client.Kill()
	return err
}

type processOpener struct {
	settings map[string]string
	last     *process
}

func newProcessOpener(t *testing.T) storagetest.Opener {
	o := &processOpener{settings: map[string]string{"path": t.TempDir(), "memtable": "4MiB", "min_free": "0"}}
	t.Cleanup(func() {
		if o.last != nil {
			o.last.client.Kill()
		}
	})
	return o
}

func (o *processOpener) Open(t testing.TB) (storage.Store, error) {
	p, err := startProcess(t, o.settings)
	if err != nil {
		return nil, err
	}
	o.last = p
	return p, nil
}

func (o *processOpener) Kill(t testing.TB) {
	if err := o.last.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-o.last.Done()
	o.last.client.Kill()
}

func TestStoreInProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	storagetest.Run(t, newProcessOpener)
}

func TestProcessSaysWhyItCannotOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	_, err := startProcess(t, map[string]string{"path": "relative", "cash": "1"})
	wantError(t, "bad settings", err, status.Invalid, "relative", "cash")
	settings := map[string]string{"path": t.TempDir()}
	p, err := startProcess(t, settings)
	if err != nil {
		t.Fatal(err)
	}
	_, err = startProcess(t, settings)
	wantError(t, "second process", err, status.Conflict, settings["path"], "in use")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestIdleProcess measures what the plugin costs when nothing happens: the budget of the whole daemon is 100 MiB and 1 %.
func TestIdleProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for seconds")
	}
	p, err := startProcess(t, map[string]string{"path": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	put(t, p, "key", make([]byte, 1024), true)
	time.Sleep(300 * time.Millisecond)
	pid := p.cmd.Process.Pid
	before := cpuTicks(t, pid)
	time.Sleep(2 * time.Second)
	ticks := cpuTicks(t, pid) - before
	pss := pssKiB(t, pid)
	t.Logf("idle: %d KiB PSS, %d ms of CPU in 2 s", pss, ticks*10)
	if pss > 40<<10 {
		t.Errorf("an idle plugin uses %d KiB PSS, want at most 40 MiB", pss)
	}
	if ticks > 4 { // of 10 ms: 2 %
		t.Errorf("an idle plugin used %d ms of CPU in 2 s", ticks*10)
	}
}

func cpuTicks(t *testing.T, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return user + system
}

func pssKiB(t *testing.T, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatal("no Pss in smaps_rollup")
	return 0
}
