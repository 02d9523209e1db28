//go:build zenohc

package zenohc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/zenoh"
)

// Defaults of what zenoh.Config leaves open, where they are not the library's own.
const (
	defaultQueueBytes      = 1 << 20
	defaultQueryTimeout    = 10 * time.Second
	defaultSubscriberQueue = 1024
	defaultWaitSubscriber  = 2 * time.Second
	defaultReplyBytes      = 64 << 20
	defaultHeldReplies     = 64 << 10
	defaultMaxQueries      = 16 << 10
	defaultMaxDeclarations = 64 << 10
)

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// complete fills in the defaults that this package itself needs and refuses what the library cannot do.
func complete(c *zenoh.Config) error {
	orDefault(&c.QueueBytes, defaultQueueBytes)
	orDefault(&c.QueryTimeout, defaultQueryTimeout)
	orDefault(&c.SubscriberQueue, defaultSubscriberQueue)
	orDefault(&c.WaitSubscriber, defaultWaitSubscriber)
	orDefault(&c.ReplyBytes, defaultReplyBytes)
	orDefault(&c.HeldReplies, defaultHeldReplies)
	orDefault(&c.MaxQueries, defaultMaxQueries)
	orDefault(&c.MaxDeclarations, defaultMaxDeclarations)
	if c.Policy != nil {
		return status.Errorf(status.Invalid, "libzenohc asks no policy: leave Config.Policy out")
	}
	for _, l := range c.Listen {
		if l.Policy != nil || l.Relation != zenoh.RelationAuto {
			return status.Errorf(status.Invalid, "listen on %q: libzenohc asks no policy and forces no relation", l.Endpoint)
		}
	}
	if c.NoReconnect {
		return status.Errorf(status.Invalid, "libzenohc always dials again: leave Config.NoReconnect out")
	}
	return nil
}

// object is a part of the library's configuration, whose names and meanings are those of Zenoh's DEFAULT_CONFIG.json5.
type object = map[string]any

// set enters v unless it is the zero value, for which the library has its default.
func set[T comparable](o object, name string, v T) {
	var zero T
	if v != zero {
		o[name] = v
	}
}

// render writes c as the library's configuration. users is the path of the file with those who may dial, or empty.
func render(ctx context.Context, c *zenoh.Config, users string) (string, error) {
	listen := []string{} // not nil: the library's default for a peer is to listen everywhere
	for _, l := range c.Listen {
		listen = append(listen, l.Endpoint)
	}
	root := object{
		"mode":                    c.Mode.String(),
		"listen":                  object{"endpoints": listen, "timeout_ms": 0, "exit_on_failure": true},
		"connect":                 connect(ctx, c),
		"scouting":                scouting(c),
		"transport":               object{"unicast": unicast(c), "link": link(c), "auth": object{"usrpwd": usrpwd(c, users)}},
		"queries_default_timeout": c.QueryTimeout.Milliseconds(),
		"timestamping":            object{"enabled": c.Timestamping},
	}
	if c.Mode == zenoh.ModePeer {
		root["gateway"] = object{"south": []object{}} // a peer relays for nobody: clients that dial it are refused
	}
	if !c.ID.IsZero() {
		root["id"] = c.ID.String()
	}
	b, err := json.Marshal(root)
	if err != nil {
		return "", status.Errorf(status.Invalid, "configuration of libzenohc: %w", err)
	}
	return string(b), nil
}

func connect(ctx context.Context, c *zenoh.Config) object {
	endpoints := append([]string{}, c.Connect...)
	retry := object{"period_increase_factor": 2}
	set(retry, "period_init_ms", c.RetryMin.Milliseconds())
	set(retry, "period_max_ms", c.RetryMax.Milliseconds())
	o := object{"endpoints": endpoints, "retry": retry, "timeout_ms": -1, "exit_on_failure": false}
	if c.Mode != zenoh.ModeClient {
		return o // others dial on behind Open's back
	}
	o["exit_on_failure"] = true
	switch deadline, bounded := ctx.Deadline(); {
	case c.ConnectTimeout >= 0:
		o["timeout_ms"] = c.ConnectTimeout.Milliseconds()
	case bounded:
		o["timeout_ms"] = max(1, time.Until(deadline).Milliseconds())
	}
	return o
}

