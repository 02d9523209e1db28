package admit

import "fmt"

// editKind is what is done at one place of a function body.
type editKind uint8

const (
	editLoop   editKind = iota // count a round, after a loop's header
	editBack                   // count a branch back to a dispatch loop, before it
	editNone                   // a dispatch loop's header: its branches back are counted instead
	editReturn                 // replace return by a branch to the block around the body
	editBulk                   // replace a bulk memory operation
)

// edit is a change to a body. A body's edits are in the order of its code.
type edit struct {
	kind     editKind
	from, to int32  // the instruction that it is about
	arg      uint32 // cost of the round; label that stands for the function; or the helper's key
	label    int32  // of editBack: the label it branches to, -1 where it is conditional
}

// frame is an open block of the function that is being scanned.
type frame struct {
	op      byte
	dead    bool // after an unconditional branch: the operand stack is polymorphic
	params  int32
	results int32
	base    int32     // operands below the block's own
	region  int32     // the edit of the innermost loop around the code, -1: none
	serial  int32     // counts the blocks of the function
	jumps   *dispatch // of a dispatch loop
}

// before is what the instruction just before was, as far as it matters for the next.
type before struct {
	isConst  bool
	value    int64 // of the i32.const
	head     int   // frame of a loop of which only the headers of blocks have been seen, -1: none
	selector int   // local of a local.get that follows such headers, -1: none
	setLocal int   // local that was just set to value, -1: none
}

var nothing = before{head: -1, selector: -1, setLocal: -1}

// scanner decodes function bodies one after the other and reuses its memory between them. It checks every index and
// keeps the height of the operand stack; the types of operands are left to the engine.
type scanner struct {
	m *module
	o *Options
	r reader

	frames   []frame
	edits    []edit
	closed   []uint64 // by serial of a block that has ended: total at its end, plus one
	dispatch dispatch
	before   before

	function          int    // index, for messages
	results           int32  // of the function
	locals            int    // parameters included
	localsEnd         int    // where the code begins
	height, maxHeight int32  // of the operand stack
	entryCost         uint32 // of the code outside of loops
	total             uint64 // cost of the code so far
	calls             bool   // there are calls
	loops             bool   // some loop counts in the credit local
	bulks             bool   // some operation may need a helper
	vectors           bool   // there are values of 16 bytes
}

// scan decodes one body and finds out what rewriting needs to know about it.
func (s *scanner) scan(function int, body span) error {
	t := s.m.types[s.m.funcs[function]]
	*s = scanner{
		m: s.m, o: s.o, r: reader{b: s.m.b, pos: int(body.start), end: int(body.end)},
		frames: s.frames[:0], edits: s.edits[:0], closed: s.closed[:0], dispatch: dispatch{targets: s.dispatch.targets[:0]},
		before: nothing, function: function, results: int32(len(t.results)),
	}
	if err := s.readLocals(t.params); err != nil {
		return err
	}
	s.localsEnd = s.r.pos
	s.push(frame{op: opBlock, results: s.results, region: -1})
	for len(s.frames) > 0 && s.r.err == nil {
		if err := s.instruction(); err != nil {
			return err
		}
	}
	if s.r.err == nil && s.r.left() > 0 {
		s.r.fail(s.r.pos, "%d bytes after the end of the function", s.r.left())
	}
	for _, e := range s.edits {
		s.loops = s.loops || e.kind == editLoop
	}
	return s.r.err
}

func (s *scanner) readLocals(params []byte) error {
	total := int64(len(params))
	for _, t := range params {
		s.vectors = s.vectors || ValueType(t) == V128
	}
	groups := s.r.count("groups of locals", 2)
	for i := 0; i < groups && s.r.err == nil; i++ {
		total += int64(s.r.u32())
		s.vectors = s.r.valueType() == V128 || s.vectors
		if total > int64(s.o.MaxLocals) {
			return limitError("locals", "function %d has %d locals or more, and the limit is %d", s.function, total, s.o.MaxLocals)
		}
	}
	s.locals = int(total)
	return nil
}

func (s *scanner) push(f frame) {
	f.base, f.serial = s.height-f.params, int32(len(s.closed))
	s.frames = append(s.frames, f)
	s.closed = append(s.closed, 0)
}

