package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("node-%03d", i))
	}
	return out
}

func key(i int) []byte { return fmt.Appendf(nil, "key/%d", i) }

// TestPlacementIsFixed pins the hash and the placement: processes of different versions must agree.
func TestPlacementIsFixed(t *testing.T) {
	for k, want := range map[string]uint64{
		"": 0xefd01f60ba992926, "a": 0x82a2a958a9bece5b, "key/1": 0x6a511a8f9faf8174, "node-000": 0xf5b45e5216098dff,
	} {
		if got := Position([]byte(k)); got != want {
			t.Errorf("Position(%q) = %#x, want %#x", k, got, want)
		}
	}
	r := New(0, names(5)...)
	var got []string
	for i := range 6 {
		got = append(got, fmt.Sprint(r.Owners(key(i), 3), Shards(key(i), 8, 2)))
	}
	want := []string{
		"[node-001 node-000 node-003] [5 6]",
		"[node-004 node-000 node-002] [5 6]",
		"[node-000 node-001 node-004] [6 7]",
		"[node-004 node-003 node-002] [3 4]",
		"[node-003 node-001 node-004] [5 6]",
		"[node-003 node-002 node-004] [3 4]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("placement %q", got)
	}
	if f := r.Fingerprint(); f != 0x9cdd782697c31e6a {
		t.Errorf("fingerprint %#x", f)
	}
}

func TestEmptyRing(t *testing.T) {
	for name, r := range map[string]*Ring{"nil": nil, "new": New(0), "emptied": New(0, "a").Without("a")} {
		if r.Len() != 0 || r.Owner(key(1)) != "" || r.Owners(key(1), 3) != nil || r.Owns("a", key(1), 1) || r.Has("a") ||
			len(r.Nodes()) != 0 || len(r.Shares()) != 0 || r.Fingerprint() != 0 || r.Without("a") != r {
			t.Errorf("%s is not empty", name)
		}
		for range r.Arcs(1) {
			t.Errorf("%s has arcs", name)
		}
		if with := r.With("b"); with.Owner(key(1)) != "b" {
			t.Errorf("%s with a node: owner %q", name, with.Owner(key(1)))
		}
	}
}

func TestOwners(t *testing.T) {
	r := New(64, names(4)...)
	for n, want := range map[int]int{-1: 0, 0: 0, 1: 1, 3: 3, 4: 4, 100: 4} {
		owners := r.Owners(key(7), n)
		if len(owners) != want {
			t.Errorf("%d owners: %v", n, owners)
		}
		slices.Sort(owners)
		if len(slices.Compact(owners)) != want {
			t.Errorf("%d owners are not distinct: %v", n, owners)
		}
	}
	all := r.Owners(key(7), 4)
	for n := range 5 {
		if got := r.Owners(key(7), n); !slices.Equal(got, all[:n]) {
			t.Errorf("%d owners are %v, the first of four are %v", n, got, all[:n])
		}
	}
	if all[0] != r.Owner(key(7)) {
		t.Errorf("first owner %q, owner %q", all[0], r.Owner(key(7)))
	}
	if buf := r.AppendOwners([]string{"node-001"}, Position(key(7)), 4); len(buf) != 5 || buf[0] != "node-001" {
		t.Errorf("what was in the buffer before does not count: %v", buf)
	}
}

func TestDuplicatesAndOrderDoNotMatter(t *testing.T) {
	a := New(100, "x", "y", "z")
	b := New(100, "z", "y", "x", "y", "z")
	c := New(100, "y").With("z").With("w").With("x").Without("w").With("x")
	for i := range 1000 {
		if o := a.Owners(key(i), 3); !slices.Equal(o, b.Owners(key(i), 3)) || !slices.Equal(o, c.Owners(key(i), 3)) {
			t.Fatalf("key %d: %v, %v, %v", i, o, b.Owners(key(i), 3), c.Owners(key(i), 3))
		}
	}
	if a.Fingerprint() != b.Fingerprint() || a.Fingerprint() != c.Fingerprint() {
		t.Error("fingerprints differ")
	}
	if a.Fingerprint() == a.With("w").Fingerprint() || a.Fingerprint() == New(101, "x", "y", "z").Fingerprint() {
		t.Error("different rings have the same fingerprint")
	}
}

