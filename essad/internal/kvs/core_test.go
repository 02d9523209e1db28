package kvs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/essa-project/essad/sdk/lattice"
	annav1 "github.com/essa-project/essad/sdk/proto/anna/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios in testdata give now; review the difference")

// TestScenarios runs the files in testdata against the core of a shard. A file opens with what it proves. Each of its
// blocks is a command, a line "----", and what came of it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runScenario(t, f) })
	}
}

func runScenario(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	sc := &scenario{t: t, listeners: map[string]*named{}}
	for i, block := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		if strings.HasPrefix(block, "#") {
			out.WriteString(block + "\n")
			continue
		}
		command, want, _ := strings.Cut(block, "\n----")
		want = strings.TrimPrefix(want, "\n")
		got := strings.TrimSuffix(sc.run(strings.Fields(command)), "\n")
		fmt.Fprintf(&out, "%s\n----\n", command)
		if got != "" {
			out.WriteString(got + "\n")
		}
		if !*rewrite && got != want {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", command, got, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type scenario struct {
	t         *testing.T
	s         *shard
	floor     uint64
	taken     batch
	listeners map[string]*named
}

type named struct{ name string }

func (n *named) tell(event) {}

// run does one command: its words, among them name=value.
func (sc *scenario) run(words []string) string {
	var args []string
	opt := map[string]uint64{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				sc.t.Fatalf("%q: %v", w, err)
			}
			opt[k] = n
		} else {
			args = append(args, w)
		}
	}
	key := func() []byte { return []byte("\x01\x00" + args[0]) }
	value := func(elems []string) []byte {
		if slices.Equal(elems, []string{"counter"}) {
			return lattice.Encode(lattice.NewCounter().Add("c", 1))
		}
		var bs [][]byte
		for _, e := range elems {
			bs = append(bs, []byte(e))
		}
		return lattice.Encode(lattice.NewSet(bs...))
	}
	record := func() lattice.Record {
		r := lattice.Record{Generation: opt["generation"], Version: opt["version"], Expires: opt["expires"]}
		if len(args) > 1 {
			r.Value = value(args[1:])
		}
		return r
	}
	var condition *uint64
	if v, ok := opt["if"]; ok {
		condition = &v
	}
	var out strings.Builder
	switch words[0] {
	case "new":
		sc.s = newShard(shardConfig{
			persistent: args[0] == "store", maxValue: 1000, grace: 100, lease: 1000, maxHolders: 3,
			floor:  func(string) uint64 { return sc.floor },
			absent: func(key []byte) bool { return strings.HasPrefix(string(key[2:]), "absent") },
			added:  func(string) {},
		})
	case "floor":
		sc.floor = opt["at"]
	case "get":
		rec, miss := sc.s.get(key(), opt["now"])
		if miss {
			return "miss"
		}
		fmt.Fprintln(&out, show(rec))
	case "put":
		version, seq, miss, err := sc.s.put(key(), put{value: value(args[1:]), ttl: opt["ttl"], condition: condition}, opt["now"])
		sc.outcome(&out, version, seq, miss, err)
	case "stamp":
		version, seq, miss, err := sc.s.put(key(), put{value: []byte(args[1]), stamp: true}, opt["now"])
		sc.outcome(&out, version, seq, miss, err)
	case "del":
		version, seq, miss, err := sc.s.del(key(), condition, opt["now"])
		sc.outcome(&out, version, seq, miss, err)
	case "merge":
		seq, miss, err := sc.s.merge(key(), record(), opt["now"])
		sc.outcome(&out, 0, seq, miss, err)
	case "loaded":
		sc.s.loaded(string(key()), record(), int32(opt["pins"]))
	case "unpin":
		sc.s.unpin(key())
	case "purge":
		if sc.s.purge(key(), opt["floor"]) {
			return "miss"
		}
	case "cold":
		if sc.s.settleCold(key(), opt["at"], opt["now"]) {
			return "miss"
		}
	case "tick":
		sc.s.tick(opt["now"], 100)
		sc.s.endLeases(opt["now"], 100)
	case "evict":
		sc.s.evict(int64(opt["to"]), 1000)
	case "watch":
		sc.s.watches.addKey(string(key()), sc.listener("watch "+args[0]))
	case "unwatch":
		sc.s.watches.removeKey(string(key()), sc.listener("watch "+args[0]))
	case "watch-prefix":
		sc.s.watches.addPrefix(string(key()), sc.listener("prefix "+args[0]))
	case "unwatch-prefix":
		sc.s.watches.removePrefix(string(key()), sc.listener("prefix "+args[0]))
	case "register":
		fmt.Fprintln(&out, "lease", sc.s.register(key(), sc.listener("cache "+args[1]), opt["now"]))
	case "take":
		var ops []storage.Op
		var size int
		for range opt["full"] { // what other shards put into the batch
			ops = append(ops, storage.Op{})
		}
		skip := len(ops)
		ops, _, sc.taken = sc.s.take(ops, nil, &size)
		for _, op := range ops[skip:] {
			fmt.Fprintln(&out, showOp(op))
		}
		fmt.Fprintln(&out, "up to", sc.taken.upTo)
	case "done":
		sc.s.done(sc.taken, slices.Contains(args, "synced"))
	case "state":
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range sc.s.entries {
				if !yield(k) {
					return
				}
			}
		}) {
			e := sc.s.entries[k]
			fmt.Fprintf(&out, "%s: %s due %d\n", k[2:], show(e.rec), e.due)
		}
		fmt.Fprintf(&out, "seq %d applied %d synced %d pending %d holders %d\n", sc.s.seq, sc.s.applied, sc.s.synced, sc.s.pending, sc.s.holders.count)
	default:
		sc.t.Fatalf("unknown command %q", words[0])
	}
	for _, ev := range sc.s.events {
		fmt.Fprintf(&out, "tell %s: %s is %s\n", ev.to.(*named).name, ev.key[2:], show(ev.rec))
	}
	sc.s.events = nil
	sc.invariants()
	return out.String()
}

