package plugin

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
	"github.com/essa-project/essad/sdk/status"
)

// DialOptions say how to use a started plugin.
type DialOptions struct {
	// Client is a plugin that has been started, with Handshake and Versions.
	Client *goplugin.Client
	// Conn is the host's end of the socketpair whose other end the plugin inherited. The connection that is dialled owns
	// it; it is closed where the plugin does not use it, and where dialling fails.
	Conn net.Conn

	Name     string            // what the host calls the plugin
	Settings map[string]string // the plugin checks them
	Logger   hclog.Logger      // of what happens on the host's side; nil means none

	// Border answers what an engine asks. Unused for stores.
	Border engine.Border
	// Grace is how long an engine may take to end a call whose deadline has passed. 0 waits for nothing.
	Grace time.Duration
	// Late gets a call that Grace was not enough for. Its guest may be beyond anything but the end of its process.
	Late func(LateCall)
}

// LateCall is a call whose deadline has passed, and which the engine has not ended in the time it has for that.
type LateCall struct {
	Call *engine.Call
	// Silent: the plugin has sent nothing at all since it was sent the call. Then whatever keeps it may have been there
	// before, and another call's.
	Silent bool

	id      uint64
	process *Process
}

// Owed reports whether the engine has still not ended the call.
func (l *LateCall) Owed() bool { return l.process.peer.conn.Owes(l.id) }

// Process is the connection to a running plugin.
type Process struct {
	kind     Kind
	about    About
	peer     peer
	draining chan struct{}
}

// Kind tells whether the plugin is an engine or a store.
func (p *Process) Kind() Kind { return p.kind }

// About is what the plugin says of itself.
func (p *Process) About() About { return p.about }

// Done is closed when the connection has ended.
func (p *Process) Done() <-chan struct{} { return p.peer.conn.Done() }

// Err is why the connection ended, or nil while it has not.
func (p *Process) Err() error { return p.peer.conn.Err() }

// Draining is closed when the plugin asks for an end: nothing new should be sent, and the connection closed when what is
// under way is done.
func (p *Process) Draining() <-chan struct{} { return p.draining }

// Progress counts what the plugin sent. Where it stands still while Unanswered is above 0, Ping tells whether the plugin
// lives.
func (p *Process) Progress() uint64 { return p.peer.conn.Progress() }

// Unanswered is the number of requests that wait for the plugin.
func (p *Process) Unanswered() int { return p.peer.conn.Unanswered() }

// Overdue is which of the cancelled requests has gone on for longest nevertheless; 0 where none does. Engine.Cancelled may tell
// what it was.
func (p *Process) Overdue() (id uint64) {
	id, _ = p.peer.conn.Overdue()
	return id
}

// Ping asks the plugin for a sign of life.
func (p *Process) Ping(ctx context.Context) error {
	if err := p.peer.conn.Ping(ctx); err != nil {
		return transportError(p.peer.who, err)
	}
	return nil
}

// Disconnect ends the connection, and thereby the plugin. What waits for it ends as Unavailable.
func (p *Process) Disconnect() { p.peer.conn.Close() }

// notice takes the plugin's notices. It runs on the connection's reader, one at a time.
func (p *Process) notice(f frame.Frame) {
	f.Release()
	select {
	case <-p.draining:
	default:
		close(p.draining)
	}
}

// DialEngine connects to an engine plugin and configures it.
func DialEngine(ctx context.Context, o DialOptions) (*Engine, error) {
	ctl, err := controlClient(&o)
	if err != nil {
		return nil, err
	}
	return dialEngine(ctx, ctl, o)
}

func dialEngine(ctx context.Context, ctl pluginv1.ControlClient, o DialOptions) (*Engine, error) {
	if o.Border == nil {
		o.Conn.Close()
		return nil, status.Errorf(status.Internal, "dial engine %q: no border", o.Name)
	}
	e := &Engine{
		log: logger(o.Logger), border: o.Border, grace: o.Grace, late: o.Late, sources: map[uint64]*source{}, given: map[uint64]Given{},
	}
	if err := e.dial(ctx, ctl, &o, EngineKind, frame.Options{Types: engineAsks, Handle: e.handle}); err != nil {
		return nil, err
	}
	return e, nil
}

