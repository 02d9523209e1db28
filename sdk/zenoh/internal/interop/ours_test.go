package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// ours is a session of sdk/zenoh.
type ours struct {
	*zenoh.Session
	what string
}

func (x *ours) String() string { return x.what }

// open opens a session, which is closed when the test ends.
func open(t *testing.T, c zenoh.Config) *ours {
	t.Helper()
	x, err := tryOpen(t, c)
	if err != nil {
		t.Fatalf("open %v: %v", c.Mode, err)
	}
	return x
}

func tryOpen(t *testing.T, c zenoh.Config) (*ours, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := zenoh.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	return &ours{s, "our " + c.Mode.String()}, nil
}

// ke is a key expression that is valid.
func ke(s string) zenoh.KeyExpr { return zenoh.MustKeyExpr(s) }

func (x *ours) ctx(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), patience)
}

func sampleItem(s *zenoh.Sample) item {
	x := item{
		Key: s.KeyExpr.String(), Kind: s.Kind.String(), Encoding: s.Encoding.String(), Attachment: tohex(s.Attachment),
		Priority: int(s.Priority), Congestion: "drop", Express: s.Express,
	}
	if s.CongestionControl == zenoh.CongestionControlBlock {
		x.Congestion = "block"
	}
	if !s.Timestamp.IsZero() {
		x.Timestamp = s.Timestamp.String()
	}
	x.describe(s.Payload)
	return x
}

func into(b *inbox) zenoh.Closure[zenoh.Sample] {
	return zenoh.Closure[zenoh.Sample]{Call: func(s zenoh.Sample) { b.add(sampleItem(&s)) }}
}

// undeclarer is anything that was declared.
type undeclarer interface{ Undeclare() error }

