package agent

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/config"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
	fabrictransport "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/transport/zenohc"
	"github.com/essa-project/essad/sdk/zenoh"
)

// PasswordVariable holds the password of fabric.user, where it is in no file.
const PasswordVariable = "ESSA_PASSWORD"

// fabric is the daemon's node of the fabric. Each role has a session of its own, and they reach each other without a link.
type fabric struct {
	node    *zenoh.Node
	native  zenohc.Node // that of the roles, where the official library is asked for; nil otherwise
	mesh    []string    // where that one listens
	door    door
	members *members
	self    transport.Session // to know the others, and be known
}

// startFabric opens the node: links to other daemons begin now, and clients are let in by the end of the start.
func (a *Agent) startFabric(ctx context.Context) error {
	cfg, err := a.fabricConfig()
	if err != nil {
		return err
	}
	f := &fabric{}
	a.fabric = f
	f.door.names = topic.Default
	if a.cfg.Fabric.Implementation == config.ImplementationZenohc {
		if err := f.openNative(ctx, a.cfg, &cfg); err != nil {
			return err
		}
		a.push("fabric of libzenohc", func(context.Context) error { return f.native.Close() })
	}
	for i := range cfg.Listen {
		l := &cfg.Listen[i]
		l.Policy = f.door.policy(a.trust(l.Relation == zenoh.RelationSouth && isOwn(l.Endpoint, a.cfg)))
	}
	if f.node, err = zenoh.OpenNode(ctx, cfg); err != nil {
		return fabrictransport.OpenError(err)
	}
	a.push("fabric", func(context.Context) error {
		f.door.close()
		return f.node.Close()
	})
	if err := a.openSocket(); err != nil {
		return err
	}
	if f.self, err = a.open(); err != nil {
		return err
	}
	a.log.Info("fabric", "id", f.id(), "mode", a.cfg.Fabric.Mode, "listen", joined(f.locators()), "connect", joined(a.cfg.Fabric.Connect))
	self := process{name: a.cfg.Node.Name, id: f.id(), started: a.started}
	f.members = newMembers(self, a.cfg.KVS != nil)
	return a.follow(f.self, f.members, func(err error) { a.failed <- err })
}

// open opens a session of the daemon's node.
func (a *Agent) open() (transport.Session, error) {
	if n := a.fabric.native; n != nil {
		return n.Session()
	}
	s, err := a.fabric.node.Session()
	if err != nil {
		return nil, fabrictransport.OpenError(err)
	}
	return fabrictransport.Wrap(s), nil
}

func (a *Agent) fabricConfig() (zenoh.Config, error) {
	f := &a.cfg.Fabric
	c := zenoh.Config{
		Mode: zenoh.ModeRouter, Connect: f.Connect,
		RetryMin: f.Retry.First.Std(), RetryMax: f.Retry.Max.Std(),
		Lease: f.Lease.Std(), OpenTimeout: f.ConnectTimeout.Std(), MaxMessage: int(f.MaxMessage), QueueBytes: int(f.Queue),
		MaxSessions: f.MaxSessions, MaxPending: f.MaxPending, MaxDeclarations: f.MaxDeclarations,
		TLS: zenoh.TLS{
			RootCA: f.TLS.CA, ListenKey: f.TLS.Key, ListenCert: f.TLS.Certificate, ConnectKey: f.TLS.Key,
			ConnectCert: f.TLS.Certificate, Mutual: f.TLS.Mutual, SkipNameCheck: !f.TLS.VerifyName,
		},
		// Sockets of the mesh are for the daemons of this user; openSocket opens the clients' to whom it is for.
		SocketMode: 0o600,
		Scouting: zenoh.Scouting{
			Gossip: f.Scouting.Gossip, Multicast: f.Scouting.Multicast, Address: f.Scouting.MulticastAddress,
		},
		Log: slog.New(&slogHandler{log: a.log.Named("fabric")}),
	}
	if f.Mode == config.ModeClient {
		// Without a gateway nobody could be reached, so the start waits for one.
		c.Uplink, c.ConnectTimeout, c.Scouting = true, -1, zenoh.Scouting{}
	}
	c.Listen = a.listeners()
	var err error
	if c.User, c.Password, err = credentials(f); err != nil {
		return c, err
	}
	c.Users, err = readUsers(f.UsersFile)
	return c, err
}

