package link

import (
	"log/slog"
	"os"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// Bounds that no option changes.
const (
	// maxHandshakeBytes bounds one message of a handshake. Real ones take less than 1 KiB, with public keys 3.
	maxHandshakeBytes = 16 << 10
	// minBatchSize is the smallest batch that is agreed to: the headers of a fragment and some of its content.
	minBatchSize = 32
	// maxBatchSize is what two length bytes can say; the batch size includes them.
	maxBatchSize = 65535
	// maxLinksIn and maxLinksOut are how many links of one transport the peer may have opened, and we: two nodes that
	// dial each other at once keep both.
	maxLinksIn, maxLinksOut = 1, 1
)

// Options say who this node is and how much it lets others cost it. A zero value means the default that is named.
type Options struct {
	ID      wire.ID      // required
	WhatAmI wire.WhatAmI // what we present where we dial

	// Present says what we present to a node that dials us, or why it is refused (UNSUPPORTED); the text is logged. Nil:
	// WhatAmI.
	Present func(remote wire.WhatAmI) (wire.WhatAmI, error)

	Lease       time.Duration // announced: the peer gives a link up that was silent for so long; 10 s
	OpenTimeout time.Duration // for dialling with the handshake, and for the handshake of who dials us; 10 s

	Resolution uint8  // of sequence numbers: 0 means 32 bits, else 8, 16 or 32
	BatchSize  uint16 // largest batch to offer or accept, with its two length bytes; 65535
	NoQoS      bool   // do not offer priority lanes
	NoPatch    bool   // do not offer fragment markers

	MaxMessage int           // bytes of a message in fragments, and of all incomplete ones of a transport; 1 GiB
	QueueBytes int           // bytes that wait to be sent, per priority of a transport, before Send waits or drops; 1 MiB
	WaitBlock  time.Duration // a transport that took nothing for so long while Block messages wait is closed; 5 s
	WaitDrop   time.Duration // how long a droppable message waits for room; 0: not at all

	MaxSessions int // transports; 1000
	MaxPending  int // handshakes of others that are under way; 100

	User, Password string            // shown to whom we dial, if they ask
	Users          map[string]string // passwords by user; not nil: who dials us must be one of them

	TLS  TLS      // for endpoints that do not say otherwise
	Unix UnixMode // for unix sockets that we listen on

	Log *slog.Logger // nil: nothing is logged
}

// TLS names the files (PEM) of tls endpoints. The config part of an endpoint (#key=value;...) overrides it by the names
// that Zenoh uses: root_ca_certificate, listen_private_key, listen_certificate, connect_private_key, connect_certificate,
// enable_mtls, verify_name_on_connect; each file also as KEY_file, and inline as KEY_base64.
type TLS struct {
	RootCA                  string // whom to trust; empty: what the system trusts
	ListenKey, ListenCert   string
	ConnectKey, ConnectCert string
	Mutual                  bool // ask for certificates, and show ours
	SkipNameCheck           bool // do not compare the certificate's names with the host that was dialled
}

// UnixMode says who may use a unix socket that we listen on.
type UnixMode struct {
	Mode os.FileMode // 0: 0600
	// Group gets the socket, so that a mode of 0660 lets its members in; 0 leaves the process's own.
	Group int
}

func (o *Options) setDefaults() {
	setDefault(&o.Lease, 10*time.Second)
	setDefault(&o.OpenTimeout, 10*time.Second)
	setDefault(&o.BatchSize, maxBatchSize)
	setDefault(&o.MaxMessage, 1<<30)
	setDefault(&o.QueueBytes, 1<<20)
	setDefault(&o.WaitBlock, 5*time.Second)
	setDefault(&o.MaxSessions, 1000)
	setDefault(&o.MaxPending, 100)
	setDefault(&o.Unix.Mode, 0o600)
	o.BatchSize = max(o.BatchSize, minBatchSize)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Present == nil {
		own := o.WhatAmI
		o.Present = func(wire.WhatAmI) (wire.WhatAmI, error) { return own, nil }
	}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
