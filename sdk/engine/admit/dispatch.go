package admit

import "slices"

// dispatch is a loop that begins with nothing but blocks and a br_table on a local: a state machine, whose every jump
// sets that local and branches to the loop's header. All functions that Go compiles have this form, and forward jumps
// are most of theirs. Counting each of them would cost too much, and the whole loop's code for each far too high. So it
// is not the header that counts but those branches that lead back in the code: a cycle has at least one of them.
//
// A function has at most one; a second one counts at its header like any loop.
type dispatch struct {
	found    bool
	selector int
	targets  []int32 // serials of the blocks that the table leads out of; the last is the default
	from     uint64  // path at the table
}

// labels decodes a br_table.
func (s *scanner) labels(at int, prev before) error {
	from := s.r.pos
	n := s.r.count("labels", 1)
	if n > s.o.MaxBranchTargets {
		return limitError("branch_targets", "a br_table of function %d at offset 0x%x has %d targets, and the limit is %d",
			s.function, from, n, s.o.MaxBranchTargets)
	}
	starts := prev.selector >= 0 && !s.dispatch.found
	first, out := len(s.leaves), false
	for i := 0; i <= n && s.r.err == nil; i++ {
		f := &s.frames[len(s.frames)-1-s.r.index("label", len(s.frames))]
		s.leaves = append(s.leaves, s.left(f))
		out = out || s.left(f) > 0
		if starts {
			s.dispatch.targets = append(s.dispatch.targets, f.serial)
		}
		if f.jumps != nil {
			s.countBack(f.jumps.from, at, -1)
		} else {
			s.branch(f)
		}
	}
	if s.r.err != nil {
		return s.r.err
	}
	if starts {
		s.startDispatch(prev)
	}
	if out {
		s.edits = append(s.edits, edit{kind: editTable, from: int32(at), to: int32(s.r.pos), leaves: int32(first)})
	} else {
		s.leaves = s.leaves[:first]
	}
	s.dead()
	return nil
}

// startDispatch turns a loop into a dispatch loop, unless the table itself leads back to its header: nothing would count
// that.
func (s *scanner) startDispatch(prev before) {
	loop := &s.frames[prev.head]
	if slices.Contains(s.dispatch.targets, loop.serial) {
		s.dispatch.targets = s.dispatch.targets[:0]
		return
	}
	s.dispatch.found, s.dispatch.selector, s.dispatch.from = true, prev.selector, s.path
	loop.jumps = &s.dispatch
	for i := prev.head; i < len(s.frames); i++ {
		s.frames[i].rounds--
	}
	s.edits[loop.edit].kind = editNone
}

// jump looks at a branch to a label.
func (s *scanner) jump(op byte, label, at int, prev before) {
	f := &s.frames[len(s.frames)-1-label]
	if f.jumps == nil {
		s.branch(f)
	} else {
		s.dispatched(op, f, label, at, prev)
	}
	if n := s.left(f); n > 0 && s.r.err == nil {
		s.edits = append(s.edits, edit{kind: editBranch, from: int32(at), to: int32(s.r.pos), arg: uint32(label), leaves: n})
	}
	if op == opBr {
		s.dead()
	}
}

// dispatched looks at a branch to a dispatch loop, which counts unless it surely leads forward.
func (s *scanner) dispatched(op byte, f *frame, label, at int, prev before) {
	if op != opBr {
		label = -1
	}
	target := f.jumps.target(prev)
	switch {
	case target <= f.serial: // unknown, or out of the loop
		s.countBack(f.jumps.from, at, label)
	case s.closed[target] > 0:
		s.countBack(s.closed[target]-1, at, label)
	default:
		s.branch(s.open(target))
	}
}

// open returns the open block of a serial. Serials grow from the outer blocks to the inner ones.
func (s *scanner) open(serial int32) *frame {
	i, _ := slices.BinarySearchFunc(s.frames, serial, func(f frame, serial int32) int { return int(f.serial - serial) })
	return &s.frames[i]
}

// target returns the serial of the block that a branch to the loop comes out of, or -1 if that is not known.
func (d *dispatch) target(prev before) int32 {
	if prev.setLocal != d.selector {
		return -1
	}
	// br_table takes the local as unsigned.
	return d.targets[min(uint64(uint32(prev.value)), uint64(len(d.targets)-1))]
}

// countBack counts a branch to a dispatch loop, by the path between where the loop goes on and here.
func (s *scanner) countBack(from uint64, at, label int) {
	if n := len(s.edits); n > 0 && s.edits[n-1].kind == editBack && s.edits[n-1].from == int32(at) {
		return // a table that leads there more than once
	}
	s.since = 0
	s.edits = append(s.edits, edit{kind: editBack, from: int32(at), to: int32(at), arg: cost(from, s.path), label: int32(label)})
	if label >= 0 {
		s.edits[len(s.edits)-1].leaves = s.left(&s.frames[len(s.frames)-1-label])
	}
}
