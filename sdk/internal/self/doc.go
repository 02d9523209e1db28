// Package self tells goroutines apart, so that a Close can tell whether it was called from within the handler that it
// would wait for. The runtime has no call for that, and parsing a stack trace costs more than a whole query.
//
// It imports the standard library only; sdk/transport with its implementations and sdk/zenoh may import it. Nothing but Close may depend
// on it: who a goroutine is must never decide what it may do.
package self
