//go:build zenohc

package zenohc

import (
	"context"

	"github.com/BooleanCat/option"
	native "github.com/eclipse-zenoh/zenoh-go/zenoh"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// Put implements transport.Session.
func (s *session) Put(ctx context.Context, key string, payload []byte, o transport.PutOptions) error {
	if err := s.check(ctx, "put on", key); err != nil {
		return err
	}
	put, err := s.putter(key, payload, &o)
	if err != nil {
		return err
	}
	if o.Congestion == transport.Drop {
		return classify("put on", key, s.node.use(put)) // waits a moment at most
	}
	done := make(chan error, 1)
	go func() { done <- s.node.use(put) }() // the library's call heeds no context
	select {
	case err := <-done:
		return classify("put on", key, err)
	case <-ctx.Done():
		return contextError(ctx, "put on", key)
	case <-s.done:
		return errClosed()
	}
}

// putter returns the call that publishes.
func (s *session) putter(key string, payload []byte, o *transport.PutOptions) (func(*native.Session) error, error) {
	k, err := expr(key)
	if err != nil {
		return nil, err
	}
	congestion, reliability := native.CongestionControlDrop, native.ReliabilityBestEffort
	if o.Congestion == transport.Block {
		congestion, reliability = native.CongestionControlBlock, native.ReliabilityReliable
	}
	if o.Kind == transport.Delete {
		if len(o.Attachment) > 0 {
			return nil, status.Errorf(status.Invalid, "delete %q: libzenohc sends no attachment with a delete", key)
		}
		opts := native.DeleteOptions{CongestionControl: option.Some(congestion), Reliability: option.Some(reliability)}
		return func(n *native.Session) error { return n.Delete(k, &opts) }, nil
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return nil, err
	}
	opts := native.PutOptions{
		Encoding: e, Attachement: filled(o.Attachment), CongestionControl: option.Some(congestion), Reliability: option.Some(reliability),
	}
	return func(n *native.Session) error { return n.Put(k, native.NewZBytes(payload), &opts) }, nil
}

// maxQueue bounds what a subscription may have waiting.
const maxQueue = 1 << 20

// subscription is a declared one.
type subscription struct {
	handle
	queue queue
}

// Subscribe implements transport.Session.
func (s *session) Subscribe(keyExpr string, o transport.SubscribeOptions, h func(transport.Sample)) (transport.Closer, error) {
	if err := s.check(context.Background(), "subscribe to", keyExpr); err != nil {
		return nil, err
	}
	k, err := expr(keyExpr)
	if err != nil {
		return nil, err
	}
	limit := o.Queue
	if limit <= 0 {
		limit = s.node.cfg.SubscriberQueue
	}
	d := &subscription{}
	d.queue.init(min(limit, maxQueue), s.node.cfg.WaitSubscriber, &s.dropped, func(x native.Sample) { h(sample(&x)) })
	take := native.Closure[native.Sample]{Call: func(x native.Sample) {
		d.queue.put(x, x.Reliability() == native.ReliabilityReliable)
	}}
	return s.declare(d, "subscribe to", keyExpr, func(n *native.Session) error {
		sub, err := n.DeclareSubscriber(k, take, nil)
		if err == nil {
			d.set(sub.Drop)
		}
		return err
	})
}

func (d *subscription) undeclare() {
	d.queue.Stop() // first: the library may wait for those who wait for room
	d.close()
}

func (d *subscription) join() { d.queue.Join() }
