package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

var (
	complete = transport.QueryableOptions{Complete: true}
	inline   = transport.QueryableOptions{Complete: true, Inline: true}
	partial  = transport.QueryableOptions{}
	none     = transport.GetOptions{Consolidation: transport.None}
)

var queryTests = []test{
	{"NobodyAnswers", testNobodyAnswers},
	{"EverythingArrives", testEverythingArrives},
	{"OwnQueryable", testOwnQueryable},
	{"Sizes", testQuerySizes},
	{"NoReply", testNoReply},
	{"ErrorReply", testErrorReply},
	{"ErrorRepliesAreNotConsolidated", testErrorRepliesAreNotConsolidated},
	{"ReplyKeyMustIntersect", testReplyKeyMustIntersect},
	{"LatestHoldsBack", testLatestHoldsBack},
	{"LatestKeepsOnePerKey", testLatestKeepsOnePerKey},
	{"LatestAcrossQueryables", testLatestAcrossQueryables},
	{"NoneDeliversAtOnce", testNoneDeliversAtOnce},
	{"BestMatchingTakesOneComplete", testBestMatchingTakesOneComplete},
	{"BestMatchingWithoutComplete", testBestMatchingWithoutComplete},
	{"CompleteMustInclude", testCompleteMustInclude},
	{"AllAndAllComplete", testAllAndAllComplete},
	{"Wildcards", testQueryWildcards},
	{"ManyQueryables", testManyQueryables},
	{"ManyQueries", testManyQueries},
	{"HandlersAreIndependent", testHandlersAreIndependent},
	{"NestedQueries", testNestedQueries},
	{"SlowAsker", testSlowAsker},
	{"InvalidKeys", testInvalidKeys},
}

func testNobodyAnswers(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "other/**", complete, func(q transport.Query) { _ = reply(q, "wrong") })
	f.settle(b, a)
	for _, target := range []transport.Target{transport.BestMatching, transport.All, transport.AllComplete} {
		begin := time.Now()
		r, err := f.get(f.ctx(), a, "nobody/here", transport.GetOptions{Target: target})
		f.must(err)
		if got := r.texts(); len(got) != 0 {
			f.Errorf("replies: %q", got)
		}
		if d := time.Since(begin); d > 5*time.Second {
			f.Errorf("it took %v", d)
		}
	}
	_, err := transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "nobody/here"}, transport.GetOptions{})
	f.wantClass(err, status.Unavailable)
	if status.DetailOf(err) == status.DetailSafe {
		f.Errorf("the error of Ask says that nobody was asked, which it cannot know: %v", err)
	}
}

func testEverythingArrives(f *fabric) {
	a, b := f.session(), f.session()
	var got atomic.Pointer[string]
	for _, o := range []transport.QueryableOptions{complete, inline} {
		c := f.queryable(b, "svc/*/x", o, func(q transport.Query) {
			s := fmt.Sprintf("%s?%s %q %s %q", q.KeyExpr(), q.Parameters(), q.Payload(), q.Encoding(), q.Attachment())
			got.Store(&s)
			if _, ok := q.Context().Deadline(); !ok {
				f.Error("the query's context has no deadline")
			}
			f.check(q.Reply("svc/one/x", []byte("answer"), transport.ReplyOptions{
				Encoding: "text/plain;v=2", Attachment: []byte("meta"),
			}))
		})
		f.settle(b, a)
		var r transport.Reply
		f.must(a.Get(f.ctx(), transport.Selector{KeyExpr: "svc/one/x", Parameters: "k=v;deadline_ms=20"},
			transport.GetOptions{Payload: []byte("ask"), Encoding: "application/protobuf", Attachment: []byte{0, 1}},
			func(x transport.Reply) { r = x }))
		const want = `svc/one/x?k=v;deadline_ms=20 "ask" application/protobuf "\x00\x01"`
		if s := got.Load(); s == nil || *s != want {
			f.Errorf("the query was %v, want %s", s, want)
		}
		if s := r.Sample; r.Err != nil || s.Key != "svc/one/x" || s.Kind != transport.Put || string(s.Payload) != "answer" ||
			s.Encoding != "text/plain;v=2" || string(s.Attachment) != "meta" {
			f.Errorf("the reply was %+v", r)
		}
		f.must(c.Close())
		f.settle(b, a)
	}
}

