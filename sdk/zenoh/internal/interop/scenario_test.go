package interop

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"
)

// scenario is something that must work between two sessions, whoever they are and whatever is between them. a acts, b
// serves. Nothing of base is used by anybody else.
type scenario struct {
	name string
	run  func(t *testing.T, a, b end, base string)
}

var scenarios = []scenario{
	{"publish", testPublish},
	{"publisher", testPublisher},
	{"attributes", testAttributes},
	{"sizes", testSizes},
	{"fragments", testFragments},
	{"order", testOrder},
	{"replies", testReplies},
	{"query", testQuery},
	{"two queryables", testTwoQueryables},
	{"timeout", testTimeout},
	{"tokens", testTokens},
	{"declarations", testDeclarations},
}

// settle returns when a knows of everything that b has declared so far.
func settle(t *testing.T, a, b end) {
	t.Helper()
	key := "settle/" + name()
	q := b.queryable(t, key, queryableOptions{replies: []replySpec{{}}})
	until(t, fmt.Sprintf("%v knows what %v has declared", a, b), func() bool { return len(a.get(t, key, getOptions{})) == 1 })
	q.undeclare(t)
}

func testPublish(t *testing.T, a, b end, base string) {
	sub, fence := b.subscribe(t, base+"/*/x/**"), b.subscribe(t, base+"/fence")
	settle(t, a, b)
	sent := body{64, 7}
	a.put(t, base+"/a/x", sent, reliably)
	x := sub.next(t)
	if sent.check(t, x); x.Key != base+"/a/x" || x.Kind != "put" {
		t.Fatalf("got %v", x)
	}
	a.put(t, base+"/b/x/y/z", body{}, reliably)
	if x := sub.next(t); x.Key != base+"/b/x/y/z" || x.Size != 0 {
		t.Fatalf("got %v", x)
	}
	sub.undeclare(t)
	settle(t, a, b)
	a.put(t, base+"/a/x", sent, reliably)
	a.put(t, base+"/fence", body{1, 1}, reliably)
	fence.next(t)
	if left := sub.drain(); len(left) > 0 {
		t.Fatalf("an undeclared subscriber got %v", left)
	}
}

func testPublisher(t *testing.T, a, b end, base string) {
	p := a.publisher(t, base)
	settle(t, a, b)
	if p.matching(t) {
		t.Fatal("matching without a subscriber")
	}
	p.put(t, body{3, 1}) // to nobody
	sub := b.subscribe(t, base+"/**")
	until(t, "the publisher knows of the subscriber", func() bool { return p.matching(t) })
	sent := body{300, 9}
	p.put(t, sent)
	sent.check(t, sub.next(t))
	sub.undeclare(t)
	until(t, "the publisher knows that the subscriber is gone", func() bool { return !p.matching(t) })
	p.undeclare(t)
	if _, theirs := a.(*theirs); theirs {
		return // 1.9.0 still takes it that nobody subscribes, and sends nothing on this key any more
	}
	sub = b.subscribe(t, base)
	settle(t, a, b)
	a.put(t, base, sent, reliably)
	sent.check(t, sub.next(t))
}

func testAttributes(t *testing.T, a, b end, base string) {
	sub := b.subscribe(t, base)
	settle(t, a, b)
	for _, o := range []putOptions{
		{encoding: "zenoh/bytes", block: true},
		{encoding: "text/plain", block: true},
		{encoding: "application/json;v1", block: true},
		{encoding: "our/own;kind", block: true},
		{encoding: "video/vp9", attachment: ptr("00ff10"), block: true, priority: 1},
		{attachment: ptr(""), priority: 7, express: true},
		{attachment: ptr("6174"), priority: 2, stamp: true},
		{priority: 4, block: true, express: true, stamp: true},
	} {
		sent := body{17, 3}
		a.put(t, base, sent, o)
		x := sub.next(t)
		sent.check(t, x)
		checkAttributes(t, x, "put", o)
		o.encoding, o.stamp = "", false
		a.remove(t, base, o)
		x = sub.next(t)
		body{}.check(t, x)
		checkAttributes(t, x, "delete", o)
	}
}

