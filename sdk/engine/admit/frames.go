package admit

import (
	"slices"
	"strconv"
)

// Which functions count their frames? Counting one takes two changes of a global and a check, which is much for a function
// that does little. What must hold is that all frames on the stack are accounted for, up to a slack that does not grow with
// depth. So
//
//   - a function from which only a bounded number of frames can follow, of leafFrame units together with its own, counts
//     nothing: there is one such bottom of the stack at a time, and it is the slack;
//   - others may leave it to those that they call, unless they call indirectly, as long as not more than chainFrame units come
//     together that way: a function that counts takes as much as the heaviest chain of callers that do not, beside its own
//     frame;
//   - no cycle of direct calls is without a function that counts. Where the cycle is short and the one that closes it is called from
//     few places, its callers count as well: or each level of a recursion would pay for those that began it. What is called
//     from everywhere is a part of the language's runtime, which does not go deep.
//
// The choice depends on nothing but the module's code.
const (
	leafFrame  = 4096
	chainFrame = 1024
	shortCycle = 8  // functions
	fewCallers = 16 // calls of a function in the whole module
)

// graph is that of the direct calls of the module's own functions. Index 0 is the first that is not imported.
type graph struct {
	nodes []node
	calls []uint32 // one node's after the other's
	order []uint32 // nodes that are decided: callees before their callers, but for cycles
}

type node struct {
	frame    int32 // of the function alone
	bottom   int32 // of it and all below, 0 where that is not bounded
	chain    int32 // where it does not count: of it and those below that do not
	above    int32 // of callers in a row that do not count
	callers  int32 // calls of it
	depth    int32 // on the path, while it is open
	counts   bool
	recurs   bool // by itself, or by a few others that it calls directly
	seen     nodeState
	from, to uint32 // its calls
}

type nodeState uint8

const (
	nodeNew nodeState = iota
	nodeOpen
	nodeDone
)

// planFrames decides for each of the module's own functions what it takes off the stack limit; 0 for nothing.
func (w *writer) planFrames() ([]int32, error) {
	g := graph{nodes: make([]node, len(w.m.bodies))}
	for i, b := range w.m.bodies {
		if err := w.scan(i, b); err != nil {
			return nil, err
		}
		n := &g.nodes[i]
		n.frame, n.counts, n.from = w.frameCost(), w.scr.indirect, uint32(len(g.calls))
		for _, f := range w.scr.callees {
			if own := int(f) - w.m.importedFuncs; own >= 0 {
				g.calls = append(g.calls, uint32(own))
			}
		}
		n.to = uint32(len(g.calls))
	}
	for _, callee := range g.calls {
		g.nodes[callee].callers++
	}
	for i := range g.nodes {
		g.visit(uint32(i))
	}
	return g.prices(), nil
}

// scan scans the body of one of the module's own functions.
func (w *writer) scan(i int, b span) error {
	function := w.m.importedFuncs + i
	if err := w.scr.scan(function, b); err != nil {
		return at("code section, function "+strconv.Itoa(function), err)
	}
	return nil
}

// visit decides for a function, after those that it calls. It does not recurse, for the depth is the module's choice.
func (g *graph) visit(root uint32) {
	type place struct{ node, next uint32 }
	if g.nodes[root].seen != nodeNew {
		return
	}
	path := []place{{root, g.nodes[root].from}}
	g.nodes[root].seen = nodeOpen
	for len(path) > 0 {
		p := &path[len(path)-1]
		n := &g.nodes[p.node]
		if p.next == n.to {
			g.decide(n)
			g.order = append(g.order, p.node)
			path = path[:len(path)-1]
			continue
		}
		callee := g.calls[p.next]
		p.next++
		switch c := &g.nodes[callee]; c.seen {
		case nodeOpen:
			n.counts = true // a cycle
			n.recurs = n.recurs || int32(len(path))-c.depth <= shortCycle
		case nodeNew:
			c.seen, c.depth = nodeOpen, int32(len(path))
			path = append(path, place{callee, c.from})
		}
	}
}

// decide decides for a function whose callees are decided, but for those that a cycle leads to.
func (g *graph) decide(n *node) {
	n.seen = nodeDone
	bounded, bottom, chain := !n.counts, int32(0), int32(0)
	for _, i := range g.calls[n.from:n.to] {
		c := &g.nodes[i]
		n.counts = n.counts || c.recurs && c.callers <= fewCallers
		bounded = bounded && c.bottom > 0
		bottom = max(bottom, c.bottom)
		chain = max(chain, c.chain)
	}
	if bounded && !n.counts && bottom+n.frame <= leafFrame {
		n.bottom = bottom + n.frame
		return
	}
	if n.counts = n.counts || chain+n.frame > chainFrame; !n.counts {
		n.chain = chain + n.frame
	}
}

// prices returns what each function takes off the stack limit, 0 where it does not count.
func (g *graph) prices() []int32 {
	for _, i := range slices.Backward(g.order) {
		n := &g.nodes[i]
		if n.chain == 0 {
			continue // it counts, or nothing below it does
		}
		for _, callee := range g.calls[n.from:n.to] {
			c := &g.nodes[callee]
			c.above = max(c.above, n.above+n.frame)
		}
	}
	out := make([]int32, len(g.nodes))
	for i := range g.nodes {
		if n := &g.nodes[i]; n.counts {
			out[i] = min(n.frame+n.above, maxFrame)
		}
	}
	return out
}
