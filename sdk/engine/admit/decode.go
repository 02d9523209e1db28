package admit

import (
	"fmt"
	"strings"
)

// Section ids, and the order in which sections must come.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag // exception handling, which is not supported
)

var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start",
	"element", "code", "data", "data count", "tag",
}

// rank orders sections: data count stands between element and code.
func rank(id byte) int {
	switch id {
	case secDataCount:
		return 2*secElement + 1
	default:
		return 2 * int(id)
	}
}

// section is where a section's contents are.
type section struct {
	id         byte
	start, end int
	dropped    bool // a custom section that lies, now or about the rewritten code
}

type funcType struct{ params, results []byte } // value types, within the module's bytes

type limits struct {
	min, max uint32
	hasMax   bool
}

type table struct {
	elem ValueType
	lim  limits
}

type global struct {
	typ     ValueType
	mutable bool
}

type importEntry struct {
	module, name string
	kind         ExternKind
	index        uint32 // in the space of its kind
}

type exportEntry struct {
	name  string
	kind  ExternKind
	index uint32
}

// span is a range of the module's bytes.
type span struct{ start, end int32 }

// module is a decoded module. Index spaces begin with what is imported.
type module struct {
	b        []byte
	sections []section

	types    []funcType
	ownTypes int // how many of types are the module's own
	imports  []importEntry
	funcs    []uint32 // type of each function
	tables   []table
	memories []limits
	globals  []global
	exports  []exportEntry
	taken    map[uint32]struct{} // functions that are exported or referred to: not only direct calls lead there
	start    int64               // -1: none
	elems    []ValueType
	bodies   []span

	importedFuncs, importedTables, importedMemories, importedGlobals int

	globalEntries span // the global section after its count
	exportEntries span
	declaredData  int // of the data count section; -1: none
	dataSegments  int
	dataSizes     []uint32 // of each segment
	dataBytes     int64
	passiveData   bool
	elemTotal     int
	uses          uses
}

// uses are the abilities that the code makes use of.
type uses struct{ tableWrites, segments, drops, memoryGrow bool }

// growable tells whether the module has a memory of its own that its code can grow. It is known when all code was read.
func (m *module) growable() bool {
	return m.uses.memoryGrow && len(m.memories) > 0 && m.importedMemories == 0
}

// decode reads every section. Code bodies are only located here; rewriting decodes them.
func decode(b []byte, o *Options) (*module, error) {
	m := &module{b: b, start: -1, declaredData: -1, taken: map[uint32]struct{}{}}
	r := reader{b: b, pos: 8, end: len(b)}
	last := 0
	for r.left() > 0 {
		at := r.pos
		id := r.byte()
		if id == secTag {
			return nil, &fault{at, "exception handling is not supported: build without it (clang: no -fwasm-exceptions)"}
		}
		if id > secTag {
			return nil, &fault{at, fmt.Sprintf("section id %d is unknown", id)}
		}
		body := r.sub(int(r.u32()))
		if body.err != nil || r.err != nil {
			return nil, &fault{at, fmt.Sprintf("the %s section is longer than the file: the file is truncated", sectionNames[id])}
		}
		if id != secCustom {
			if rank(id) <= last {
				return nil, &fault{at, fmt.Sprintf("the %s section is out of order or there twice", sectionNames[id])}
			}
			last = rank(id)
		}
		if err := m.section(id, body, o); err != nil {
			return nil, err
		}
	}
	if err := m.crossCheck(); err != nil {
		return nil, err
	}
	m.ownTypes = len(m.types)
	return m, nil
}

// crossCheck looks at what only the whole module can tell.
func (m *module) crossCheck() error {
	switch defined := len(m.funcs) - m.importedFuncs; {
	case defined != len(m.bodies):
		return fmt.Errorf("%d functions are declared, but the code section has %d", defined, len(m.bodies))
	case m.declaredData >= 0 && m.declaredData != m.dataSegments:
		return fmt.Errorf("%d data segments are announced, but there are %d", m.declaredData, m.dataSegments)
	case len(m.memories) > 1:
		return fmt.Errorf("the module has %d memories: build without multi-memory, one is supported", len(m.memories))
	}
	return nil
}

