package admit

// What is left is in one global or in two, and a check does one thing or another. Where nobody has to wait for a guest's safepoint
// (Options.InPlace), because guests run on threads that can be interrupted, GlobalFuel has all that is left, and the check
// reads GlobalStop where it stands. There is no call in it, which all that the function has in registers would have to survive:
// that is most of what counting costs where functions are small. Elsewhere GlobalSlice is counted down, and where it falls
// below zero the guest leaves for the engine.

// take takes a cost off what is left.
func (w *writer) take(a *asm, cost uint32) {
	if w.o.InPlace {
		a.gget(w.globalFuel).i64(int64(cost)).op(opI64Sub).gset(w.globalFuel)
		return
	}
	a.gget(w.globalSlice).i32(int32(cost)).op(opI32Sub).gset(w.globalSlice)
}

// spend takes a cost off what is left, and checks it.
func (w *writer) spend(a *asm, cost uint32) {
	w.take(a, cost)
	w.check(a)
}

// check is a safepoint, where it is due.
func (w *writer) check(a *asm) {
	if w.o.InPlace {
		w.checkInPlace(a)
		return
	}
	// The slow path is the else branch because wazero then lays it out of the way; the other way round costs up to 40 %.
	a.gget(w.globalSlice).i32(0).op(opI32GeS).ifVoid().els().call(w.funcYield).end()
}

// checkInPlace ends the guest where its fuel is used up or the host wants it. Only the load of the fuel may be of a value that
// the code has just stored; that of GlobalStop follows a store, so engines load it.
func (w *writer) checkInPlace(a *asm) {
	a.gget(w.globalFuel).i64(0).op(opI64LtS).gget(w.globalStop).op(opI32Or).ifVoid()
	a.gget(w.globalFuel).i64(0).op(opI64LtS).i32(1).op(opI32Shl).i32(ReasonStop).op(opI32Or).gset(w.globalReason) // or ReasonFuel
	a.unreachable().end()
}

// refill pays for what the credit is overdrawn, for the next chargeUnits, and for a round that is counted again.
func (w *writer) refill(a *asm, round int32) {
	if w.o.InPlace {
		w.charge(a, w.credit)
		a.i32(chargeUnits + round).set(w.credit)
		return
	}
	a.get(w.credit).call(w.funcCharge)
	if round > 0 {
		a.i32(round).op(opI32Add)
	}
	a.set(w.credit)
}

// charge pays for what a local is overdrawn and for the next chargeUnits.
func (w *writer) charge(a *asm, local uint32) {
	if w.o.InPlace {
		a.gget(w.globalFuel).get(local).op(opI64ExtendS, opI64Add).i64(chargeUnits).op(opI64Sub).gset(w.globalFuel)
	} else {
		a.gget(w.globalSlice).get(local).op(opI32Add).i32(chargeUnits).op(opI32Sub).gset(w.globalSlice)
	}
	w.check(a)
}

// chargeBody is called with a loop's overdrawn credit, and returns the new one.
func (w *writer) chargeBody() []byte {
	a := &asm{[]byte{0}}
	w.charge(a, 0)
	return a.i32(chargeUnits).end().b
}

// yieldBody is the slow path of every check: fill the slice from the fuel, leave compiled code once, then see whether the
// host wants the guest to end.
func (w *writer) yieldBody() []byte {
	if w.o.InPlace {
		a := &asm{[]byte{0}}
		w.take(a, 0) // a store
		w.checkInPlace(a)
		return a.end().b
	}
	const left, next = 0, 1
	a := &asm{[]byte{1, 2, byte(I64)}}
	// The slice may be overdrawn: then that is paid first. It may also have something left.
	a.gget(w.globalFuel).gget(w.globalSlice).op(opI64ExtendS, opI64Add).tee(left)
	a.i64(0).op(opI64LtS).ifVoid().i32(ReasonFuel).gset(w.globalReason).unreachable().end()
	slice := int64(w.o.SliceUnits)
	a.get(left).i64(slice).get(left).i64(slice).op(opI64LtS, opSelect).tee(next).op(opI32WrapI64).gset(w.globalSlice)
	a.get(left).get(next).op(opI64Sub).gset(w.globalFuel)
	a.i32(0).op(opMemoryGrow, 0, opDrop)
	a.gget(w.globalStop).ifVoid()
	a.i32(ReasonStop).gset(w.globalReason).unreachable()
	a.end()
	return a.end().b
}
