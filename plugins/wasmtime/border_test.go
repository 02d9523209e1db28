//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/plugin"
)

// openPlugin starts this program as the plugin, in a process of its own.
func openPlugin(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, inherited := os.NewFile(uintptr(fds[0]), "host"), os.NewFile(uintptr(fds[1]), "plugin")
	conn, err := net.FileConn(host)
	host.Close()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.ExtraFiles = []*os.File{inherited}
	cmd.Env = []string{plugin.EnvDescriptor + "=3", "TMPDIR=" + t.TempDir(), plugin.EnvLogLevel + "=warn"}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: plugin.Handshake, VersionedPlugins: plugin.Versions(), Cmd: cmd, SkipHostEnv: true,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	t.Cleanup(client.Kill)
	if _, err := client.Start(); err != nil {
		t.Fatal(err)
	}
	inherited.Close()
	settings := map[string]string{}
	for name, n := range map[string]int64{"workers": int64(o.Workers), "queue": int64(o.Queue), "memory": o.Memory} {
		if n != 0 {
			settings[name] = strconv.FormatInt(n, 10)
		}
	}
	e, err := plugin.DialEngine(context.Background(), plugin.DialOptions{
		Client: client, Conn: conn, Name: "wasmtime", Settings: settings, Border: b, Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPlugin runs the suite through the process border.
func TestPlugin(t *testing.T) { enginetest.Run(t, openPlugin) }