func (sc *scenario) listener(name string) *named {
	if sc.listeners[name] == nil {
		sc.listeners[name] = &named{name}
	}
	return sc.listeners[name]
}

func (sc *scenario) outcome(out *strings.Builder, version, seq uint64, miss bool, err error) {
	switch {
	case miss:
		fmt.Fprintln(out, "miss")
	case err != nil:
		fmt.Fprintf(out, "%s: %v\n", status.Code(err), err)
	default:
		fmt.Fprintf(out, "version %d seq %d\n", version, seq)
	}
}

func show(r lattice.Record) string {
	if r.IsZero() {
		return "nothing"
	}
	s := fmt.Sprintf("g%d v%d", r.Generation, r.Version)
	if r.Expires != 0 {
		s += fmt.Sprintf(" expires %d", r.Expires)
	}
	if len(r.Value) == 0 {
		return s + " deleted"
	}
	v, err := lattice.Decode(r.Value)
	if err != nil {
		return s + " " + err.Error()
	}
	switch v := v.(type) {
	case lattice.Set:
		var es []string
		for _, e := range v.Elements() {
			es = append(es, string(e))
		}
		return s + " {" + strings.Join(es, " ") + "}"
	case lattice.LWW:
		return fmt.Sprintf("%s %q at %d", s, v.Data, v.Time.UnixNano())
	}
	return s + " " + v.Tag().String()
}

func showOp(op storage.Op) string {
	verb := "put"
	if op.Delete {
		verb = "delete"
	}
	if at, key, ok := splitDue(op.Key); ok {
		return fmt.Sprintf("%s due %d %s", verb, at, key[2:])
	}
	s := fmt.Sprintf("%s %s", verb, op.Key[2:])
	if rec, err := lattice.DecodeRecord(op.Value); err == nil && !op.Delete {
		s += " " + show(rec)
	}
	return s
}

// invariants must hold after every command.
func (sc *scenario) invariants() {
	sc.t.Helper()
	checkShard(sc.t, sc.s)
}

func checkShard(t testing.TB, s *shard) {
	t.Helper()
	var bytes, pending int64
	due := 0
	if len(s.ring) != len(s.entries) {
		t.Fatalf("%d entries in the ring, %d in all", len(s.ring), len(s.entries))
	}
	for i, e := range s.ring {
		if int(e.slot) != i || s.entries[e.key] != e {
			t.Fatalf("%q is not where it belongs", e.key)
		}
		bytes += e.size
		pending += e.listed
		if e.due != 0 {
			due++
			if s.due[e.heap] != e {
				t.Fatalf("%q is not where it belongs among what is due", e.key)
			}
		}
	}
	if bytes != s.bytes {
		t.Fatalf("%d bytes, counted %d", bytes, s.bytes)
	}
	if len(s.inflight) == 0 && pending != s.pending {
		t.Fatalf("%d bytes pending, counted %d", pending, s.pending)
	}
	if due != len(s.due) {
		t.Fatalf("%d entries are due, %d in the heap", due, len(s.due))
	}
	for i := range s.due {
		if i > 0 && s.due[(i-1)/2].due > s.due[i].due {
			t.Fatal("what is due is out of order")
		}
	}
	holders := 0
	for _, hs := range s.holders.keys {
		holders += len(hs)
	}
	if holders != s.holders.count {
		t.Fatalf("%d holders, counted %d", holders, s.holders.count)
	}
}

