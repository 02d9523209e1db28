package client

import (
	"cmp"
	"context"
	"strings"
	"time"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// Quarantine says whose calls an executor refuses, and why.
type Quarantine = essav1.Quarantine

// DetailQuarantine is the detail of the error that refuses a call because of a quarantine. Its class is Denied: to send the
// call again does not help before somebody has done something, or the time is over.
const DetailQuarantine = "quarantine"

// Lift ends the quarantine of a deployment, all of its versions, or of a module that is run without one, by 12 digits or
// more of its hash. What is returned was lifted, strikes that had not led to a quarantine yet included.
func (c *Client) Lift(ctx context.Context, name string) ([]*Quarantine, error) {
	var out essav1.LiftReply
	err := c.admin(ctx, "quarantine-lift", &essav1.NameRequest{Name: name}, &out)
	return out.Lifted, err
}

// QuarantineError is the error of a call that is refused because of q.
func QuarantineError(q *Quarantine) error {
	name, way := "deployment "+q.Deployment+" version "+q.Version, "deploy another version, or "
	lift := q.Deployment
	if q.Deployment == "" {
		name, way, lift = "module "+Short(q.Module), "", Short(q.Module)
	}
	function := cmp.Or(strings.TrimPrefix(q.Function, "__essa_wrapper__"), "main")
	e := status.Errorf(status.Denied,
		"%s is in quarantine until %s: its calls did not end at their deadlines, and %d processes of engines had to be killed (the last for %s, in engine %q of executor %q); %slift it with: essad quarantine lift %s",
		name, time.Unix(0, q.UntilUnixNano).UTC().Format(time.RFC3339), q.Strikes, function, q.Engine, q.Executor, way, lift)
	e.Detail = DetailQuarantine
	return e
}

// Short is the beginning of a hash, enough for people and for Lift.
func Short(sha string) string { return sha[:min(len(sha), 12)] }
