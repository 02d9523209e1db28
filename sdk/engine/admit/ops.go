package admit

// Opcodes that the pass treats by name; all others are known by their row in ops alone.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opCallInd     = 0x11
	opDrop        = 0x1a
	opSelect      = 0x1b
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opTableSet    = 0x26
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opF32Const    = 0x43
	opF64Const    = 0x44
	opI32Eqz      = 0x45
	opI32LtS      = 0x48
	opI32GtU      = 0x4b
	opI32LeU      = 0x4d
	opI32GeS      = 0x4e
	opI64LtS      = 0x53
	opI64GtU      = 0x56
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	opI32Or       = 0x72
	opI32Shl      = 0x74
	opI32ShrU     = 0x76
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64Shl      = 0x86
	opI32WrapI64  = 0xa7
	opI64ExtendS  = 0xac
	opI64ExtendU  = 0xad
	opRefNull     = 0xd0
	opRefFunc     = 0xd2
	opBulk        = 0xfc
	opSIMD        = 0xfd

	bulkMemoryInit = 8
	bulkDataDrop   = 9
	bulkMemoryCopy = 10
	bulkMemoryFill = 11
	bulkTableInit  = 12
	bulkElemDrop   = 13
	bulkTableCopy  = 14
	bulkTableGrow  = 15
	bulkTableSize  = 16
	bulkTableFill  = 17
)

// imm is what follows an opcode.
type imm uint8

const (
	immBad imm = iota
	immNone
	immBlock
	immElse
	immEnd
	immLabel
	immLabels
	immFunc
	immIndirect
	immSelect
	immLocal
	immGlobal
	immTable
	immMem
	immMemIndex
	immI32
	immI64
	immF32
	immF64
	immRefType
	immRefFunc
	immBulk
	immSIMD
)

// opInfo describes an opcode: its immediate, how many operands it takes and gives, and what it costs in units of the
// slice counter. Operands of blocks, branches and calls depend on types and are worked out where they are met.
type opInfo struct {
	imm       imm
	pop, push int8
	cost      uint8
}

// Costs in units, roughly nanoseconds of compiled code at their worst. Straight moves are free in machine code but are
// charged nonetheless: the sum must be right where it matters, within a factor of a few, and never too low by orders of
// magnitude.
const (
	costStructure = 0
	costPlain     = 1
	costMemory    = 2
	costDivide    = 8
	costCall      = 8
	costBulk      = 16
)

// ops is the table of single-byte opcodes.
var ops = makeOps()

func makeOps() (t [256]opInfo) {
	set := func(from, to int, o opInfo) {
		for i := from; i <= to; i++ {
			t[i] = o
		}
	}
	set(0x00, 0x01, opInfo{immNone, 0, 0, costStructure})
	set(opBlock, opLoop, opInfo{immBlock, 0, 0, costStructure})
	set(opIf, opIf, opInfo{immBlock, 1, 0, costPlain})
	set(opElse, opElse, opInfo{immElse, 0, 0, costStructure})
	set(opEnd, opEnd, opInfo{immEnd, 0, 0, costStructure})
	set(opBr, opBr, opInfo{immLabel, 0, 0, costPlain})
	set(opBrIf, opBrIf, opInfo{immLabel, 1, 0, costPlain})
	set(opBrTable, opBrTable, opInfo{immLabels, 1, 0, costPlain})
	set(opReturn, opReturn, opInfo{immNone, 0, 0, costPlain})
	set(opCall, opCall, opInfo{immFunc, 0, 0, costCall})
	set(opCallInd, opCallInd, opInfo{immIndirect, 1, 0, costCall})
	set(opDrop, opDrop, opInfo{immNone, 1, 0, costStructure})
	set(0x1b, 0x1b, opInfo{immNone, 3, 1, costPlain})
	set(0x1c, 0x1c, opInfo{immSelect, 3, 1, costPlain})
	set(opLocalGet, opLocalGet, opInfo{immLocal, 0, 1, costPlain})
	set(opLocalSet, opLocalSet, opInfo{immLocal, 1, 0, costPlain})
	set(opLocalTee, opLocalTee, opInfo{immLocal, 1, 1, costPlain})
	set(opGlobalGet, opGlobalGet, opInfo{immGlobal, 0, 1, costPlain})
	set(opGlobalSet, opGlobalSet, opInfo{immGlobal, 1, 0, costPlain})
	set(0x25, 0x25, opInfo{immTable, 1, 1, costMemory})
	set(opTableSet, opTableSet, opInfo{immTable, 2, 0, costMemory})
	set(0x28, 0x35, opInfo{immMem, 1, 1, costMemory})
	set(0x36, 0x3e, opInfo{immMem, 2, 0, costMemory})
	set(opMemorySize, opMemorySize, opInfo{immMemIndex, 0, 1, costPlain})
	set(opMemoryGrow, opMemoryGrow, opInfo{immMemIndex, 1, 1, costBulk})
	set(opI32Const, opI32Const, opInfo{immI32, 0, 1, costPlain})
	set(opI64Const, opI64Const, opInfo{immI64, 0, 1, costPlain})
	set(opF32Const, opF32Const, opInfo{immF32, 0, 1, costPlain})
	set(opF64Const, opF64Const, opInfo{immF64, 0, 1, costPlain})

	unary, binary := opInfo{immNone, 1, 1, costPlain}, opInfo{immNone, 2, 1, costPlain}
	set(0x45, 0x45, unary)  // i32.eqz
	set(0x46, 0x4f, binary) // i32 comparisons
	set(0x50, 0x50, unary)  // i64.eqz
	set(0x51, 0x66, binary) // i64, f32, f64 comparisons
	set(0x67, 0x69, unary)  // i32 clz ctz popcnt
	set(0x6a, 0x78, binary)
	set(0x79, 0x7b, unary) // i64 clz ctz popcnt
	set(0x7c, 0x8a, binary)
	set(0x8b, 0x91, unary) // f32
	set(0x92, 0x98, binary)
	set(0x99, 0x9f, unary) // f64
	set(0xa0, 0xa6, binary)
	set(0xa7, 0xc4, unary) // conversions, sign extension
	for _, op := range []int{0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x95, 0xa3} {
		t[op].cost = costDivide
	}
	t[0x91].cost, t[0x9f].cost = costDivide, costDivide // square roots

	set(opRefNull, opRefNull, opInfo{immRefType, 0, 1, costPlain})
	set(0xd1, 0xd1, opInfo{immNone, 1, 1, costPlain})
	set(opRefFunc, opRefFunc, opInfo{immRefFunc, 0, 1, costPlain})
	set(opBulk, opBulk, opInfo{immBulk, 0, 0, costPlain})
	set(opSIMD, opSIMD, opInfo{immSIMD, 0, 0, costPlain})
	return t
}

