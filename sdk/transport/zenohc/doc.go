// Package zenohc makes transport.Sessions of the official Zenoh implementation: github.com/eclipse-zenoh/zenoh-go over the
// native library libzenohc. It is the alternative to sdk/transport/zenoh, which needs no such library; both take the same
// configuration and talk to each other.
//
// # Building it
//
// A plain build holds only this text and functions that say what is missing. The real ones need cgo, a C compiler and libzenohc
// 1.9 with its unstable API (its feature "unstable"): headers and library as its own installation lays them out. With
// those below /opt/zenohc:
//
//	export CGO_ENABLED=1 CGO_CFLAGS=-I/opt/zenohc/include
//	export CGO_LDFLAGS="-L/opt/zenohc/lib -Wl,-rpath,/opt/zenohc/lib"
//	go build -tags zenohc -o bin/essad ./essad
//	go test -race -tags zenohc ./sdk/transport/zenohc
//
// Without -rpath the program finds the library by LD_LIBRARY_PATH or where the system keeps its own.
//
// # What it promises
//
// What transporttest pins, but for what the library cannot do or does not tell:
//
//   - A delete carries no attachment; one with an attachment is an Invalid error.
//   - Dropped counts what subscribers' queues have lost, not what links have.
//   - The time of a query travels with it, but the library tells no queryable of it, nor that nobody waits any more. Nodes of
//     this package tell each other the latter, by a sample on the asker's key below "@essa/cancel"; and a link that is
//     lost ends the queries of the node at its end. Where neither is seen, because another implementation asked or a router is in
//     between, the context of a query ends after ten minutes. sdk/transport/zenoh is such another one: its nodes name the query by the
//     number it has on the link, which the library tells nobody, and to mark every query for the few that ask through the
//     library would cost all the others. What a scheduler of ours waits for ends in time nevertheless: calls carry their
//     deadline themselves.
//   - Whether a sample may be lost is not told to a subscriber either. Nodes of this package send what may be with best-effort
//     reliability, which is told; what anybody else sends is taken to be sent with Block.
//   - A sample with Block that a full queue cannot take makes everything behind it on its link wait, for Config.WaitSubscriber at
//     most; then the subscriber loses samples until its handler takes one. A Put whose context ends may still be under way.
//   - The library asks no policy, so a peer refuses clients; a router takes them all.
//   - BestMatching chooses one complete queryable among nodes, not among the sessions of one node.
//   - A node in client mode does not end every query that comes for a queryable while that is being undeclared; it then ends when
//     its time is over.
//   - A large reply's or sample's attachment that lies across the bounds of two fragments is lost by zenoh-go.
//
// The library runs threads of its own; on the first Open their number for reception is set to eight by ZENOH_RUNTIME, unless the
// process has set that, so that slow subscribers do not stall others. It logs to standard error if RUST_LOG is set.
//
// It may import sdk/{transport,zenoh,status} and zenoh-go; whoever opens sessions may import it.
package zenohc

import (
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// Node has the links that its sessions share.
type Node interface {
	// ID is the node's Zenoh id.
	ID() string
	// Session opens another session of the node. The first one has the node's id, others have random ones.
	Session() (transport.Session, error)
	// Transports are what the node is linked with, in no order. Counters, users and certificates are not known.
	Transports() []zenoh.Transport
	// Close ends the node and its sessions.
	Close() error
}