func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := annav1.Space(rapid.IntRange(1, 5).Draw(t, "space"))
		scope := rapid.StringN(0, -1, maxScope).Draw(t, "scope")
		name := rapid.String().Draw(t, "name")
		base := appendScope(nil, space, scope)
		key := string(base) + name
		gs, gc, gn, ok := splitKey(key)
		if !ok || gs != space || gc != scope || gn != name {
			t.Fatalf("%q became %v %q %q %v", key, gs, gc, gn, ok)
		}
		if scopePart(key) != string(base) {
			t.Fatalf("the scope of %q is %q", key, scopePart(key))
		}
		at := rapid.Uint64().Draw(t, "at")
		gat, gk, ok := splitDue(appendDue(nil, at, key))
		if !ok || gat != at || string(gk) != key {
			t.Fatalf("due %d %q", gat, gk)
		}
		// No scope's keys are in another's range.
		other := appendScope(nil, space, rapid.StringN(0, -1, maxScope).Draw(t, "other"))
		if string(other) != string(base) && strings.HasPrefix(key, string(other)) {
			t.Fatalf("%q begins with %q", key, other)
		}
	})
	for _, bad := range []string{"", "\x00", "\x01", "\x06\x00", "\x01\x05abc", "\x01\xff\xff\xff\xff", "\x01\x80"} {
		if _, _, _, ok := splitKey(bad); ok {
			t.Errorf("%q is taken for a key", bad)
		}
	}
}

func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o ordered
		model := map[string]bool{}
		genKey := rapid.Custom(func(t *rapid.T) string { return strconv.Itoa(rapid.IntRange(0, 3000).Draw(t, "n")) })
		for range rapid.IntRange(0, 4).Draw(t, "rounds") {
			for _, k := range rapid.SliceOfN(genKey, 0, 900).Draw(t, "add") {
				o.add(k)
				model[k] = true
			}
			for _, k := range rapid.SliceOfN(genKey, 0, 400).Draw(t, "remove") {
				o.remove(k)
				delete(model, k)
			}
		}
		var want, got []string
		start := genKey.Draw(t, "start")
		for k := range model {
			if k >= start {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		o.from(start, func(k string) bool { got = append(got, k); return true })
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, b := range o.blocks {
			if len(b) == 0 || len(b) > orderedBlock {
				t.Fatalf("a block of %d", len(b))
			}
		}
	})
}

// Random use of a shard keeps its books right.
func TestShardInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		persistent := rapid.Bool().Draw(rt, "persistent")
		floor := uint64(0)
		s := newShard(shardConfig{persistent: persistent, maxValue: 100, grace: 20, lease: 10, maxHolders: 4, floor: func(string) uint64 { return floor }, absent: func([]byte) bool { return false }, added: func(string) {}})
		now, taken := uint64(1), false
		var b batch
		to := &named{"x"}
		for range rapid.IntRange(0, 60).Draw(rt, "steps") {
			now += rapid.Uint64Range(1, 5).Draw(rt, "time")
			key := []byte("\x01\x00" + rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"))
			switch rapid.IntRange(0, 11).Draw(rt, "op") {
			case 0, 1, 2:
				e := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(rt, "elem")
				p := put{value: lattice.Encode(lattice.NewSet(e)), ttl: rapid.Uint64Range(0, 10).Draw(rt, "ttl")}
				if _, _, miss, _ := s.put(key, p, now); miss {
					s.loaded(string(key), lattice.Record{}, 1)
					s.unpin(key)
				}
			case 3:
				s.del(key, nil, now)
			case 4:
				s.get(key, now)
			case 5:
				s.tick(now, 2)
				s.endLeases(now, 2)
			case 6:
				if persistent && !taken {
					var size int
					_, _, b = s.take(make([]storage.Op, rapid.SampledFrom([]int{0, storage.MaxBatchOps - 4}).Draw(rt, "full")), nil, &size)
					taken = true
				}
			case 7:
				if taken {
					s.done(b, true)
					taken = false
				}
			case 8:
				s.evict(0, 10)
			case 9:
				s.register(key, to, now)
			case 10:
				s.purge(key, now)
			case 11:
				if _, miss := s.find(key); miss {
					s.loaded(string(key), lattice.Record{Generation: rapid.Uint64Range(0, now).Draw(rt, "generation"), Version: now, Expires: now + 3, Value: lattice.Encode(lattice.NewSet())}, 0)
				}
			}
			s.events = nil
			checkShard(t, s)
		}
	})
}