func scouting(c *zenoh.Config) object {
	multicast, gossip := object{"enabled": c.Scouting.Multicast}, object{"enabled": c.Scouting.Gossip}
	set(multicast, "address", c.Scouting.Address)
	set(multicast, "interface", c.Scouting.Interface)
	for _, o := range []object{multicast, gossip} {
		if c.Scouting.AutoConnect != nil {
			modes := []string{}
			for _, m := range c.Scouting.AutoConnect {
				modes = append(modes, m.String())
			}
			o["autoconnect"] = modes
		}
		if c.Scouting.Greater {
			o["autoconnect_strategy"] = "greater-zid"
		}
	}
	o := object{"multicast": multicast, "gossip": gossip}
	set(o, "timeout", c.Scouting.Timeout.Milliseconds())
	return o
}

func unicast(c *zenoh.Config) object {
	o := object{}
	set(o, "open_timeout", c.OpenTimeout.Milliseconds())
	set(o, "accept_timeout", c.OpenTimeout.Milliseconds())
	set(o, "accept_pending", c.MaxPending)
	set(o, "max_sessions", c.MaxSessions)
	return o
}

// A queue of the library has this many batches for each priority, at most.
const maxQueueBatches = 16

func link(c *zenoh.Config) object {
	batch := 64 << 10
	if c.BatchSize > 0 {
		batch = int(c.BatchSize)
	}
	batches := max(1, min(maxQueueBatches, c.QueueBytes/batch))
	size := object{}
	for _, p := range []string{
		"control", "real_time", "interactive_high", "interactive_low", "data_high", "data", "data_low", "background",
	} {
		size[p] = batches
	}
	drop, block := object{}, object{}
	set(drop, "wait_before_drop", c.WaitDrop.Microseconds())
	set(block, "wait_before_close", c.WaitBlock.Microseconds())
	tx := object{"queue": object{"size": size, "congestion_control": object{"drop": drop, "block": block}}}
	set(tx, "lease", c.Lease.Milliseconds())
	set(tx, "batch_size", c.BatchSize)
	rx := object{}
	set(rx, "max_message_size", c.MaxMessage)
	return object{"tx": tx, "rx": rx, "tls": tls(&c.TLS)}
}

func tls(t *zenoh.TLS) object {
	o := object{"enable_mtls": t.Mutual, "verify_name_on_connect": !t.SkipNameCheck}
	set(o, "root_ca_certificate", t.RootCA)
	set(o, "listen_private_key", t.ListenKey)
	set(o, "listen_certificate", t.ListenCert)
	set(o, "connect_private_key", t.ConnectKey)
	set(o, "connect_certificate", t.ConnectCert)
	return o
}

func usrpwd(c *zenoh.Config, users string) object {
	o := object{}
	if c.User != "" {
		o["user"], o["password"] = c.User, c.Password
	}
	set(o, "dictionary_file", users)
	return o
}

// writeUsers writes the file that the library reads users from, and returns its path and what removes it.
func writeUsers(users map[string]string) (path string, remove func(), err error) {
	if users == nil {
		return "", func() {}, nil
	}
	var b strings.Builder
	for user, password := range users {
		if user == "" || strings.ContainsAny(user, ":\n\r") || strings.ContainsAny(password, "\n\r") {
			return "", nil, status.Errorf(status.Invalid, "user %q: libzenohc cannot read the name or its password", user)
		}
		fmt.Fprintf(&b, "%s:%s\n", user, password)
	}
	f, err := os.CreateTemp("", "zenohc-users-*") // mode 0600
	if err != nil {
		return "", nil, status.Errorf(status.Unavailable, "write the users for libzenohc: %w", err)
	}
	remove = func() { _ = os.Remove(f.Name()) }
	_, err = f.WriteString(b.String())
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		remove()
		return "", nil, status.Errorf(status.Unavailable, "write the users for libzenohc: %w", err)
	}
	return f.Name(), remove, nil
}

// permit gives the unix sockets that the library listens on their permissions.
func permit(c *zenoh.Config) error {
	for _, l := range c.Listen {
		path, ok := strings.CutPrefix(l.Endpoint, "unixsock-stream/")
		if !ok {
			continue
		}
		if i := strings.IndexAny(path, "?#"); i >= 0 {
			path = path[:i]
		}
		mode := c.SocketMode
		orDefault(&mode, 0o600)
		if err := os.Chmod(path, mode); err != nil {
			return status.Errorf(status.Unavailable, "permissions of the socket %s: %w", path, err)
		}
		if c.SocketGroup == 0 {
			continue
		}
		if err := os.Chown(path, -1, c.SocketGroup); err != nil {
			return status.Errorf(status.Unavailable, "group of the socket %s: %w", path, err)
		}
	}
	return nil
}
