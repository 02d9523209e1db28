// Package zenoh makes a transport.Session of a session of sdk/zenoh: the fabric between processes and machines.
//
// It promises what transporttest pins. What Zenoh has no word for is done so:
//
//   - A query's context ends when its time is over, which travels with the query, when the link to the asker is lost, and when
//     the asker no longer waits: nodes of sdk/zenoh tell each other that. Behind a node of another implementation only the
//     first two are known.
//   - A sample sent with Block waits for room in a subscriber's queue across links, too; everything behind it on the same link
//     waits with it, up to zenoh.Config.WaitSubscriber, after which the subscriber loses samples. Put waits until its context
//     ends.
//   - Dropped counts what the session's own queues and its node's links have lost.
//   - What a policy of the other side refuses is an error where it is a query; a declaration or a sample that is refused has no
//     effect, and its sender does not hear of it.
//
// It may import sdk/{transport,zenoh,status}; whoever opens or serves sessions may import it.
package zenoh
