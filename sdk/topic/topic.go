// Package topic holds every key expression that essad uses, and takes keys apart again.
//
// The names are the ones of essa-rs and anna-rs, without the leading slash that Zenoh 1.x forbids, under prefixes that a
// cluster can choose. Whatever comes from outside (names of deployments, functions, nodes) is percent-encoded, so that no
// name can break out of its chunk; keys of the key-value store never appear in a key expression at all.
//
// Where a parameter names a node, a role or an executor, "*" stands for all of them: those are chosen by operators and
// checked by the configuration. A deployment, a module or a function named "*" is encoded like any other.
//
// It may import the standard library, sdk/status and sdk/transport; everybody may import it.
package topic

import (
	"strconv"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// Names are the prefixes of a cluster's topics. Both must be concrete key expressions.
type Names struct {
	Essa string // of functions and administration
	Anna string // of the key-value store
}

// Default are the prefixes used where nothing else is configured.
var Default = Names{Essa: "essa", Anna: "anna"}

// The first chunks below the prefix Essa.
const (
	runModule = "run-module"
	call      = "call"
	executor  = "executor"
	alive     = "alive"
	run       = "run"
	admin     = "admin"
	ping      = "ping"
	node      = "node"
)

func (n Names) essa(chunks ...string) string { return n.Essa + "/" + strings.Join(chunks, "/") }
func (n Names) anna(chunks ...string) string { return n.Anna + "/" + strings.Join(chunks, "/") }

// RunModule is where schedulers take modules to run: a query with the module as payload, or named by its attachment.
func (n Names) RunModule() string { return n.essa(runModule) }

// Call is where schedulers take calls of a deployment's function. args is the key of arguments that were stored
// beforehand, as upstream does it; empty where they are the query's payload.
func (n Names) Call(deployment, function, args string) string {
	return n.essa(call, Encode(deployment), Encode(function), encodeArgs(args))
}

// Calls is what a scheduler declares to get every Call.
func (n Names) Calls() string { return n.essa(call, "**") }

// ParseCall takes the key of a call apart.
func (n Names) ParseCall(key string) (deployment, function, args string, err error) {
	c, err := split(key, n.Essa, call, 3)
	if err != nil {
		return "", "", "", err
	}
	return decode3(key, c)
}

// ExecutorRun is where an executor takes runs from schedulers.
func (n Names) ExecutorRun(id string) string { return n.essa(executor, wild(id), runModule) }

// RunFunction is where an executor takes calls of one function from schedulers.
func (n Names) RunFunction(id, module, function, args string) string {
	return n.essa(executor, wild(id), "run-function", Encode(module), Encode(function), encodeArgs(args))
}

// ExecutorFunctions is what an executor declares to get every RunFunction meant for it.
func (n Names) ExecutorFunctions(id string) string {
	return n.essa(executor, wild(id), "run-function", "**")
}

// ParseRunFunction takes the key of a RunFunction apart.
func (n Names) ParseRunFunction(key string) (id, module, function, args string, err error) {
	c, err := split(key, n.Essa, executor, 5)
	if err != nil || c[1] != "run-function" {
		return "", "", "", "", invalid(key, "a function of an executor")
	}
	if id, err = Decode(c[0]); err != nil {
		return "", "", "", "", err
	}
	module, function, args, err = decode3(key, c[2:])
	return id, module, function, args, err
}

// ExecutorInfo is where an executor tells what it is and what it holds.
func (n Names) ExecutorInfo(id string) string { return n.essa(executor, wild(id), "info") }

// ExecutorPrepare is where an executor is asked to look at a module before it is deployed.
func (n Names) ExecutorPrepare(id string) string { return n.essa(executor, wild(id), "prepare") }

// ExecutorLift is where an executor is asked to end a quarantine.
func (n Names) ExecutorLift(id string) string { return n.essa(executor, wild(id), "lift") }

// ExecutorReport is where an executor publishes its load.
func (n Names) ExecutorReport(id string) string { return n.essa(executor, wild(id), "report") }

// Nested is where schedulers take the nested calls that an executor cannot run itself.
func (n Names) Nested(id string) string { return n.essa(executor, wild(id), "nested") }

// ParseNested returns the executor whose nested call key is.
func (n Names) ParseNested(key string) (id string, err error) {
	c, err := split(key, n.Essa, executor, 2)
	if err != nil || c[1] != "nested" {
		return "", invalid(key, "a nested call")
	}
	return Decode(c[0])
}

// Alive is the liveliness token of a role on a node.
func (n Names) Alive(role, node string) string { return n.essa(alive, wild(role), wild(node)) }

// ParseAlive takes the key of a liveliness token apart.
func (n Names) ParseAlive(key string) (role, node string, err error) {
	c, err := split(key, n.Essa, alive, 2)
	if err != nil {
		return "", "", err
	}
	if role, err = Decode(c[0]); err != nil {
		return "", "", err
	}
	node, err = Decode(c[1])
	return role, node, err
}

// Ping is where a daemon sends back what it is sent.
func (n Names) Ping(node string) string { return n.essa(ping, wild(node)) }

// Daemon is the liveliness token of one process: its node's name, its id in the fabric and when it started. Two daemons of one
// name so have two tokens.
func (n Names) Daemon(name, id string, started time.Time) string {
	return n.essa(node, Encode(name), Encode(id), strconv.FormatInt(started.UnixNano(), 10))
}

// Daemons is where all Daemon tokens are.
func (n Names) Daemons() string { return n.essa(node, "*", "*", "*") }

// ParseDaemon takes the key of a Daemon token apart.
func (n Names) ParseDaemon(key string) (name, id string, started time.Time, err error) {
	c, err := split(key, n.Essa, node, 3)
	if err != nil {
		return "", "", time.Time{}, err
	}
	ns, err := strconv.ParseInt(c[2], 10, 64)
	if err != nil {
		return "", "", time.Time{}, invalid(key, "a daemon")
	}
	if name, err = Decode(c[0]); err == nil {
		id, err = Decode(c[1])
	}
	return name, id, time.Unix(0, ns), err
}

// RunOut is where the output of a run is published.
func (n Names) RunOut(id string) string { return n.essa(run, wild(id), "out") }

// RunIn is where a run asks for its standard input.
func (n Names) RunIn(id string) string { return n.essa(run, wild(id), "in") }

// ParseRun returns the run whose RunOut or RunIn key is, and whether it is the output.
func (n Names) ParseRun(key string) (id string, out bool, err error) {
	c, err := split(key, n.Essa, run, 2)
	if err != nil || (c[1] != "out" && c[1] != "in") {
		return "", false, invalid(key, "the output or input of a run")
	}
	id, err = Decode(c[0])
	return id, c[1] == "out", err
}

// Admin is where the members of a group ("scheduler", "node", ...) take an administrative request.
func (n Names) Admin(group, verb string) string { return n.essa(admin, wild(group), wild(verb)) }

// ParseAdmin takes the key of an administrative request apart.
func (n Names) ParseAdmin(key string) (group, verb string, err error) {
	c, err := split(key, n.Essa, admin, 2)
	if err != nil {
		return "", "", err
	}
	if group, err = Decode(c[0]); err != nil {
		return "", "", err
	}
	verb, err = Decode(c[1])
	return group, verb, err
}

// ExecutorLogs is where an executor is asked for the log of a deployment.
func (n Names) ExecutorLogs(id string) string { return n.essa(admin, executor, wild(id), "logs") }

// Log is where what a deployment logs is published.
func (n Names) Log(deployment string) string { return n.essa(admin, "log", Encode(deployment)) }

// split takes the prefix and first chunk off key and returns the chunks after them, of which there must be count.
func split(key, prefix, first string, count int) ([]string, error) {
	rest, ok := strings.CutPrefix(key, prefix)
	if ok {
		rest, ok = strings.CutPrefix(rest, "/"+first+"/")
	}
	if !ok {
		return nil, invalid(key, first)
	}
	c := strings.Split(rest, "/")
	if len(c) != count {
		return nil, invalid(key, first)
	}
	return c, nil
}

// decode3 decodes two foreign chunks and the chunk of arguments.
func decode3(key string, c []string) (x, y, args string, err error) {
	if x, err = Decode(c[0]); err == nil {
		if y, err = Decode(c[1]); err == nil {
			args, err = decodeArgs(c[2])
		}
	}
	if err != nil {
		return "", "", "", status.Errorf(status.Invalid, "key %q: %w", key, err)
	}
	return x, y, args, nil
}

func invalid(key, what string) error {
	return status.Errorf(status.Invalid, "key %q does not name %s", key, what)
}
