package zenoh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

var blocking = &PutOptions{CongestionControl: CongestionControlBlock}

// texts are the payloads of replies, errors as "!text".
func texts(all []Reply) (out []string) {
	for _, r := range all {
		if r.Err != nil {
			out = append(out, "!"+string(r.Err.Payload))
		} else {
			out = append(out, string(r.Sample.Payload))
		}
	}
	return out
}

func at(seconds int) Timestamp {
	return Timestamp{Time: wire.NTP64(time.Unix(int64(seconds), 0)), ID: wire.ID{1}}
}

func TestConsolidation(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		_, err := b.DeclareQueryable(key("time/*"), Closure[*Query]{Call: func(q *Query) {
			for _, x := range []struct {
				key string
				at  int
			}{{"time/a", 5}, {"time/a", 3}, {"time/b", 1}, {"time/a", 7}, {"time/b", 0}} {
				o := &ReplyOptions{}
				if x.at > 0 {
					o.Timestamp = at(x.at)
				}
				must(t, q.Reply(key(x.key), fmt.Append(nil, x.key[5:], x.at), o))
			}
		}}, nil)
		must(t, err)
		settle(t, b, a)
		for mode, want := range map[ConsolidationMode]string{
			ConsolidationModeNone:      "a5 a3 b1 a7 b0",
			ConsolidationModeMonotonic: "a5 b1 a7 b0",
			ConsolidationModeLatest:    "a7 b0",
			ConsolidationModeAuto:      "a7 b0",
		} {
			all, err := a.Collect(context.Background(), key("time/*"), "", 0, &GetOptions{Consolidation: mode})
			must(t, err)
			if got := strings.Join(texts(all), " "); got != want {
				t.Errorf("mode %d: %s, want %s", mode, got, want)
			}
		}
		all, err := a.Collect(context.Background(), key("time/*"), "x=1;_time=[now(-1h)..]", 3, nil)
		if err != nil || len(all) != 3 {
			t.Errorf("with a time range: %d replies, %v", len(all), err)
		}
	})
}

func TestAnyReplyKey(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		_, err := b.DeclareQueryable(key("asked"), Closure[*Query]{Call: func(q *Query) {
			if q.AcceptsReplies() != ReplyKeyExprAny {
				t.Error("the query does not accept any key")
			}
			must(t, q.Reply(key("other"), []byte(q.Parameters()), nil))
		}}, nil)
		must(t, err)
		settle(t, b, a)
		for parameters, want := range map[string]string{"": "_anyke", "k=v": "k=v;_anyke", "_anyke;k": "_anyke;k"} {
			all, err := a.Collect(context.Background(), key("asked"), parameters, 0, &GetOptions{AcceptReplies: ReplyKeyExprAny})
			if err != nil || len(all) != 1 || all[0].Sample.KeyExpr != key("other") || string(all[0].Sample.Payload) != want {
				t.Errorf("%q: %+v, %v", parameters, all, err)
			}
		}
	})
}

// The context of a query ends when its asker gives up, also behind a hub, and so does a Get that is under way when its session is
// closed.
func TestCancel(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		for _, o := range []QueryableOptions{{}, {Inline: true}} {
			started, ended := make(chan struct{}, 1), make(chan struct{}, 1)
			qb, err := b.DeclareQueryable(key("stuck"), Closure[*Query]{Call: func(q *Query) {
				started <- struct{}{}
				<-q.Context().Done()
				if q.Context().Err() == nil {
					t.Error("the context has no error")
				}
				if err := q.Reply(q.KeyExpr(), nil, nil); !errors.Is(err, ErrGone) {
					t.Errorf("a reply that nobody waits for: %v", err)
				}
				ended <- struct{}{}
			}}, &o)
			must(t, err)
			settle(t, b, a)
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				<-started
				cancel()
			}()
			if _, err := a.Collect(ctx, key("stuck"), "", 0, &GetOptions{Timeout: -1}); !errors.Is(err, context.Canceled) {
				t.Errorf("the query: %v", err)
			}
			await(t, "the end of the handler", ended)
			cancel()
			must(t, qb.Undeclare())
		}
	})
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("did not happen: %s", what)
	}
}

