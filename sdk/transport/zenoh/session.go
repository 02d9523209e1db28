package zenoh

import (
	"context"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/zenoh"
)

// Session is a transport.Session over a Zenoh session. It implements transport.DropCounter, too.
type Session struct{ s *zenoh.Session }

// Wrap makes a transport.Session of s, which closes it.
func Wrap(s *zenoh.Session) *Session { return &Session{s} }

// Open makes a node and a session of it; its errors have classes.
func Open(ctx context.Context, c zenoh.Config) (*Session, error) {
	s, err := zenoh.Open(ctx, c)
	if err != nil {
		return nil, OpenError(err)
	}
	return Wrap(s), nil
}

// Zenoh is the session inside.
func (s *Session) Zenoh() *zenoh.Session { return s.s }

// ID implements transport.Session.
func (s *Session) ID() string { return s.s.ID().String() }

// Dropped implements transport.DropCounter.
func (s *Session) Dropped() uint64 { return s.s.Dropped() + s.s.Node().Dropped() }

// Close implements transport.Session.
func (s *Session) Close() error { return classify("close", s.ID(), s.s.Close()) }

// key checks a key expression.
func key(s string) (zenoh.KeyExpr, error) {
	k, err := zenoh.NewKeyExpr(s)
	if err != nil {
		return k, status.Errorf(status.Invalid, "%w", err)
	}
	return k, nil
}

// encoding turns a Zenoh encoding's text into the encoding; "" is bytes.
func encoding(s string) (zenoh.Encoding, error) {
	if s == "" {
		return zenoh.Encoding{}, nil
	}
	e, err := zenoh.ParseEncoding(s)
	if err != nil {
		return e, status.Errorf(status.Invalid, "encoding %q: %w", s, err)
	}
	return e, nil
}

func encodingText(e zenoh.Encoding) string {
	if e == (zenoh.Encoding{}) {
		return ""
	}
	return e.String()
}

// Put implements transport.Session.
func (s *Session) Put(ctx context.Context, keyExpr string, payload []byte, o transport.PutOptions) error {
	k, err := key(keyExpr)
	if err != nil {
		return err
	}
	congestion := zenoh.CongestionControlDrop
	if o.Congestion == transport.Block {
		congestion = zenoh.CongestionControlBlock
	}
	if o.Kind == transport.Delete {
		err := s.s.Delete(ctx, k, &zenoh.DeleteOptions{Attachment: o.Attachment, CongestionControl: congestion})
		return classify("put on", keyExpr, err)
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return err
	}
	err = s.s.Put(ctx, k, payload, &zenoh.PutOptions{Encoding: e, Attachment: o.Attachment, CongestionControl: congestion})
	return classify("put on", keyExpr, err)
}

// maxQueue bounds what a subscription may have waiting.
const maxQueue = 1 << 20

// Subscribe implements transport.Session.
func (s *Session) Subscribe(keyExpr string, o transport.SubscribeOptions, h func(transport.Sample)) (transport.Closer, error) {
	k, err := key(keyExpr)
	if err != nil {
		return nil, err
	}
	call := zenoh.Closure[zenoh.Sample]{Call: func(x zenoh.Sample) { h(sample(&x)) }}
	sub, err := s.s.DeclareSubscriber(k, call, &zenoh.SubscriberOptions{Queue: min(o.Queue, maxQueue)})
	if err != nil {
		return nil, classify("subscribe to", keyExpr, err)
	}
	return closer{sub}, nil
}

func sample(x *zenoh.Sample) transport.Sample {
	s := transport.Sample{
		Key: x.KeyExpr.String(), Payload: x.Payload, Encoding: encodingText(x.Encoding), Attachment: x.Attachment,
	}
	if x.Kind == zenoh.SampleKindDelete {
		s.Kind = transport.Delete
	}
	return s
}

// closer undeclares something.
type closer struct {
	d interface{ Undeclare() error }
}

// Close implements transport.Closer.
func (c closer) Close() error { return c.d.Undeclare() }

// Get implements transport.Session.
func (s *Session) Get(ctx context.Context, sel transport.Selector, o transport.GetOptions, h func(transport.Reply)) error {
	k, err := key(sel.KeyExpr)
	if err != nil {
		return err
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return err
	}
	get := zenoh.GetOptions{
		Payload: o.Payload, Encoding: e, Attachment: o.Attachment, Timeout: o.Timeout, Consolidation: zenoh.ConsolidationModeLatest,
		Target: targets[o.Target%transport.Target(len(targets))],
	}
	if o.Consolidation == transport.None {
		get.Consolidation = zenoh.ConsolidationModeNone
	}
	err = s.s.Get(ctx, k, sel.Parameters, func(r zenoh.Reply) { h(reply(&r)) }, &get)
	return classify("query", sel.KeyExpr, err)
}