func (s *scanner) top() *frame { return &s.frames[len(s.frames)-1] }

// pop takes n operands off the stack.
func (s *scanner) pop(n int32) {
	f := s.top()
	if s.height-n >= f.base {
		s.height -= n
		return
	}
	if !f.dead {
		s.r.fail(s.r.pos, "the operand stack is empty")
	}
	s.height = f.base
}

func (s *scanner) give(n int32) {
	s.height += n
	s.maxHeight = max(s.maxHeight, s.height)
}

// dead marks the rest of the block as unreachable.
func (s *scanner) dead() {
	f := s.top()
	f.dead = true
	s.height = f.base
}

// charge adds a cost to the loop that the code is in, or to the function's entry.
func (s *scanner) charge(cost uint32) {
	s.total += uint64(cost)
	to := &s.entryCost
	if region := s.top().region; region >= 0 {
		to = &s.edits[region].arg
	}
	*to = min(*to+cost, maxCost)
}

// instruction decodes one instruction.
func (s *scanner) instruction() error {
	r, from := &s.r, s.r.pos
	op := r.byte()
	i := &ops[op]
	prev := s.before
	s.before = nothing
	s.charge(uint32(i.cost))
	s.pop(int32(i.pop))
	switch i.imm {
	case immNone:
		s.plain(op, from)
	case immLocal:
		s.local(op, prev)
	case immI32:
		s.before.value, s.before.isConst = r.signed(32), true
	case immI64:
		r.signed(64)
	case immF32:
		r.skip(4)
	case immF64:
		r.skip(8)
	case immMem:
		s.memArg()
	case immGlobal:
		r.index("global", len(s.m.globals))
	case immBlock:
		return s.block(op, prev)
	case immElse, immEnd:
		return s.closeBlock(op, from)
	case immLabel:
		s.jump(op, r.index("label", len(s.frames)), from, prev)
		if op == opBr {
			s.dead()
		}
	case immLabels:
		return s.labels(from, prev)
	case immFunc:
		if f := r.index("function", len(s.m.funcs)); r.err == nil {
			s.invoke(s.m.types[s.m.funcs[f]])
		}
	case immIndirect:
		t := r.index("type", len(s.m.types))
		if r.index("table", len(s.m.tables)); r.err == nil {
			s.invoke(s.m.types[t])
		}
	case immSelect:
		if n := r.count("types of select", 1); n != 1 && r.err == nil {
			r.fail(from, "select with %d types", n)
		}
		r.valueType()
	case immTable:
		r.index("table", len(s.m.tables))
		s.m.uses.tableWrites = s.m.uses.tableWrites || op == opTableSet
	case immMemIndex:
		s.memoryIndex()
		s.m.uses.memoryGrow = s.m.uses.memoryGrow || op == opMemoryGrow
	case immRefType:
		r.refType()
	case immRefFunc:
		r.index("function", len(s.m.funcs))
	case immBulk:
		return s.bulk(from, prev)
	case immSIMD:
		return s.simd(from)
	default:
		return s.unknown(from, op)
	}
	s.give(int32(i.push))
	return r.err
}

// plain handles what has no immediate but ends the block's reachable code.
func (s *scanner) plain(op byte, from int) {
	switch op {
	case opReturn:
		s.pop(s.results)
		s.edits = append(s.edits, edit{kind: editReturn, from: int32(from), to: int32(s.r.pos), arg: uint32(len(s.frames) - 1)})
		s.dead()
	case opUnreachable:
		s.dead()
	}
}

func (s *scanner) local(op byte, prev before) {
	local := s.r.index("local", s.locals)
	switch {
	case op == opLocalGet && prev.head >= 0:
		s.before.head, s.before.selector = prev.head, local
	case op == opLocalSet && prev.isConst:
		s.before.setLocal, s.before.value = local, prev.value
	}
}