func TestTimeout(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		release := make(chan struct{})
		_, err := b.DeclareQueryable(key("deaf"), Closure[*Query]{Call: func(q *Query) {
			_ = q.Reply(q.KeyExpr(), []byte("early"), nil)
			<-release
		}}, nil)
		must(t, err)
		settle(t, b, a)
		defer close(release)
		begin := time.Now()
		var got list[Reply]
		err = a.Get(context.Background(), key("deaf"), "", got.take, &GetOptions{
			Timeout: 300 * time.Millisecond, Consolidation: ConsolidationModeNone,
		})
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) < 300*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if x := texts(got.get()); !slices.Equal(x, []string{"early"}) {
			t.Errorf("replies: %q", x)
		}
		if err := a.Liveliness().Get(context.Background(), key("x"), func(KeyExpr) {}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestChannels(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		fifo, err := b.DeclareSubscriber(key("chan"), NewFifoChannel[Sample](2), nil)
		must(t, err)
		ring, err := b.DeclareSubscriber(key("chan"), NewRingChannel[Sample](2), nil)
		must(t, err)
		settle(t, b, a)
		for i := range 5 {
			must(t, a.Put(context.Background(), key("chan"), []byte{byte(i)}, blocking))
		}
		for i := range 5 {
			if x := <-fifo.Handler(); x.Payload[0] != byte(i) {
				t.Errorf("sample %d is %d", i, x.Payload[0])
			}
		}
		eventually(t, "the newest", func() bool { return len(ring.Handler()) == 2 && ring.queueLen() == 0 })
		if x := <-ring.Handler(); x.Payload[0] != 3 {
			t.Errorf("the older one in the ring is %d", x.Payload[0])
		}
		must(t, a.Put(context.Background(), key("chan"), nil, blocking))
		must(t, fifo.Undeclare())
		must(t, ring.Undeclare())
		for range fifo.Handler() {
		}
		for range ring.Handler() {
		}
	})
}

// queueLen is how many samples wait.
func (sub *Subscriber) queueLen() int {
	return sub.queue.Len()
}

// Undeclaring ends a handler that waits for room in its channel.
func TestUndeclareWithAFullChannel(t *testing.T) {
	s := openTest(t, Config{})
	sub, err := s.DeclareSubscriber(key("full"), NewFifoChannel[Sample](0), nil)
	must(t, err)
	for range 10 {
		must(t, s.Put(context.Background(), key("full"), nil, nil))
	}
	must(t, sub.Undeclare())
	qb, err := s.DeclareQueryable(key("full"), NewFifoChannel[*Query](0), nil)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Get(context.Background(), key("full"), "", func(Reply) {}, nil) }()
	time.Sleep(20 * time.Millisecond)
	must(t, qb.Undeclare())
	must(t, <-done)
}

func TestQueriesThatAreKept(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		qb, err := b.DeclareQueryable(key("kept"), NewFifoChannel[*Query](8), nil)
		must(t, err)
		var held atomic.Pointer[Query]
		_, err = b.DeclareQueryable(key("closure"), Closure[*Query]{Call: func(q *Query) {
			q.Keep()
			held.Store(q)
		}}, nil)
		must(t, err)
		settle(t, b, a)
		ctx := context.Background()
		for _, k := range []string{"kept", "closure"} {
			var got list[Reply]
			done := make(chan error, 1)
			go func() { done <- a.Get(ctx, key(k), "", got.take, &GetOptions{Consolidation: ConsolidationModeNone}) }()
			var q *Query
			if k == "kept" {
				q = <-qb.Handler()
			} else {
				eventually(t, "the query", func() bool { q = held.Load(); return q != nil })
			}
			must(t, q.Reply(q.KeyExpr(), []byte("one"), nil))
			eventually(t, "the reply", func() bool { return got.len() == 1 })
			select {
			case err := <-done:
				t.Fatalf("the query is final though it is kept: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			must(t, q.Reply(q.KeyExpr(), []byte("two"), nil))
			q.Drop()
			must(t, <-done)
			q.Drop()
			if err := q.Reply(q.KeyExpr(), nil, nil); !errors.Is(err, ErrFinal) {
				t.Errorf("a reply after Drop: %v", err)
			}
			if x := texts(got.get()); !slices.Equal(x, []string{"one", "two"}) {
				t.Errorf("replies: %q", x)
			}
		}
		// What is in the channel when the queryable goes is final, too.
		done := make(chan error, 1)
		go func() { done <- a.Get(ctx, key("kept"), "", func(Reply) {}, nil) }()
		eventually(t, "the query", func() bool { return len(qb.Handler()) == 1 })
		must(t, qb.Undeclare())
		must(t, <-done)
	})
}

