package topic

import (
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Trust says what the hub lets a client do. Each trust includes those before it.
type Trust uint8

// The trusts.
const (
	// User may call, run and use the key-value store:
	//
	//   - query: calls, runs, the clients' door to the key-value store, the seed, pings
	//   - subscribe: the output of one run, one watch
	//   - answer queries: the input of one run
	//   - follow tokens: who is alive
	//   - all of these, puts and tokens: keys outside the prefixes
	//
	// The topics of runs and watches are open to whoever knows their random id, which is why it must be given.
	User Trust = iota
	// Operator may administer the cluster too. That one can deploy code that sees a deployment's state, upload modules, list
	// what runs, read logs, and export or import all records of all spaces.
	Operator
	// Observer may see everything that is published too, and every token. It is for whoever may open the daemon's own socket.
	Observer
)

// ClientPolicy is what the hub lets clients do; everything else below the two prefixes is for members of the mesh.
//
// The policy keeps clients from what would break the cluster's own traffic: whatever their trust, they cannot answer for a
// role, speak as an executor, or publish a log. It does not keep clients apart from each other; that takes a door of its
// own, with tokens.
func (n Names) ClientPolicy(t Trust) transport.Policy {
	anyRun := func(end string) string { return n.essa(run, "*", end) }
	open := map[transport.Op][]string{
		transport.OpGet:        {n.Calls(), n.RunModule(), n.ClientRequest(), n.Seed(), n.Ping("*")},
		transport.OpLiveliness: {n.essa(alive, "**")},
	}
	administration := n.essa(admin, "**")
	if t >= Operator {
		open[transport.OpGet] = append(open[transport.OpGet], administration)
		open[transport.OpSubscribe] = append(open[transport.OpSubscribe], administration)
	}
	if t >= Observer {
		open[transport.OpSubscribe] = []string{"**"}
		open[transport.OpLiveliness] = []string{"**"}
	}
	byID := map[transport.Op][]string{
		transport.OpSubscribe: {anyRun("out"), n.Watch("*")},
		transport.OpQueryable: {anyRun("in")},
	}
	reserved := []string{n.essa("**"), n.anna("**")}
	return func(op transport.Op, keyExpr string) error {
		for _, x := range open[op] {
			if transport.Includes(x, keyExpr) {
				return nil
			}
		}
		if !transport.Wild(keyExpr) {
			for _, x := range byID[op] {
				if transport.Includes(x, keyExpr) {
					return nil
				}
			}
		}
		if t < Operator && (op == transport.OpGet || op == transport.OpSubscribe) && transport.Includes(administration, keyExpr) {
			return status.Errorf(status.Denied,
				"clients may not %s %q by this way: administration is for those who come by the daemon's own socket, unless fabric.admin says otherwise",
				op, keyExpr)
		}
		for _, x := range reserved {
			if transport.Intersects(x, keyExpr) {
				return status.Errorf(status.Denied,
					"clients may not %s %q: what is below %q and %q belongs to the cluster, except calls, runs, administration and the clients' topics of the key-value store",
					op, keyExpr, n.Essa, n.Anna)
			}
		}
		return nil
	}
}