// listeners are those of the mesh, those for clients and, last, the daemon's own socket.
func (a *Agent) listeners() []zenoh.Listen {
	var out []zenoh.Listen
	for _, e := range a.cfg.Fabric.Listen {
		out = append(out, zenoh.Listen{Endpoint: e})
	}
	for _, e := range a.cfg.Fabric.ListenClients {
		out = append(out, zenoh.Listen{Endpoint: e, Relation: zenoh.RelationSouth})
	}
	// Its permissions say who may come, so nobody is asked for a password there.
	return append(out, zenoh.Listen{Endpoint: ownEndpoint(a.cfg) + "#auth=none", Relation: zenoh.RelationSouth})
}

func ownEndpoint(c *config.Config) string { return "unixsock-stream/" + c.Node.Socket }

func isOwn(endpoint string, c *config.Config) bool {
	e, _, _ := strings.Cut(endpoint, "#")
	return e == ownEndpoint(c)
}

// openSocket lets those use the clients' socket for whom it is meant.
func (a *Agent) openSocket() error {
	n := a.cfg.Node
	if err := setGroup(n.Socket, n.SocketGroup); err != nil {
		return err
	}
	return os.Chmod(n.Socket, os.FileMode(n.SocketMode).Perm())
}

// trust says what clients may do that come by an endpoint, before it is known who they are.
func (a *Agent) trust(own bool) func(*zenoh.Transport) (topic.Trust, error) {
	admin, routing := a.cfg.Fabric.Admin, a.cfg.Routing != nil
	return func(t *zenoh.Transport) (topic.Trust, error) {
		switch {
		case own:
			return topic.Observer, nil
		case !routing:
			return 0, status.Errorf(status.Denied, "daemon %q does not serve clients over the network: connect to one with the role routing", a.cfg.Node.Name)
		case admin == config.AdminAllow, admin == config.AdminAuthenticated && authenticated(t):
			return topic.Operator, nil
		}
		return topic.User, nil
	}
}

// authenticated reports whether a client has proved who it is.
func authenticated(t *zenoh.Transport) bool {
	if t.User != "" {
		return true
	}
	for _, l := range t.Links {
		if l.CommonName != "" {
			return true
		}
	}
	return false
}

// door is what clients come in by. It is closed until the daemon is ready.
type door struct {
	names  topic.Names
	opened atomic.Bool
}

func (d *door) close() { d.opened.Store(false) }

// policy is what clients may do that come by one endpoint.
func (d *door) policy(trust func(*zenoh.Transport) (topic.Trust, error)) zenoh.Policy {
	var allow [topic.Observer + 1]transport.Policy
	for t := range allow {
		allow[t] = interests(d.names.ClientPolicy(topic.Trust(t)))
	}
	return fabrictransport.Policy(func(from *zenoh.Transport) transport.Policy {
		return func(op transport.Op, key string) error {
			if !d.opened.Load() {
				return errClosed
			}
			t, err := trust(from)
			if err != nil {
				return err
			}
			return allow[t](op, key)
		}
	})
}

var errClosed = status.Safe(status.Errorf(status.Unavailable, "the daemon is starting or stopping: try again"))

// interests lets those who may use a key in any way ask who else does. An interest only tells what is declared, of all kinds at once.
func interests(allow transport.Policy) transport.Policy {
	return func(op transport.Op, key string) error {
		err := allow(op, key)
		if err != nil && op == transport.OpLiveliness && (allow(transport.OpGet, key) == nil || allow(transport.OpPut, key) == nil) {
			return nil
		}
		return err
	}
}

// letClientsIn ends the start.
func (a *Agent) letClientsIn(context.Context) error {
	a.fabric.door.opened.Store(true)
	a.fabric.node.PolicyChanged() // what was refused so far is not any longer
	return nil
}

// maxCredentials bounds the files with passwords.
const maxCredentials = 1 << 20