// An inline handler may keep its query beyond the Get on whose goroutine it ran.
func TestKeptInline(t *testing.T) {
	s := openTest(t, Config{})
	queries := make(chan *Query, 1)
	_, err := s.DeclareQueryable(key("kept"), Closure[*Query]{Call: func(q *Query) {
		q.Keep()
		queries <- q
	}}, &QueryableOptions{Inline: true})
	must(t, err)
	err = s.Get(context.Background(), key("kept"), "", func(Reply) {}, &GetOptions{Timeout: 20 * time.Millisecond})
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("the query: %v", err)
	}
	q := <-queries
	for range 10 { // uses the Get's memory again
		_, _ = s.Collect(context.Background(), key("nobody"), "", 0, nil)
	}
	await(t, "the end of the context", q.Context().Done())
	if q.Context().Err() == nil {
		t.Error("the context has no error")
	}
	if err := q.Reply(q.KeyExpr(), nil, nil); !errors.Is(err, ErrGone) {
		t.Errorf("a reply that nobody waits for: %v", err)
	}
	q.Drop()
}

func TestMatching(t *testing.T) {
	inLayouts(t, func(t *testing.T, a, b *Session) {
		p, err := a.DeclarePublisher(key("m/x"), &PublisherOptions{CongestionControl: CongestionControlBlock, Priority: PriorityDataLow})
		must(t, err)
		q, err := a.DeclareQuerier(key("m/*"), nil)
		must(t, err)
		var changes list[MatchingStatus]
		p.OnMatching(changes.take)
		eventually(t, "the status now", func() bool { return changes.len() == 1 })
		for range 2 {
			if p.MatchingStatus().Matching || q.MatchingStatus().Matching {
				t.Error("it matches before anybody is there")
			}
			var got list[Sample]
			sub, err := b.DeclareSubscriber(key("m/**"), Closure[Sample]{Call: got.take}, nil)
			must(t, err)
			qb, err := b.DeclareQueryable(key("m/x"), Closure[*Query]{Call: func(q *Query) { _ = q.Reply(q.KeyExpr(), q.Payload(), nil) }}, nil)
			must(t, err)
			eventually(t, "a match", func() bool { return p.MatchingStatus().Matching && q.MatchingStatus().Matching })
			must(t, p.Put(context.Background(), []byte("x"), &PublisherPutOptions{Attachment: []byte("at")}))
			must(t, p.Delete(context.Background(), nil))
			eventually(t, "the samples", func() bool { return got.len() == 2 })
			if x := got.get(); x[0].KeyExpr != key("m/x") || string(x[0].Attachment) != "at" || x[0].Priority != PriorityDataLow || x[1].Kind != SampleKindDelete {
				t.Errorf("samples: %+v", x)
			}
			var replies list[Reply]
			must(t, q.Get(context.Background(), "", replies.take, &QuerierGetOptions{Payload: []byte("p")}))
			if x := texts(replies.get()); !slices.Equal(x, []string{"p"}) {
				t.Errorf("replies: %q", x)
			}
			must(t, sub.Undeclare())
			must(t, qb.Undeclare())
			eventually(t, "no match", func() bool { return !p.MatchingStatus().Matching && !q.MatchingStatus().Matching })
		}
		eventually(t, "the changes", func() bool { return changes.len() == 5 })
		for i, x := range changes.get() {
			if x.Matching != (i%2 == 1) {
				t.Errorf("change %d is %v", i, x)
			}
		}
		must(t, p.Undeclare())
		must(t, q.Undeclare())
		if err := p.Put(context.Background(), nil, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("a put after Undeclare: %v", err)
		}
	})
}

