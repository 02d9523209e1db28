package admit

// Where is work counted, and where is it checked whether there was so much left? A function takes its cost, the longest path
// through it, off what is left at its entry. A check is dearer than that, most of all where its slow path is a call that every
// parameter has to survive. What must hold is that there is a bounded amount of work between two checks, whatever the shape of
// calls. So
//
//   - a function without loops that comes to freeCost at most, with all that it calls, does nothing at its entry: calls of it
//     cost that much more. Where others than direct calls lead to it, who calls it does not know what it costs, and it may take
//     leafCost;
//   - others check at their entry where they close a cycle of calls, or where those in a row that do not would come to
//     sinceCost. A call through a table is checked before it is made;
//   - of each function is known what it comes to at most between its last check, or its beginning, and its end. A caller
//     adds that up along its paths, and checks before the call with which it would come to more than sinceCost. So it does not
//     itself come to more, and calls that branch out into ever more of them meet checks all the time;
//   - a loop in which something is called checks in every round, others at least every chargeUnits.
//
// The last work of a guest may overdraw what is left without a check: then it returns with Left below zero, and its host has
// to see that.
type entry struct {
	kind entryKind
	work uint32 // of entryFree: all it comes to; of others: between the last check and the end, sinceCost at most
}

type entryKind uint8

const (
	entryChecked entryKind = iota
	entryLight
	entryFree
)

const (
	freeCost  = 256
	leafCost  = 64
	sinceCost = 1 << 13
)

// weigh decides for a function whose callees are decided, but for those that a cycle leads to: they will check.
func (g *graph) weigh(n *node) {
	work, deepest, free := uint64(n.cost), uint32(0), n.free
	for _, e := range g.callsOf(n) {
		c := &g.nodes[e.to()]
		if c.seen == nodeOpen {
			c.checks = true
		}
		if c.seen == nodeOpen || e.to() == g.table() {
			work, free = work+sinceCost, false
			continue
		}
		work, free = work+uint64(c.entry.work), free && c.entry.kind == entryFree
		deepest = max(deepest, c.deep)
	}
	most := uint64(freeCost)
	if n.taken {
		most = leafCost
	}
	n.deep = n.cost + deepest
	n.entry = entry{entryLight, uint32(min(work, sinceCost))}
	switch {
	case free && work <= most:
		n.entry.kind = entryFree
	case n.checks || n.deep > sinceCost:
		n.entry.kind, n.deep = entryChecked, 0
	}
}

// enter writes what a function does at its entry.
func (w *writer) enter(a *asm, kind entryKind, cost uint32) {
	switch kind {
	case entryChecked:
		w.spend(a, cost)
	case entryLight:
		w.take(a, cost)
	case entryFree:
	}
}

// calling notes a direct call.
func (s *scanner) calling(function, at int) {
	own := function - s.m.importedFuncs
	if own < 0 {
		s.imports = true
		return
	}
	s.callees = append(s.callees, newEdge(uint32(own), s.top().rounds > 0))
	if s.noteLoopCall(); s.plan == nil {
		return
	}
	switch e := s.plan.nodes[own].entry; e.kind {
	case entryFree:
		s.charge(uint64(e.work))
		s.unbroken += uint64(e.work)
		s.follow(e.work, at)
	case entryLight:
		s.follow(e.work, at)
	case entryChecked:
		s.since = e.work
	}
	s.framed(uint32(own), at)
}

// callingTable notes a call through a table.
func (s *scanner) callingTable(at int) {
	s.callees = append(s.callees, newEdge(throughTable, s.top().rounds > 0))
	if s.noteLoopCall(); s.plan == nil {
		return
	}
	s.checkBefore(at)
	s.since = sinceCost
	s.framed(s.plan.table(), at)
}

// follow notes a call of a function that does not check, and checks before it where that would come to too much.
func (s *scanner) follow(work uint32, at int) {
	if s.since+work > sinceCost {
		s.checkBefore(at)
		s.since = 0
	}
	s.since += work
}

func (s *scanner) checkBefore(at int) {
	if !s.top().dead {
		s.edits = append(s.edits, edit{kind: editCheck, from: int32(at), to: int32(at)})
	}
}

// noteLoopCall notes that something is called in the innermost open loop. Those around it learn of it when it ends.
func (s *scanner) noteLoopCall() {
	if f := s.top(); f.loops > 0 {
		s.loopCalls[f.loop] = true
	}
}
