package executor

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

var t0 = time.Unix(1_700_000_000, 0)

// stateOf is an engine with shards that do nothing.
func stateOf(shards int) *engineState {
	e := &engineState{name: "fake"}
	for i := range shards {
		e.shards = append(e.shards, &shard{Process: &fakeEngine{}, engine: e, index: i})
	}
	return e
}

// A deployment's calls stay together while there is room, spread when there is not, and go elsewhere while their shard is
// being replaced. Many deployments are spread over all shards.
func TestPlace(t *testing.T) {
	e := stateOf(4)
	const workers = 2
	homes := map[*shard]int{}
	for i := range 400 {
		homes[homeOf(e.shards, fmt.Sprintf("deployment-%d", i))]++
	}
	for _, s := range e.shards {
		if n := homes[s]; n < 60 || n > 140 {
			t.Errorf("shard %d is the home of %d of 400", s.index, n)
		}
	}
	home := homeOf(e.shards, "shop")
	var got []int
	for range 2 * len(e.shards) {
		s := place(e.shards, "shop", workers)
		s.inFlight++
		got = append(got, s.index)
	}
	if got[0] != home.index || got[1] != home.index || slices.Index(got[2:], home.index) >= 0 {
		t.Errorf("home is %d, and the calls went to %v", home.index, got)
	}
	for _, s := range e.shards {
		if s.inFlight != 2 {
			t.Errorf("shard %d has %d calls", s.index, s.inFlight)
		}
	}
	home.inFlight = 0
	home.Process.(*fakeEngine).down.Store(true)
	if s := place(e.shards, "shop", workers); s == home {
		t.Error("a call goes to a shard that is being replaced")
	}
	for _, s := range e.shards {
		s.Process.(*fakeEngine).down.Store(true)
	}
	if s := place(e.shards, "shop", workers); s != home {
		t.Error("where no shard is ready a call does not wait for its home")
	}
}

// Of a change each process hears that has read something of its scope.
func TestUpdatesGoWhereTheyMatter(t *testing.T) {
	r := newShardedRig(t, 4, 3, echo)
	origin := func(scope string) *engine.Origin { return &engine.Origin{Scope: scope} }
	_, _ = r.shards[0].border.Load(t.Context(), origin("d/a"), []byte("k"), false)
	if _, err := r.shards[1].border.Merge(t.Context(), origin("d/b"), []byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	of := func(scope string) client.CacheUpdate {
		return client.CacheUpdate{Space: client.DataSpace, Scope: scope, Key: []byte("k"), Value: client.Value{Version: 2}}
	}
	r.role.updateCaches(t.Context(), []client.CacheUpdate{of("d/a"), of("d/b"), of("d/c"), {Space: client.UserSpace, Scope: "d/a", Key: []byte("k")}})
	r.role.updateCaches(t.Context(), []client.CacheUpdate{{Drop: true}})
	for i, want := range [][]string{{"d/a", ""}, {"d/b", ""}, {""}} {
		var got []string
		for _, u := range r.shards[i].updates {
			got = append(got, u.Scope)
		}
		if !slices.Equal(got, want) {
			t.Errorf("shard %d hears of %q, want %q", i, got, want)
		}
	}
	for i := range maxScopes + 1 {
		_, _ = r.shards[2].border.Load(t.Context(), origin(fmt.Sprint(i)), []byte("k"), false)
	}
	if u := r.role.enginesNow()[0].shards[2].holds.filter([]engine.CacheUpdate{{Scope: "d/unknown", Key: []byte("k")}}); len(u) != 1 {
		t.Error("a shard with very many scopes is not told of all")
	}
}

// What an anonymous run has read is nobody's after its end.
func TestScopeOfARunIsForgotten(t *testing.T) {
	r := newRig(t, 4, func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
		_, _ = b.Load(ctx, origin(c), []byte("k"), false)
		return &engine.Result{}, nil
	})
	holds := &r.role.enginesNow()[0].shards[0].holds
	if _, _, err := r.ask(t.Context(), invocation(func(i *essav1.Invocation) { i.Deployment, i.Scope = "", "r/1" }), true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.call(invocation()); err != nil {
		t.Fatal(err)
	}
	if len(holds.set) != 1 {
		t.Errorf("scopes %v", holds.set)
	}
}

// A nested call that its own process has no room for goes to another one, if that has nothing to do.
func TestNestedCallsOfAShard(t *testing.T) {
	r := newShardedRig(t, 4, 2, nil)
	for _, s := range r.shards {
		s.invoke = func(ctx context.Context, b engine.Border, c *engine.Call) (*engine.Result, error) {
			if c.Depth > 0 {
				return &engine.Result{Value: []byte("nested"), HasValue: true, Writes: []engine.KeyVersion{{Key: "w", Version: 8}}}, nil
			}
			return b.Call(ctx, origin(c), &engine.Call{ID: hlc.NewID(), Root: c.Root, Module: c.Module, Scope: c.Scope, Depth: 1})
		}
	}
	v, out, err := r.call(invocation())
	if v != "nested" || err != nil || len(out.Writes) != 1 {
		t.Fatalf("%q, %v, %v", v, out, err)
	}
	r.quiet()
	home := homeOf(r.role.enginesNow()[0].shards, "shop").index
	r.shards[1-home].down.Store(true)
	if _, _, err := r.call(invocation()); status.Of(err) != status.Unavailable { // there is no scheduler either
		t.Errorf("without another shard: %v", err)
	}
	r.quiet()
}

// The report tells of each engine how many of its processes are there.
func TestReportOfShards(t *testing.T) {
	r := newShardedRig(t, 4, 3, echo)
	r.shards[0].down.Store(true)
	e := r.role.Info().Engines[0]
	if e.Shards != 3 || e.Ready != 2 || e.State != "ready" || !e.Default {
		t.Errorf("%v", e)
	}
}