// A subscriber that takes nothing holds up its link for a moment, and then loses samples instead.
func TestStuckSubscriber(t *testing.T) {
	a := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0")})
	b := openTest(t, Config{Connect: a.Locators(), WaitSubscriber: 50 * time.Millisecond})
	release := make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	defer open()
	var stuck, other list[Sample]
	_, err := b.DeclareSubscriber(key("stuck"), Closure[Sample]{Call: func(x Sample) {
		<-release
		stuck.take(x)
	}}, &SubscriberOptions{Queue: 2})
	must(t, err)
	_, err = b.DeclareSubscriber(key("other"), Closure[Sample]{Call: other.take}, nil)
	must(t, err)
	settle(t, b, a)
	ctx := context.Background()
	for i := range 100 {
		must(t, a.Put(ctx, key("stuck"), []byte{byte(i)}, blocking))
	}
	must(t, a.Put(ctx, key("other"), nil, blocking))
	eventually(t, "what is behind the samples that nobody takes", func() bool { return other.len() == 1 })
	if n := b.Dropped(); n != 97 {
		t.Errorf("%d samples are lost, want all but the one that is handled and the two that wait", n)
	}
	open()
	eventually(t, "the others", func() bool { return stuck.len() == 3 })
	must(t, a.Put(ctx, key("stuck"), []byte{200}, blocking))
	eventually(t, "a sample after the lost ones", func() bool { return stuck.len() == 4 })
}

func TestBounds(t *testing.T) {
	a := openTest(t, Config{Listen: listenOn("tcp/127.0.0.1:0"), MaxQueries: 2})
	b := openTest(t, Config{
		Connect: a.Locators(), ReplyBytes: 10 << 10, HeldReplies: 5, WaitSubscriber: 50 * time.Millisecond,
	})
	ctx := context.Background()
	_, err := a.DeclareQueryable(key("many"), Closure[*Query]{Call: func(q *Query) {
		for range 20 {
			_ = q.Reply(q.KeyExpr(), make([]byte, 1<<10), nil)
		}
	}}, nil)
	must(t, err)
	_, err = a.DeclareQueryable(key("keys/*"), Closure[*Query]{Call: func(q *Query) {
		for i := range 6 {
			_ = q.Reply(key(fmt.Sprintf("keys/%d", i)), nil, nil)
		}
	}}, nil)
	must(t, err)
	settle(t, a, b)
	err = b.Get(ctx, key("many"), "", func(Reply) { time.Sleep(100 * time.Millisecond) }, &GetOptions{Consolidation: ConsolidationModeNone})
	if !errors.Is(err, ErrOverload) {
		t.Errorf("replies that wait too long: %v", err)
	}
	if _, err := b.Collect(ctx, key("keys/*"), "", 0, nil); !errors.Is(err, ErrOverload) {
		t.Errorf("too many keys: %v", err)
	}
	release := make(chan struct{})
	_, err = a.DeclareQueryable(key("slow"), Closure[*Query]{Call: func(*Query) { <-release }}, nil)
	must(t, err)
	settle(t, a, b)
	var all sync.WaitGroup
	var refused atomic.Int64
	for range 3 {
		all.Go(func() {
			r, err := b.Collect(ctx, key("slow"), "", 0, nil)
			if err != nil {
				t.Error(err)
			}
			if len(r) == 1 && r[0].Err != nil {
				refused.Add(1)
			}
		})
	}
	eventually(t, "a query that is refused", func() bool { return refused.Load() == 1 })
	close(release)
	all.Wait()
	if n := refused.Load(); n != 1 {
		t.Errorf("%d queries were refused", n)
	}
	c := openTest(t, Config{MaxDeclarations: 3})
	for i := range 4 {
		_, err := c.Liveliness().DeclareToken(key("t"))
		if (err == nil) != (i < 3) || err != nil && !errors.Is(err, ErrOverload) {
			t.Errorf("declaration %d: %v", i, err)
		}
	}
}

