package client

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Traffic is one thing that Tap saw.
type Traffic struct {
	Time   time.Time
	Kind   TrafficKind
	Sample transport.Sample
}

// TrafficKind says what was seen.
type TrafficKind uint8

// The kinds of traffic.
const (
	Published TrafficKind = iota // a value was put
	Deleted                      // a key was deleted
	Appeared                     // a liveliness token was declared
	Vanished                     // a token is gone
)

// String returns a word for the kind.
func (k TrafficKind) String() string {
	return [...]string{"put", "delete", "alive", "gone"}[k]
}

// tapQueue is how much traffic waits for a slow reader of Tap; more is lost, and counted.
const tapQueue = 8192

// Tap calls h for everything that is published on keyExpr, and for every liveliness token below it, until ctx ends, which
// is no error. It never slows down who publishes: what h is too slow for is lost, and the number of those is returned.
// own says that the session came in by a daemon's own socket, by which the cluster's internal topics may be seen too.
func (c *Client) Tap(ctx context.Context, keyExpr string, own bool, h func(Traffic)) (lost uint64, err error) {
	if err := transport.ValidKeyExpr(keyExpr); err != nil {
		return 0, err
	}
	trust := topic.Operator
	if own {
		trust = topic.Observer
	}
	// The hub refuses a subscription without a word, so that is done here, where somebody listens.
	allowed := c.names.ClientPolicy(trust)
	if err := allowed(transport.OpSubscribe, keyExpr); err != nil {
		return 0, status.Errorf(status.Denied, "%w; by a daemon's own socket they may", err)
	}
	seen := make(chan Traffic, tapQueue)
	var missed atomic.Uint64
	take := func(put, del TrafficKind) func(transport.Sample) {
		return func(s transport.Sample) {
			t := Traffic{Time: time.Now(), Kind: put, Sample: s}
			if s.Kind == transport.Delete {
				t.Kind = del
			}
			select {
			case seen <- t:
			default:
				missed.Add(1)
			}
		}
	}
	sub, err := c.session.Subscribe(keyExpr, transport.SubscribeOptions{}, take(Published, Deleted))
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	if allowed(transport.OpLiveliness, keyExpr) == nil {
		tokens, err := c.session.SubscribeLiveliness(keyExpr, true, take(Appeared, Vanished))
		if err != nil {
			return 0, err
		}
		defer tokens.Close()
	}
	tick := time.NewTicker(followCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return missed.Load(), nil
		case t := <-seen:
			h(t)
		case <-tick.C:
			// A subscription does not tell that its session is lost.
			if err := c.session.GetLiveliness(ctx, c.names.Alive("*", "*"), func(string) {}); err != nil && ctx.Err() == nil {
				return missed.Load(), status.Errorf(status.Unavailable, "the traffic is no longer seen: %w", err)
			}
		}
	}
}
