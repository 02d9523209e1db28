package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Pong is one daemon's answer to a Ping.
type Pong struct {
	Node string
	ID   string        // Zenoh id of its node of the fabric; empty where it has none of its own
	RTT  time.Duration // from the question to the answer
}

// Ping sends payload to a daemon, or to all of them where node is "*", and calls h for each answer as it comes. It returns
// once all have answered, or when ctx ends; that nobody answers is a NotFound error where one was named.
func (c *Client) Ping(ctx context.Context, node string, payload []byte, h func(Pong)) error {
	start, answers := time.Now(), 0
	var wrong error
	err := c.session.Get(ctx, transport.Selector{KeyExpr: c.names.Ping(node)}, transport.GetOptions{
		Payload: payload, Target: transport.All, Consolidation: transport.None,
	}, func(r transport.Reply) {
		rtt := time.Since(start)
		var out essav1.Pong
		switch {
		case r.Err != nil:
			wrong = r.Err.AsError()
		case proto.Unmarshal(r.Sample.Attachment, &out) != nil || len(r.Sample.Payload) != len(payload):
			wrong = status.Errorf(status.Internal, "client: the answer to a ping of %s is none", node)
		default:
			answers++
			h(Pong{Node: out.Node, ID: out.Id, RTT: rtt})
		}
	})
	switch {
	case err != nil:
		return err
	case answers == 0 && wrong != nil:
		return wrong
	case answers == 0 && node != "*":
		return status.Errorf(status.NotFound, "no daemon %q answers (essad status lists them)", node)
	}
	return nil
}