func TestBalance(t *testing.T) {
	for _, n := range []int{2, 3, 10, 50} {
		r := New(0, names(n)...)
		sum := 0.0
		for node, share := range r.Shares() {
			sum += share
			if off := math.Abs(share*float64(n) - 1); off > 0.2 {
				t.Errorf("%d nodes: %s has %.1f %% more or less than its share", n, node, off*100)
			}
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%d nodes: the shares add up to %v", n, sum)
		}
	}
	// Keys as people make them, which differ in their last bytes only, spread like positions.
	r := New(0, names(10)...)
	count := map[string]int{}
	const keys = 100_000
	for i := range keys {
		count[r.Owner(key(i))]++
	}
	for node, share := range r.Shares() {
		if got := float64(count[node]) / keys; math.Abs(got-share) > 0.005 {
			t.Errorf("%s has %.3f of the keys and %.3f of the circle", node, got, share)
		}
	}
}

func TestSharesOfOne(t *testing.T) {
	for _, virtual := range []int{1, 7} {
		if s := New(virtual, "only").Shares(); math.Abs(s["only"]-1) > 1e-9 {
			t.Errorf("%d points: %v", virtual, s)
		}
	}
}

// TestMinimalMovement: a joining node takes its share from the others and nothing else moves; leaving is the reverse.
func TestMinimalMovement(t *testing.T) {
	const n, keys = 10, 20_000
	before := New(0, names(n)...)
	after := before.With("node-new")
	moved := 0
	for i := range keys {
		a, b := before.Owner(key(i)), after.Owner(key(i))
		if a != b {
			moved++
			if b != "node-new" {
				t.Fatalf("key %d moved from %s to %s, neither of which is new", i, a, b)
			}
		}
	}
	if got, want := float64(moved)/keys, 1.0/(n+1); got < want*0.8 || got > want*1.2 {
		t.Errorf("%.3f of the keys moved, want about %.3f", got, want)
	}
	back := after.Without("node-new")
	for i := range keys {
		if !slices.Equal(back.Owners(key(i), 3), before.Owners(key(i), 3)) {
			t.Fatalf("key %d is not back where it was", i)
		}
	}
	for i := range keys { // with replicas: at most one owner changes
		a, b := before.Owners(key(i), 3), after.Owners(key(i), 3)
		stay := 0
		for _, o := range b {
			if slices.Contains(a, o) {
				stay++
			}
		}
		if stay < 2 {
			t.Fatalf("key %d moved from %v to %v", i, a, b)
		}
	}
}

