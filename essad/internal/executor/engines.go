package executor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// Engine is one engine under the name the configuration gives it.
type Engine struct {
	Name   string
	Shards int // processes; 0 means 1
	// Start starts one of them and gives it the border to call back through. killed is to be told of each call because of
	// which the process has to be killed.
	Start func(ctx context.Context, shard int, b engine.Border, killed func(Kill)) (Process, error)
}

// Process is one process of an engine, over all its restarts.
type Process interface {
	engine.Engine
	Ready() bool      // takes calls now; it is asked for every call where there are several
	Progress() uint64 // counts what it has sent
	State() string    // for status
}

// Kill tells of a call that went on past its deadline, so that its process was killed.
type Kill struct {
	Call *engine.Call
	// Silent: nothing at all came from the process since the call was sent, so another one may be what keeps it.
	Silent bool
}

// engineState is an engine that has started.
type engineState struct {
	name    string
	info    engine.Info
	shards  []*shard
	modules recent // that are ready in one of them
}

// shard is one process of an engine. Its modules and its cache are its own.
type shard struct {
	Process
	engine   *engineState
	index    int
	holds    scopes
	inFlight int // guarded by core.mu

	mu        sync.Mutex
	preparing map[string]*preparation
}

// startEngines starts all shards of all engines. The processes start side by side.
func (r *Role) startEngines(ctx context.Context) ([]*engineState, error) {
	var (
		states []*engineState
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for _, o := range r.opts.Engines {
		e := &engineState{name: o.Name}
		states = append(states, e)
		for i := range max(o.Shards, 1) {
			s := &shard{engine: e, index: i, preparing: map[string]*preparation{}}
			e.shards = append(e.shards, s)
			wg.Go(func() {
				p, err := o.Start(ctx, i, &border{role: r, shard: s}, func(k Kill) { r.killed(s, k) })
				s.Process = p
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = errors.Join(failed, err)
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	for _, e := range states {
		var err error
		if e.info, err = e.shards[0].Info(ctx); err != nil {
			return nil, fmt.Errorf("engine %q: %w", e.name, err)
		}
	}
	return states, nil
}

// engineNamed returns the engine a call asks for, the first one if it asks for none.
func (r *Role) engineNamed(name string) (*engineState, error) {
	engines := r.enginesNow()
	if name == "" {
		return engines[0], nil
	}
	var have []string
	for _, e := range engines {
		if e.name == name {
			return e, nil
		}
		have = append(have, e.name)
	}
	return nil, status.Errorf(status.NotFound, "executor %q has no engine named %q; it has %s", r.opts.ID, name, strings.Join(have, ", "))
}

// updateCaches passes on to the engines what has changed of what they may have cached: to each process the scopes of which
// it has read something.
func (r *Role) updateCaches(ctx context.Context, in []client.CacheUpdate) {
	all := make([]engine.CacheUpdate, 0, len(in))
	for _, u := range in {
		if u.Key != nil && u.Space != client.DataSpace {
			continue
		}
		all = append(all, engine.CacheUpdate{
			Scope: u.Scope, Key: u.Key, Drop: u.Drop,
			Value: engine.Value{Data: u.Value.Data, Version: u.Value.Version, Lease: u.Value.Lease},
		})
	}
	for _, e := range r.enginesNow() {
		for _, s := range e.shards {
			mine := s.holds.filter(all)
			if len(mine) == 0 {
				continue
			}
			if err := s.Update(ctx, mine); err != nil {
				// An engine that cannot be told is gone, and its cache with it; what starts in its place starts empty.
				r.log.Debug("engine did not take a cache update", "engine", e.name, "shard", s.index, "error", err)
			}
		}
	}
}

// scopes is the set of scopes of which a process may have something in its cache. A scope enters before its first value
// does, and stays; that of a run leaves when the run has ended, for nobody will read it again.
type scopes struct {
	mu   sync.RWMutex
	many bool // more than maxScopes: all of them
	set  map[string]struct{}
}

// maxScopes bounds the set; a process that uses more is told of everything.
const maxScopes = 4096

func (s *scopes) add(scope string) {
	s.mu.RLock()
	_, has := s.set[scope]
	has = has || s.many
	s.mu.RUnlock()
	if has {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.set) >= maxScopes:
		s.many, s.set = true, nil
	case s.set == nil:
		s.set = map[string]struct{}{scope: {}}
	default:
		s.set[scope] = struct{}{}
	}
}

func (s *scopes) remove(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, scope)
}

// filter returns the updates that matter. One without a scope drops everything.
func (s *scopes) filter(in []engine.CacheUpdate) []engine.CacheUpdate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []engine.CacheUpdate
	for _, u := range in {
		_, has := s.set[u.Scope]
		switch {
		case u.Scope == "" && u.Key == nil && u.Drop:
			out = append(out, u)
		case s.many || has:
			out = append(out, u)
		}
	}
	return out
}
