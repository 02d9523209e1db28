package zenoh

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Mode is what a node is to others.
type Mode uint8

// The modes. The zero value is Zenoh's default.
const (
	ModePeer   Mode = iota // linked to its fellow peers, relays for none of them
	ModeClient             // attached to one gateway, which routes for it
	ModeRouter             // a hub: relays for clients, and is a peer among peers
)

// String returns the mode's name in Zenoh's configuration.
func (m Mode) String() string {
	switch m {
	case ModePeer:
		return "peer"
	case ModeClient:
		return "client"
	case ModeRouter:
		return "router"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode reads "peer", "client" or "router".
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{ModePeer, ModeClient, ModeRouter} {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w: mode %q is none of peer, client, router", ErrConfig, s)
}

// Relation says what the node at the other end of a link is to us; it decides what is told to it and asked of it.
type Relation uint8

// The relations.
const (
	RelationAuto  Relation = iota // by the modes of both ends
	RelationSouth                 // attached to us: we relay for it
	RelationMesh                  // a fellow peer: both tell each other everything, neither relays
	RelationNorth                 // our gateway
	RelationLocal                 // a session of this node
)

// String returns a word for the relation.
func (r Relation) String() string {
	switch r {
	case RelationSouth:
		return "south"
	case RelationMesh:
		return "mesh"
	case RelationNorth:
		return "north"
	case RelationLocal:
		return "local"
	}
	return "auto"
}

// Op is one thing that a remote session asks of us.
type Op uint8

// The operations that a Policy is asked about.
const (
	OpPut        Op = iota // a put or a delete
	OpQuery                // a Get
	OpSubscriber           // the declaration of a subscriber
	OpQueryable            // the declaration of a queryable
	OpToken                // the declaration of a liveliness token
	OpInterest             // to be told of others' declarations: a liveliness subscriber or get, a publisher, a querier
)

// String returns what a refusal calls the operation.
func (o Op) String() string {
	switch o {
	case OpPut:
		return "put on"
	case OpQuery:
		return "query"
	case OpSubscriber:
		return "subscribe to"
	case OpQueryable:
		return "answer queries on"
	case OpToken:
		return "declare a token on"
	case OpInterest:
		return "ask for declarations on"
	}
	return "use"
}

// Policy says what a remote session may do: nil, or an error that says what is refused. A query that is refused is answered
// with the error's text (encoding text/plain, or the error's own where it is an EncodedError), and so is a liveliness get
// with no tokens; everything else that is refused has no effect. All refusals are counted. key is a valid key expression. A
// Policy is called on the goroutines that read links, also concurrently; it must not wait. Its verdicts on puts and queries are
// remembered until Node.PolicyChanged.
type Policy func(from *Transport, op Op, key string) error

// EncodedError is an error of a Policy that says how the error reply is encoded.
type EncodedError interface {
	error
	Encoding() Encoding
}

// Listen is one endpoint to listen on.
type Listen struct {
	// Endpoint is "proto/address[?metadata][#config]" with proto tcp, tls or unixsock-stream. The port 0 is a free one.
	Endpoint string
	// Relation, where it is not auto, must be South: only clients may dial this endpoint, whoever else does is refused.
	Relation Relation
	// Policy is asked for what those who dial this endpoint do, instead of Config.Policy.
	Policy Policy
}

// Scouting says how other nodes are found.
type Scouting struct {
	// Multicast sends and answers SCOUT messages on Address (224.0.0.224:7446 by default) and Interface ("" is every one that
	// can).
	Multicast bool
	Address   string
	Interface string
	// Gossip tells peers of each other's locators, and hears of theirs.
	Gossip bool
	// AutoConnect are the kinds of nodes that are dialled when they are found. nil means routers and peers for a peer or a
	// client, and peers for a router; empty means none.
	AutoConnect []Mode
	// Greater has of two nodes that find each other only the one with the greater id dial.
	Greater bool
	// Timeout is how long a client without endpoints looks for a gateway; 0 means 3 s.
	Timeout time.Duration
}

// Config is what a node is made of. The zero value is a peer that listens nowhere, dials nobody and does not scout. Zero
// durations and counts mean the defaults, which are named.
type Config struct {
	ID   ID // zero: a random one, which is right but for tests
	Mode Mode

	Listen []Listen
	// Connect are the endpoints to dial. A client dials them in this order until one takes it, and then keeps that one; others
	// keep a link to each. A link that fails or ends is dialled again after RetryMin, twice that and so on up to RetryMax.
	Connect []string
	// Uplink makes a router a client of one of the endpoints in Connect, its gateway, as a client has one: it relays for its own
	// clients, and the gateway for it.
	Uplink bool
	// ConnectTimeout bounds how long Open waits for the first link: a client fails when it has passed; 0 means one try of each
	// endpoint for a client, and that others do not wait; <0 means until Open's context ends.
	ConnectTimeout time.Duration
	RetryMin       time.Duration // 1 s
	RetryMax       time.Duration // 4 s
	// NoReconnect ends a client's node, with ErrDisconnected, when it loses its gateway.
	NoReconnect bool

	Lease       time.Duration // after which others take us for dead; 10 s
	OpenTimeout time.Duration // for the handshake; 10 s
	BatchSize   uint16        // bytes of a batch on the wire at most; 65535
	MaxMessage  int           // bytes of a received message at most; 1 GiB
	QueueBytes  int           // bytes that wait for a link at most, for each priority; 1 MiB
	MaxSessions int           // links to different nodes at most; 1000
	MaxPending  int           // handshakes under way at most; 100
	// WaitBlock is how long a message with Block waits for a link that makes no progress, which is then cut; 5 s.
	WaitBlock time.Duration
	// WaitDrop is how long one with Drop waits before it is lost; 1 ms.
	WaitDrop time.Duration

	TLS TLS
	// SocketMode and SocketGroup are the permissions of unix sockets that are listened on: 0600, and the process's own group.
	SocketMode  os.FileMode
	SocketGroup int
	// User and Password are presented to who is dialled; Users, where it is not nil, are those who may dial us, with their
	// passwords.
	User, Password string
	Users          map[string]string

	Scouting Scouting

	// Policy is asked for what South sessions do. nil allows everything.
	Policy Policy

	// Timestamping gives puts without a timestamp one of this node's clock where they are first seen.
	Timestamping bool
	// QueryTimeout is that of queries which do not say; 10 s.
	QueryTimeout time.Duration

	// SubscriberQueue is how many samples wait for a subscriber's handler unless it asks for another number; 1024.
	SubscriberQueue int
	// WaitSubscriber is how long a sample with Block waits for room in a subscriber's queue, and everything behind it on its
	// link with it; then that subscriber loses samples until its handler takes one. 2 s.
	WaitSubscriber time.Duration
	// ReplyBytes is how many bytes of replies wait for the handler of a Get, beyond the first of them, before the link waits
	// (up to WaitSubscriber, then the Get fails with ErrOverload); 64 MiB.
	ReplyBytes int
	// HeldReplies is how many keys a Get with Latest holds replies for before it fails with ErrOverload; 65536.
	HeldReplies int
	// MaxQueries is how many queries a session answers at a time; one more gets an error reply. 16384.
	MaxQueries int
	// MaxPendingQueries is how many queries of one session or link, and how many to one, may be under way at a time; one more gets an
	// error reply. 65536.
	MaxPendingQueries int
	// MaxDeclarations is how much a session, or the node at the other end of a link, may have declared; 65536. A client that
	// goes on loses its link; what other nodes declare beyond it is ignored.
	MaxDeclarations int

	// Log gets what happens to links and what is refused. nil discards it.
	Log *slog.Logger
	// Events, where it is set, is called when a node is linked and when its last link is lost, one at a time and in order, on a
	// goroutine of its own.
	Events func(Event)
}

// TLS names the files (PEM) of tls endpoints. The config part of an endpoint (#key=value;...) overrides it by the names that
// Zenoh uses: root_ca_certificate, listen_private_key, listen_certificate, connect_private_key, connect_certificate,
// enable_mtls, verify_name_on_connect; each file also as KEY_file, and inline as KEY_base64.
type TLS struct {
	RootCA                  string // whom to trust; "": what the system trusts
	ListenKey, ListenCert   string
	ConnectKey, ConnectCert string
	Mutual                  bool // ask for certificates, and show ours
	SkipNameCheck           bool // do not compare the certificate's names with the host that was dialled
}

// Event is a change of who is linked.
type Event struct {
	Up        bool
	Transport Transport
	Err       error // why it went down
}

const (
	defaultRetryMin        = time.Second
	defaultRetryMax        = 4 * time.Second
	defaultLease           = 10 * time.Second
	defaultOpenTimeout     = 10 * time.Second
	defaultMaxMessage      = 1 << 30
	defaultQueueBytes      = 1 << 20
	defaultMaxSessions     = 1000
	defaultMaxPending      = 100
	defaultWaitBlock       = 5 * time.Second
	defaultWaitDrop        = time.Millisecond
	defaultQueryTimeout    = 10 * time.Second
	defaultSubscriberQueue = 1024
	defaultWaitSubscriber  = 2 * time.Second
	defaultReplyBytes      = 64 << 20
	defaultHeldReplies     = 64 << 10
	defaultMaxQueries      = 16 << 10
	defaultPendingQueries  = 64 << 10
	defaultMaxDeclarations = 64 << 10
	defaultScoutTimeout    = 3 * time.Second
	defaultScoutAddress    = "224.0.0.224:7446"
)

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// complete fills in the defaults and looks for mistakes.
func (c *Config) complete() error {
	if c.ID.IsZero() {
		c.ID = wire.NewID()
	}
	if c.Mode > ModeRouter {
		return fmt.Errorf("%w: unknown mode %d", ErrConfig, c.Mode)
	}
	orDefault(&c.RetryMin, defaultRetryMin)
	orDefault(&c.RetryMax, defaultRetryMax)
	orDefault(&c.Lease, defaultLease)
	orDefault(&c.OpenTimeout, defaultOpenTimeout)
	orDefault(&c.BatchSize, 65535)
	orDefault(&c.MaxMessage, defaultMaxMessage)
	orDefault(&c.QueueBytes, defaultQueueBytes)
	orDefault(&c.MaxSessions, defaultMaxSessions)
	orDefault(&c.MaxPending, defaultMaxPending)
	orDefault(&c.WaitBlock, defaultWaitBlock)
	orDefault(&c.WaitDrop, defaultWaitDrop)
	orDefault(&c.QueryTimeout, defaultQueryTimeout)
	orDefault(&c.SubscriberQueue, defaultSubscriberQueue)
	orDefault(&c.WaitSubscriber, defaultWaitSubscriber)
	orDefault(&c.ReplyBytes, defaultReplyBytes)
	orDefault(&c.HeldReplies, defaultHeldReplies)
	orDefault(&c.MaxQueries, defaultMaxQueries)
	orDefault(&c.MaxPendingQueries, defaultPendingQueries)
	orDefault(&c.MaxDeclarations, defaultMaxDeclarations)
	orDefault(&c.Scouting.Timeout, defaultScoutTimeout)
	orDefault(&c.Scouting.Address, defaultScoutAddress)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Scouting.AutoConnect == nil {
		c.Scouting.AutoConnect = defaultAutoConnect(c.Mode)
	}
	return c.validate()
}

// defaultAutoConnect is Zenoh's default, but that a router dials peers: our hub is a peer among peers.
func defaultAutoConnect(m Mode) []Mode {
	if m == ModeRouter {
		return []Mode{ModePeer}
	}
	return []Mode{ModeRouter, ModePeer}
}

// hasGateway reports whether the node is a client of one gateway, whatever it is to others.
func (c *Config) hasGateway() bool { return c.Mode == ModeClient || c.Uplink }

func (c *Config) validate() error {
	for what, d := range map[string]time.Duration{
		"RetryMin": c.RetryMin, "RetryMax": c.RetryMax, "Lease": c.Lease, "OpenTimeout": c.OpenTimeout,
		"WaitBlock": c.WaitBlock, "WaitDrop": c.WaitDrop, "QueryTimeout": c.QueryTimeout, "WaitSubscriber": c.WaitSubscriber,
	} {
		if d < 0 {
			return fmt.Errorf("%w: %s is negative", ErrConfig, what)
		}
	}
	if c.Mode == ModeClient && len(c.Listen) > 0 {
		return fmt.Errorf("%w: a client does not listen; use mode peer or router", ErrConfig)
	}
	if c.Uplink && (c.Mode != ModeRouter || len(c.Connect) == 0) {
		return fmt.Errorf("%w: an uplink is for a router, and needs an endpoint to connect to", ErrConfig)
	}
	if c.Mode == ModeClient && len(c.Connect) == 0 && !c.Scouting.Multicast {
		return fmt.Errorf("%w: a client needs an endpoint to connect to, or scouting", ErrConfig)
	}
	for _, l := range c.Listen {
		if l.Relation != RelationAuto && l.Relation != RelationSouth {
			return fmt.Errorf("%w: listen %q: relation %v cannot be forced", ErrConfig, l.Endpoint, l.Relation)
		}
	}
	return nil
}
