package admit

import "fmt"

// editKind is what is done at one place of a function body.
type editKind uint8

const (
	editLoop        editKind = iota // a loop's header: count a round after it
	editOuter                       // the same for one that gets a loop around it (loops.go)
	editDirect                      // the same for one in which something is called
	editDirectOuter                 // the same with a loop around it
	editNone                        // a loop's header where nothing is counted, or its branches back are
	editEnd                         // before the end of a loop
	editBranch                      // a branch out of loops
	editTable                       // a br_table that has such
	editBack                        // count a branch back to a dispatch loop, before it
	editReturn                      // replace return by a branch to the block around the body
	editBulk                        // replace a bulk memory operation
	editBulkCall                    // the same where there are many: by a call, whatever the length
	editYield                       // a safepoint in the middle of very long code
	editCheck                       // a check before a call of what does not check
	editTakeFrame                   // count a frame before a call, and give it back after it
	editGiveFrame
	editGrow // replace memory.grow by a call that leads to the host
)

// edit is a change to a body. A body's edits are in the order of its code.
type edit struct {
	kind     editKind
	from, to int32  // the instruction that it is about
	arg      uint32 // cost of the round; label of the branch, or what stands for the function; the helper's key; of editEnd: the header's edit
	label    int32  // of editBack: the label it branches to, -1 where it is conditional
	leaves   int32  // how many loops a branch leaves; of editTable: where the scanner's leaves has that for each label
}

