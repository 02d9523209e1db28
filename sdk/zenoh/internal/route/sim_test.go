package route

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/keyexpr"
	"github.com/essa-project/essad/sdk/zenoh/wire"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation with this seed alone, and print what happens")
	simSeeds = flag.Int("sim.seeds", 60, "how many seeds the simulation runs")
)

// TestSimulation does random things on a few faces of random relations, and compares what each face has been told, who got
// what and who was asked with a model that is sets and loops over them.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		runSim(t, *simSeed)
		return
	}
	n := *simSeeds
	if testing.Short() {
		n = min(n, 10)
	}
	for seed := range uint64(n) {
		if runSim(t, seed+1); t.Failed() {
			t.Fatalf("failed with -sim.seed=%d", seed+1)
		}
	}
}

const simSteps = 250

var simKeys = []string{"a", "b", "a/b", "a/*", "a/**", "**", "*", "a/b/c", "b/*", "@x/a", "a$*/b", "*/b", "c"}

// simEntity is what a face has declared; stale is what a gateway has declared that nobody asks about any more.
type simEntity struct {
	key             string
	complete, stale bool
}

type simInterest struct {
	key    string // "" for everything
	opts   wire.InterestOptions
	mode   wire.InterestMode
	finals int
}

func (i *simInterest) matches(k Kind, key string) bool {
	return i.opts&entityOptions[k] != 0 && (i.key == "" || keyexpr.Intersects(i.key, key))
}

func (i *simInterest) aggregate(k Kind) bool {
	return i.opts&wire.InterestAggregate != 0 && i.key != "" && k != Token
}

// simAsk is an INTEREST that a gateway was sent.
type simAsk struct {
	id    uint32
	key   string
	opts  wire.InterestOptions
	mode  wire.InterestMode
	final bool
	news  bool // asked when the gateway was attached: all that it has is news
}

type simQuery struct {
	src    *simFace
	rid    uint32
	finals int
	quiet  bool // cancelled
}

type simFace struct {
	s    *sim
	f    *Face
	name string
	rel  Relation

	// What it does.
	has       [kinds]map[uint32]simEntity
	interests map[uint32]*simInterest
	synced    bool
	queries   map[uint32]*simQuery

	// What it must know, and what it does know.
	must [kinds]map[string]bool
	told [kinds]map[uint32]simEntity
	gone []string // keys of one-shot U_TOKENs, in this step
	asks map[uint32]*simAsk

	pushes  int
	pending []uint32 // requests that it was sent
	asked   int      // of them, in this step
	answers []string // D_x with an interest id in this step
}

type sim struct {
	t     *testing.T
	r     *Router
	rnd   *rand.Rand
	now   time.Time
	faces []*simFace
	all   []*simQuery
	rid   uint32
	names int
	step  string
	added *simAdded // what this step declares
}

// simAdded is something declared. If it answers an ask of ours, and is a token, it is no news but for who asked for history.
type simAdded struct {
	by   *simFace
	kind Kind
	key  string
	ask  *simAsk
}

func (s *sim) errorf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("%s: %s", s.step, fmt.Sprintf(format, args...))
}

// Send is what the router tells the face.
func (f *simFace) Send(m *wire.Message, _ <-chan struct{}) bool {
	if *simSeed != 0 {
		f.s.t.Logf("    %s <- %s", f.name, text(m))
	}
	switch m.Kind {
	case wire.Declare:
		f.declared(m)
	case wire.Interest:
		if m.Mode == wire.InterestFinal {
			if f.asks[m.InterestID] == nil {
				f.s.errorf("%s: end of an unknown interest", f.name)
			}
			delete(f.asks, m.InterestID)
			break
		}
		f.asks[m.InterestID] = &simAsk{id: m.InterestID, key: m.Key.Suffix, opts: m.Options & allEntities, mode: m.Mode, news: f.f == nil}
	case wire.Push:
		f.pushes++
	case wire.Request:
		f.asked++
		f.pending = append(f.pending, m.RequestID)
	case wire.Response:
		if q := f.queries[m.RequestID]; q == nil || q.finals > 0 || q.quiet {
			f.s.errorf("%s: unexpected %s", f.name, text(m))
		}
	case wire.ResponseFinal:
		q := f.queries[m.RequestID]
		if q == nil || q.quiet {
			f.s.errorf("%s: unexpected %s", f.name, text(m))
			break
		}
		q.finals++
	case wire.OAM:
		f.s.errorf("%s: an OAM", f.name)
	}
	return true
}