// DialStore connects to a storage plugin and configures it.
func DialStore(ctx context.Context, o DialOptions) (*Store, error) {
	ctl, err := controlClient(&o)
	if err != nil {
		return nil, err
	}
	return dialStore(ctx, ctl, o)
}

func dialStore(ctx context.Context, ctl pluginv1.ControlClient, o DialOptions) (*Store, error) {
	s := &Store{}
	if err := s.dial(ctx, ctl, &o, StoreKind, frame.Options{Types: []uint8{typeDrain}}); err != nil {
		return nil, err
	}
	if err := s.loadInfo(ctx); err != nil {
		s.Disconnect()
		return nil, err
	}
	return s, nil
}

func logger(l hclog.Logger) hclog.Logger {
	if l == nil {
		return hclog.NewNullLogger()
	}
	return l
}

func (p *Process) dial(ctx context.Context, ctl pluginv1.ControlClient, o *DialOptions, kind Kind, fo frame.Options) (err error) {
	nc := o.Conn
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	info, err := ctl.Info(ctx, &pluginv1.InfoRequest{})
	if err != nil {
		return controlError(o.Name, "ask what it is", err)
	}
	p.kind, p.about, p.draining = kind, aboutFrom(info), make(chan struct{})
	p.peer.who = fmt.Sprintf("%s plugin %q", kind, o.Name)
	if is := Kind(info.GetKind()); is != kind {
		return status.Errorf(status.Invalid, "plugin %q is not %s: it says it is %s; name it in a block of that kind", o.Name, article(kind), article(is))
	}
	if info.GetHotPath() == pluginv1.HotPath_STREAM {
		nc.Close()
		if nc, err = dialStream(ctl); err != nil {
			return controlError(o.Name, "open the stream of frames", err)
		}
	}
	fo.Versions, fo.Notice = frameVersions, p.notice
	if p.peer.conn, err = frame.Open(ctx, nc, fo); err != nil {
		return transportError(p.peer.who, err)
	}
	if err = configure(ctx, ctl, o); err != nil {
		p.Disconnect()
	}
	return err
}

// controlClient returns the plugin's control service. It closes the connection where it fails.
func controlClient(o *DialOptions) (pluginv1.ControlClient, error) {
	rpc, err := o.Client.Client()
	var raw any
	if err == nil {
		raw, err = rpc.Dispense(controlName)
	}
	if err != nil {
		o.Conn.Close()
		return nil, status.Errorf(status.Unavailable, "plugin %q: %w", o.Name, err)
	}
	ctl, ok := raw.(pluginv1.ControlClient)
	if !ok {
		o.Conn.Close()
		return nil, status.Errorf(status.Internal, "plugin %q: control service is a %T; start the client with plugin.Versions", o.Name, raw)
	}
	return ctl, nil
}

func configure(ctx context.Context, ctl pluginv1.ControlClient, o *DialOptions) error {
	r, err := ctl.Configure(ctx, &pluginv1.ConfigureRequest{Name: o.Name, Settings: o.Settings})
	if err != nil {
		return controlError(o.Name, "configure it", err)
	}
	if e := r.GetError(); e != nil {
		cause := status.FromCode(e.GetCode(), e.GetText())
		out := status.Errorf(cause.Class, "plugin %q refuses its settings or cannot start: %w", o.Name, cause)
		out.Detail = cause.Detail
		return out
	}
	return nil
}

func controlError(name, what string, err error) error {
	class := status.Unavailable
	if s, ok := grpcstatus.FromError(err); ok {
		class = status.FromGRPC(uint32(s.Code()))
	}
	return status.Errorf(class, "plugin %q: %s: %w", name, what, err)
}