func checkAttributes(t *testing.T, x item, kind string, o putOptions) {
	t.Helper()
	if o.encoding == "" {
		o.encoding = "zenoh/bytes"
	}
	if o.priority == 0 {
		o.priority = 5
	}
	congestion := "drop"
	if o.block {
		congestion = "block"
	}
	got := fmt.Sprint(x.Kind, x.Encoding, deref(x.Attachment), x.Priority, x.Congestion, x.Express)
	want := fmt.Sprint(kind, o.encoding, deref(o.attachment), o.priority, congestion, o.express)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if o.stamp && x.Timestamp == "" {
		t.Error("the timestamp is lost")
	}
}

// deref is the attachment in a form that tells none from an empty one.
func deref(s *string) string {
	if s == nil {
		return " none "
	}
	return " 0x" + *s + " "
}

// testSizes uses sizes of one batch, of many, and the smallest; a little less and more than what a batch may hold. The largest
// is for runs without the race detector, which looks at every byte on its way.
func testSizes(t *testing.T, a, b end, base string) {
	sizes := []int{0, 1, 49_100, 65_400, 64 << 10, 1 << 20}
	if !raced {
		sizes = append(sizes, 8<<20)
	}
	testSomeSizes(t, a, b, base, sizes)
}

// testFragments is testSizes for batches that are so small that the others need seconds for what is large.
func testFragments(t *testing.T, a, b end, base string) {
	testSomeSizes(t, a, b, base, []int{0, 1, 100, 200, 230, 240, 250, 260, 300, 500, 1000, 64 << 10})
}

func testSomeSizes(t *testing.T, a, b end, base string, sizes []int) {
	t.Helper()
	sub := b.subscribe(t, base+"/put")
	b.queryable(t, base+"/echo", queryableOptions{replies: []replySpec{{echo: true}}})
	settle(t, a, b)
	for i, n := range sizes {
		sent := body{n, i}
		a.put(t, base+"/put", sent, reliably)
		sent.check(t, sub.next(t))
		replies := a.get(t, base+"/echo", getOptions{payload: &sent})
		if len(replies) != 1 {
			t.Fatalf("%d bytes: %d replies", n, len(replies))
		}
		sent.check(t, replies[0])
	}
}

func testOrder(t *testing.T, a, b end, base string) {
	const n = 1000
	sub := b.subscribe(t, base)
	settle(t, a, b)
	a.number(t, base, n)
	for i := range n {
		if x := sub.next(t); x.text() != strconv.Itoa(i) {
			t.Fatalf("sample %d is %q", i, x.text())
		}
	}
}

func testReplies(t *testing.T, a, b end, base string) {
	b.queryable(t, base+"/**", queryableOptions{replies: []replySpec{
		{key: base + "/1", body: body{10, 1}, encoding: "text/plain;x"},
		{key: base + "/2", body: body{20, 2}, attachment: ptr("aa55")},
		{key: base + "/2", body: body{21, 2}},
		{kind: "delete", key: base + "/3", attachment: ptr("01")},
		{kind: "err", body: body{30, 3}, encoding: "application/json;e"},
	}})
	settle(t, a, b)
	for _, mode := range []string{"none", "monotonic", "latest", "auto"} {
		byKey := map[string][]item{}
		for _, r := range a.get(t, base+"/*", getOptions{consolidation: mode}) {
			byKey[r.Key] = append(byKey[r.Key], r)
		}
		second := []int{20, 21}
		if mode == "latest" || mode == "auto" {
			second = []int{21} // later than the other; neither has a timestamp
		}
		one, two, gone, bad := byKey[base+"/1"], byKey[base+"/2"], byKey[base+"/3"], byKey[""]
		if len(one) != 1 || len(two) != len(second) || len(gone) != 1 || len(bad) != 1 || len(byKey) != 4 {
			t.Fatalf("consolidation %s: got %v", mode, byKey)
		}
		body{10, 1}.check(t, one[0])
		for i, n := range second {
			body{n, 2}.check(t, two[i])
		}
		body{30, 3}.check(t, bad[0])
		if one[0].Encoding != "text/plain;x" || bad[0].Kind != "err" || bad[0].Encoding != "application/json;e" ||
			gone[0].Kind != "delete" || deref(gone[0].Attachment) != " 0x01 " {
			t.Fatalf("consolidation %s: got %v", mode, byKey)
		}
		if len(two) == 2 && deref(two[0].Attachment) != " 0xaa55 " {
			t.Fatalf("consolidation %s: got %v", mode, two)
		}
	}
	if r := a.get(t, base+"x", getOptions{}); len(r) != 0 {
		t.Fatalf("nobody answers, got %v", r)
	}
}