func (f *simFace) declared(m *wire.Message) {
	for k := range kinds {
		switch m.Decl.Kind {
		case declKinds[k]:
			if m.HasInterest {
				f.answers = append(f.answers, m.Key.Suffix)
			}
			if m.Decl.ID != 0 {
				if x, ok := f.told[k][m.Decl.ID]; ok && x.key != m.Key.Suffix {
					f.s.errorf("%s: id %d has two keys", f.name, m.Decl.ID)
				}
				f.told[k][m.Decl.ID] = simEntity{key: m.Key.Suffix, complete: m.Decl.Complete}
			}
		case undeclKinds[k]:
			if m.Decl.ID == 0 && k == Token && m.Decl.HasKey {
				f.gone = append(f.gone, m.Key.Suffix)
				break
			}
			if _, ok := f.told[k][m.Decl.ID]; !ok {
				f.s.errorf("%s: %s of something that it was not told", f.name, text(m))
			}
			delete(f.told[k], m.Decl.ID)
		}
	}
	if m.Decl.Kind != wire.DeclFinal || f.rel == Mesh {
		return
	}
	i := f.interests[m.InterestID]
	if i == nil {
		f.s.errorf("%s: unexpected %s", f.name, text(m))
		return
	}
	if i.finals++; i.finals > 1 {
		f.s.errorf("%s: two finals for interest %d", f.name, m.InterestID)
	}
	if i.mode == wire.InterestCurrent {
		delete(f.interests, m.InterestID)
	}
}

func (s *sim) concerns(d, f *simFace, k Kind) bool {
	return (f.rel <= South || d.rel <= South) && (f != d || k == Token || d.rel == Local)
}

// visible calls yield for what counts of all that is declared and that d has to do with.
func (s *sim) visible(d *simFace, k Kind, yield func(e simEntity, of *simFace)) {
	for _, f := range s.faces {
		if !s.concerns(d, f, k) {
			continue
		}
		for _, e := range f.has[k] {
			if !e.stale {
				yield(e, f)
			}
		}
	}
}

func (s *sim) visibleKeys(d *simFace, k Kind) map[string]bool {
	keys := map[string]bool{} // with completeness
	s.visible(d, k, func(e simEntity, _ *simFace) { keys[e.key] = keys[e.key] || e.complete })
	return keys
}

type simVisible map[*simFace][kinds]map[string]bool

func (s *sim) snapshot() simVisible {
	v := simVisible{}
	for _, d := range s.faces {
		var x [kinds]map[string]bool
		for k := range kinds {
			x[k] = s.visibleKeys(d, k)
		}
		v[d] = x
	}
	return v
}

// settle brings what faces must know up to date after a step, and compares.
func (s *sim) settle(before simVisible, withdrawn []string) {
	s.prune()
	after := s.snapshot()
	for _, d := range s.faces {
		var gone []string
		for k := range kinds {
			if a := s.added; a != nil && a.kind == k && d.hears(a) && s.concerns(d, a.by, k) {
				d.must[k][a.key] = true
			}
			for key := range after[d][k] {
				if d.rel >= Mesh {
					d.must[k][key] = true
				}
			}
			for key := range before[d][k] {
				if _, is := after[d][k][key]; is {
					continue
				}
				if k == Token && !d.must[k][key] && d.asksFor(k, key) {
					gone = append(gone, key)
				}
				delete(d.must[k], key)
			}
			s.compare(d, k, after[d][k])
		}
		for _, key := range withdrawn {
			if _, is := after[d][Token][key]; !is && d.asksFor(Token, key) {
				gone = append(gone, key)
			}
		}
		slices.Sort(gone)
		slices.Sort(d.gone)
		if !slices.Equal(gone, d.gone) {
			s.errorf("%s: told that tokens are gone: %v, want %v", d.name, d.gone, gone)
		}
		d.gone, d.answers, d.pushes, d.asked = nil, nil, 0, 0
	}
	s.compareAsks()
	s.added = nil
}

// hears reports whether the face is told of what was added.
func (f *simFace) hears(a *simAdded) bool {
	if a.ask == nil || a.ask.news || a.kind != Token {
		return f.asksFor(a.kind, a.key)
	}
	for _, i := range f.interests {
		if f.rel < Mesh && i.mode == wire.InterestCurrentFuture && i.key == a.ask.key && i.opts&allEntities == a.ask.opts {
			return true
		}
	}
	return false
}

// asksFor reports whether the face has an interest that makes it hear of key itself.
func (f *simFace) asksFor(k Kind, key string) bool {
	if f.rel >= Mesh {
		return false
	}
	for _, i := range f.interests {
		if i.mode != wire.InterestCurrent && !i.aggregate(k) && i.matches(k, key) {
			return true
		}
	}
	return false
}

// prune marks what gateways have declared that nobody asks about any more.
func (s *sim) prune() {
	for _, g := range s.faces {
		if g.rel != North {
			continue
		}
		for k := range kinds {
			for id, e := range g.has[k] {
				if !s.anybodyAsks(k, e.key) {
					e.stale = true
					g.has[k][id] = e
				}
			}
		}
	}
}

