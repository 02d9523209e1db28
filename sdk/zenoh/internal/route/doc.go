// Package route is the routing core of a Zenoh node: client, peer and hub in one design.
//
// A Face is one remote, or one session of this process. What a face sends is handed to Router.Handle; what the router has
// to say to a face goes to the face's Peer. A face's Relation is all that tells a client from a peer and a hub:
//
//	Local  a session of this process          told what it asks for by INTEREST; gets its own puts and queries back
//	South  a client (we are its gateway)      told what it asks for by INTEREST
//	Mesh   a peer among peers                 told everything unasked, then D_FINAL(0)
//	North  our gateway                        told everything unasked; we ask by INTEREST for what local sessions and clients ask
//
// Declarations, data and queries go between any two faces of which one at least is Local or South: mesh peers and
// gateways are never relayed to each other. That clients of a peer reach the peer's whole mesh through it
// is what makes a daemon a hub and a mesh member at once.
//
// It promises that
//
//   - declarations reach each face in the order in which they took effect, and D_FINAL after what it ends;
//   - each REQUEST gets exactly one RESPONSE_FINAL, on every path, unless its source is gone or has cancelled it;
//   - a message is sent to a face at most once, and never back to where it came from, but for Local faces;
//   - Handle of a PUSH takes no lock and allocates nothing once its key has been seen; a REQUEST allocates its record;
//   - no input makes it panic or grow beyond the bounds in Options.
//
// It uses the ids that others declare for the beginnings of keys (D_KEYEXPR), and declares none itself. An id would shorten a message
// by the length of its key: 18 of 43 bytes of a call without arguments, none of which costs a system call or a packet. In turn each link
// would have a table of what was declared, which can only grow: declarations overtake data of lower priority, so no id can be
// withdrawn or used again while a message with it may still wait.
//
// It is pure: no I/O, no goroutine, no clock. Time comes in by Tick (and Options.Now for time stamps). Consolidation of
// replies is the querier's job, and so is calling every matching queryable of a session.
//
// Only sdk/zenoh may import it; it imports the standard library, sdk/zenoh/keyexpr and sdk/zenoh/wire.
package route
