package zenoh

import (
	"context"

	"github.com/essa-project/essad/sdk/zenoh/internal/route"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// PutOptions are the optional parts of a Put. nil and the zero value mean the defaults.
type PutOptions struct {
	Encoding          Encoding
	Attachment        []byte // nil means none
	Timestamp         Timestamp
	CongestionControl CongestionControl // Drop
	Priority          Priority
	Express           bool // do not wait for company: only for messages that are alone on their link
	Reliability       Reliability
	SourceInfo        SourceInfo
}

// DeleteOptions are the optional parts of a Delete. nil and the zero value mean the defaults.
type DeleteOptions struct {
	Attachment        []byte
	Timestamp         Timestamp
	CongestionControl CongestionControl // Drop
	Priority          Priority
	Express           bool
	Reliability       Reliability
	SourceInfo        SourceInfo
}

// Put publishes payload on key. It returns when the queues of every link that leads to a matching subscriber, and of every such
// subscriber in this node, have taken the sample or, with Drop, lost it; with Block it waits for that until ctx ends, with ctx's
// error.
func (s *Session) Put(ctx context.Context, key KeyExpr, payload []byte, o *PutOptions) error {
	if err := s.ready(ctx, key); err != nil {
		return err
	}
	var none PutOptions
	if o == nil {
		o = &none
	}
	m := newMessage(wire.Push, qos(o.Priority, o.CongestionControl, CongestionControlDrop, o.Express))
	m.Body.Kind, m.Body.Payload, m.Body.Encoding, m.Body.Attachment = wire.Put, payload, o.Encoding, o.Attachment
	m.Body.Timestamp, m.Body.Source, m.Reliable = o.Timestamp, o.SourceInfo, o.Reliability != ReliabilityBestEffort
	return s.publish(ctx, key, m)
}

// Delete publishes that key is deleted. It returns as Put does.
func (s *Session) Delete(ctx context.Context, key KeyExpr, o *DeleteOptions) error {
	if err := s.ready(ctx, key); err != nil {
		return err
	}
	var none DeleteOptions
	if o == nil {
		o = &none
	}
	m := newMessage(wire.Push, qos(o.Priority, o.CongestionControl, CongestionControlDrop, o.Express))
	m.Body.Kind, m.Body.Attachment = wire.Del, o.Attachment
	m.Body.Timestamp, m.Body.Source, m.Reliable = o.Timestamp, o.SourceInfo, o.Reliability != ReliabilityBestEffort
	return s.publish(ctx, key, m)
}

func (s *Session) publish(ctx context.Context, key KeyExpr, m *wire.Message) error {
	m.Key = wire.WireExpr{Sender: true, Suffix: key.s}
	blocks := m.QoS&wire.Block != 0
	s.send(m, s.until(ctx))
	if !blocks {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Err()
}

// PublisherOptions are the optional parts of a publisher. nil and the zero value mean the defaults.
type PublisherOptions struct {
	Encoding          Encoding // of puts that name none
	CongestionControl CongestionControl
	Priority          Priority
	Express           bool
	Reliability       Reliability
}

// PublisherPutOptions are the optional parts of a publisher's Put.
type PublisherPutOptions struct {
	Encoding   Encoding // the zero value means the publisher's
	Attachment []byte
	Timestamp  Timestamp
}

// PublisherDeleteOptions are the optional parts of a publisher's Delete.
type PublisherDeleteOptions struct {
	Attachment []byte
	Timestamp  Timestamp
}

// Publisher publishes on one key; it knows whether somebody subscribes.
type Publisher struct {
	matching
	o PublisherOptions
}

// DeclarePublisher declares a publisher on key.
func (s *Session) DeclarePublisher(key KeyExpr, o *PublisherOptions) (*Publisher, error) {
	p := &Publisher{}
	if o != nil {
		p.o = *o
	}
	if err := p.declare(s, key, route.Subscriber, false, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Put publishes payload, as Session.Put does.
func (p *Publisher) Put(ctx context.Context, payload []byte, o *PublisherPutOptions) error {
	put := PutOptions{
		Encoding: p.o.Encoding, CongestionControl: p.o.CongestionControl, Priority: p.o.Priority, Express: p.o.Express,
		Reliability: p.o.Reliability,
	}
	if o != nil {
		put.Attachment, put.Timestamp = o.Attachment, o.Timestamp
		if o.Encoding != (Encoding{}) {
			put.Encoding = o.Encoding
		}
	}
	if p.gone.Load() {
		return ErrClosed
	}
	return p.session.Put(ctx, p.key, payload, &put)
}

// Delete publishes that the key is deleted, as Session.Delete does.
func (p *Publisher) Delete(ctx context.Context, o *PublisherDeleteOptions) error {
	del := DeleteOptions{
		CongestionControl: p.o.CongestionControl, Priority: p.o.Priority, Express: p.o.Express, Reliability: p.o.Reliability,
	}
	if o != nil {
		del.Attachment, del.Timestamp = o.Attachment, o.Timestamp
	}
	if p.gone.Load() {
		return ErrClosed
	}
	return p.session.Delete(ctx, p.key, &del)
}

// Undeclare ends the publisher.
func (p *Publisher) Undeclare() error { return p.session.undeclare(p) }
