package admit

// How is a round counted? Loops count down a local of their own, credit, which an engine keeps in a register; a counter in
// memory would cost tight loops several cycles per round. It holds work that is paid for already: creditUnits at the
// function's entry, then chargeUnits at a time. What is left of it when the function returns is lost, so the count errs on
// the safe side.
//
// Where it is used up a call pays for more. In the middle of a loop a call costs even where it is never made: what the loop
// holds in registers has to survive it, and engines then keep it in memory all the time. So the call is put outside, into a
// loop around the loop, where the round that could not be paid for begins anew:
//
//	block DONE
//	  loop OUTER
//	    block SLOW
//	      loop                                   the loop as it was written
//	        credit -= cost; br_if credit < 0 SLOW
//	        ...
//	      end
//	      br DONE
//	    end
//	    credit = charge(credit) + cost           the round is counted once more
//	    br OUTER
//	  end
//	end
//
// At its header all that a loop has is in locals, so it can be entered again there; loops with parameters, which have
// operands as well, keep the call inside. That costs a branch out of such loops nothing but other labels.
//
// A loop in which something is called counts without a local, which would have to survive that, and checks every round.
const (
	outerLabels = 3      // of a loop around a loop
	outerDepth  = 16     // loops within loops that get one
	outerLoops  = 1024   // of one function that get one: they are a few dozen bytes each
	outerCost   = 1 << 9 // of a round that gets one: where more is done in a round, a call more does not matter
)

// left returns how many loops a branch to f leaves. A branch to a loop does not leave it.
func (s *scanner) left(f *frame) int32 { return s.top().loops - f.loops }

// openLoop notes the beginning of a loop.
func (s *scanner) openLoop(f *frame) {
	f.outside, f.loop = f.loop, int32(len(s.loopCalls))
	f.loops++
	f.rounds++
	s.loopCalls = append(s.loopCalls, false)
	if s.plan != nil && s.plan.loopCalls[s.node().loops+uint32(f.loop)] {
		s.since = 0 // there is a check at its header
	}
}

// node is what is known of the function.
func (s *scanner) node() *node { return &s.plan.nodes[s.function-s.m.importedFuncs] }

// endLoop notes the end of a loop, of which all is known now.
func (s *scanner) endLoop(f *frame, at int) {
	header := &s.edits[f.edit]
	outer := f.params == 0 && f.loops <= outerDepth && s.outer < outerLoops
	if s.loopCalls[f.loop] {
		if f.loops > 1 {
			s.loopCalls[f.outside] = true
		}
		if header.kind == editLoop {
			header.kind = editDirect
		}
		s.loopCalls[f.loop] = header.kind == editDirect // only then there is a check at its header
	}
	switch {
	case header.kind == editLoop && outer && header.arg <= outerCost:
		header.kind = editOuter
		s.outer++
	case header.kind == editDirect && outer && !s.o.InPlace:
		header.kind = editDirectOuter
		s.outer++
	}
	s.edits = append(s.edits, edit{kind: editEnd, from: int32(at), to: int32(at), arg: uint32(f.edit)})
}

// loop writes a loop's header, and counts a round.
func (w *writer) loop(a *asm, e edit) {
	typ := w.m.b[e.from+1 : e.to]
	added := int32(0)
	if e.kind == editOuter || e.kind == editDirectOuter {
		added = outerLabels
		a.op(opBlock).op(typ...).op(opLoop).op(typ...).op(opBlock, blockVoid)
	}
	w.labels = append(w.labels, w.labels[len(w.labels)-1]+added)
	a.op(opLoop).op(typ...)
	switch e.kind {
	case editNone:
		return
	case editDirectOuter:
		w.take(a, e.arg)
		a.gget(w.globalSlice).i32(0).op(opI32LtS).brIf(1)
		return
	case editDirect:
		w.spend(a, e.arg)
		return
	}
	a.get(w.credit).i32(int32(e.arg)).op(opI32Sub).tee(w.credit).i32(0)
	if e.kind == editOuter {
		a.op(opI32LtS).brIf(1)
		return
	}
	// The slow path is the else branch because wazero then lays it out of the way; the other way round costs up to 40 %.
	a.op(opI32GeS).ifVoid().els()
	w.refill(a, 0)
	a.end()
}

// endLoop writes what stands behind a loop's end, and the end itself.
func (w *writer) endLoop(a *asm, e edit) {
	w.labels = w.labels[:len(w.labels)-1]
	header := &w.scr.edits[e.arg]
	if header.kind != editOuter && header.kind != editDirectOuter {
		return
	}
	a.end().br(2).end()
	if header.kind == editOuter {
		w.refill(a, int32(header.arg))
	} else {
		a.call(w.funcYield).gget(w.globalSlice).i32(int32(header.arg)).op(opI32Add).gset(w.globalSlice)
	}
	a.br(0).end() // the end of DONE is the one that was the loop's
}

// label returns what a label is in the rewritten code, seen from where the loops on w.labels are open: every loop that is
// left may have labels around it.
func (w *writer) label(label uint32, leaves int32) uint32 {
	top := len(w.labels) - 1
	return label + uint32(w.labels[top]-w.labels[top-int(leaves)])
}

// table writes a br_table anew.
func (w *writer) table(a *asm, e edit) {
	r := reader{b: w.m.b, pos: int(e.from) + 1, end: int(e.to)}
	n := r.u32()
	a.u32(opBrTable, n)
	for _, leaves := range w.scr.leaves[e.leaves:][:n+1] {
		a.b = putU32(a.b, w.label(r.u32(), leaves))
	}
}

// back counts a branch back to a dispatch loop. In a tight one an unconditional branch becomes a conditional one that
// the slow path follows, which saves a jump.
func (w *writer) back(a *asm, e edit) {
	if e.label < 0 || e.arg > tightCost || w.o.InPlace {
		w.spend(a, e.arg)
		return
	}
	w.take(a, e.arg)
	a.gget(w.globalSlice).i32(0).op(opI32GeS).brIf(w.label(uint32(e.label), e.leaves)).call(w.funcYield)
}