func declared(t *testing.T, d undeclarer, err error, b *inbox) *entity {
	t.Helper()
	must(t, err)
	return &entity{inbox: b, undeclare: func(t *testing.T) {
		t.Helper()
		must(t, d.Undeclare())
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (x *ours) subscribe(t *testing.T, key string) *entity {
	t.Helper()
	b := newInbox()
	d, err := x.DeclareSubscriber(ke(key), into(b), nil)
	return declared(t, d, err, b)
}

func encoding(s string) zenoh.Encoding {
	e, err := zenoh.ParseEncoding(s)
	if err != nil {
		panic(err)
	}
	return e
}

func congestion(block bool) zenoh.CongestionControl {
	if block {
		return zenoh.CongestionControlBlock
	}
	return zenoh.CongestionControlDefault
}

func (x *ours) put(t *testing.T, key string, b body, o putOptions) {
	t.Helper()
	ctx, cancel := x.ctx(t)
	defer cancel()
	p := &zenoh.PutOptions{
		Encoding: encoding(o.encoding), Attachment: unhex(o.attachment), Priority: zenoh.Priority(o.priority), //nolint:gosec // 0..7
		CongestionControl: congestion(o.block), Express: o.express,
	}
	if o.stamp {
		p.Timestamp = zenoh.Timestamp{Time: wire.NTP64(time.Now()), ID: x.ZID()}
	}
	must(t, x.Put(ctx, ke(key), b.bytes(), p))
}

func (x *ours) remove(t *testing.T, key string, o putOptions) {
	t.Helper()
	ctx, cancel := x.ctx(t)
	defer cancel()
	must(t, x.Delete(ctx, ke(key), &zenoh.DeleteOptions{
		Attachment: unhex(o.attachment), Priority: zenoh.Priority(o.priority), //nolint:gosec // 0..7
		CongestionControl: congestion(o.block), Express: o.express,
	}))
}

func (x *ours) number(t *testing.T, key string, n int) {
	t.Helper()
	ctx, cancel := x.ctx(t)
	defer cancel()
	for i := range n {
		must(t, x.Put(ctx, ke(key), fmt.Append(nil, i), &zenoh.PutOptions{CongestionControl: zenoh.CongestionControlBlock}))
	}
}

func (x *ours) spread(t *testing.T, key string, n int, b body) {
	t.Helper()
	for i := range n {
		x.put(t, fmt.Sprintf("%s/%d", key, i), b, reliably)
	}
}

type ourPublisher struct{ *zenoh.Publisher }

func (x *ours) publisher(t *testing.T, key string) publisher {
	t.Helper()
	p, err := x.DeclarePublisher(ke(key), &zenoh.PublisherOptions{CongestionControl: zenoh.CongestionControlBlock})
	must(t, err)
	return ourPublisher{p}
}

func (p ourPublisher) put(t *testing.T, b body) {
	t.Helper()
	must(t, p.Put(t.Context(), b.bytes(), nil))
}

func (p ourPublisher) matching(*testing.T) bool { return p.MatchingStatus().Matching }

func (p ourPublisher) undeclare(t *testing.T) {
	t.Helper()
	must(t, p.Undeclare())
}

// heldQueries are those that wait for their release.
type heldQueries struct {
	mu  sync.Mutex
	all []*zenoh.Query
}

func (x *ours) queryable(t *testing.T, key string, o queryableOptions) *entity {
	t.Helper()
	b, held := newInbox(), &heldQueries{}
	call := func(q *zenoh.Query) {
		b.add(queryItem(q))
		if !o.hold {
			replyAll(b, q, o.replies)
			return
		}
		q.Keep()
		held.mu.Lock()
		held.all = append(held.all, q)
		held.mu.Unlock()
	}
	d, err := x.DeclareQueryable(ke(key), zenoh.Closure[*zenoh.Query]{Call: call}, &zenoh.QueryableOptions{Complete: o.complete})
	e := declared(t, d, err, b)
	e.release = func(*testing.T) {
		held.mu.Lock()
		defer held.mu.Unlock()
		for _, q := range held.all {
			replyAll(b, q, o.replies)
			q.Drop()
		}
		held.all = nil
	}
	return e
}

func queryItem(q *zenoh.Query) item {
	x := item{Key: q.KeyExpr().String(), Parameters: q.Parameters(), Attachment: tohex(q.Attachment())}
	if q.HasPayload() {
		x.describe(q.Payload())
		x.Encoding = q.Encoding().String()
	}
	return x
}

// replyAll sends what specs say; what cannot be sent goes to b.
func replyAll(b *inbox, q *zenoh.Query, specs []replySpec) {
	for _, r := range specs {
		key := q.KeyExpr()
		if r.key != "" {
			key = ke(r.key)
		}
		var err error
		switch r.kind {
		case "err":
			err = q.ReplyErr(r.body.bytes(), &zenoh.ReplyErrOptions{Encoding: encoding(r.encoding)})
		case "delete":
			err = q.ReplyDel(key, &zenoh.ReplyDelOptions{Attachment: unhex(r.attachment)})
		default:
			p := r.body.bytes()
			if r.echo {
				p = q.Payload()
			}
			err = q.Reply(key, p, &zenoh.ReplyOptions{Encoding: encoding(r.encoding), Attachment: unhex(r.attachment)})
		}
		if err != nil {
			b.add(item{ReplyError: err.Error()})
		}
	}
}

var (
	targets = map[string]zenoh.QueryTarget{
		"": zenoh.QueryTargetBestMatching, "best_matching": zenoh.QueryTargetBestMatching, "all": zenoh.QueryTargetAll,
		"all_complete": zenoh.QueryTargetAllComplete,
	}
	consolidations = map[string]zenoh.ConsolidationMode{
		"": zenoh.ConsolidationModeAuto, "auto": zenoh.ConsolidationModeAuto, "none": zenoh.ConsolidationModeNone,
		"monotonic": zenoh.ConsolidationModeMonotonic, "latest": zenoh.ConsolidationModeLatest,
	}
)

func (x *ours) get(t *testing.T, selector string, o getOptions) []item {
	t.Helper()
	key, parameters, _ := strings.Cut(selector, "?")
	g := &zenoh.GetOptions{
		Target: targets[o.target], Consolidation: consolidations[o.consolidation], Timeout: o.timeout,
		Encoding: encoding(o.encoding), Attachment: unhex(o.attachment),
	}
	if o.payload != nil {
		g.Payload, g.HasPayload = o.payload.bytes(), true
	}
	if o.anyKey {
		g.AcceptReplies = zenoh.ReplyKeyExprAny
	}
	var replies []item
	err := x.Get(t.Context(), ke(key), parameters, func(r zenoh.Reply) { replies = append(replies, replyItem(&r)) }, g)
	return withTimeout(t, replies, err)
}

// withTimeout adds what the other implementation says of a query that was not final in time.
func withTimeout(t *testing.T, replies []item, err error) []item {
	t.Helper()
	if errors.Is(err, zenoh.ErrTimeout) {
		x := item{Kind: "err", Encoding: "zenoh/bytes"}
		x.describe([]byte("Timeout"))
		return append(replies, x)
	}
	must(t, err)
	return replies
}

func replyItem(r *zenoh.Reply) item {
	var x item
	if r.Err != nil {
		x = item{Kind: "err", Encoding: r.Err.Encoding.String()}
		x.describe(r.Err.Payload)
	} else {
		x = sampleItem(&r.Sample)
	}
	if !r.Replier.ZID.IsZero() {
		x.Replier = r.Replier.ZID.String()
	}
	return x
}

func (x *ours) querier(t *testing.T, key string) func(t *testing.T, parameters string) []item {
	t.Helper()
	q, err := x.DeclareQuerier(ke(key), nil)
	must(t, err)
	return func(t *testing.T, parameters string) []item {
		t.Helper()
		var replies []item
		err := q.Get(t.Context(), parameters, func(r zenoh.Reply) { replies = append(replies, replyItem(&r)) }, nil)
		return withTimeout(t, replies, err)
	}
}

func (x *ours) token(t *testing.T, key string) *entity {
	t.Helper()
	d, err := x.Liveliness().DeclareToken(ke(key))
	return declared(t, d, err, nil)
}

func (x *ours) liveliness(t *testing.T, key string, history bool) *entity {
	t.Helper()
	b := newInbox()
	d, err := x.Liveliness().DeclareSubscriber(ke(key), into(b), &zenoh.LivelinessSubscriberOptions{History: history})
	return declared(t, d, err, b)
}

func (x *ours) alive(t *testing.T, key string) []string {
	t.Helper()
	ctx, cancel := x.ctx(t)
	defer cancel()
	var keys []string
	must(t, x.Liveliness().Get(ctx, ke(key), func(k zenoh.KeyExpr) { keys = append(keys, k.String()) }, nil))
	return keys
}

func (x *ours) many(t *testing.T, kind, key string, n int) *entity {
	t.Helper()
	all := &entity{inbox: newInbox()}
	var each []undeclarer
	for i := range n {
		var d undeclarer
		var err error
		switch k := ke(fmt.Sprintf("%s/%d", key, i)); kind {
		case "subscriber":
			d, err = x.DeclareSubscriber(k, into(all.inbox), nil)
		case "queryable":
			d, err = x.DeclareQueryable(k, zenoh.Closure[*zenoh.Query]{Call: func(*zenoh.Query) {}}, nil)
		case "token":
			d, err = x.Liveliness().DeclareToken(k)
		}
		must(t, err)
		each = append(each, d)
	}
	all.undeclare = func(t *testing.T) {
		t.Helper()
		for _, d := range each {
			must(t, d.Undeclare())
		}
	}
	return all
}
