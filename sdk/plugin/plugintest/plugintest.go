// Package plugintest runs the suites of plugins through the process border: engines' by enginetest.Run(t, Engine(name)).
//
// It imports sdk/plugin, engineplugin and enginetest; tests of plugins import it.
package plugintest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
)

// Main is the main function of an engine plugin's tests, whose program is the plugin and the compiler, too. It fails where a
// goroutine is left.
func Main(m *testing.M, e *engineplugin.Engine) {
	if os.Getenv(plugin.Handshake.MagicCookieKey) != "" {
		e.Main()
		os.Exit(0)
	}
	if code, ok := e.Command(os.Args[1:]); ok {
		os.Exit(code)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Engine returns what opens an engine plugin for the suite: the running test program, started again as the plugin. So its
// TestMain has to be Main.
func Engine(name string) enginetest.Open {
	return func(t testing.TB, b engine.Border, o enginetest.Options) engine.Engine {
		t.Helper()
		return openEngine(t, name, b, o)
	}
}

func openEngine(t testing.TB, name string, b engine.Border, o enginetest.Options) engine.Engine {
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
	if race, ok := os.LookupEnv("GORACE"); ok { // the options of the race detector, for it is there as well
		cmd.Env = append(cmd.Env, "GORACE="+race)
	}
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
		Client: client, Conn: conn, Name: name, Settings: settings, Border: b, Logger: hclog.NewNullLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
