package zenoh

import (
	"slices"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// SubscriberOptions are the optional parts of a subscriber. nil and the zero value mean the defaults.
type SubscriberOptions struct {
	// Queue is how many samples wait for the handler at most; 0 means Config.SubscriberQueue. A sample that finds it full is
	// lost and counted if its congestion control is Drop; with Block its publisher waits, see Config.WaitSubscriber.
	Queue int
}

// Subscriber gets samples: its handler is called one at a time, in the order in which each publisher sent them.
type Subscriber struct {
	session *Session
	key     KeyExpr
	id      uint32
	queue   queue
	ch      <-chan Sample
	ending  chan struct{} // closed first, so that a handler that waits for room in its channel returns
}

func newSubscriber(s *Session, key KeyExpr, h Handler[Sample], limit int, keepLast bool) *Subscriber {
	sub := &Subscriber{session: s, key: key, id: s.nextID.Add(1), ending: make(chan struct{})}
	call, drop, ch := h.bind(sub.ending)
	sub.ch = ch
	sub.queue.init(s.node, limit, keepLast, call, drop)
	return sub
}

// DeclareSubscriber has h get every sample whose key intersects key.
func (s *Session) DeclareSubscriber(key KeyExpr, h Handler[Sample], o *SubscriberOptions) (*Subscriber, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	limit := s.node.cfg.SubscriberQueue
	if o != nil && o.Queue > 0 {
		limit = o.Queue
	}
	sub := newSubscriber(s, key, h, limit, false)
	err := s.declare(sub, func() {
		s.subscribers.add(key.s, sub)
		s.sendDeclare(wire.Declaration{Kind: wire.DeclSubscriber, ID: sub.id}, key.s)
	})
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// KeyExpr is what is subscribed to.
func (sub *Subscriber) KeyExpr() KeyExpr { return sub.key }

// Handler is the channel of a FifoChannel or RingChannel, nil for a Closure.
func (sub *Subscriber) Handler() <-chan Sample { return sub.ch }

// Undeclare ends the subscriber and waits for its handler, unless it is called from there. Doing so twice is harmless.
func (sub *Subscriber) Undeclare() error { return sub.session.undeclare(sub) }

func (sub *Subscriber) withdraw() {
	s := sub.session
	s.sendDeclare(wire.Declaration{Kind: wire.UndeclSubscriber, ID: sub.id}, "")
	s.subscribers.remove(sub.key.s, sub)
	sub.stop()
}

// stop lets no handler start any more.
func (sub *Subscriber) stop() {
	close(sub.ending)
	sub.queue.Stop()
}

func (sub *Subscriber) join() { sub.queue.Join() }

// deliver gives a PUSH to the subscribers that match.
func (s *Session) deliver(m *wire.Message, done <-chan struct{}) {
	found := s.subscribers.find(m.Key.Suffix)
	if len(found.list) == 0 {
		return
	}
	var x Sample
	if !x.fill(m, found.key) {
		return
	}
	for _, sub := range found.list {
		if sub.queue.Offer(&x) {
			continue
		}
		if m.QoS&wire.Block == 0 || !sub.queue.wait(&x, done, s.node.patience(done)) {
			s.dropped.Add(1)
		}
	}
}

// fill makes s the sample that a PUSH or a RESPONSE carries, with its own copy of what does not belong to m.
func (s *Sample) fill(m *wire.Message, key string) bool {
	b := &m.Body
	switch b.Kind {
	case wire.Put:
		s.Kind = SampleKindPut
	case wire.Del:
		s.Kind = SampleKindDelete
	default:
		return false
	}
	s.KeyExpr = KeyExpr{key}
	s.Payload, s.Attachment, s.Encoding = b.Payload, b.Attachment, b.Encoding
	s.Timestamp, s.SourceInfo = b.Timestamp, b.Source
	if !m.Owned {
		s.Payload, s.Attachment = slices.Clone(b.Payload), slices.Clone(b.Attachment)
		s.Encoding.Schema = string([]byte(b.Encoding.Schema))
	}
	s.setQoS(m)
	return true
}
