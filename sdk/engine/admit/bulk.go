package admit

import "fmt"

// bulk decodes the 0xfc instructions: saturating conversions, and operations on memories, tables and segments.
func (s *scanner) bulk(from int, prev before) error {
	op := s.r.u32()
	h := helper{op: op}
	pop, push := int32(3), int32(0)
	tables, uses := 0, &s.m.uses
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		pop, push = 1, 1
	case bulkMemoryInit:
		h.seg = s.segment()
		s.memoryIndex()
	case bulkDataDrop:
		uses.drops = true
		s.segment()
		pop = 0
	case bulkMemoryCopy:
		s.memoryIndex()
		s.memoryIndex()
	case bulkMemoryFill:
		s.memoryIndex()
	case bulkTableInit, bulkElemDrop:
		uses.segments = true
		uses.drops = uses.drops || op == bulkElemDrop
		s.r.index("element segment", len(s.m.elems))
		if pop = 0; op == bulkTableInit {
			pop, tables = 3, 1
		}
	case bulkTableCopy:
		tables = 2
	case bulkTableFill:
		tables = 1
	case bulkTableGrow:
		tables, pop, push = 1, 2, 1
	case bulkTableSize:
		s.r.index("table", len(s.m.tables))
		pop, push = 0, 1
	default:
		if s.r.err != nil {
			return s.r.err
		}
		return &fault{from, fmt.Sprintf("instruction 0xfc 0x%x is unknown (wide arithmetic?)", op)}
	}
	for range tables {
		uses.tableWrites = true
		s.r.index("table", len(s.m.tables))
	}
	if s.r.err == nil {
		s.meter(h, from, prev)
	}
	s.pop(pop)
	s.give(push)
	return s.r.err
}

// segment reads the index of a data segment.
func (s *scanner) segment() uint32 {
	s.m.uses.segments = true
	if s.m.declaredData < 0 {
		s.r.fail(s.r.pos, "data segments are used without a data count section")
	}
	return uint32(s.r.index("data segment", s.m.declaredData))
}

// meter charges a bulk operation. Those on memory are charged by length, in a helper where that may be large. Those on
// tables are bounded by the clamped size of tables and have a fixed price.
func (s *scanner) meter(h helper, from int, prev before) {
	switch h.op {
	case bulkMemoryInit, bulkMemoryCopy, bulkMemoryFill:
		s.charge(costBulk)
		s.memoryBulks++
		kind := editBulk
		switch {
		case s.memoryBulks > inlineBulks:
			kind = editBulkCall
		case prev.isConst && prev.value >= 0 && prev.value <= inlineBytes:
			return
		default:
			s.bulks = true
		}
		s.edits = append(s.edits, edit{kind: kind, from: int32(from), to: int32(s.r.pos), arg: h.key()})
	case bulkTableInit, bulkTableCopy, bulkTableGrow, bulkTableFill:
		s.charge(costTable)
	}
}