func testOwnQueryable(f *fabric) {
	a := f.session()
	f.queryable(a, "own", complete, func(q transport.Query) { _ = reply(q, "me") })
	r, err := f.get(f.ctx(), a, "own", none)
	f.must(err)
	if got := r.texts(); !slices.Equal(got, []string{"me"}) {
		f.Errorf("replies: %q", got)
	}
}

func testQuerySizes(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "echo", complete, func(q transport.Query) {
		if err := q.Reply("echo", q.Payload(), transport.ReplyOptions{Attachment: q.Attachment()}); err != nil {
			f.Errorf("reply with %d bytes: %v", len(q.Payload()), err)
		}
	})
	f.settle(b, a)
	for _, n := range f.sizes() {
		p := pattern(n)
		r, err := transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "echo"},
			transport.GetOptions{Payload: p, Attachment: p[:min(n, 1<<10)]})
		f.must(err)
		if !bytes.Equal(r.Payload, p) || !bytes.Equal(r.Attachment, p[:min(n, 1<<10)]) {
			f.Errorf("%d bytes came back as %d, or changed", n, len(r.Payload))
		}
	}
}

func testNoReply(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "mute", complete, func(transport.Query) {})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "mute", none)
	f.must(err)
	if n := len(r.all()); n != 0 {
		f.Errorf("%d replies", n)
	}
}

func testErrorReply(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "fail/raw", complete, func(q transport.Query) { f.check(q.ReplyError([]byte("why"), "text/plain")) })
	f.queryable(b, "fail/class", complete, func(q transport.Query) {
		f.check(transport.ReplyStatus(q, status.LimitError("memory", "too much")))
	})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "fail/raw", transport.GetOptions{})
	f.must(err)
	all := r.all()
	if len(all) != 1 || all[0].Err == nil || string(all[0].Err.Payload) != "why" || all[0].Err.Encoding != "text/plain" {
		f.Fatalf("replies: %+v", all)
	}
	f.wantClass(all[0].Err.AsError(), status.Unavailable)
	_, err = transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "fail/class"}, transport.GetOptions{})
	f.wantClass(err, status.Limit)
	if status.DetailOf(err) != "memory" || err.Error() != "too much" {
		f.Errorf("the error came back as %q, detail %q", err, status.DetailOf(err))
	}
}

func testErrorRepliesAreNotConsolidated(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "mixed", complete, func(q transport.Query) {
		f.check(q.ReplyError([]byte("e1"), ""))
		f.check(reply(q, "old"))
		f.check(q.ReplyError([]byte("e2"), ""))
		f.check(reply(q, "new"))
	})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "mixed", transport.GetOptions{})
	f.must(err)
	if got := r.texts(); !slices.Equal(got, []string{"!e1", "!e2", "new"}) {
		f.Errorf("replies: %q", got)
	}
}

func testReplyKeyMustIntersect(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "keys/**", complete, func(q transport.Query) {
		for _, bad := range []string{"other", "keys/b/1", "keys//1", "", "keys/a/**/**"} {
			f.wantClass(q.Reply(bad, []byte("bad"), transport.ReplyOptions{}), status.Invalid)
		}
		for _, good := range []string{"keys/a/1", "keys/a/2"} {
			f.check(q.Reply(good, []byte(good), transport.ReplyOptions{}))
		}
	})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "keys/a/*", none)
	f.must(err)
	if got := r.texts(); !slices.Equal(got, []string{"keys/a/1", "keys/a/2"}) {
		f.Errorf("replies: %q", got)
	}
}

