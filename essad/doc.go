// Essad is a stateful serverless runtime: the daemon and the command line in one program. People give it WebAssembly
// modules; it runs their functions on a cluster, lets functions call each other across nodes, and gives them shared state in
// a lattice key-value store.
//
// # The parts
//
// A daemon plays the roles that its configuration names. Roles speak to each other through the message fabric
// (sdk/transport), also inside one process, so that one process with all roles and many machines with one each differ
// only in their files. There is one exception: calls that a scheduler places on the executor of its own process are handed
// over by a function call (scheduler.Options.Local), because on the way of every call the encoding, routing and decoding
// took a fifth of the daemon's time. What is handed over and what comes back is the same.
//
//	        essad run, call, kvs ...        applications
//	                  |                          |  sdk/client
//	  ================+==========================+=====================  fabric: sdk/transport
//	    |                |                 |               |
//	routing          scheduler         executor           kvs
//	who is there,    places calls      runs functions,    stores lattice
//	where keys live  and runs          caches state       values
//	                                   |                  |
//	                             - - - + - - - - - - - - -+- - -          process border: sdk/plugin
//	                                   |                  |
//	                             engine plugin       store plugin
//	                             (plugins/wazero)    (plugins/pebble)
//
// Engines and stores are separate processes. A crash of one costs the calls in it, never the daemon. An executor has one
// engine or several, each of one process or several shards; which one runs a call is its deployment's choice, and in which
// shard the executor's. Whose calls make processes be killed is refused after a while (quarantine): the supervisor knows
// which call it was, the executor whose, and its report tells the schedulers.
//
// The fabric of a daemon is one node of sdk/zenoh, of which each role has a session (sdk/transport/zenoh): among them
// messages go without a link, to other daemons over one. To daemons the node is a peer, to clients a router; what clients may
// do is a policy in sdk/topic. Who is there is told by liveliness tokens: essa/alive/ROLE/NODE for each role, and
// essa/node/NAME/ID/START for each process.
//
// # A call from any Zenoh client
//
// A query on essa/call/DEPLOYMENT/FUNCTION/- with the arguments as its payload is answered with one reply, whose payload is
// the result, or an error reply with the encoding text/plain;essa-error=CLASS. Its selector may have the parameters deadline_ms
// and id; its attachment may be an essa.v1.CallMeta instead. README and examples/python-client show one.
//
// # Where things are
//
//	essad/internal/cli         commands: parse, ask the daemon, print
//	essad/internal/agent       from configuration to running roles; started in order, stopped in reverse
//	essad/internal/supervisor  plugin processes: find, check, start, watch, restart, stop
//	essad/internal/ROLE        one role each: a pure core and a thin shell around it
//	config                     schema, loading, diagnostics
//	sdk                        what others import: contracts, client, guest library, plugin border
//	plugins                    one program each
//
// Who may import what is a table, in imports_test.go; that every package says what it is, is checked in pkgdoc_test.go.
//
// # Three trips through the house
//
// A call (essad call shop total): cli parses it; sdk/client asks the fabric; the scheduler's shell makes a message of the
// query, its core chooses an executor, the shell passes it on; the executor's core accounts for it; engine.Engine.Invoke
// takes it over the process border; the engine's runtime gets a clean instance and enters the guest. What the guest asks for
// meets the runtime first and leaves the engine's process only where it must. The result takes the same doors backwards.
//
// A put (essad kvs PUT k v): sdk/client finds the owner of the key; the kvs shell hands it to the key's shard, whose core
// checks, merges, stamps and marks it changed; the batch it is in goes to storage.Store.Apply; it is acknowledged when the
// durability that was asked for is reached. From the same list of changes come watches and caches.
//
// A configuration key (kvs.durability): one field in config's schema; the agent copies it into kvs.Options; `essad config
// print` shows it with its origin. A role never sees the configuration.
//
// An error makes the trip back with its class (sdk/status), which fixes the exit code, the HTTP status and what a guest sees.
package main
