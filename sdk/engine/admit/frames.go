package admit

import (
	"slices"
	"strconv"
)

// Which frames are counted, and where? Counting one takes two changes of a global and a check, which is much for a function
// that does little. What must hold is that all frames on the stack are accounted for, up to a slack that does not grow with
// depth. Only what is in a cycle of calls can be on the stack without bound. A call through a table may lead to every function that
// is referred to or exported, so the graph of calls has a node for all of these calls together. Then
//
//   - the calls that close a cycle count, as do calls through a table in a cycle, and nothing else does. Such a call takes as much
//     as the heaviest chain of frames that may stand between the one before, or the beginning of the cycle, and itself;
//   - a function in which such a call is in a loop, or which has many of them, counts at its own entry instead, and so does
//     one where a chain comes to more than chainFrame: what a chain takes beyond the frames that are really there is lost;
//   - frames of those outside of the cycle are the slack, of slackFrame at most: where it would be more, one of them counts at
//     its entry.
//
// The choice depends on nothing but the module's code.
const (
	chainFrame = 4096
	slackFrame = 1 << 15
	siteBytes  = 16 // of code for each call that counts: there is some more code around it
)

// graph is that of the calls of the module's own functions. Index 0 is the first that is not imported; the last node is
// the table's.
type graph struct {
	nodes []node
	calls []edge   // one node's after the other's
	order []uint32 // nodes, callees before their callers, but for cycles
	outer []int32  // by component: of callers outside of it, in a row

	loopCalls []bool // the scanner's, one function after the other

	time, components uint32
	open             []uint32 // nodes whose component is not known yet
}

// edge is a call: the node, and whether it is in a loop.
type edge uint32

func newEdge(to uint32, inLoop bool) edge {
	if inLoop {
		return edge(to<<1 | 1)
	}
	return edge(to << 1)
}

// throughTable stands for the table before its node has a number.
const throughTable = 1<<31 - 1

func (e edge) to() uint32   { return uint32(e >> 1) }
func (e edge) inLoop() bool { return e&1 != 0 }

type node struct {
	frame     int32  // of the function alone
	bytes     int32  // of its code
	above     int32  // of callers in the cycle, in a row, that nothing has counted
	price     int32  // what it takes at its entry
	site      int32  // what each of its calls takes that counts
	cost      uint32 // at its entry
	deep      uint32 // of those in a row that do not check at their entry: this one and below
	loops     uint32 // where its loops begin in loopCalls
	checks    bool   // a call of it closes a cycle
	free      bool   // as far as it is for itself
	taken     bool   // others than direct calls lead to it
	entry     entry
	seen      nodeState
	began     uint32 // when visiting it began, from 1
	ended     uint32
	low       uint32 // the earliest that it leads back to
	component uint32
	from, end uint32 // its calls
}

type nodeState uint8

const (
	nodeNew nodeState = iota
	nodeOpen
	nodeDone
)

// plan decides for each of the module's own functions what it does at its entry, and what it and its calls take off the stack
// limit.
func (w *writer) plan() (*graph, error) {
	g := &graph{nodes: make([]node, len(w.m.bodies)+1)}
	for i, b := range w.m.bodies {
		if err := w.scan(i, b); err != nil {
			return nil, err
		}
		w.note(g, i)
	}
	g.noteTable(w.m)
	for i := range g.nodes {
		g.visit(uint32(i))
	}
	g.countFrames()
	return g, nil
}

// scan scans the body of one of the module's own functions.
func (w *writer) scan(i int, b span) error {
	function := w.m.importedFuncs + i
	if err := w.scr.scan(function, b); err != nil {
		return at("code section, function "+strconv.Itoa(function), err)
	}
	return nil
}

// note makes a node of the function that was just scanned.
func (w *writer) note(g *graph, i int) {
	s, n := &w.scr, &g.nodes[i]
	n.from = uint32(len(g.calls))
	for _, c := range s.callees {
		if c.to() == throughTable {
			c = newEdge(g.table(), c.inLoop())
		}
		g.calls = append(g.calls, c)
	}
	n.end = uint32(len(g.calls))
	n.bytes = int32(s.r.end - s.localsEnd)
	n.frame, n.cost, n.free = w.frameCost(), s.entryCost(), !s.rounds && !s.imports
	n.loops = uint32(len(g.loopCalls))
	g.loopCalls = append(g.loopCalls, s.loopCalls...)
	_, n.taken = w.m.taken[uint32(s.function)]
}

// table is the node of all calls through tables.
func (g *graph) table() uint32 { return uint32(len(g.nodes) - 1) }

func (g *graph) noteTable(m *module) {
	n := &g.nodes[g.table()]
	n.from = uint32(len(g.calls))
	for i := range g.nodes[:g.table()] {
		if g.nodes[i].taken {
			g.calls = append(g.calls, newEdge(uint32(i), false))
		}
	}
	n.end = uint32(len(g.calls))
}

