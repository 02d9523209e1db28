// Package link connects this process to remote Zenoh nodes. It opens and accepts links (tcp, tls, unixsock-stream), does
// the handshake, and makes of all links to one node one Transport, which carries network messages both ways: lanes,
// sequence numbers, batches, fragments, congestion control, keep-alive and leases (Zenoh protocol 9 over streams).
//
// It has a pure core and a thin shell. The handshake (opener, acceptor), what is received (receiver) and what waits to be
// sent (queue) are bytes in, bytes and decisions out. Around them a Manager has one goroutine per link, which reads, and
// one for all links, which watches leases. Nobody has a goroutine to write: who sends to an idle link writes himself, what
// is sent meanwhile goes in the next write, and what anybody sends while messages are being read is written once
// nothing more is there to be read, or after a few reads. No sender is ever held up by a peer that does not read: a link that takes no more is left to a goroutine
// that lives until it is empty.
//
// It promises that:
//
//   - messages of one priority and reliability arrive in the order of their Sends, and a Control message before every
//     message sent after it;
//   - a message that was received is valid until Handler.Message returns, and aliases the buffer it was read into, unless
//     it is Owned (it came in fragments);
//   - whatever a peer sends costs it its link at most. Memory grows with what has arrived, and up to a bound: per link
//     one read buffer, per transport Options.MaxMessage for all messages that are not complete yet;
//   - memory for what waits to be sent is bounded, too: per priority Options.QueueBytes and one message;
//   - an idle transport costs about 10 KiB over tcp or a unix socket, most of which is the stack of its reader, and 30 KiB more over
//     tls, for keys and a buffer.
//
// Only packages under sdk/zenoh may import it; it imports wire, sdk/internal/sock, the standard library and golang.org/x/sys.
package link