// simdImm is what follows a SIMD opcode.
type simdImm uint8

const (
	simdBad simdImm = iota
	simdNone
	simdMem
	simdMemLane
	simdBytes // 16 bytes: a constant or shuffle lanes
	simdLane
)

type simdInfo struct {
	imm       simdImm
	pop, push int8
}

// simdOps is the table of the vector opcodes of WebAssembly 2.0 (relaxed SIMD starts at 0x100 and is not part of it).
var simdOps = makeSIMD()

func makeSIMD() (t [256]simdInfo) {
	set := func(from, to int, i simdInfo) {
		for op := from; op <= to; op++ {
			t[op] = i
		}
	}
	unary, binary := simdInfo{simdNone, 1, 1}, simdInfo{simdNone, 2, 1}
	set(0x00, 0x0a, simdInfo{simdMem, 1, 1})
	set(0x0b, 0x0b, simdInfo{simdMem, 2, 0})
	set(0x0c, 0x0c, simdInfo{simdBytes, 0, 1})
	set(0x0d, 0x0d, simdInfo{simdBytes, 2, 1})
	set(0x0e, 0x0e, binary) // swizzle
	set(0x0f, 0x14, unary)  // splats
	extract, replace := simdInfo{simdLane, 1, 1}, simdInfo{simdLane, 2, 1}
	for op, i := range map[int]simdInfo{
		0x15: extract, 0x16: extract, 0x17: replace, 0x18: extract, 0x19: extract, 0x1a: replace, 0x1b: extract,
		0x1c: replace, 0x1d: extract, 0x1e: replace, 0x1f: extract, 0x20: replace, 0x21: extract, 0x22: replace,
	} {
		t[op] = i
	}
	set(0x23, 0x4c, binary) // comparisons
	set(0x4d, 0x4d, unary)  // not
	set(0x4e, 0x51, binary)
	set(0x52, 0x52, simdInfo{simdNone, 3, 1}) // bitselect
	set(0x53, 0x53, unary)                    // any_true
	set(0x54, 0x57, simdInfo{simdMemLane, 2, 1})
	set(0x58, 0x5b, simdInfo{simdMemLane, 2, 0})
	set(0x5c, 0x5d, simdInfo{simdMem, 1, 1})
	set(0x5e, 0xff, binary)
	for _, r := range [][2]int{
		{0x5e, 0x64},
		{0x67, 0x6a},
		{0x74, 0x75},
		{0x7a, 0x7a},
		{0x7c, 0x81},
		{0x83, 0x84},
		{0x87, 0x8a},
		{0x94, 0x94},
		{0xa0, 0xa1},
		{0xa3, 0xa4},
		{0xa7, 0xaa},
		{0xc0, 0xc1},
		{0xc3, 0xc4},
		{0xc7, 0xca},
		{0xe0, 0xe1},
		{0xe3, 0xe3},
		{0xec, 0xed},
		{0xef, 0xef},
		{0xf8, 0xff},
	} {
		set(r[0], r[1], unary)
	}
	for _, op := range []int{0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee} {
		t[op] = simdInfo{}
	}
	return t
}
