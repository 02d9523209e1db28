package topic

import (
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// ClientPolicy is what the hub lets clients do; everything else below the two prefixes is for members of the mesh.
//
//   - query: calls and runs, administration, the clients' door to the key-value store, the seed
//   - subscribe: the output of one run, logs, one watch
//   - answer queries: the input of one run
//   - follow tokens: who is alive
//   - all of these, puts and tokens: keys outside the prefixes
//
// The topics of runs and watches are open to whoever knows their random id, which is why it must be given.
//
// Administration is for clients on purpose: whoever may open the socket (its mode and group decide) administers the cluster.
// That one can deploy code that sees a deployment's state, list what runs, and export or import all records of all spaces.
// The policy keeps clients from what would break the cluster's own traffic: they cannot answer for a role, speak as an
// executor, or publish a log. It does not keep clients apart from each other; that takes a door of its own, with tokens.
func (n Names) ClientPolicy() transport.Policy {
	anyRun := func(end string) string { return n.essa(run, "*", end) }
	open := map[transport.Op][]string{
		transport.OpGet: {
			n.Calls(), n.RunModule(), n.essa(admin, "**"), n.ClientRequest(), n.Seed(),
		},
		transport.OpSubscribe:  {n.essa(admin, "**")},
		transport.OpLiveliness: {n.essa(alive, "**")},
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
