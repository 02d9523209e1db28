package admit

import "encoding/binary"

func putU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

func putS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func putName(b []byte, s string) []byte { return append(putU32(b, uint32(len(s))), s...) }

// asm writes instructions. Its methods return it, so that injected code reads top to bottom as WebAssembly text does.
type asm struct{ b []byte }

func (a *asm) op(ops ...byte) *asm { a.b = append(a.b, ops...); return a }

func (a *asm) u32(op byte, v uint32) *asm { a.b = putU32(append(a.b, op), v); return a }

func (a *asm) i32(v int32) *asm { a.b = putS64(append(a.b, opI32Const), int64(v)); return a }

func (a *asm) i64(v int64) *asm { a.b = putS64(append(a.b, opI64Const), v); return a }

func (a *asm) get(local uint32) *asm     { return a.u32(opLocalGet, local) }
func (a *asm) set(local uint32) *asm     { return a.u32(opLocalSet, local) }
func (a *asm) tee(local uint32) *asm     { return a.u32(opLocalTee, local) }
func (a *asm) gget(global uint32) *asm   { return a.u32(opGlobalGet, global) }
func (a *asm) gset(global uint32) *asm   { return a.u32(opGlobalSet, global) }
func (a *asm) call(function uint32) *asm { return a.u32(opCall, function) }
func (a *asm) br(label uint32) *asm      { return a.u32(opBr, label) }
func (a *asm) brIf(label uint32) *asm    { return a.u32(opBrIf, label) }
func (a *asm) ifVoid() *asm              { return a.op(opIf, blockVoid) }
func (a *asm) loopVoid() *asm            { return a.op(opLoop, blockVoid) }
func (a *asm) els() *asm                 { return a.op(opElse) }
func (a *asm) end() *asm                 { return a.op(opEnd) }
func (a *asm) unreachable() *asm         { return a.op(opUnreachable) }