func testLatestHoldsBack(f *fabric) {
	a, b := f.session(), f.session()
	replied := make(chan struct{})
	release, open := f.gate()
	f.queryable(b, "held", complete, func(q transport.Query) {
		f.check(reply(q, "one"))
		close(replied)
		<-release
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "held", transport.GetOptions{})
	f.await("the reply", replied)
	time.Sleep(50 * time.Millisecond)
	if n := len(g.all()); n != 0 {
		f.Errorf("%d replies before the query was final", n)
	}
	open()
	f.must(f.wait(g))
	if got := g.texts(); !slices.Equal(got, []string{"one"}) {
		f.Errorf("replies: %q", got)
	}
}

func testLatestKeepsOnePerKey(f *fabric) {
	a, b := f.session(), f.session()
	const keys = 40
	f.queryable(b, "many/**", complete, func(q transport.Query) {
		for round := range 3 {
			for i := range keys {
				f.check(q.Reply(fmt.Sprintf("many/%d", i), []byte(fmt.Sprintf("%d.%d", i, round)), transport.ReplyOptions{}))
			}
		}
	})
	f.settle(b, a)
	r, err := f.get(f.ctx(), a, "many/*", transport.GetOptions{})
	f.must(err)
	seen := map[string]string{}
	for _, x := range r.all() {
		seen[x.Sample.Key] = string(x.Sample.Payload)
	}
	if len(seen) != keys || len(r.all()) != keys {
		f.Fatalf("%d replies for %d keys, want %d", len(r.all()), len(seen), keys)
	}
	for i := range keys {
		if got, want := seen[fmt.Sprintf("many/%d", i)], fmt.Sprintf("%d.2", i); got != want {
			f.Errorf("key %d: %q, want %q", i, got, want)
		}
	}
	if r, err = f.get(f.ctx(), a, "many/*", none); err != nil || len(r.all()) != 3*keys {
		f.Errorf("without consolidation: %d replies, %v", len(r.all()), err)
	}
}

func testLatestAcrossQueryables(f *fabric) {
	a, b, c := f.session(), f.session(), f.session()
	for i, s := range []transport.Session{b, c} {
		f.queryable(s, "same", partial, func(q transport.Query) { f.check(reply(q, fmt.Sprint(i))) })
		f.settle(s, a)
	}
	r, err := f.get(f.ctx(), a, "same", transport.GetOptions{Target: transport.All})
	f.must(err)
	if got := r.texts(); len(got) != 1 {
		f.Errorf("replies: %q, want one of the two", got)
	}
}

func testNoneDeliversAtOnce(f *fabric) {
	a, b := f.session(), f.session()
	release, open := f.gate()
	f.queryable(b, "stream", complete, func(q transport.Query) {
		f.check(reply(q, "one"))
		<-release
		f.check(reply(q, "two"))
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "stream", none)
	f.await("the first reply while the handler runs", g.more)
	open()
	f.must(f.wait(g))
	if got := g.texts(); !slices.Equal(got, []string{"one", "two"}) {
		f.Errorf("replies: %q", got)
	}
}

func testBestMatchingTakesOneComplete(f *fabric) {
	a := f.session()
	for i, o := range []transport.QueryableOptions{complete, partial, complete, inline} {
		s := f.session()
		f.queryable(s, "best/**", o, func(q transport.Query) { f.check(reply(q, fmt.Sprint(i))) })
		f.settle(s, a)
	}
	for range 20 {
		r, err := f.get(f.ctx(), a, "best/x", none)
		f.must(err)
		if got := r.texts(); len(got) != 1 || got[0] == "1" {
			f.Fatalf("replies: %q, want one of a complete queryable", got)
		}
	}
}

func testBestMatchingWithoutComplete(f *fabric) {
	a := f.session()
	for i := range 3 {
		s := f.session()
		f.queryable(s, "best/**", partial, func(q transport.Query) { f.check(reply(q, fmt.Sprint(i))) })
		f.settle(s, a)
	}
	r, err := f.get(f.ctx(), a, "best/x", none)
	f.must(err)
	got := r.texts()
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		f.Errorf("replies: %q, want one of each", got)
	}
}

// A complete queryable counts as such only for queries that it includes.
func testCompleteMustInclude(f *fabric) {
	a, b, c := f.session(), f.session(), f.session()
	f.queryable(b, "inc/x", complete, func(q transport.Query) { _ = q.Reply("inc/x", []byte("complete"), transport.ReplyOptions{}) })
	f.queryable(c, "inc/**", partial, func(q transport.Query) { _ = q.Reply("inc/y", []byte("partial"), transport.ReplyOptions{}) })
	f.settle(b, a)
	f.settle(c, a)
	r, err := f.get(f.ctx(), a, "inc/*", none)
	f.must(err)
	got := r.texts()
	slices.Sort(got)
	if !slices.Equal(got, []string{"complete", "partial"}) {
		f.Errorf("BestMatching gave %q, want both", got)
	}
	r, err = f.get(f.ctx(), a, "inc/*", transport.GetOptions{Target: transport.AllComplete})
	f.must(err)
	if got := r.texts(); len(got) != 0 {
		f.Errorf("AllComplete gave %q, want nothing", got)
	}
}

func testAllAndAllComplete(f *fabric) {
	a := f.session()
	for i, o := range []transport.QueryableOptions{complete, partial, inline} {
		s := f.session()
		f.queryable(s, "all/**", o, func(q transport.Query) { f.check(reply(q, fmt.Sprint(i))) })
		f.settle(s, a)
	}
	for target, want := range map[transport.Target][]string{
		transport.All:         {"0", "1", "2"},
		transport.AllComplete: {"0", "2"},
	} {
		r, err := f.get(f.ctx(), a, "all/x", transport.GetOptions{Target: target, Consolidation: transport.None})
		f.must(err)
		got := r.texts()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			f.Errorf("target %d: replies %q, want %q", target, got, want)
		}
	}
}