func (m *module) section(id byte, r reader, o *Options) error {
	s := section{id: id, start: r.pos, end: r.end}
	var err error
	switch id {
	case secCustom:
		name := r.name()
		// Debug sections refer to code offsets, which change; they are also larger than the code.
		s.dropped = strings.HasPrefix(name, ".debug_") || name == "sourceMappingURL" || name == "external_debug_info" ||
			name == "name" && r.err == nil && !namesWellFormed(r)
		r.skip(r.left())
	case secType:
		err = m.typeSection(&r, o)
	case secImport:
		err = m.importSection(&r, o)
	case secFunction:
		err = m.functionSection(&r, o)
	case secTable:
		err = m.tableSection(&r, o)
	case secMemory:
		err = m.memorySection(&r, o)
	case secGlobal:
		err = m.globalSection(&r, o)
	case secExport:
		err = m.exportSection(&r, o)
	case secStart:
		m.start = int64(r.index("function", len(m.funcs)))
	case secElement:
		err = m.elementSection(&r, o)
	case secDataCount:
		m.declaredData = int(r.u32())
		err = limit("data_segments", "data segments", m.declaredData, o.MaxDataSegments)
	case secCode:
		err = m.codeSection(&r, o)
	case secData:
		err = m.dataSection(&r, o)
	}
	if err == nil && r.err == nil && r.left() > 0 {
		r.fail(r.pos, "%d bytes too many", r.left())
	}
	if r.err != nil {
		err = r.err
	}
	m.sections = append(m.sections, s)
	return at(sectionNames[id]+" section", err)
}

// limit reports a count above its limit.
func limit(name, what string, n, max int) error {
	if n > max {
		return limitError(name, "the module has %d %s, and the limit is %d", n, what, max)
	}
	return nil
}

func (m *module) typeSection(r *reader, o *Options) error {
	n := r.count("types", 3)
	if err := limit("types", "types", n, o.MaxTypes); err != nil {
		return err
	}
	m.types = make([]funcType, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		if c := r.byte(); c != 0x60 && r.err == nil {
			r.fail(r.pos-1, "type form 0x%x is not supported (garbage collection proposal?): only functions are", c)
		}
		t := funcType{params: r.valueTypes(), results: r.valueTypes()}
		if k := max(len(t.params), len(t.results)); k > o.MaxParams {
			return limitError("params", "a function type has %d parameters or results, and the limit is %d", k, o.MaxParams)
		}
		m.types = append(m.types, t)
	}
	return nil
}

// valueTypes reads a vector of value types, which stays within the module's bytes.
func (r *reader) valueTypes() []byte {
	n := r.count("value types", 1)
	from := r.pos
	for range n {
		r.valueType()
	}
	if r.err != nil {
		return nil
	}
	return r.b[from:r.pos]
}

func (r *reader) valueType() ValueType {
	c := r.byte()
	switch t := ValueType(c); t {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef:
		return t
	}
	if r.err == nil {
		r.fail(r.pos-1, "value type 0x%x is unknown", c)
	}
	return 0
}

func (r *reader) refType() ValueType {
	c := r.byte()
	if t := ValueType(c); t == FuncRef || t == ExternRef {
		return t
	}
	if r.err == nil {
		r.fail(r.pos-1, "reference type 0x%x is unknown", c)
	}
	return 0
}

func (m *module) importSection(r *reader, o *Options) error {
	n := r.count("imports", 4)
	if err := limit("imports", "imports", n, o.MaxImports); err != nil {
		return err
	}
	for i := 0; i < n && r.err == nil; i++ {
		e := importEntry{module: r.name(), name: r.name()}
		from := r.pos
		switch e.kind = ExternKind(r.byte()); e.kind {
		case ExternFunc:
			e.index = uint32(len(m.funcs))
			m.funcs = append(m.funcs, uint32(r.index("type", len(m.types))))
		case ExternTable:
			e.index = uint32(len(m.tables))
			m.tables = append(m.tables, r.table())
		case ExternMemory:
			e.index = uint32(len(m.memories))
			m.memories = append(m.memories, r.memory())
		case ExternGlobal:
			e.index = uint32(len(m.globals))
			m.globals = append(m.globals, r.global())
		default:
			r.fail(from, "import kind %d is unknown", e.kind)
		}
		m.imports = append(m.imports, e)
	}
	m.importedFuncs, m.importedTables = len(m.funcs), len(m.tables)
	m.importedMemories, m.importedGlobals = len(m.memories), len(m.globals)
	return m.checkMemories(o)
}

func (m *module) functionSection(r *reader, o *Options) error {
	n := r.count("functions", 1)
	if err := limit("functions", "functions", n+len(m.funcs), o.MaxFunctions); err != nil {
		return err
	}
	for i := 0; i < n && r.err == nil; i++ {
		m.funcs = append(m.funcs, uint32(r.index("type", len(m.types))))
	}
	return nil
}