// unknown explains an opcode that is not part of WebAssembly 2.0.
func (s *scanner) unknown(from int, op byte) error {
	why := "the instruction is unknown"
	switch {
	case s.r.err != nil:
		return s.r.err
	case op == 0x12 || op == 0x13 || op == 0x15:
		why = "tail calls are not supported: build without them (clang: -mno-tail-call)"
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		why = "exception handling is not supported: build without it (clang: no -fwasm-exceptions)"
	case op == 0xfe:
		why = "atomic instructions are not supported: build without threads (clang: no -pthread, no -matomics)"
	case op == 0xfb || op == 0x14 || op >= 0xd3 && op <= 0xd6:
		why = "typed function references and garbage collection are not supported: build without them"
	}
	return &fault{from, fmt.Sprintf("opcode 0x%02x: %s", op, why)}
}

func (s *scanner) memArg() {
	from := s.r.pos
	if len(s.m.memories) == 0 {
		s.r.fail(from, "there is no memory")
	}
	if align := s.r.u32(); align > 4 {
		s.r.fail(from, "alignment 2^%d is not supported: build without multi-memory", align)
	}
	s.r.u32()
}

// memoryIndex reads the index of a memory, of which there is one at most.
func (s *scanner) memoryIndex() {
	from := s.r.pos
	if len(s.m.memories) == 0 {
		s.r.fail(from, "there is no memory")
	}
	if c := s.r.byte(); c != 0 {
		s.r.fail(from, "memory 0x%x does not exist: build without multi-memory", c)
	}
}

// block opens a block, loop or if.
func (s *scanner) block(op byte, prev before) error {
	f := frame{op: op, region: s.top().region}
	from := s.r.pos
	switch v := s.r.signed(33); {
	case v >= int64(len(s.m.types)):
		s.r.fail(from, "type %d does not exist (there are %d)", v, len(s.m.types))
	case v >= 0:
		f.params, f.results = int32(len(s.m.types[v].params)), int32(len(s.m.types[v].results))
	case v != -64: // one result; -64 is none
		s.r.pos = from
		s.r.valueType()
		f.results = 1
	}
	if s.r.err != nil {
		return s.r.err
	}
	if len(s.frames) > s.o.MaxNesting {
		return limitError("nesting", "function %d nests more than %d blocks, which is the limit", s.function, s.o.MaxNesting)
	}
	s.pop(f.params)
	s.give(f.params)
	switch op {
	case opLoop:
		// A branch back costs something even where the loop is empty.
		f.region = int32(len(s.edits))
		s.edits = append(s.edits, edit{kind: editLoop, from: int32(s.r.pos), to: int32(s.r.pos), arg: costPlain})
		s.before.head = len(s.frames)
	case opBlock:
		s.before.head = prev.head
	}
	s.push(f)
	return s.r.err
}

func (s *scanner) closeBlock(op byte, from int) error {
	f := s.top()
	s.pop(f.results)
	if s.height != f.base {
		s.r.fail(from, "%d operands too many at the end of a block", s.height-f.base)
	}
	if op == opElse {
		if f.op != opIf {
			return &fault{from, "else without if"}
		}
		f.op, f.dead = opElse, false
		s.give(f.params)
		return s.r.err
	}
	if f.op == opIf && f.params != f.results {
		s.r.fail(from, "if without else must give what it takes")
	}
	s.closed[f.serial] = s.total + 1
	results := f.results
	s.frames = s.frames[:len(s.frames)-1]
	s.give(results)
	return s.r.err
}

func (s *scanner) invoke(t funcType) {
	s.calls = true
	s.pop(int32(len(t.params)))
	s.give(int32(len(t.results)))
}

func (s *scanner) simd(from int) error {
	s.vectors = true
	op := s.r.u32()
	if op > 0xff {
		return &fault{from, fmt.Sprintf("vector instruction 0x%x: relaxed SIMD is not supported: build without it (clang: -mno-relaxed-simd)", op)}
	}
	i := simdOps[op]
	s.pop(int32(i.pop))
	switch i.imm {
	case simdNone:
	case simdMem:
		s.memArg()
	case simdMemLane:
		s.memArg()
		s.r.byte()
	case simdBytes:
		s.r.skip(16)
	case simdLane:
		s.r.byte()
	default:
		return &fault{from, fmt.Sprintf("vector instruction 0x%x is unknown", op)}
	}
	s.give(int32(i.push))
	return s.r.err
}