func (s *sim) anybodyAsks(k Kind, key string) bool {
	for _, f := range s.faces {
		for _, i := range f.interests {
			if f.rel < Mesh && i.mode != wire.InterestCurrent && i.matches(k, key) {
				return true
			}
		}
	}
	return false
}

func (s *sim) compare(d *simFace, k Kind, visible map[string]bool) {
	want := map[string]bool{}
	for key := range d.must[k] {
		want[key] = visible[key]
	}
	for _, i := range d.interests {
		if d.rel >= Mesh || i.mode == wire.InterestCurrent || !i.aggregate(k) || i.opts&entityOptions[k] == 0 {
			continue
		}
		for key, complete := range visible {
			if keyexpr.Intersects(key, i.key) {
				want[i.key] = want[i.key] || complete && keyexpr.Includes(key, i.key)
			}
		}
	}
	got := map[string]bool{}
	for _, e := range d.told[k] {
		if _, twice := got[e.key]; twice {
			s.errorf("%s: told of %v %s twice", d.name, k, e.key)
		}
		got[e.key] = e.complete
	}
	if !maps.Equal(got, want) {
		s.errorf("%s (%v): %vs told %v, want %v", d.name, d.rel, k, got, want)
	}
}

// compareAsks compares what gateways were asked with what faces ask for.
func (s *sim) compareAsks() {
	want := map[string]bool{}
	for _, f := range s.faces {
		for _, i := range f.interests {
			if f.rel < Mesh && i.mode != wire.InterestCurrent && i.opts&allEntities != 0 {
				want[fmt.Sprint(i.key, i.opts&allEntities)] = true
			}
		}
	}
	for _, g := range s.faces {
		got := map[string]bool{}
		for _, a := range g.asks {
			if a.mode != wire.InterestCurrent {
				got[fmt.Sprint(a.key, a.opts)] = true
			}
		}
		if g.rel == North && !maps.Equal(got, want) {
			s.errorf("%s: asked %v, want %v", g.name, got, want)
		}
	}
}

// blind reports whether we do not know all that f would get of key.
func (f *simFace) blind(k Kind, key string) bool {
	switch f.rel {
	case Mesh:
		return !f.synced
	case North:
		for _, a := range f.asks {
			if a.final && a.mode == wire.InterestCurrentFuture && a.opts&entityOptions[k] != 0 &&
				(a.key == "" || keyexpr.Includes(a.key, key)) {
				return false
			}
		}
		return true
	case Local, South:
	}
	return false
}

func (s *sim) reaches(src, d *simFace) bool {
	return (src.rel <= South || d.rel <= South) && (src != d || d.rel == Local)
}

func (s *sim) checkPush(src *simFace, key string) {
	for _, d := range s.faces {
		want := 0
		if s.reaches(src, d) {
			if d.blind(Subscriber, key) {
				want = 1
			}
			for _, e := range d.has[Subscriber] {
				if !e.stale && keyexpr.Intersects(e.key, key) {
					want = 1
				}
			}
		}
		if d.pushes != want {
			s.errorf("%s (%v) got %d copies, want %d", d.name, d.rel, d.pushes, want)
		}
	}
}

func (s *sim) checkRequest(src *simFace, key string, target wire.Target) {
	want, best := map[*simFace]bool{}, map[*simFace]bool{}
	bestDistance := 9
	for _, d := range s.faces {
		if !s.reaches(src, d) {
			continue
		}
		some, complete := d.blind(Queryable, key), false
		all := some
		for _, e := range d.has[Queryable] {
			if e.stale || !keyexpr.Intersects(e.key, key) {
				continue
			}
			some = true
			complete = complete || e.complete && keyexpr.Includes(e.key, key)
		}
		all = all || complete
		if target == wire.AllComplete && all || target != wire.AllComplete && some {
			want[d] = true
		}
		if dist := [...]int{0, 1, 1, 2}[d.rel]; complete && dist <= bestDistance {
			if dist < bestDistance {
				clear(best)
			}
			best[d], bestDistance = true, dist
		}
	}
	got := 0
	for _, d := range s.faces {
		if target == wire.BestMatching && len(best) > 0 {
			if got += d.asked; d.asked > 0 && !best[d] {
				s.errorf("%s (%v) was asked, but is not the best", d.name, d.rel)
			}
		} else if (d.asked == 1) != want[d] || d.asked > 1 {
			s.errorf("%s (%v) was asked %d times, want %v", d.name, d.rel, d.asked, want[d])
		}
	}
	if target == wire.BestMatching && len(best) > 0 && got != 1 {
		s.errorf("%d were asked, want the best one", got)
	}
}