// limits reads limits; flags other than "has a maximum" belong to proposals.
func (r *reader) limits() limits {
	from := r.pos
	flags := r.byte()
	switch {
	case flags&2 != 0:
		r.fail(from, "shared memory is not supported: build without threads (clang: no -pthread, no -matomics)")
	case flags&4 != 0:
		r.fail(from, "64-bit memory is not supported: build for wasm32")
	case flags > 1:
		r.fail(from, "limits with flags 0x%x are not supported", flags)
	}
	l := limits{min: r.u32(), hasMax: flags&1 != 0}
	if l.hasMax {
		if l.max = r.u32(); l.max < l.min && r.err == nil {
			r.fail(from, "maximum %d is below minimum %d", l.max, l.min)
		}
	}
	return l
}

func (r *reader) table() table { return table{elem: r.refType(), lim: r.limits()} }

func (r *reader) memory() limits {
	from := r.pos
	l := r.limits()
	if r.err == nil && max(l.min, l.max) > 1<<16 {
		r.fail(from, "a memory of %d pages is larger than 4 GiB", max(l.min, l.max))
	}
	return l
}

func (r *reader) global() global {
	g := global{typ: r.valueType()}
	switch c := r.byte(); c {
	case 0:
	case 1:
		g.mutable = true
	default:
		r.fail(r.pos-1, "mutability 0x%x is unknown", c)
	}
	return g
}

func (m *module) tableSection(r *reader, o *Options) error {
	n := r.count("tables", 3)
	for i := 0; i < n && r.err == nil; i++ {
		t := r.table()
		if int64(t.lim.min) > int64(o.MaxTableElems) {
			return limitError("table_elems", "table %d has at least %d elements, and the limit is %d", len(m.tables), t.lim.min, o.MaxTableElems)
		}
		if !t.lim.hasMax || int64(t.lim.max) > int64(o.MaxTableElems) {
			t.lim.max, t.lim.hasMax = uint32(o.MaxTableElems), true
		}
		m.tables = append(m.tables, t)
	}
	return limit("tables", "tables", len(m.tables), o.MaxTables)
}

func (m *module) memorySection(r *reader, o *Options) error {
	n := r.count("memories", 2)
	for i := 0; i < n && r.err == nil; i++ {
		m.memories = append(m.memories, r.memory())
	}
	return m.checkMemories(o)
}

func (m *module) checkMemories(o *Options) error {
	for _, l := range m.memories {
		if int64(l.min) > int64(o.MaxMemoryPages) {
			return limitError("memory_pages", "the memory has at least %d pages of 64 KiB, and the limit is %d", l.min, o.MaxMemoryPages)
		}
	}
	return nil
}

func (m *module) globalSection(r *reader, o *Options) error {
	n := r.count("globals", 4)
	if err := limit("globals", "globals", n+len(m.globals), o.MaxGlobals); err != nil {
		return err
	}
	m.globalEntries = span{int32(r.pos), int32(r.end)}
	for i := 0; i < n && r.err == nil; i++ {
		g := r.global()
		m.constExpr(r)
		m.globals = append(m.globals, g)
	}
	return nil
}

// constExpr reads a constant expression: one constant instruction and its end. Indices are checked, types are not.
func (m *module) constExpr(r *reader) {
	from := r.pos
	switch op := r.byte(); op {
	case opI32Const:
		r.signed(32)
	case opI64Const:
		r.signed(64)
	case opF32Const:
		r.skip(4)
	case opF64Const:
		r.skip(8)
	case opGlobalGet:
		r.index("imported global", m.importedGlobals)
	case opRefNull:
		r.refType()
	case opRefFunc:
		m.take(r.index("function", len(m.funcs)))
	case opSIMD:
		if r.u32() != 0x0c {
			r.fail(from, "this is not a constant")
		}
		r.skip(16)
	default:
		r.fail(from, "instruction 0x%x is not a constant", op)
	}
	if end := r.byte(); end != opEnd && r.err == nil {
		r.fail(r.pos-1, "extended constant expressions are not supported: build without them (clang: -mno-extended-const)")
	}
}

// take notes that not only direct calls lead to a function.
func (m *module) take(function int) { m.taken[uint32(function)] = struct{}{} }