func (g *graph) callsOf(n *node) []edge { return g.calls[n.from:n.end] }

// visit goes through all that a node leads to, and finds components: nodes that lead to each other. It does not recurse, for
// the depth is the module's choice.
func (g *graph) visit(root uint32) {
	type place struct{ node, next uint32 }
	if g.nodes[root].seen != nodeNew {
		return
	}
	g.begin(root)
	path := []place{{root, g.nodes[root].from}}
	for len(path) > 0 {
		p := &path[len(path)-1]
		n := &g.nodes[p.node]
		if p.next == n.end {
			g.finish(p.node)
			if path = path[:len(path)-1]; len(path) > 0 {
				up := &g.nodes[path[len(path)-1].node]
				up.low = min(up.low, n.low)
			}
			continue
		}
		to := g.calls[p.next].to()
		p.next++
		switch c := &g.nodes[to]; {
		case c.seen == nodeNew:
			g.begin(to)
			path = append(path, place{to, c.from})
		case c.component == 0: // it leads here, too
			n.low = min(n.low, c.began)
		}
	}
}

func (g *graph) begin(i uint32) {
	g.time++
	n := &g.nodes[i]
	n.seen, n.began, n.low = nodeOpen, g.time, g.time
	g.open = append(g.open, i)
}

// finish decides for a function whose callees are decided, but for those that a cycle leads to.
func (g *graph) finish(i uint32) {
	n := &g.nodes[i]
	g.weigh(n)
	g.time++
	n.seen, n.ended = nodeDone, g.time
	g.order = append(g.order, i)
	if n.low != n.began {
		return
	}
	g.components++
	for done := false; !done; {
		last := g.open[len(g.open)-1]
		g.open = g.open[:len(g.open)-1]
		g.nodes[last].component = g.components
		done = last == i
	}
}

// counts tells whether a call counts: it closes a cycle, or is through a table in one.
func (g *graph) counts(n *node, to uint32) bool {
	c := &g.nodes[to]
	return c.component == n.component && (to == g.table() || c.began <= n.began && c.ended >= n.ended)
}

// countFrames decides where frames are counted, callers before those that they call.
func (g *graph) countFrames() {
	g.outer = make([]int32, g.components+1)
	for _, i := range slices.Backward(g.order) {
		n := &g.nodes[i]
		within := min(n.above+n.frame, maxFrame)
		outside := g.outer[n.component]
		sites, looped := g.sites(n)
		switch {
		case i == g.table():
		case within+outside > slackFrame:
			n.price, within, outside = min(within+outside, maxFrame), 0, 0
		case sites > int(n.bytes/siteBytes) || looped || within > chainFrame && g.cyclic(n):
			n.price, within = within, 0
		case sites > 0:
			n.site = within
		}
		g.passOn(n, within, outside)
	}
}

// sites counts the calls of a function that count.
func (g *graph) sites(n *node) (sites int, looped bool) {
	for _, e := range g.callsOf(n) {
		if g.counts(n, e.to()) {
			sites++
			looped = looped || e.inLoop()
		}
	}
	return sites, looped
}

// cyclic tells whether a function is in a cycle with others; one that only calls itself has no chain.
func (g *graph) cyclic(n *node) bool { return n.above > 0 }

// passOn tells those that a function calls what stands above them.
func (g *graph) passOn(n *node, within, outside int32) {
	for _, e := range g.callsOf(n) {
		c := &g.nodes[e.to()]
		switch {
		case g.counts(n, e.to()):
		case c.component == n.component:
			c.above = max(c.above, within)
		default:
			g.outer[c.component] = max(g.outer[c.component], within+outside)
		}
	}
}

// framed brackets a call that counts with what takes its frame off the stack limit and gives it back.
func (s *scanner) framed(to uint32, at int) {
	n := s.node()
	if n.site == 0 || !s.plan.counts(n, to) {
		return
	}
	s.edits = append(s.edits,
		edit{kind: editTakeFrame, from: int32(at), to: int32(at), arg: uint32(n.site)},
		edit{kind: editGiveFrame, from: int32(s.r.pos), to: int32(s.r.pos), arg: uint32(n.site)})
}

// takeFrame takes a frame off the stack limit.
func (w *writer) takeFrame(a *asm, frame int32) {
	a.gget(w.globalStack).i32(frame).op(opI32Sub).gset(w.globalStack)
	a.gget(w.globalStack).i32(0).op(opI32GeS).ifVoid().els().i32(ReasonStack).gset(w.globalReason).unreachable().end()
}

func (w *writer) giveFrame(a *asm, frame int32) {
	a.gget(w.globalStack).i32(frame).op(opI32Add).gset(w.globalStack)
}