func testQuery(t *testing.T, a, b end, base string) {
	q := b.queryable(t, base+"/q", queryableOptions{replies: []replySpec{{body: body{5, 5}}}})
	stray := b.queryable(t, base+"/stray", queryableOptions{replies: []replySpec{{key: base + "/elsewhere", body: body{6, 6}}}})
	settle(t, a, b)
	sent := body{333, 4}
	if r := a.get(t, base+"/q?a=1;b", getOptions{payload: &sent, encoding: "text/csv;z", attachment: ptr("0102")}); len(r) != 1 {
		t.Fatalf("got %v", r)
	}
	x := q.next(t)
	sent.check(t, x)
	if x.Key != base+"/q" || x.Parameters != "a=1;b" || x.Encoding != "text/csv;z" || deref(x.Attachment) != " 0x0102 " {
		t.Fatalf("the queryable got %v, parameters %q", x, x.Parameters)
	}
	ask := a.querier(t, base+"/q")
	if r := ask(t, "c=3"); len(r) != 1 {
		t.Fatalf("the querier got %v", r)
	}
	if x := q.next(t); x.Parameters != "c=3" || x.Size != 0 {
		t.Fatalf("the queryable got %v, parameters %q", x, x.Parameters)
	}
	if r := a.get(t, base+"/stray", getOptions{}); len(r) != 0 {
		t.Fatalf("a reply with a foreign key came: %v", r)
	}
	stray.find(t, func(x item) bool { return x.ReplyError != "" })
	if r := a.get(t, base+"/stray", getOptions{anyKey: true}); len(r) != 1 || r[0].Key != base+"/elsewhere" {
		t.Fatalf("with any key allowed: %v", r)
	}
	q.undeclare(t)
	settle(t, a, b)
	if r := a.get(t, base+"/q", getOptions{}); len(r) != 0 {
		t.Fatalf("an undeclared queryable answered %v", r)
	}
}

// testTwoQueryables is about one session with two of them: one complete, one not.
func testTwoQueryables(t *testing.T, a, b end, base string) {
	b.queryable(t, base+"/**", queryableOptions{complete: true, replies: []replySpec{{key: base + "/k", body: body{1, 1}}}})
	b.queryable(t, base+"/*", queryableOptions{replies: []replySpec{{key: base + "/k", body: body{2, 2}}}})
	settle(t, a, b)
	best := 2
	if _, ok := b.(*ours); ok {
		best = 1 // one complete queryable is enough within a session, too; the others ask all
	}
	for _, x := range []struct {
		target, consolidation string
		want                  int
	}{
		{"best_matching", "none", best},
		{"best_matching", "latest", 1},
		{"all", "none", 2},
		{"all", "monotonic", 2},
		{"all", "latest", 1},
		{"all", "auto", 1},
		{"all_complete", "none", 1},
		{"all_complete", "latest", 1},
	} {
		r := a.get(t, base+"/k", getOptions{target: x.target, consolidation: x.consolidation})
		if len(r) != x.want {
			t.Errorf("target %s, consolidation %s: %d replies, want %d", x.target, x.consolidation, len(r), x.want)
		}
		if x.target == "all_complete" && len(r) > 0 && r[0].Size != 1 {
			t.Errorf("target %s: the incomplete one answered", x.target)
		}
	}
}