// frame is an open block of the function that is being scanned.
type frame struct {
	op      byte
	dead    bool // after an unconditional branch: the operand stack is polymorphic
	params  int32
	results int32
	base    int32     // operands below the block's own
	serial  int32     // counts the blocks of the function
	edit    int32     // of a loop: the edit at its header
	loops   int32     // open loops, this one included
	rounds  int32     // those of them that count their rounds, if any leads back
	loop    int32     // the innermost of them: how many the function has before it
	outside int32     // of a loop: the one around it, where there is one
	start   uint64    // path at the block's beginning
	branch  uint64    // longest path to a branch to the block's label, plus one; 0: there is none
	since   uint32    // scanner.since at the block's beginning
	arrives uint32    // the most at a branch to the block's label
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
//
// It also finds out what code costs at most, which is the longest path through it. Within a function all branches but
// those to loops lead forward, so one pass is enough: path is the cost of the longest way from the function's entry to
// the instruction at hand. The round of a loop costs what lies between its header and the branch back that is farthest
// from it, the function itself the longest path of all. That counts what stands in an inner loop once too often.
type scanner struct {
	m *module
	o *Options
	r reader

	plan *graph // once it is known

	frames    []frame
	edits     []edit
	closed    []uint64 // by serial of a block that has ended: path at its end, plus one
	leaves    []int32  // by label of br_tables
	loopCalls []bool   // by loop: something is called in it
	dispatch  dispatch
	before    before

	function          int   // index, for messages
	results           int32 // of the function
	locals            int   // parameters included
	localsEnd         int   // where the code begins
	height, maxHeight int32 // of the operand stack
	path, longest     uint64
	since             uint32 // work of functions that do not check, since the last check, at most
	unbroken          uint64 // cost of the code since its last label or safepoint
	imports           bool   // of a function that is imported
	callees           []edge
	loops             bool // some loop counts in the credit local
	rounds            bool // something counts rounds
	bulks             bool // some operation may need a helper
	vectors           bool // there are values of 16 bytes
	memoryBulks       int  // bulk memory operations so far
	outer             int  // loops that get a loop around them
}

// scan decodes one body and finds out what rewriting needs to know about it.
func (s *scanner) scan(function int, body span) error {
	t := s.m.types[s.m.funcs[function]]
	*s = scanner{
		m: s.m, o: s.o, plan: s.plan, r: reader{b: s.m.b, pos: int(body.start), end: int(body.end)},
		frames: s.frames[:0], edits: s.edits[:0], closed: s.closed[:0], callees: s.callees[:0], leaves: s.leaves[:0], loopCalls: s.loopCalls[:0],
		dispatch: dispatch{targets: s.dispatch.targets[:0]}, before: nothing, function: function, results: int32(len(t.results)),
	}
	if err := s.readLocals(t.params); err != nil {
		return err
	}
	s.localsEnd = s.r.pos
	s.push(frame{op: opBlock, results: s.results})
	for len(s.frames) > 0 && s.r.err == nil {
		if err := s.instruction(); err != nil {
			return err
		}
	}
	if s.r.err == nil && s.r.left() > 0 {
		s.r.fail(s.r.pos, "%d bytes after the end of the function", s.r.left())
	}
	for _, e := range s.edits {
		credit := e.kind == editLoop || e.kind == editOuter
		s.loops = s.loops || credit
		s.rounds = s.rounds || credit || e.kind == editDirect || e.kind == editDirectOuter || e.kind == editBack
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
	f.base, f.serial, f.start, f.since = s.height-f.params, int32(len(s.closed)), s.path, s.since
	if len(s.frames) > 0 {
		f.loops, f.rounds, f.loop = s.top().loops, s.top().rounds, s.top().loop
	}
	if f.op == opLoop {
		s.openLoop(&f)
	}
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

// charge makes the path longer.
func (s *scanner) charge(cost uint64) {
	s.path += cost
	s.longest = max(s.longest, s.path)
}

// branch notes that the label of f can be reached from here.
func (s *scanner) branch(f *frame) {
	f.branch, f.arrives = max(f.branch, s.path+1), max(f.arrives, s.since)
}

// entryCost is what a function takes at its entry.
func (s *scanner) entryCost() uint32 {
	if s.loops {
		return cost(0, s.longest) + creditUnits
	}
	return cost(0, s.longest)
}

// cost is what lies between two points of the same path, as a price.
func cost(from, to uint64) uint32 {
	if to <= from {
		return costPlain // a round costs something even where it is empty
	}
	return uint32(min(to-from, maxCost))
}

// instruction decodes one instruction.
func (s *scanner) instruction() error {
	r, from := &s.r, s.r.pos
	op := r.byte()
	i := &ops[op]
	prev := s.before
	s.before = nothing
	s.charge(uint64(i.cost))
	if s.unbroken += uint64(i.cost); s.unbroken > straightCost && !s.top().dead {
		s.unbroken = 0
		s.edits = append(s.edits, edit{kind: editYield, from: int32(from), to: int32(from)})
	}
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
		return s.block(op, from, prev)
	case immElse, immEnd:
		return s.closeBlock(op, from)
	case immLabel:
		s.jump(op, r.index("label", len(s.frames)), from, prev)
	case immLabels:
		return s.labels(from, prev)
	case immFunc:
		if f := r.index("function", len(s.m.funcs)); r.err == nil {
			s.calling(f, from)
			s.invoke(s.m.types[s.m.funcs[f]])
		}
	case immIndirect:
		t := r.index("type", len(s.m.types))
		if r.index("table", len(s.m.tables)); r.err == nil {
			s.callingTable(from)
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
		if op == opMemoryGrow && s.o.RouteGrow {
			s.edits = append(s.edits, edit{kind: editGrow, from: int32(from), to: int32(r.pos)})
		}
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
		s.edits = append(s.edits, edit{kind: editReturn, from: int32(from), to: int32(s.r.pos), arg: uint32(len(s.frames) - 1), leaves: s.top().loops})
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
func (s *scanner) block(op byte, at int, prev before) error {
	f := frame{op: op}
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
		f.edit = int32(len(s.edits))
		s.edits = append(s.edits, edit{kind: editLoop, from: int32(at), to: int32(s.r.pos)})
		s.before.head, s.unbroken = len(s.frames), 0
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
		if !f.dead {
			s.branch(f) // from the end of the first arm to that of the second
		}
		f.op, f.dead, s.path, s.since, s.unbroken = opElse, false, f.start, f.since, 0
		s.give(f.params)
		return s.r.err
	}
	if f.op == opIf && f.params != f.results {
		s.r.fail(from, "if without else must give what it takes")
	}
	s.join(f)
	if f.op == opLoop {
		s.endLoop(f, from)
	}
	results := f.results
	s.frames = s.frames[:len(s.frames)-1]
	s.give(results)
	return s.r.err
}

// join ends the paths within a block: a loop's round is known now, and after another block goes on whichever path to its
// end is the longest.
func (s *scanner) join(f *frame) {
	if f.op == opLoop && f.jumps == nil {
		if e := &s.edits[f.edit]; f.branch > 0 {
			e.arg = cost(f.start, f.branch-1)
		} else {
			e.kind = editNone // nothing leads back
		}
	}
	if f.op != opBlock || f.branch > 0 {
		s.unbroken = 0
	}
	end := f.start // also the way past an if without else
	if !f.dead {
		end = max(end, s.path)
	}
	if f.op != opLoop && f.branch > 0 {
		end = max(end, f.branch-1)
	}
	s.path, s.since = end, f.sinceEnd(s.since)
	s.closed[f.serial] = end + 1
}

// sinceEnd joins the ways to a block's end as join does; since is that of the way through its last instruction. Back at a loop's
// header its rounds have been counted, and a call costs something there, so what they come to is bounded already.
func (f *frame) sinceEnd(since uint32) uint32 {
	end := uint32(0)
	if f.op == opIf {
		end = f.since
	}
	if !f.dead {
		end = max(end, since)
	}
	if f.op != opLoop {
		end = max(end, f.arrives)
	}
	return end
}

func (s *scanner) invoke(t funcType) {
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