func (m *module) exportSection(r *reader, o *Options) error {
	n := r.count("exports", 3)
	if err := limit("exports", "exports", n, o.MaxExports); err != nil {
		return err
	}
	m.exportEntries = span{int32(r.pos), int32(r.end)}
	seen := make(map[string]struct{}, n)
	for i := 0; i < n && r.err == nil; i++ {
		from := r.pos
		e := exportEntry{name: r.name()}
		if _, twice := seen[e.name]; twice && r.err == nil {
			r.fail(from, "%q is exported twice", e.name)
		}
		seen[e.name] = struct{}{}
		if strings.HasPrefix(e.name, Prefix) {
			r.fail(from, "export %q: names that begin with %q are reserved, rename it", e.name, Prefix)
		}
		switch e.kind = ExternKind(r.byte()); e.kind {
		case ExternFunc:
			e.index = uint32(r.index("function", len(m.funcs)))
			m.take(int(e.index))
		case ExternTable:
			e.index = uint32(r.index("table", len(m.tables)))
		case ExternMemory:
			e.index = uint32(r.index("memory", len(m.memories)))
		case ExternGlobal:
			e.index = uint32(r.index("global", len(m.globals)))
		default:
			r.fail(from, "export kind %d is unknown", e.kind)
		}
		m.exports = append(m.exports, e)
	}
	return nil
}

func (m *module) elementSection(r *reader, o *Options) error {
	n := r.count("element segments", 2)
	if err := limit("element_segments", "element segments", n, o.MaxElemSegments); err != nil {
		return err
	}
	for i := 0; i < n && r.err == nil; i++ {
		m.elementSegment(r)
		if m.elemTotal > o.MaxElems {
			return limitError("elements", "the module has more than %d elements in its element segments", o.MaxElems)
		}
	}
	return nil
}

// elementSegment reads one of the eight forms: bit 0 passive or declarative, bit 1 explicit table or kind, bit 2
// expressions instead of function indices.
func (m *module) elementSegment(r *reader) {
	from := r.pos
	flags := r.u32()
	if flags > 7 {
		r.fail(from, "element segment form %d is unknown", flags)
		return
	}
	if flags&1 == 0 {
		if flags&2 != 0 {
			r.index("table", len(m.tables))
		} else if len(m.tables) == 0 {
			r.fail(from, "an element segment without a table")
		}
		m.constExpr(r)
	}
	typ := FuncRef
	if flags&3 != 0 {
		if flags&4 != 0 {
			typ = r.refType()
		} else if kind := r.byte(); kind != 0 {
			r.fail(r.pos-1, "element kind 0x%x is unknown", kind)
		}
	}
	n := r.count("elements", 1)
	m.elemTotal += n
	for i := 0; i < n && r.err == nil; i++ {
		if flags&4 != 0 {
			m.constExpr(r)
		} else {
			m.take(r.index("function", len(m.funcs)))
		}
	}
	m.elems = append(m.elems, typ)
}

func (m *module) codeSection(r *reader, o *Options) error {
	n := r.count("function bodies", 3)
	if want := len(m.funcs) - m.importedFuncs; n != want && r.err == nil {
		r.fail(r.pos, "%d functions are declared, but %d have a body", want, n)
		return nil
	}
	m.bodies = make([]span, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		size := r.count("bytes of a function body", 1)
		if size > o.MaxBodyBytes {
			return limitError("body_bytes", "function %d has a body of %d bytes, and the limit is %d", m.importedFuncs+i, size, o.MaxBodyBytes)
		}
		m.bodies = append(m.bodies, span{int32(r.pos), int32(r.pos + size)})
		r.skip(size)
	}
	return nil
}

func (m *module) dataSection(r *reader, o *Options) error {
	n := r.count("data segments", 2)
	if err := limit("data_segments", "data segments", n, o.MaxDataSegments); err != nil {
		return err
	}
	m.dataSegments = n
	m.dataSizes = make([]uint32, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		from := r.pos
		switch form := r.u32(); form {
		case 0:
			m.needMemory(r, from)
			m.constExpr(r)
		case 1:
			m.passiveData = true
		case 2:
			r.index("memory", len(m.memories))
			m.constExpr(r)
		default:
			r.fail(from, "data segment form %d is unknown", form)
		}
		size := r.count("bytes of data", 1)
		r.skip(size)
		m.dataSizes = append(m.dataSizes, uint32(size))
		m.dataBytes += int64(size)
	}
	return nil
}

func (m *module) needMemory(r *reader, from int) {
	if len(m.memories) == 0 {
		r.fail(from, "there is no memory")
	}
}