// credentials returns whom the daemon links to others as.
func credentials(f *config.Fabric) (user, password string, err error) {
	switch {
	case f.User == "":
		return "", "", nil
	case f.PasswordFile == "":
		return f.User, os.Getenv(PasswordVariable), nil
	}
	password, err = ReadPassword(f.PasswordFile)
	if err != nil {
		return "", "", status.Errorf(status.Invalid, "fabric.password_file: %w", err)
	}
	return f.User, password, nil
}

// ReadPassword returns the first line of a file.
func ReadPassword(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(raw[:min(len(raw), maxCredentials)], []byte("\n"))
	return strings.TrimSuffix(string(line), "\r"), nil
}

// readUsers reads lines USER:PASSWORD. Empty lines and those that begin with # are left out.
func readUsers(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, status.Errorf(status.Invalid, "fabric.users_file: %w", err)
	}
	if len(raw) > maxCredentials {
		return nil, status.Errorf(status.Invalid, "fabric.users_file: %s has more than %s", path, config.ByteSize(maxCredentials))
	}
	users := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if _, twice := users[user]; !ok || user == "" || twice {
			return nil, status.Errorf(status.Invalid, "fabric.users_file: %s:%d: want USER:PASSWORD, each user once", path, n)
		}
		users[user] = password
	}
	if err := lines.Err(); err != nil {
		return nil, status.Errorf(status.Invalid, "fabric.users_file: %s: %w", path, err)
	}
	return users, nil
}

// slogHandler writes what the fabric logs into the daemon's log.
type slogHandler struct {
	log   hclog.Logger
	attrs []any
	group string
}

// levels are those of the daemon's log. What the fabric tells of links is news for who looks for it: clients come and go, and daemons
// are told of by name.
var levels = map[slog.Level]hclog.Level{
	slog.LevelDebug: hclog.Trace, slog.LevelInfo: hclog.Debug, slog.LevelWarn: hclog.Warn, slog.LevelError: hclog.Error,
}

// Enabled implements slog.Handler.
func (h *slogHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.GetLevel() <= levels[l]
}

// Handle implements slog.Handler.
func (h *slogHandler) Handle(_ context.Context, r slog.Record) error {
	args := append([]any(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		args = append(args, h.group+a.Key, a.Value.Any())
		return true
	})
	h.log.Log(levels[r.Level], r.Message, args...)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &slogHandler{log: h.log, attrs: append([]any(nil), h.attrs...), group: h.group}
	for _, a := range attrs {
		out.attrs = append(out.attrs, h.group+a.Key, a.Value.Any())
	}
	return out
}

// WithGroup implements slog.Handler.
func (h *slogHandler) WithGroup(name string) slog.Handler {
	return &slogHandler{log: h.log, attrs: h.attrs, group: h.group + name + "."}
}

// pingWait bounds the round trips that a status shows.
const pingWait = time.Second

// status is what `essad status` shows of the fabric.
func (f *fabric) status(mode string) *essav1.FabricStatus {
	out := &essav1.FabricStatus{
		Id: f.id(), Mode: mode, Listen: f.locators(), Refused: f.node.Denied(), Dropped: f.node.Dropped(),
	}
	for _, t := range f.transports() {
		id := t.ZID.String()
		l := &essav1.LinkStatus{
			Id: id, Kind: t.WhatAmI.String(), Node: f.members.nameOf(id), User: t.User,
			BytesIn: t.Stats.BytesIn, BytesOut: t.Stats.BytesOut, MessagesIn: t.Stats.MessagesIn, MessagesOut: t.Stats.MessagesOut,
			Dropped: t.Stats.Dropped,
		}
		if len(t.Links) > 0 {
			l.Remote, l.Dialled = t.Links[0].Dst, t.Links[0].Dialled
			if l.User == "" {
				l.User = t.Links[0].CommonName
			}
			if l.Remote == "" && t.Links[0].PID != 0 {
				l.Remote = fmt.Sprintf("pid %d", t.Links[0].PID)
			}
		}
		out.Links = append(out.Links, l)
	}
	return out
}
