package transporttest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/transport"
)

var livelinessTests = []test{
	{"AppearAndVanish", testTokenAppearsAndVanishes},
	{"History", testTokenHistory},
	{"NoHistory", testTokenNoHistory},
	{"OwnTokens", testOwnTokens},
	{"SameKeyTwice", testSameTokenTwice},
	{"GetLiveliness", testGetLiveliness},
	{"SessionClose", testTokensEndWithSession},
	{"Sever", testTokensEndWithLostSession},
	{"TokensAreNotData", testTokensAreNotData},
	{"CloseFromWithin", testLivelinessCloseFromWithin},
	{"Churn", testTokenChurn},
}

func (f *fabric) token(s transport.Session, key string) transport.Closer {
	f.Helper()
	c, err := s.Token(key)
	f.must(err)
	return c
}

func (f *fabric) follow(s transport.Session, expr string, history bool) *samples {
	f.Helper()
	var got samples
	_, err := s.SubscribeLiveliness(expr, history, got.take)
	f.must(err)
	return &got
}

func (f *fabric) wantEvents(got *samples, want ...string) {
	f.Helper()
	f.eventually(fmt.Sprintf("%q", want), func() bool { return got.len() >= len(want) })
	if e := got.events(); !slices.Equal(e, want) {
		f.Fatalf("events are %q, want %q", e, want)
	}
}

func testTokenAppearsAndVanishes(f *fabric) {
	a, b := f.session(), f.session()
	got := f.follow(a, "alive/*/x", false)
	f.settle(a, b)
	tok := f.token(b, "alive/kvs/x")
	f.token(b, "alive/kvs/y")
	f.wantEvents(got, "+alive/kvs/x")
	f.must(tok.Close())
	f.must(tok.Close())
	f.wantEvents(got, "+alive/kvs/x", "-alive/kvs/x")
	f.token(b, "alive/kvs/x")
	f.wantEvents(got, "+alive/kvs/x", "-alive/kvs/x", "+alive/kvs/x")
}

func testTokenHistory(f *fabric) {
	a, b := f.session(), f.session()
	for i := range 3 {
		f.token(b, fmt.Sprintf("alive/%d", i))
	}
	f.settle(b, a)
	got := f.follow(a, "alive/*", true)
	f.eventually("the history", func() bool { return got.len() == 3 })
	e := got.events()
	slices.Sort(e)
	if !slices.Equal(e, []string{"+alive/0", "+alive/1", "+alive/2"}) {
		f.Fatalf("history: %q", e)
	}
	f.token(b, "alive/late")
	f.eventually("the new one", func() bool { return got.len() == 4 })
	if e := got.events(); e[3] != "+alive/late" {
		f.Errorf("events: %q", e)
	}
}

// Who did not ask for history still hears of the loss of a token that was there before.
func testTokenNoHistory(f *fabric) {
	a, b := f.session(), f.session()
	tok := f.token(b, "alive/old")
	f.settle(b, a)
	got := f.follow(a, "alive/*", false)
	f.settle(a, b)
	f.token(b, "alive/new")
	f.wantEvents(got, "+alive/new")
	f.must(tok.Close())
	f.wantEvents(got, "+alive/new", "-alive/old")
}

func testOwnTokens(f *fabric) {
	a := f.session()
	got := f.follow(a, "me", false)
	tok := f.token(a, "me")
	f.wantEvents(got, "+me")
	if keys := f.alive(a, "**"); !slices.Equal(keys, []string{"me"}) {
		f.Errorf("alive: %q", keys)
	}
	f.must(tok.Close())
	f.wantEvents(got, "+me", "-me")
}

func testSameTokenTwice(f *fabric) {
	a, b, c := f.session(), f.session(), f.session()
	got := f.follow(a, "twin", false)
	f.settle(a, b, c)
	t1 := f.token(b, "twin")
	f.wantEvents(got, "+twin")
	t2 := f.token(c, "twin")
	t3 := f.token(c, "twin")
	f.settle(c, a)
	f.must(t1.Close())
	f.settle(b, a)
	f.must(t2.Close())
	f.settle(c, a)
	if keys := f.alive(a, "twin"); len(keys) != 1 {
		f.Errorf("alive: %q, want the twin once", keys)
	}
	f.wantEvents(got, "+twin")
	f.must(t3.Close())
	f.wantEvents(got, "+twin", "-twin")
}

