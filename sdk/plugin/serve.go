package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/essa-project/essad/sdk/frame"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/status"
)

const (
	// drainTimeout bounds how long a plugin that got SIGTERM waits for its host to let it go.
	drainTimeout = 15 * time.Second
	// closeTimeout bounds closing the engine or the store at the end.
	closeTimeout = 20 * time.Second
)

// service is a configured engine or store.
type service interface {
	handle(*frame.Request)
	Close() error
}

// build makes a service of settings.
type build func(p *served, name string, settings map[string]string) (service, error)

// served is a plugin's own process, as its control service sees it.
type served struct {
	pluginv1.UnimplementedControlServer

	kind  Kind
	about About
	types []uint8
	build build
	log   hclog.Logger
	path  pluginv1.HotPath

	mu        sync.Mutex // of configuring and connecting
	conn      *frame.Conn
	connected chan struct{} // closed when conn is set
	service   atomic.Pointer[service]
	ended     chan error // receives why the plugin should end; room for one of each cause
}

// heapFloor is memory that is never touched, and so takes none, but counts as live: a plugin whose own heap is a few
// megabytes would otherwise spend a good part of its time under load collecting it, dozens of times a second.
var heapFloor []byte //nolint:unused // it works by being there

const heapFloorBytes = 32 << 20

// serve runs a plugin until its host is done with it.
func serve(kind Kind, about About, types []uint8, b build) {
	if os.Getenv(Handshake.MagicCookieKey) != Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s is %s for essad, a plugin (version %s). The daemon starts it: put it into the plugin folder\nand name it in the configuration.\n",
			filepath.Base(os.Args[0]), article(kind), about.Version)
		os.Exit(64)
	}
	heapFloor = make([]byte, heapFloorBytes)
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	// The logger holds the real standard error; go-plugin puts a pipe in its place.
	log := hclog.New(&hclog.LoggerOptions{
		Level: hclog.LevelFromString(os.Getenv(EnvLogLevel)), Output: os.Stderr, JSONFormat: true,
	})
	p := newServed(kind, about, types, b, log)
	if err := p.inherit(); err != nil {
		log.Error("no connection to the host", "error", err)
		os.Exit(1)
	}
	go func() {
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: Handshake, VersionedPlugins: versions(p), Logger: log, GRPCServer: goplugin.DefaultGRPCServer,
		})
		p.ended <- errors.New("the control service was shut down")
	}()
	p.wait()
	if err := p.close(); err != nil {
		log.Error("close", "error", err)
		os.Exit(1)
	}
}

func newServed(kind Kind, about About, types []uint8, b build, log hclog.Logger) *served {
	if about.Name == "" {
		about.Name = filepath.Base(os.Args[0])
	}
	return &served{
		kind: kind, about: about, types: types, build: b, log: log, path: pluginv1.HotPath_STREAM,
		connected: make(chan struct{}), ended: make(chan error, 3),
	}
}

// inherit opens the connection on the inherited descriptor, if there is one.
func (p *served) inherit() error {
	text, ok := os.LookupEnv(EnvDescriptor)
	if !ok {
		return nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s=%q is not a descriptor", EnvDescriptor, text)
	}
	f := os.NewFile(uintptr(fd), "host")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("inherited descriptor %d: %w", fd, err)
	}
	p.path = pluginv1.HotPath_DESCRIPTOR
	go func() {
		// The host says hello when go-plugin's handshake is done, which has its own time limit.
		if _, err := p.open(context.Background(), nc, frame.HelloTimeout*6); err != nil {
			p.ended <- err
		}
	}()
	return nil
}

// open makes nc the connection to the host and watches its end.
func (p *served) open(ctx context.Context, nc net.Conn, timeout time.Duration) (*frame.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := frame.Open(ctx, nc, frame.Options{
		Accepter: true, Versions: frameVersions, Types: p.types, Handle: p.handle,
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		conn.Close()
		return nil, status.Errorf(status.Conflict, "the plugin has a connection already")
	}
	p.conn = conn
	close(p.connected)
	go func() {
		<-conn.Done()
		p.ended <- conn.Err()
	}()
	return conn, nil
}

// handle gives a request to the service.
func (p *served) handle(r *frame.Request) {
	if s := p.service.Load(); s != nil {
		(*s).handle(r)
		return
	}
	handle(p.log, r, func(*frame.Request) error {
		return status.Safe(status.Errorf(status.Unavailable, "the plugin is not configured yet"))
	})
}

// wait returns when the plugin should end.
func (p *served) wait() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer signal.Stop(term)
	select {
	case err := <-p.ended:
		p.log.Debug("the host is done with this plugin", "why", err)
		return
	case <-term:
	}
	p.log.Info("asked to end; waiting for the host to let go", "at_most", drainTimeout.String())
	if p.drain() {
		select {
		case _ = <-p.ended:
		case <-time.After(drainTimeout):
			p.log.Warn("the host did not let go in time")
		}
	}
}

// drain tells the host that the plugin wants to end. It reports whether there is a host to wait for.
func (p *served) drain() bool {
	select {
	case <-p.connected:
	default:
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.conn.Notify(ctx, typeDrain, 0, nil) == nil
}

// close ends the connection and closes the service, within a bounded time.
func (p *served) close() error {
	p.mu.Lock()
	if p.conn != nil {
		p.conn.End(net.ErrClosed)
	}
	p.mu.Unlock()
	s := p.service.Load()
	if s == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- (*s).Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("not done after %v", closeTimeout)
	}
}

// Info implements pluginv1.ControlServer.
func (p *served) Info(context.Context, *pluginv1.InfoRequest) (*pluginv1.InfoReply, error) {
	return p.about.reply(p.kind, p.path), nil
}

// Configure implements pluginv1.ControlServer.
func (p *served) Configure(ctx context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureReply, error) {
	select {
	case <-p.connected:
	case <-ctx.Done():
		return nil, grpcstatus.FromContextError(ctx.Err()).Err()
	}
	if err := p.configure(r); err != nil {
		return &pluginv1.ConfigureReply{Error: &pluginv1.Error{Code: status.Code(err), Text: err.Error()}}, nil
	}
	return &pluginv1.ConfigureReply{}, nil
}

func (p *served) configure(r *pluginv1.ConfigureRequest) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.service.Load() != nil {
		return status.Errorf(status.Conflict, "the plugin is configured already")
	}
	defer func() {
		if v := recover(); v != nil {
			err = status.Errorf(status.Internal, "panic while starting: %v", v)
		}
	}()
	s, err := p.build(p, r.GetName(), r.GetSettings())
	if err == nil {
		p.service.Store(&s)
	}
	return err
}

// Frames implements pluginv1.ControlServer.
func (p *served) Frames(stream grpc.BidiStreamingServer[pluginv1.Chunk, pluginv1.Chunk]) error {
	if p.path != pluginv1.HotPath_STREAM {
		return grpcstatus.Error(codes.FailedPrecondition, "this plugin speaks frames on its inherited descriptor")
	}
	nc := serverStream(stream)
	failed := make(chan error, 1)
	go func() {
		_, err := p.open(context.Background(), nc, frame.HelloTimeout)
		failed <- err
	}()
	<-nc.done // by the connection, or where it does not come about
	if err := <-failed; err != nil {
		return grpcstatus.Error(codes.Aborted, err.Error())
	}
	return nil
}