func TestClosedSession(t *testing.T) {
	a, b := peers(t, "tcp/127.0.0.1:0")
	s, err := b.Sibling()
	must(t, err)
	_, err = s.Liveliness().DeclareToken(key("closed/token"))
	must(t, err)
	settle(t, s, a)
	must(t, s.Close())
	must(t, s.Close())
	eventually(t, "the loss of its token", func() bool { return len(alive(t, a, "closed/*")) == 0 })
	ctx := context.Background()
	none := Closure[Sample]{Call: func(Sample) {}}
	_, errSub := s.DeclareSubscriber(key("x"), none, nil)
	_, errQ := s.DeclareQueryable(key("x"), Closure[*Query]{Call: func(*Query) {}}, nil)
	_, errTok := s.Liveliness().DeclareToken(key("x"))
	_, errLive := s.Liveliness().DeclareSubscriber(key("x"), none, nil)
	_, errPub := s.DeclarePublisher(key("x"), nil)
	_, errQuerier := s.DeclareQuerier(key("x"), nil)
	for what, err := range map[string]error{
		"Put": s.Put(ctx, key("x"), nil, nil), "Delete": s.Delete(ctx, key("x"), nil), "subscriber": errSub, "queryable": errQ,
		"token": errTok, "liveliness subscriber": errLive, "publisher": errPub, "querier": errQuerier,
		"Get": s.Get(ctx, key("x"), "", func(Reply) {}, nil), "liveliness": s.Liveliness().Get(ctx, key("x"), func(KeyExpr) {}, nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if b.Err() != nil {
		t.Errorf("the sibling ended, too: %v", b.Err())
	}
}

func TestKeyExpr(t *testing.T) {
	for _, bad := range []string{"", "/a", "a/", "a//b", "a/**/**", "a#b", "a\xff"} {
		if _, err := NewKeyExpr(bad); !errors.Is(err, ErrKeyExpr) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	k, err := NewKeyExprAutocanonized("a/**/*/$*")
	if err != nil || k.String() != "a/*/*/**" {
		t.Errorf("canonical form is %q, %v", k, err)
	}
	if _, err := NewKeyExprAutocanonized("a//b"); !errors.Is(err, ErrKeyExpr) {
		t.Errorf("an empty chunk: %v", err)
	}
	if !key("a/*").Intersects(key("*/b")) || key("a/*").Intersects(key("b")) || !key("a/**").Includes(key("a")) || key("a").Includes(key("a/*")) {
		t.Error("the algebra")
	}
	if j, err := key("a/**").Join("*"); err != nil || j != key("a/*/**") {
		t.Errorf("join: %q, %v", j, err)
	}
	if c, err := key("a").Concat("b/c"); err != nil || c != key("ab/c") {
		t.Errorf("concat: %q, %v", c, err)
	}
	s := openTest(t, Config{})
	if err := s.Put(context.Background(), KeyExpr{}, nil, nil); !errors.Is(err, ErrKeyExpr) {
		t.Errorf("a put without a key: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustKeyExpr does not panic")
		}
	}()
	MustKeyExpr("/")
}

// A node that stamps gives puts its own time, and no two the same.
func TestTimestamps(t *testing.T) {
	hub := openTest(t, Config{Mode: ModeRouter, Listen: listenOn("tcp/127.0.0.1:0"), Timestamping: true})
	a := openTest(t, Config{Mode: ModeClient, Connect: hub.Locators()})
	b := openTest(t, Config{Mode: ModeClient, Connect: hub.Locators()})
	var got list[Sample]
	_, err := b.DeclareSubscriber(key("ts"), Closure[Sample]{Call: got.take}, nil)
	must(t, err)
	settle(t, b, a)
	own := a.NewTimestamp()
	for range 3 {
		must(t, a.Put(context.Background(), key("ts"), nil, blocking))
	}
	must(t, a.Put(context.Background(), key("ts"), nil, &PutOptions{CongestionControl: CongestionControlBlock, Timestamp: own}))
	eventually(t, "the samples", func() bool { return got.len() == 4 })
	x := got.get()
	for i := range 3 {
		if x[i].Timestamp.ID != hub.ZID() || i > 0 && x[i].Timestamp.Compare(x[i-1].Timestamp) <= 0 {
			t.Errorf("sample %d: %v", i, x[i].Timestamp)
		}
	}
	if x[3].Timestamp != own || own.ID != a.ZID() {
		t.Errorf("a time stamp of its own became %v", x[3].Timestamp)
	}
}