func testGetLiveliness(f *fabric) {
	a, b, c := f.session(), f.session(), f.session()
	if keys := f.alive(a, "**"); len(keys) != 0 {
		f.Errorf("alive in an empty fabric: %q", keys)
	}
	tok := f.token(b, "g/1")
	f.token(c, "g/2")
	f.token(c, "other")
	f.settle(b, a)
	f.settle(c, a)
	keys := f.alive(a, "g/*")
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"g/1", "g/2"}) {
		f.Errorf("alive: %q", keys)
	}
	f.must(tok.Close())
	f.settle(b, a)
	if keys := f.alive(a, "g/*"); !slices.Equal(keys, []string{"g/2"}) {
		f.Errorf("alive after one is gone: %q", keys)
	}
}

func testTokensEndWithSession(f *fabric) {
	a, b := f.session(), f.session()
	got := f.follow(a, "end/*", false)
	f.settle(a, b)
	f.token(b, "end/1")
	f.wantEvents(got, "+end/1")
	f.must(b.Close())
	f.wantEvents(got, "+end/1", "-end/1")
	if keys := f.alive(a, "end/*"); len(keys) != 0 {
		f.Errorf("alive: %q", keys)
	}
}

func testTokensEndWithLostSession(f *fabric) {
	if f.h.Sever == nil {
		f.Skip("this implementation cannot lose a session")
	}
	a, b := f.session(), f.session()
	got := f.follow(a, "lost/*", false)
	f.settle(a, b)
	f.token(b, "lost/1")
	f.token(b, "lost/2")
	f.eventually("the tokens", func() bool { return got.len() == 2 })
	begin := time.Now()
	f.h.Sever(b)
	f.eventually("their loss", func() bool { return got.len() == 4 })
	if d := time.Since(begin); d > f.h.SeverLatency+5*time.Second {
		f.Errorf("the loss was noticed after %v", d)
	}
	e := got.events()[2:]
	slices.Sort(e)
	if !slices.Equal(e, []string{"-lost/1", "-lost/2"}) {
		f.Errorf("events: %q", e)
	}
	if keys := f.alive(a, "lost/*"); len(keys) != 0 {
		f.Errorf("alive: %q", keys)
	}
}

func testTokensAreNotData(f *fabric) {
	a, b := f.session(), f.session()
	var got samples
	f.subscribe(a, "**", 0, got.take)
	f.queryable(a, "tok", complete, func(transport.Query) { f.Error("a token was queried") })
	live := f.follow(a, "**", false)
	f.settle(a, b)
	f.token(b, "tok")
	f.eventually("the token", func() bool { return slices.Contains(live.events(), "+tok") })
	f.must(b.Put(f.ctx(), "data", nil, block))
	f.eventually("the data", func() bool { return got.len() == 1 })
	if s := got.all(); s[0].Key != "data" {
		f.Errorf("data: %+v", s)
	}
	if slices.Contains(live.events(), "+data") {
		f.Error("data was taken for a token")
	}
}

func testLivelinessCloseFromWithin(f *fabric) {
	a, b := f.session(), f.session()
	ready, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var c transport.Closer
	c, err := a.SubscribeLiveliness("x/*", true, func(transport.Sample) {
		<-ready
		f.check(c.Close())
		once.Do(func() { close(done) })
	})
	f.must(err)
	close(ready)
	f.settle(a, b)
	f.token(b, "x/1")
	f.await("the end of Close", done)
	f.must(c.Close())
}

// However fast tokens come and go, the last thing said of each is true.
func testTokenChurn(f *fabric) {
	a, b := f.session(), f.session()
	var mu sync.Mutex
	state := map[string]bool{}
	_, err := a.SubscribeLiveliness("churn/*", true, func(s transport.Sample) {
		mu.Lock()
		defer mu.Unlock()
		if alive := s.Kind == transport.Put; alive == state[s.Key] {
			f.Errorf("%s was said to be alive=%v twice", s.Key, alive)
		} else {
			state[s.Key] = alive
		}
	})
	f.must(err)
	f.settle(a, b)
	var all sync.WaitGroup
	for i := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range 600 {
				tok, err := b.Token(fmt.Sprintf("churn/%d-%d", i, j%10))
				if err != nil {
					f.Error(err)
					return
				}
				if j < 590 {
					f.check(tok.Close())
				}
			}
		}()
	}
	all.Wait()
	f.settle(b, a)
	f.eventually("the final state", func() bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, alive := range state {
			if alive {
				n++
			}
		}
		return n == 40
	})
}