// TestModel compares the ring with the plain definition, for any members in any order.
func TestModel(t *testing.T) {
	genName := rapid.StringMatching(`[ab]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		virtual := rapid.IntRange(1, 20).Draw(t, "virtual")
		r := New(virtual, rapid.SliceOfN(genName, 0, 4).Draw(t, "first")...)
		members := map[string]bool{}
		for _, n := range r.Nodes() {
			members[n] = true
		}
		for range rapid.IntRange(0, 10).Draw(t, "changes") {
			n := genName.Draw(t, "node")
			if rapid.Bool().Draw(t, "join") {
				r, members[n] = r.With(n), true
			} else {
				r = r.Without(n)
				delete(members, n)
			}
		}
		if len(members) != r.Len() {
			t.Fatalf("%d nodes, want %d", r.Len(), len(members))
		}
		for range 20 {
			p := rapid.Uint64().Draw(t, "position")
			n := rapid.IntRange(0, 5).Draw(t, "n")
			if got, want := r.OwnersAt(p, n), plainOwners(members, virtual, p, n); !slices.Equal(got, want) {
				t.Fatalf("owners of %#x: %q, want %q", p, got, want)
			}
		}
	})
}

func plainOwners(members map[string]bool, virtual int, p uint64, n int) (out []string) {
	type at struct {
		distance uint64
		node     string
	}
	var all []at
	for m := range members {
		for _, pt := range appendPoints(nil, m, 0, virtual) {
			all = append(all, at{pt.at - p, m}) // wraps around
		}
	}
	slices.SortFunc(all, func(a, b at) int {
		if a.distance != b.distance {
			if a.distance < b.distance {
				return -1
			}
			return 1
		}
		return slices.Compare([]byte(a.node), []byte(b.node))
	})
	for _, a := range all {
		if len(out) < n && !slices.Contains(out, a.node) {
			out = append(out, a.node)
		}
	}
	return out
}

func TestVirtualIsBounded(t *testing.T) {
	if r := New(1<<30, "a"); len(r.points) != MaxVirtual {
		t.Errorf("%d points", len(r.points))
	}
}

func TestArcs(t *testing.T) {
	r := New(16, names(5)...)
	covered := 0.0
	for a, owners := range r.Arcs(2) {
		covered += float64(a.To - a.From)
		for _, p := range []uint64{a.To, a.From + 1, a.From + (a.To-a.From)/2 + 1} {
			if !a.Contains(p) || !slices.Equal(owners, r.OwnersAt(p, 2)) {
				t.Fatalf("arc %v with owners %v does not hold for %#x", a, owners, p)
			}
		}
		if a.Contains(a.From) {
			t.Errorf("arc %v contains its start", a)
		}
	}
	if math.Abs(covered/(1<<64)-1) > 1e-9 {
		t.Errorf("the arcs cover %v of the circle", covered/(1<<64))
	}
	arcs := 0
	for a, owners := range New(4, "only").Arcs(3) {
		arcs++
		if !slices.Equal(owners, []string{"only"}) || !a.Contains(0) || !a.Contains(a.From) || !a.Contains(math.MaxUint64) {
			t.Errorf("the circle of one node: %v %v", a, owners)
		}
	}
	if arcs != 1 {
		t.Errorf("the circle of one node has %d arcs", arcs)
	}
}

// TestMoves: exactly the positions inside a move have other owners afterwards.
func TestMoves(t *testing.T) {
	five := New(16, names(5)...)
	for name, c := range map[string]struct {
		from, to *Ring
		n, m     int
	}{
		"join":    {five, five.With("new"), 2, 2},
		"leave":   {five, five.Without("node-002"), 3, 3},
		"both":    {five, five.Without("node-002").With("new"), 1, 1},
		"first":   {nil, New(16, "a"), 1, 1},
		"last":    {New(16, "a"), New(16), 1, 1},
		"factor":  {five, five, 1, 3},
		"nothing": {five, New(16, names(5)...), 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var moves []Move
			for m := range Moves(c.from, c.n, c.to, c.m) {
				moves = append(moves, m)
			}
			for range 20_000 {
				p := rand.Uint64()
				a, b := c.from.OwnersAt(p, c.n), c.to.OwnersAt(p, c.m)
				i := slices.IndexFunc(moves, func(m Move) bool { return m.Contains(p) })
				if slices.Equal(a, b) != (i < 0) {
					t.Fatalf("%#x: %v to %v; move %d", p, a, b, i)
				}
				if i >= 0 && (!slices.Equal(moves[i].From, a) || !slices.Equal(moves[i].To, b)) {
					t.Fatalf("%#x: %v to %v; the move says %+v", p, a, b, moves[i])
				}
			}
			if (name == "nothing") != (len(moves) == 0) {
				t.Errorf("%d moves", len(moves))
			}
		})
	}
}

func TestShards(t *testing.T) {
	const keys = 50_000
	for _, shards := range []int{1, 2, 7, 16} {
		count := make([]int, shards)
		moved := 0
		for i := range keys {
			s := Shard(key(i), shards)
			count[s]++
			if next := Shard(key(i), shards+1); next != s {
				moved++
				if next != shards {
					t.Fatalf("key %d moved from shard %d to %d, which is not the new one", i, s, next)
				}
			}
		}
		for s, n := range count {
			if off := math.Abs(float64(n*shards)/keys - 1); off > 0.1 {
				t.Errorf("%d shards: shard %d has %d keys", shards, s, n)
			}
		}
		if want := keys / (shards + 1); moved < want*9/10 || moved > want*11/10 {
			t.Errorf("%d shards and one more: %d keys moved, want about %d", shards, moved, want)
		}
	}
	if got := Shards(key(1), 3, 5); len(got) != 3 || got[0] != Shard(key(1), 3) {
		t.Errorf("all shards: %v", got)
	}
	if Shards(key(1), 0, 1) != nil || Shards(key(1), 3, 0) != nil || Shards(key(1), 3, -1) != nil || Shard(key(1), 0) != 0 {
		t.Error("no shards")
	}
	// One node's keys spread over its shards, too.
	r, count := New(0, names(4)...), make([]int, 4)
	total := 0
	for i := range keys {
		if r.Owner(key(i)) == "node-001" {
			total++
			count[Shard(key(i), 4)]++
		}
	}
	for s, n := range count {
		if off := math.Abs(float64(n*4)/float64(total) - 1); off > 0.1 {
			t.Errorf("of a node's %d keys shard %d has %d", total, s, n)
		}
	}
}

func TestView(t *testing.T) {
	v := NewView(New(0, "m1", "m2", "m3"), nil).With(Disk, New(0, "d1", "d2"))
	f := Factors{Memory: {Global: 2, Local: 3}, Disk: {Global: 5}}
	owners := v.Owners(key(1), f)
	if len(owners) != 4 || owners[0].Tier != Memory || owners[1].Tier != Memory || owners[2].Tier != Disk || owners[3].Tier != Disk {
		t.Errorf("owners %v", owners)
	}
	for _, o := range owners {
		if !v.Holds(o.Node, o.Tier, key(1), f) || v.Holds(o.Node, 1-o.Tier, key(1), f) {
			t.Errorf("holder %v", o)
		}
	}
	if demoted := (Factors{Disk: {Global: 1}}); len(v.Owners(key(1), demoted)) != 1 || v.Owners(key(1), demoted)[0].Tier != Disk {
		t.Errorf("a factor of 0 keeps the tier: %v", v.Owners(key(1), demoted))
	}
	if n := len(f.Shards(Memory, key(1), 8)); n != 3 {
		t.Errorf("%d shards", n)
	}
	if n := len(f.Shards(Disk, key(1), 8)); n != 1 {
		t.Errorf("%d shards where no local factor is given", n)
	}
	swapped := NewView(v.Ring(Disk), v.Ring(Memory))
	if v.Fingerprint() == swapped.Fingerprint() || v.Fingerprint() != NewView(v.Ring(Memory), New(0, "d2", "d1")).Fingerprint() {
		t.Error("fingerprints of views")
	}
	if v.Ring(9) != nil || v.With(9, New(0, "x")) != v || v.Holds("m1", 9, key(1), f) || len(f.Shards(9, key(1), 8)) != 1 {
		t.Error("a tier that does not exist")
	}
	if (View{}).Owners(key(1), f) != nil {
		t.Error("an empty view has owners")
	}
	if Memory.String() != "memory" || Disk.String() != "disk" || Tier(9).String() != "unknown tier" {
		t.Error("names of tiers")
	}
}

func BenchmarkOwner(b *testing.B) {
	for _, n := range []int{3, 100} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			r, k := New(0, names(n)...), []byte("user/a-key-of-usual-length/0")
			for i := 0; b.Loop(); i++ {
				k[len(k)-1] = byte(i)
				if r.Owner(k) == "" {
					b.Fatal("no owner")
				}
			}
		})
	}
}

func BenchmarkOwns3(b *testing.B) {
	r, k := New(0, names(100)...), []byte("user/a-key-of-usual-length/0")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k[len(k)-1] = byte(i)
		r.Owns("node-001", k, 3)
	}
}

func BenchmarkJoin(b *testing.B) {
	r := New(0, names(100)...)
	for b.Loop() {
		r.With("node-new")
	}
}

func BenchmarkMoves(b *testing.B) {
	r := New(0, names(100)...)
	s := r.With("node-new")
	for b.Loop() {
		for range Moves(r, 3, s, 3) {
		}
	}
}
