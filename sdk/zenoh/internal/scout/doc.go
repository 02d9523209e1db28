// Package scout finds other nodes: by multicast (SCOUT and HELLO messages) and by gossip (link
// states in OAM messages). It tells who was found and where; whether and how to connect is not its business.
//
// What is said when, and what is made of what others say, is pure: Answer, Asking and Gossip take messages and give
// messages. Scout is the thin shell of sockets around the multicast half; gossip travels on links, which are somebody
// else's.
//
// It promises that nothing that others send makes it panic, or grow beyond the bounds it names.
//
// Only sdk/zenoh may import it; it imports the standard library and sdk/zenoh/wire.
package scout
