package plugin

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/storage"
)

func TestMain(m *testing.M) {
	if serve := benchServers[os.Getenv(envBenchServer)]; serve != nil {
		serve()
		return
	}
	goleak.VerifyTestMain(m)
}

// eachPath runs f with the frames on a socketpair and with the frames on a gRPC stream.
func eachPath(t *testing.T, f func(t *testing.T, path pluginv1.HotPath)) {
	t.Run("descriptor", func(t *testing.T) { f(t, pluginv1.HotPath_DESCRIPTOR) })
	t.Run("stream", func(t *testing.T) { f(t, pluginv1.HotPath_STREAM) })
}

func socketpair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return conn(fds[0]), conn(fds[1])
}

// inProcess serves a plugin in this process, with the control service over a unix socket as go-plugin has it.
func inProcess(t testing.TB, kind Kind, path pluginv1.HotPath, types []uint8, b build) (pluginv1.ControlClient, net.Conn, *served) {
	t.Helper()
	p := newServed(kind, About{Name: "test", Version: "1"}, types, b, hclog.NewNullLogger())
	host, plug := socketpair(t)
	p.path = path
	if path == pluginv1.HotPath_DESCRIPTOR {
		go func() {
			if _, err := p.open(context.Background(), plug, frame.HelloTimeout); err != nil {
				p.ended <- err
			}
		}()
	} else {
		plug.Close()
	}
	sock := t.TempDir() + "/s"
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	pluginv1.RegisterControlServer(srv, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	cc, err := grpc.NewClient("unix://"+sock, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
		cc.Close()
		srv.Stop()
		<-served
	})
	return pluginv1.NewControlClient(cc), host, p
}

func startEngine(t testing.TB, path pluginv1.HotPath, o DialOptions, open func(EngineConfig) (engine.Engine, error)) *Engine {
	t.Helper()
	ctl, host, _ := inProcess(t, EngineKind, path, engineRequests, engineBuild(open))
	o.Name, o.Conn = "test", host
	e, err := dialEngine(context.Background(), ctl, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func startStore(t testing.TB, path pluginv1.HotPath, open func(StoreConfig) (storage.Store, error)) *Store {
	t.Helper()
	ctl, host, _ := inProcess(t, StoreKind, path, storeRequests, storeBuild(open))
	s, err := dialStore(context.Background(), ctl, DialOptions{Name: "test", Conn: host})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
