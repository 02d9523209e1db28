package admit

// Sizes of the injected machinery, in units of the slice counter unless they say otherwise.
const (
	tightCost    = 64      // rounds of dispatch loops up to this cost are counted in the form that is best for tight loops
	creditUnits  = 128     // what a function with loops is charged for them at its entry
	chargeUnits  = 4096    // what loops pay for at a time
	straightCost = 1 << 16 // code without labels is broken by a safepoint after so much
	costTable    = 1 << 15 // of a bulk table operation: tables are clamped, so its real cost is bounded
	maxCost      = 1 << 28 // of one loop body or function entry, so that the counter cannot wrap around
	chunkBytes   = 1 << 20 // of a bulk memory operation, between two safepoints
	inlineBytes  = 1 << 10 // constant lengths up to this stay as they are
	inlineBulks  = 256     // of one function; the time a compiler takes for them can grow with the square of their number
	bulkShift    = 5       // a unit of a bulk memory operation is 32 bytes
	frameUnits   = 64      // stack units of any frame
	maxFrame     = 1 << 28 // stack units of the heaviest frame counted
)

const blockVoid = 0x40

// function writes the body that was just scanned into w.body.
//
// How loops are counted is told in loops.go.
//
// Where a function counts frames (frames.go), its body is put into a block that has the function's results: the block takes
// the place of the function as the outermost label, so every branch keeps its index, and a return becomes a branch to it. All ways out but a trap pass through the block's end, where the frame is given back.
func (w *writer) function(body span) {
	s := &w.scr
	a := &asm{w.body[:0]}
	if !w.counted {
		w.uncounted(a, body)
		return
	}
	w.locals(a, body)
	plan := s.node()
	w.enter(a, plan.entry.kind, s.entryCost())
	if s.loops {
		a.i32(creditUnits).set(w.credit)
	}
	framed := plan.price > 0
	if framed {
		w.enterFrame(a, plan.price)
	}
	w.labels = append(w.labels[:0], 0)
	pos := int32(s.localsEnd)
	for _, e := range s.edits {
		if e.kind == editReturn && !framed {
			continue
		}
		a.op(w.m.b[pos:e.from]...)
		w.edit(a, e)
		pos = e.to
	}
	a.op(w.m.b[pos:body.end]...)
	if framed {
		w.giveFrame(a, plan.price)
		a.end()
	}
	w.body = a.b
}

// uncounted writes the body as it was, but for memory.grow where the host is to be asked.
func (w *writer) uncounted(a *asm, body span) {
	pos := body.start
	for _, e := range w.scr.edits {
		if e.kind != editGrow {
			continue
		}
		a.op(w.m.b[pos:e.from]...)
		w.edit(a, e)
		pos = e.to
	}
	w.body = a.op(w.m.b[pos:body.end]...).b
}

// edit writes what one edit inserts or puts in the place of an instruction.
func (w *writer) edit(a *asm, e edit) {
	switch e.kind {
	case editLoop, editOuter, editDirect, editDirectOuter, editNone:
		w.loop(a, e)
	case editEnd:
		w.endLoop(a, e)
	case editBranch:
		a.u32(w.m.b[e.from], w.label(e.arg, e.leaves))
	case editTable:
		w.table(a, e)
	case editBack:
		w.back(a, e)
	case editReturn:
		a.br(w.label(e.arg, e.leaves))
	case editBulk:
		w.bulk(a, e)
	case editBulkCall:
		a.call(w.helper(helperOf(e.arg)))
	case editTakeFrame:
		w.takeFrame(a, int32(e.arg))
	case editGiveFrame:
		w.giveFrame(a, int32(e.arg))
	case editCheck:
		w.check(a)
	case editYield:
		a.call(w.funcYield)
	case editGrow:
		w.grow(a)
	}
}

// bulk writes a bulk memory operation: as it is for short lengths, which are charged where they stand, and by its helper
// for others.
func (w *writer) bulk(a *asm, e edit) {
	h := helperOf(e.arg)
	a.tee(w.length).get(w.length).i32(inlineBytes).op(opI32LeU)
	a.op(opIf)
	a.b = putS64(a.b, int64(w.typeIndex(h.params(), nil)))
	h.operation(a)
	a.els().call(w.helper(h)).end()
}

// locals copies the declaration of locals and appends those that the edits need.
func (w *writer) locals(a *asm, body span) {
	s := &w.scr
	r := reader{b: w.m.b, pos: int(body.start), end: int(body.end)}
	groups := r.u32()
	next := uint32(s.locals)
	if s.loops {
		w.credit = next
		next++
	}
	if s.bulks {
		w.length = next
		next++
	}
	if added := next - uint32(s.locals); added > 0 {
		a.b = putU32(a.b, groups+1)
		a.op(w.m.b[r.pos:s.localsEnd]...).op(byte(added), byte(I32))
		return
	}
	a.op(w.m.b[body.start:s.localsEnd]...)
}

// frameCost estimates the frame that an engine makes for the scanned function. Engines keep locals and operands in
// registers or in the frame, and optimising ones spill values of their own, whose number grows with the code.
func (w *writer) frameCost() int32 {
	s := &w.scr
	slot := int64(8)
	if s.vectors {
		slot = 16
	}
	code := int64(s.r.end - s.localsEnd)
	return int32(min(frameUnits+slot*(int64(s.locals)+int64(s.maxHeight))+code/2, maxFrame))
}

// enterFrame takes a frame off the stack limit, and opens the block around the body.
func (w *writer) enterFrame(a *asm, frame int32) {
	w.takeFrame(a, frame)
	switch results := w.m.types[w.m.funcs[w.scr.function]].results; len(results) {
	case 0:
		a.op(opBlock, blockVoid)
	case 1:
		a.op(opBlock, results[0])
	default:
		a.op(opBlock)
		a.b = putS64(a.b, int64(w.typeIndex(nil, results)))
	}
}

// grow writes memory.grow, or what stands for it.
func (w *writer) grow(a *asm) {
	if w.o.RouteGrow {
		a.call(w.funcRoute)
	} else {
		a.op(opMemoryGrow, 0)
	}
}

// routeBody asks the host for more memory.
func (w *writer) routeBody() []byte {
	a := &asm{[]byte{0}}
	a.get(0).i32(0).u32(opCallInd, w.typeIndex(i32, i32))
	a.b = putU32(a.b, uint32(len(w.m.tables)))
	return a.end().b
}
