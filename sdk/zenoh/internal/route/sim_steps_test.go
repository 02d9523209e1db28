package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

func runSim(t *testing.T, seed uint64) {
	t.Helper()
	s := &sim{t: t, rnd: rand.New(rand.NewPCG(seed, 4)), now: time.Unix(1000, 0)} //nolint:gosec // to be repeated
	s.r = New(Options{ID: wire.ID{0xee}, QueryTimeout: time.Second, InterestTimeout: time.Second, RouteCache: 4})
	s.r.Tick(s.now)
	s.attach()
	s.attach()
	for i := range simSteps {
		s.random(i)
		if t.Failed() {
			return
		}
	}
	s.end()
}

// do runs one step and checks what came of it.
func (s *sim) do(withdrawn []string, check func(), what func(), format string, args ...any) {
	s.step = fmt.Sprintf(format, args...)
	if *simSeed != 0 {
		s.t.Log(s.step)
	}
	before := s.snapshot()
	what()
	if check != nil {
		check()
	}
	s.settle(before, withdrawn)
}

func pick[T any](s *sim, l []T) T { return l[s.rnd.IntN(len(l))] }

func (s *sim) random(i int) {
	if len(s.faces) == 0 {
		s.attach()
		return
	}
	f := pick(s, s.faces)
	switch s.rnd.IntN(24) {
	case 0:
		if len(s.faces) < 6 {
			s.attach()
		}
	case 1:
		if i%3 == 0 {
			s.detach(f)
		}
	case 2, 3, 4, 5, 6:
		s.declare(f)
	case 7, 8:
		s.undeclare(f)
	case 9, 10, 11:
		s.interest(f)
	case 12:
		s.endInterest(f)
	case 13, 14:
		s.push(f)
	case 15, 16, 17:
		s.request(f)
	case 18, 19, 20:
		s.answer(f)
	case 21:
		s.pass(time.Duration(s.rnd.IntN(800)) * time.Millisecond)
	case 22:
		s.final(f)
	case 23:
		s.cancel(f)
	}
}

func (s *sim) attach() {
	rel := Relation(s.rnd.IntN(4))
	f := &simFace{
		s: s, rel: rel, name: fmt.Sprintf("%v%d", rel, s.names),
		interests: map[uint32]*simInterest{}, queries: map[uint32]*simQuery{}, asks: map[uint32]*simAsk{},
	}
	s.names++
	for k := range kinds {
		f.has[k], f.must[k], f.told[k] = map[uint32]simEntity{}, map[string]bool{}, map[uint32]simEntity{}
	}
	s.do(nil, nil, func() {
		f.f = s.r.Attach(f, wire.ID{byte(s.names)}, rel, f.name)
		s.faces = append(s.faces, f)
	}, "attach %s", f.name)
}

func (s *sim) detach(f *simFace) {
	s.do(nil, nil, func() {
		s.faces = slices.DeleteFunc(s.faces, func(x *simFace) bool { return x == f })
		s.r.Detach(f.f)
	}, "detach %s", f.name)
}

// send hands a message to the router as f's.
func (f *simFace) send(m *wire.Message) { f.s.r.Handle(f.f, m) }

func (s *sim) declare(f *simFace) {
	k, id, key := Kind(s.rnd.IntN(int(kinds))), uint32(1+s.rnd.IntN(4)), pick(s, simKeys)
	if f.rel == North && !s.anybodyAsks(k, key) {
		return // it would not tell us
	}
	e := simEntity{key: key, complete: k == Queryable && s.rnd.IntN(2) == 0}
	m := &wire.Message{
		Kind: wire.Declare, Key: expr(key), Decl: wire.Declaration{Kind: declKinds[k], ID: id, Complete: e.complete},
	}
	a := s.answered(f, k, key)
	if a != nil {
		m.HasInterest, m.InterestID = true, a.id
	}
	if a != nil && a.mode == wire.InterestCurrent { // passed on, and that is all
		m.Decl.ID = 0
		s.do(nil, nil, func() { f.send(m) }, "%s answers %d with %v %s", f.name, a.id, k, key)
		return
	}
	if old, ok := f.has[k][id]; !ok || old != e {
		s.added = &simAdded{by: f, kind: k, key: key, ask: a}
	}
	s.do(nil, nil, func() {
		f.has[k][id] = e
		f.send(m)
	}, "%s declares %v %d %s %v, answers %v", f.name, k, id, key, e.complete, a)
}