func testTimeout(t *testing.T, a, b end, base string) {
	q := b.queryable(t, base, queryableOptions{hold: true, replies: []replySpec{{body: body{4, 4}}}})
	settle(t, a, b)
	r := a.get(t, base, getOptions{timeout: 200 * time.Millisecond, consolidation: "none"})
	if len(r) == 0 {
		t.Fatal("no error")
	}
	for _, x := range r { // both ends, and who is between them, may notice at the same moment
		if x.Kind != "err" || x.text() != "Timeout" {
			t.Fatalf("got %v, want errors Timeout", r)
		}
	}
	q.next(t)
	q.release(t) // too late, and harmless
	settle(t, a, b)
}

func testTokens(t *testing.T, a, b end, base string) {
	all := base + "/**"
	one := b.token(t, base+"/one")
	settle(t, a, b)
	if got := a.alive(t, all); !slices.Equal(got, []string{base + "/one"}) {
		t.Fatalf("alive: %v", got)
	}
	// Not on the same key: one session of theirs with two of these hears nothing any more once one of them is undeclared.
	history, later := a.liveliness(t, all, true), a.liveliness(t, base+"/*", false)
	expect(t, history, "put", base+"/one")
	two, again := b.token(t, base+"/two"), b.token(t, base+"/two")
	expect(t, history, "put", base+"/two")
	expect(t, later, "put", base+"/two")
	two.undeclare(t) // there is another
	one.undeclare(t)
	expect(t, history, "delete", base+"/one")
	expect(t, later, "delete", base+"/one")
	again.undeclare(t)
	expect(t, history, "delete", base+"/two")
	expect(t, later, "delete", base+"/two")
	settle(t, a, b)
	if got := a.alive(t, all); len(got) != 0 {
		t.Fatalf("alive: %v", got)
	}
	history.undeclare(t)
	three := b.token(t, base+"/three")
	expect(t, later, "put", base+"/three")
	if left := history.drain(); len(left) > 0 {
		t.Fatalf("an undeclared subscriber heard %v", left)
	}
	three.undeclare(t)
	expect(t, later, "delete", base+"/three")
}

func expect(t *testing.T, e *entity, kind, key string) {
	t.Helper()
	if x := e.next(t); x.Kind != kind || x.Key != key {
		t.Fatalf("got %v, want %s %s", x, kind, key)
	}
}

// many is how many declarations a session makes.
const many = 1000

func testDeclarations(t *testing.T, a, b end, base string) {
	subs := b.many(t, "subscriber", base+"/s", many)
	tokens := b.many(t, "token", base+"/t", many)
	queryables := b.many(t, "queryable", base+"/q", many)
	count := b.subscribe(t, base+"/s/*")
	settle(t, a, b)
	if got := a.alive(t, base+"/t/*"); len(got) != many {
		t.Fatalf("%d tokens are alive, want %d", len(got), many)
	}
	n := many
	if _, theirs := a.(*theirs); theirs {
		n /= 20 // the first put on a key takes them a while
	}
	a.spread(t, base+"/s", n, body{1, 1})
	keys := map[string]bool{}
	for range n {
		keys[count.next(t).Key] = true
	}
	if len(keys) != n {
		t.Fatalf("%d keys, want %d: %v", len(keys), n, slices.Sorted(maps.Keys(keys)))
	}
	if r := a.get(t, base+"/q/*", getOptions{}); len(r) != 0 {
		t.Fatalf("got %v", r)
	}
	queryables.undeclare(t)
	subs.undeclare(t)
	tokens.undeclare(t)
	settle(t, a, b)
	if got := a.alive(t, base+"/t/*"); len(got) != 0 {
		t.Fatalf("%d tokens are alive still", len(got))
	}
}