func testQueryWildcards(f *fabric) {
	a, b := f.session(), f.session()
	for _, expr := range []string{"w/a", "w/*", "w/**", "**", "w/$*b", "@v/**", "w/@v", "x/y"} {
		f.queryable(b, expr, partial, func(q transport.Query) { _ = reply(q, expr) })
	}
	f.settle(b, a)
	for query, want := range map[string][]string{
		"w/a":       {"**", "w/*", "w/**", "w/a"},
		"w":         {"**", "w/**"},
		"w/ab":      {"**", "w/$*b", "w/*", "w/**"},
		"w/a/b":     {"**", "w/**"},
		"w/@v":      {"w/@v"},
		"@v":        {"@v/**"},
		"@v/x":      {"@v/**"},
		"w/*":       {"**", "w/$*b", "w/*", "w/**", "w/a"},
		"*/y":       {"**", "w/*", "w/**", "x/y"},
		"elsewhere": {"**"},
	} {
		r, err := f.get(f.ctx(), a, query, none)
		f.must(err)
		got := r.texts()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			f.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func testManyQueryables(f *fabric) {
	a := f.session()
	const sessions, each = 3, 100
	for i := range sessions {
		s := f.session()
		for j := range each {
			expr := fmt.Sprintf("crowd/%d/%d", i, j)
			if j%2 == 0 {
				expr = fmt.Sprintf("crowd/%d/%d/**", i, j)
			}
			f.queryable(s, expr, partial, func(q transport.Query) {
				_ = q.Reply(fmt.Sprintf("crowd/%d/%d", i, j), nil, transport.ReplyOptions{})
			})
		}
		f.settle(s, a)
	}
	r, err := f.get(f.ctx(), a, "crowd/**", transport.GetOptions{Target: transport.All, Consolidation: transport.None})
	f.must(err)
	seen := map[string]bool{}
	for _, x := range r.all() {
		seen[x.Sample.Key] = true
	}
	if len(r.all()) != sessions*each || len(seen) != sessions*each {
		f.Errorf("%d replies from %d queryables, want %d", len(r.all()), len(seen), sessions*each)
	}
}

func testManyQueries(f *fabric) {
	a, b := f.session(), f.session()
	f.queryable(b, "load/**", complete, func(q transport.Query) { _ = q.Reply(q.KeyExpr(), q.Payload(), transport.ReplyOptions{}) })
	f.settle(b, a)
	var all sync.WaitGroup
	for i := range 64 {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range 50 {
				want := fmt.Sprintf("%d.%d", i, j)
				r, err := transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "load/" + want},
					transport.GetOptions{Payload: []byte(want)})
				if err != nil || string(r.Payload) != want || r.Key != "load/"+want {
					f.Errorf("query %s: %q on %q, %v", want, r.Payload, r.Key, err)
					return
				}
			}
		}()
	}
	all.Wait()
}

func testHandlersAreIndependent(f *fabric) {
	a, b := f.session(), f.session()
	release, open := f.gate()
	f.queryable(b, "slow/*", complete, func(q transport.Query) {
		if q.KeyExpr() == "slow/1" {
			<-release
		}
		_ = reply(q, "done")
	})
	f.settle(b, a)
	g := f.start(f.ctx(), a, "slow/1", none)
	for range 10 {
		_, err := transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "slow/2"}, transport.GetOptions{})
		f.must(err)
	}
	open()
	f.must(f.wait(g))
}