// answered chooses an ask that a gateway answers with a declaration, or none.
func (s *sim) answered(f *simFace, k Kind, key string) *simAsk {
	if f.rel != North || s.rnd.IntN(2) == 0 {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(f.asks)) {
		a := f.asks[id]
		i := simInterest{key: a.key, opts: a.opts}
		if a.mode != wire.InterestFuture && !a.final && i.matches(k, key) {
			return a
		}
	}
	return nil
}

func (s *sim) undeclare(f *simFace) {
	k, id := Kind(s.rnd.IntN(int(kinds))), uint32(1+s.rnd.IntN(4))
	var withdrawn []string
	if e, ok := f.has[k][id]; ok && e.stale && k == Token {
		held := false
		for _, g := range s.faces {
			for _, x := range g.has[k] {
				held = held || x.key == e.key && !x.stale
			}
		}
		if !held {
			withdrawn = []string{e.key}
		}
	}
	s.do(withdrawn, nil, func() {
		delete(f.has[k], id)
		f.send(&wire.Message{Kind: wire.Declare, Decl: wire.Declaration{Kind: undeclKinds[k], ID: id}})
	}, "%s undeclares %v %d", f.name, k, id)
}

func (s *sim) interest(f *simFace) {
	id := uint32(1 + s.rnd.IntN(5))
	i := &simInterest{opts: wire.InterestOptions(s.rnd.IntN(8)) << 1, mode: wire.InterestMode(1 + s.rnd.IntN(3))}
	if s.rnd.IntN(5) != 0 {
		i.key = pick(s, simKeys)
	}
	if i.mode == wire.InterestCurrentFuture && s.rnd.IntN(4) == 0 {
		i.opts |= wire.InterestAggregate
	}
	m := &wire.Message{Kind: wire.Interest, InterestID: id, Mode: i.mode, Options: i.opts, Key: wire.WireExpr{Suffix: i.key}}
	if i.key != "" {
		m.Options |= wire.InterestRestricted
	}
	var want []string // answers
	check := func() {
		slices.Sort(want)
		slices.Sort(f.answers)
		if !slices.Equal(want, f.answers) {
			s.errorf("answered %v, want %v", f.answers, want)
		}
	}
	known := f.rel == North || f.rel != Mesh && f.interests[id] != nil
	for k := range kinds {
		if known || i.mode == wire.InterestFuture || i.opts&entityOptions[k] == 0 {
			continue
		}
		aggregate := i.aggregate(k) && f.rel != Mesh
		for key := range s.visibleKeys(f, k) {
			switch {
			case !i.matches(k, key):
			case aggregate:
				if !slices.Contains(want, i.key) || k != Subscriber {
					want = append(want, i.key)
				}
				aggregate = false
			case i.aggregate(k) && f.rel != Mesh: // counted
			default:
				want = append(want, key)
				if f.rel != Mesh && i.mode == wire.InterestCurrentFuture {
					f.must[k][key] = true
				}
			}
		}
	}
	s.do(nil, check, func() {
		if !known && f.rel != Mesh {
			f.interests[id] = i
		}
		f.send(m)
	}, "%s interest %d mode %d opts %#x %q", f.name, id, i.mode, i.opts, i.key)
}

func (s *sim) endInterest(f *simFace) {
	id := uint32(1 + s.rnd.IntN(5))
	s.do(nil, nil, func() {
		delete(f.interests, id)
		f.send(&wire.Message{Kind: wire.Interest, InterestID: id})
	}, "%s ends interest %d", f.name, id)
}

func (s *sim) push(f *simFace) {
	key := pick(s, simKeys)
	s.do(nil, func() { s.checkPush(f, key) }, func() {
		f.send(&wire.Message{Kind: wire.Push, Key: expr(key), Body: wire.Body{Kind: wire.Put}})
	}, "%s puts %s", f.name, key)
}

func (s *sim) request(f *simFace) {
	s.rid++
	q := &simQuery{src: f, rid: s.rid}
	s.all = append(s.all, q)
	f.queries[q.rid] = q
	key, target := pick(s, simKeys), wire.Target(s.rnd.IntN(3))
	s.do(nil, func() { s.checkRequest(f, key, target) }, func() {
		f.send(&wire.Message{
			Kind: wire.Request, RequestID: q.rid, Key: expr(key), Target: target, TimeoutMS: uint32(100 + s.rnd.IntN(1000)),
			Body: wire.Body{Kind: wire.Query},
		})
	}, "%s gets %s with %d", f.name, key, target)
}

