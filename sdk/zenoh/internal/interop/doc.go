// Package interop holds sdk/zenoh against other implementations of the protocol. It has tests only: against the package
// eclipse-zenoh of PyPI, which is the Rust implementation, and against whoever sends what nobody should.
//
// ESSAD_INTEROP_PYTHON names the Python interpreters that have eclipse-zenoh, separated by colons; the suite runs once with
// each of them. Where it is not set those tests are skipped, and where what it names does not work they fail. Nothing here
// needs a network but loopback, or leaves a process behind.
//
// Nobody imports it.
package interop