// A handler may query on its own session, and the one who answers that may do so again.
func testNestedQueries(f *fabric) {
	for i, o := range []transport.QueryableOptions{complete, inline} {
		a, b := f.session(), f.session()
		level := func(depth int) transport.Selector {
			return transport.Selector{KeyExpr: fmt.Sprintf("nest%d/%d", i, depth)}
		}
		f.queryable(b, fmt.Sprintf("nest%d/*", i), o, func(q transport.Query) {
			var depth int
			_, _ = fmt.Sscanf(q.KeyExpr()[len("nest0/"):], "%d", &depth)
			if depth == 0 {
				_ = reply(q, ".")
				return
			}
			s := b
			if depth%2 == 0 {
				s = a
			}
			r, err := transport.Ask(q.Context(), s, level(depth-1), transport.GetOptions{})
			if err != nil {
				_ = transport.ReplyStatus(q, err)
				return
			}
			_ = reply(q, string(r.Payload)+".")
		})
		f.settle(b, a)
		r, err := transport.Ask(f.ctx(), a, level(20), transport.GetOptions{})
		f.must(err)
		if len(r.Payload) != 21 {
			f.Errorf("%d levels answered, want 21", len(r.Payload))
		}
		f.must(a.Close())
		f.must(b.Close())
	}
}

// An asker that is slow to take replies loses none and stalls nobody else.
func testSlowAsker(f *fabric) {
	a, b := f.session(), f.session()
	const count = 3000
	padding := pattern(4 << 10)
	f.queryable(b, "long", complete, func(q transport.Query) {
		for i := range count {
			f.check(q.Reply("long", append([]byte(fmt.Sprintf("%08d", i)), padding...), transport.ReplyOptions{}))
		}
	})
	f.queryable(b, "short", complete, func(q transport.Query) { f.check(reply(q, "x")) })
	f.settle(b, a)
	release, open := f.gate()
	begun := make(chan struct{}, 1)
	done := make(chan error, 1)
	var got []string
	go func() {
		done <- a.Get(f.ctx(), transport.Selector{KeyExpr: "long"}, none, func(r transport.Reply) {
			if len(got) == 0 {
				begun <- struct{}{}
				<-release
			}
			got = append(got, string(r.Sample.Payload[:8]))
		})
	}()
	f.await("the first reply", begun)
	for range 20 {
		_, err := transport.Ask(f.ctx(), a, transport.Selector{KeyExpr: "short"}, transport.GetOptions{})
		f.must(err)
	}
	open()
	f.must(<-done)
	if len(got) != count || !slices.IsSorted(got) {
		f.Errorf("%d replies, sorted: %v; want %d in order", len(got), slices.IsSorted(got), count)
	}
}

func testInvalidKeys(f *fabric) {
	a := f.session()
	ctx := f.ctx()
	for _, bad := range []string{"", "/a", "a/", "a//b", "a#b", "a/**/**", "a\xff"} {
		_, errSub := a.Subscribe(bad, transport.SubscribeOptions{}, func(transport.Sample) {})
		_, errQ := a.Queryable(bad, partial, func(transport.Query) {})
		_, errTok := a.Token(bad)
		_, errLive := a.SubscribeLiveliness(bad, true, func(transport.Sample) {})
		for what, err := range map[string]error{
			"Put":                 a.Put(ctx, bad, nil, transport.PutOptions{}),
			"Subscribe":           errSub,
			"Get":                 a.Get(ctx, transport.Selector{KeyExpr: bad}, none, func(transport.Reply) {}),
			"Queryable":           errQ,
			"Token":               errTok,
			"SubscribeLiveliness": errLive,
			"GetLiveliness":       a.GetLiveliness(ctx, bad, func(string) {}),
		} {
			if status.Of(err) != status.Invalid {
				f.Errorf("%s on %q: %v", what, bad, err)
			}
		}
	}
}

// contextEnds waits for the end of a query's context.
func contextEnds(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(patience):
		return false
	}
}