var targets = [...]zenoh.QueryTarget{
	transport.BestMatching: zenoh.QueryTargetBestMatching, transport.All: zenoh.QueryTargetAll,
	transport.AllComplete: zenoh.QueryTargetAllComplete,
}

func reply(r *zenoh.Reply) transport.Reply {
	if r.Err != nil {
		return transport.Reply{Err: &transport.ReplyError{Payload: r.Err.Payload, Encoding: encodingText(r.Err.Encoding)}}
	}
	return transport.Reply{Sample: sample(&r.Sample)}
}

// Queryable implements transport.Session.
func (s *Session) Queryable(keyExpr string, o transport.QueryableOptions, h func(transport.Query)) (transport.Closer, error) {
	k, err := key(keyExpr)
	if err != nil {
		return nil, err
	}
	call := zenoh.Closure[*zenoh.Query]{Call: func(q *zenoh.Query) { h((*query)(q)) }}
	qb, err := s.s.DeclareQueryable(k, call, &zenoh.QueryableOptions{Complete: o.Complete, Inline: o.Inline, Quick: o.Quick})
	if err != nil {
		return nil, classify("answer queries on", keyExpr, err)
	}
	return queryable{qb}, nil
}

// queryable is a declared one. It implements transport.Undeclarer.
type queryable struct{ q *zenoh.Queryable }

// Close implements transport.Closer.
func (q queryable) Close() error { return q.q.Undeclare() }

// Undeclare implements transport.Undeclarer.
func (q queryable) Undeclare() { q.q.Withdraw() }

// Token implements transport.Session.
func (s *Session) Token(keyExpr string) (transport.Closer, error) {
	k, err := key(keyExpr)
	if err != nil {
		return nil, err
	}
	t, err := s.s.Liveliness().DeclareToken(k)
	if err != nil {
		return nil, classify("declare a token on", keyExpr, err)
	}
	return closer{t}, nil
}

// SubscribeLiveliness implements transport.Session.
func (s *Session) SubscribeLiveliness(keyExpr string, history bool, h func(transport.Sample)) (transport.Closer, error) {
	k, err := key(keyExpr)
	if err != nil {
		return nil, err
	}
	call := zenoh.Closure[zenoh.Sample]{Call: func(x zenoh.Sample) { h(sample(&x)) }}
	sub, err := s.s.Liveliness().DeclareSubscriber(k, call, &zenoh.LivelinessSubscriberOptions{History: history})
	if err != nil {
		return nil, classify("follow tokens on", keyExpr, err)
	}
	return closer{sub}, nil
}

// GetLiveliness implements transport.Session.
func (s *Session) GetLiveliness(ctx context.Context, keyExpr string, h func(key string)) error {
	k, err := key(keyExpr)
	if err != nil {
		return err
	}
	err = s.s.Liveliness().Get(ctx, k, func(k zenoh.KeyExpr) { h(k.String()) }, nil)
	return classify("get tokens of", keyExpr, err)
}

// Batch implements transport.Batcher.
func (s *Session) Batch(f func()) { s.s.Node().Batch(f) }

// query is a query as transport sees it. It implements transport.Later.
type query zenoh.Query

func (q *query) inner() *zenoh.Query      { return (*zenoh.Query)(q) }
func (q *query) Context() context.Context { return q.inner().Context() }
func (q *query) KeyExpr() string          { return q.inner().KeyExpr().String() }
func (q *query) Parameters() string       { return q.inner().Parameters() }
func (q *query) Payload() []byte          { return q.inner().Payload() }
func (q *query) Encoding() string         { return encodingText(q.inner().Encoding()) }
func (q *query) Attachment() []byte       { return q.inner().Attachment() }
func (q *query) Keep()                    { q.inner().Keep() }
func (q *query) Drop()                    { q.inner().Drop() }

func (q *query) Reply(keyExpr string, payload []byte, o transport.ReplyOptions) error {
	k := q.inner().KeyExpr()
	if keyExpr != k.String() {
		var err error
		if k, err = key(keyExpr); err != nil {
			return err
		}
	}
	if o.Encoding == "" && o.Attachment == nil {
		return classify("reply on", keyExpr, q.inner().Reply(k, payload, nil))
	}
	e, err := encoding(o.Encoding)
	if err != nil {
		return err
	}
	return classify("reply on", keyExpr, q.inner().Reply(k, payload, &zenoh.ReplyOptions{Encoding: e, Attachment: o.Attachment}))
}

func (q *query) ReplyError(payload []byte, enc string) error {
	e, err := encoding(enc)
	if err != nil {
		return err
	}
	return classify("reply on", q.KeyExpr(), q.inner().ReplyErr(payload, &zenoh.ReplyErrOptions{Encoding: e}))
}
