// Package local carries a transport.Session over a unix socket: Dial opens one in another process, Serve gives each
// connection a session of the daemon's own fabric.
//
// It promises what transporttest pins. A connection that is lost ends everything on it: queries with an Unavailable error,
// tokens and declarations without a trace. What a client may do is decided by Options.Allow, which the server asks for each
// declaration, put and query.
//
// # The wire
//
// Requests and notices of sdk/frame, version 1. A number is an unsigned varint, a string or byte string its length as a
// number and its bytes, "rest" what remains of the body; "remaining" is the nanoseconds that are left, plus one, or 0 for
// no limit.
//
//	request      from    body                                                        reply
//	open         client                                                              done: id string
//	put          client  key, kind u8, congestion u8, encoding, attachment, rest     done
//	subscribe    client  stream, key, queue, window                                  done
//	follow       client  stream, key, history u8, window                             done
//	queryable    client  declaration, key, complete u8                               done
//	token        client  declaration, key                                            done
//	undeclare    client  stream or declaration                                       done
//	alive        client  key                                                         done: count, keys
//	goodbye      client                                                              done; takes everything back
//	get          client  stream, key, parameters, target u8, consolidation u8,       done or item
//	                     remaining, encoding, attachment, rest
//	query        server  declaration, stream, key, parameters, remaining,            done or item
//	                     encoding, attachment, rest
//
//	notice       body
//	item         stream, item
//	credit       stream, items, bytes
//
// The body of an item is: kind u8 (0 put, 1 delete, 2 error), samples lost before it, key, encoding, attachment, rest. Any
// request may be answered by "failed": the wire form of the error's class, then its text as the rest.
//
// A stream carries items (samples, or the replies to a query) to whoever chose its id. At most a window of items, and
// about streamBytes of them, are under way; the receiver gives credit back as its handler takes them, so that a slow one
// makes its own sender wait and nobody else. The last reply of a query travels in the reply that makes it final if it
// comes within holdFor of it, so that a query with one answer is one frame each way.
//
// It may import sdk/{transport,frame,status}; whoever opens or serves sessions may import it.
package local

import (
	"time"

	"github.com/essa-project/essad/sdk/frame"
)

// The types of frames.
const (
	typeOpen = frame.FirstType + iota
	typePut
	typeSubscribe
	typeFollow
	typeQueryable
	typeToken
	typeUndeclare
	typeAlive
	typeGoodbye
	typeGet
	typeQuery
	typeItem // as a notice, and as a reply
	typeCredit
	typeDone
	typeFailed
)

var versions = frame.Versions{Min: 1, Max: 1}

// Bounds of a connection.
const (
	// MaxFrameBytes bounds a message with its key and attachment. It leaves room for the largest payload, of 64 MiB.
	MaxFrameBytes = 80 << 20
	// MaxRequests bounds the requests without an answer, for each direction.
	MaxRequests = 4096
	// MaxRequestBytes bounds their bodies together, for each direction.
	MaxRequestBytes = 256 << 20
	// MaxDeclarations bounds what a client has declared.
	MaxDeclarations = 4096
	// MaxConnections bounds the connections of a server.
	MaxConnections = 1024

	streamItems = 256     // replies to one query under way
	streamBytes = 1 << 20 // of one stream under way, but for the last item
	maxQueue    = 1 << 20 // samples that a client's subscription may have waiting

	holdFor = 100 * time.Microsecond

	// goodbyeTimeout bounds how long Close waits for the daemon.
	goodbyeTimeout = time.Second
)

var limits = frame.Limits{MaxFrame: MaxFrameBytes, MaxRequests: MaxRequests, MaxRequestBytes: MaxRequestBytes}
