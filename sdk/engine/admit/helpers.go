package admit

// helper is an injected function that stands for a bulk memory operation with its immediates. It takes the operation's
// operands: destination, value or source, length.
type helper struct{ op, seg uint32 }

func (h helper) key() uint32 { return h.op<<24 | h.seg }

func (helper) params() []byte { return []byte{byte(I32), byte(I32), byte(I32)} }

func helperOf(key uint32) helper { return helper{op: key >> 24, seg: key & (1<<24 - 1)} }

// helper returns the function index of a helper and adds it where it is not there yet.
func (w *writer) helper(h helper) uint32 {
	i, ok := w.helperIndex[h]
	if !ok {
		i = uint32(len(w.m.funcs) + w.fixedFuncs() + len(w.helpers))
		w.helperIndex[h] = i
		w.helpers = append(w.helpers, h)
	}
	return i
}

// Locals of a helper.
const (
	locDst = iota
	locSrc
	locLen
)

// operation writes the operation itself, on operands that are on the stack.
func (h helper) operation(a *asm) {
	switch h.op {
	case bulkMemoryInit:
		a.op(opBulk, bulkMemoryInit)
		a.b = append(putU32(a.b, h.seg), 0)
	case bulkMemoryCopy:
		a.op(opBulk, bulkMemoryCopy, 0, 0)
	default:
		a.op(opBulk, bulkMemoryFill, 0)
	}
}

// helperBody writes a helper. Lengths up to a chunk, and those that are out of bounds and therefore trap before anything
// is written, are one operation; longer ones run chunk by chunk with a safepoint after each.
func (w *writer) helperBody(h helper) []byte {
	a := &asm{[]byte{0}}
	// The shift is unsigned: 2^32 bytes are 2^27 units, and the counter cannot wrap around.
	if w.o.InPlace {
		a.gget(w.globalFuel).get(locLen).i32(bulkShift).op(opI32ShrU, opI64ExtendU, opI64Sub).gset(w.globalFuel)
	} else {
		a.gget(w.globalSlice).get(locLen).i32(bulkShift).op(opI32ShrU, opI32Sub).gset(w.globalSlice)
	}
	w.check(a)

	a.op(opBlock, blockVoid)
	a.get(locLen).i32(chunkBytes).op(opI32GtU, opI32Eqz).brIf(0)
	w.boundsBranch(a, h)
	if h.op == bulkMemoryCopy {
		w.copyChunks(a, h)
	} else {
		w.forwardChunks(a, h)
	}
	a.end()
	// What is left: everything, the last chunk, or an operation that traps.
	a.get(locDst).get(locSrc).get(locLen)
	h.operation(a)
	return a.end().b
}

// boundsBranch leaves the block where the operation is out of bounds. A segment that was dropped has no length at all;
// then the first chunk traps, and nothing was written before it.
func (w *writer) boundsBranch(a *asm, h helper) {
	end := func(local uint32) *asm {
		return a.get(local).op(opI64ExtendU).get(locLen).op(opI64ExtendU, opI64Add)
	}
	memory := func(local uint32) {
		end(local).op(opMemorySize, 0, opI64ExtendU).i64(16).op(opI64Shl, opI64GtU).brIf(0)
	}
	memory(locDst)
	switch h.op {
	case bulkMemoryCopy:
		memory(locSrc)
	case bulkMemoryInit:
		end(locSrc).i64(int64(w.m.dataSizes[h.seg])).op(opI64GtU).brIf(0)
	}
}

// add writes local += n.
func (a *asm) add(local uint32, n int32) *asm { return a.get(local).i32(n).op(opI32Add).set(local) }

// again writes the end of a loop over chunks: a safepoint, and a branch back while more than a chunk is left.
func (w *writer) again(a *asm) {
	a.call(w.funcYield)
	a.get(locLen).i32(chunkBytes).op(opI32GtU).brIf(0).end()
}

func (w *writer) forwardChunks(a *asm, h helper) {
	a.loopVoid()
	a.get(locDst).get(locSrc).i32(chunkBytes)
	h.operation(a)
	a.add(locDst, chunkBytes).add(locLen, -chunkBytes)
	if h.op != bulkMemoryFill {
		a.add(locSrc, chunkBytes)
	}
	w.again(a)
}

// copyChunks copies like memmove: from the start where the destination is below the source, else from the end, so that
// no chunk overwrites what a later one reads.
func (w *writer) copyChunks(a *asm, h helper) {
	a.get(locDst).get(locSrc).op(opI32GtU).ifVoid()
	a.loopVoid()
	a.add(locLen, -chunkBytes)
	a.get(locDst).get(locLen).op(opI32Add)
	a.get(locSrc).get(locLen).op(opI32Add)
	a.i32(chunkBytes)
	h.operation(a)
	w.again(a)
	a.els()
	w.forwardChunks(a, h)
	a.end()
}