func (s *sim) answer(f *simFace) {
	if len(f.pending) == 0 {
		return
	}
	j := s.rnd.IntN(len(f.pending))
	m := &wire.Message{Kind: wire.Response, RequestID: f.pending[j], Key: expr("a/b"), Body: wire.Body{Kind: wire.Put}}
	if s.rnd.IntN(2) == 0 {
		m.Kind = wire.ResponseFinal
		if s.rnd.IntN(10) != 0 { // sometimes it ends twice
			f.pending = slices.Delete(f.pending, j, j+1)
		}
	}
	s.do(nil, nil, func() { f.send(m) }, "%s answers %d, kind %#x", f.name, m.RequestID, m.Kind)
}

func (s *sim) pass(d time.Duration) {
	s.do(nil, nil, func() {
		s.now = s.now.Add(d)
		s.r.Tick(s.now)
	}, "%v pass", d)
}

// final makes a face say that it has told what it had to.
func (s *sim) final(f *simFace) {
	m := &wire.Message{Kind: wire.Declare, HasInterest: true, Decl: wire.Declaration{Kind: wire.DeclFinal}}
	switch f.rel {
	case Mesh:
		f.synced = true
	case North:
		if len(f.asks) == 0 {
			return
		}
		m.InterestID = pick(s, slices.Sorted(maps.Keys(f.asks)))
		if a := f.asks[m.InterestID]; a.mode == wire.InterestCurrent {
			delete(f.asks, m.InterestID)
		} else {
			a.final = true
		}
	case Local, South: // means nothing
	}
	s.do(nil, nil, func() { f.send(m) }, "%s is final, %d", f.name, m.InterestID)
}

func (s *sim) cancel(f *simFace) {
	for _, rid := range slices.Sorted(maps.Keys(f.queries)) {
		if q := f.queries[rid]; q.finals == 0 && !q.quiet {
			s.do(nil, nil, func() {
				s.r.Cancel(f.f, rid)
				q.quiet = true
			}, "%s cancels %d", f.name, rid)
			return
		}
	}
}

// end lets everything run out and checks that nothing is left.
func (s *sim) end() {
	s.pass(5 * time.Second)
	s.pass(5 * time.Second)
	for _, q := range s.all {
		if alive := slices.Contains(s.faces, q.src); alive && !q.quiet && q.finals != 1 || q.finals > 1 {
			s.errorf("query %d of %s has %d finals", q.rid, q.src.name, q.finals)
		}
	}
	for _, f := range s.faces {
		for id, i := range f.interests {
			if f.rel < Mesh && i.mode != wire.InterestFuture && i.finals != 1 {
				s.errorf("interest %d of %s has %d finals", id, f.name, i.finals)
			}
		}
		if st := s.r.Stats(f.f); st.Pending != 0 || st.Asked != 0 {
			s.errorf("%s: %+v", f.name, st)
		}
	}
	for len(s.faces) > 0 {
		s.detach(s.faces[0])
	}
	checkEmpty(s.t, s.r)
}

// checkEmpty checks that a router without faces holds nothing.
func checkEmpty(t testing.TB, r *Router) {
	t.Helper()
	for k := range kinds {
		if n, m := len(r.tables[k].byKey), r.tables[k].index.Len(); n != 0 || m != 0 {
			t.Errorf("%d %vs are left, %d in the index", n, k, m)
		}
		if n, m := len(r.wanted[k].all), r.wanted[k].index.Len(); n != 0 || m != 0 {
			t.Errorf("%d and %d interests in %vs are left", n, m, k)
		}
	}
	if len(r.asks) != 0 || len(r.pending) != 0 || len(r.faces) != 0 || len(r.pushed) != 0 || len(r.dirty) != 0 {
		t.Errorf("left: %d asks, %d pending, %d and %d faces, %d dirty",
			len(r.asks), len(r.pending), len(r.faces), len(r.pushed), len(r.dirty))
	}
	if n := len(r.numbers.pool); n != r.numbers.next {
		t.Errorf("%d of %d numbers are free", n, r.numbers.next)
	}
}
