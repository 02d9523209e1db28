// Package routing is the routing role: it knows who is alive, and tells whoever joins.
//
// Membership is the fabric's liveliness tokens and nothing else: a token that appears is a member, a lost one is gone at
// once. The membership itself (membership.go) is pure.
//
// It may import sdk/{transport,topic,proto,status} and hclog; never another role.
package routing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Options are what a routing role is made of.
type Options struct {
	ID      string
	Session transport.Session
	Logger  hclog.Logger
	OnReady func() // called once it answers
}

// Role is the routing role.
type Role struct {
	opts Options
	log  hclog.Logger

	mu      sync.Mutex
	members membership
}

// New makes a routing role; Run starts it.
func New(o Options) (*Role, error) {
	if o.ID == "" || o.Session == nil {
		return nil, errors.New("routing: Options need an ID and a Session")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Role{opts: o, log: o.Logger}, nil
}

// Run follows the members and answers the seed query until ctx ends.
func (r *Role) Run(ctx context.Context) error {
	names := topic.Default
	sub, err := r.opts.Session.SubscribeLiveliness(names.Alive("*", "*"), true, r.onAlive)
	if err != nil {
		return fmt.Errorf("routing: follow members: %w", err)
	}
	defer sub.Close()
	seed, err := r.opts.Session.Queryable(names.Seed(), transport.QueryableOptions{Complete: true, Inline: true}, r.handleSeed)
	if err != nil {
		return fmt.Errorf("routing: declare the seed: %w", err)
	}
	defer seed.Close()
	alive, err := r.opts.Session.Token(names.Alive("routing", r.opts.ID))
	if err != nil {
		return fmt.Errorf("routing: %w", err)
	}
	defer alive.Close()
	if r.opts.OnReady != nil {
		r.opts.OnReady()
	}
	<-ctx.Done()
	return nil
}

func (r *Role) onAlive(s transport.Sample) {
	role, node, err := topic.Default.ParseAlive(s.Key)
	if err != nil {
		return
	}
	x := member{role: role, node: node}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case s.Kind == transport.Delete && r.members.vanish(x):
		r.log.Info("member is gone", "role", role, "node", node)
	case s.Kind == transport.Put && r.members.appear(x, time.Now()):
		r.log.Debug("member is here", "role", role, "node", node)
	}
}

func (r *Role) handleSeed(q transport.Query) {
	out := &essav1.Members{}
	r.mu.Lock()
	for _, m := range r.members.list() {
		out.Members = append(out.Members, &essav1.Member{
			Role: m.role, Node: m.node, SinceUnixNano: r.members.since[m].UnixNano(),
		})
	}
	r.mu.Unlock()
	raw, err := proto.Marshal(out)
	if err != nil {
		_ = transport.ReplyStatus(q, status.Errorf(status.Internal, "routing: encode the members: %v", err))
		return
	}
	_ = q.Reply(topic.Default.Seed(), raw, transport.ReplyOptions{})
}
