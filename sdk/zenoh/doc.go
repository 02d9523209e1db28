// Package zenoh is Zenoh 1.x in Go: sessions that publish, subscribe, query, answer queries and hold liveliness tokens on
// key expressions, with any other implementation of the protocol. It needs no native library.
//
// # Nodes and sessions
//
// A Node has an id, links to other nodes and a routing table; its Config says whether it is a client (one gateway, which
// routes for it), a peer (linked to each of its fellows, relaying for none) or a router: a hub, which is a peer towards
// peers and relays for the clients that are attached to it. A hub is no member of a network of routers: a router that dials it is refused
// with a message that says what to do instead (mode: client).
//
// A Session is one participant. Open makes a node with a session in one; Node.Session adds sessions to a node, which
// share its links, reach each other without any, and end one by one.
//
//	s, err := zenoh.Open(ctx, zenoh.Config{Mode: zenoh.ModeClient, Connect: []string{"tcp/192.0.2.1:7447"}})
//	if err != nil { ... }
//	defer s.Close()
//	sub, err := s.DeclareSubscriber(zenoh.MustKeyExpr("demo/**"), zenoh.Closure[zenoh.Sample]{Call: func(x zenoh.Sample) { ... }}, nil)
//	err = s.Put(ctx, zenoh.MustKeyExpr("demo/a"), []byte("hello"), nil)
//
// # What it promises
//
// Names and shapes follow the official Go binding (zenoh-go 1.9), but for what Go does otherwise: a context comes first
// where something waits, samples and replies are structs, options are pointers to structs of which nil means the defaults.
//
// Payloads, attachments and parameters that are handed over, in either direction, are never changed afterwards: a caller
// must not, and between sessions of one node they are delivered without a copy.
//
// Handlers of one subscriber, or of one Get, are never called concurrently, and never after what they belong to has been
// undeclared, closed or has returned; undeclaring waits for a handler that runs, unless it is called from within it. Each query has a
// goroutine of its own. Every queue, table and wait has a bound that Config names.
//
// A link that is lost is dialled again; everything a session has declared is declared again on the new one.
//
// # Who may import it
//
// Anybody. It imports the standard library, golang.org/x/crypto, golang.org/x/sys and its own packages.
package zenoh
