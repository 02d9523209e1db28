package admit

import (
	"slices"
	"strconv"
)

// writer assembles the rewritten module.
type writer struct {
	m   *module
	o   *Options
	out []byte

	counted bool // bodies are rewritten, and not only copied

	scr scanner

	// Indices of what is injected. They follow the module's own.
	globalStop, globalReason, globalStack, globalSlice, globalFuel uint32

	funcYield, funcCharge, funcRoute uint32 // funcRoute only with RouteGrow

	credit, length uint32  // locals added to the function being written
	labels         []int32 // of the open loops: how many labels were put around them

	helpers     []helper
	helperIndex map[helper]uint32
	added       []funcType // types appended to the module's own
	body        []byte     // of the function being written; reused
}

// rewrite writes the whole module anew. Code comes late in a module, but what it needs (types, helper functions) stands
// before it; so the code section is written first, into its own buffer.
func rewrite(m *module, o *Options, counted bool) ([]byte, error) {
	w := &writer{m: m, o: o, counted: counted, helperIndex: map[helper]uint32{}}
	w.scr = scanner{m: m, o: o}
	g := uint32(len(m.globals))
	w.globalStop, w.globalReason, w.globalStack, w.globalSlice, w.globalFuel = g, g+1, g+2, g+3, g+4
	f := uint32(len(m.funcs))
	w.funcYield, w.funcCharge, w.funcRoute = f, f+1, f+2
	code, err := w.codeSection()
	if err != nil {
		return nil, err
	}
	w.out = make([]byte, 0, len(m.b)+len(code)/4+4096)
	w.out = append(w.out, "\x00asm\x01\x00\x00\x00"...)
	done := 0
	for _, s := range m.sections {
		if s.id == secCustom {
			if !s.dropped {
				w.raw(s)
			}
			continue
		}
		w.missing(done, rank(s.id), code)
		w.section(s, code)
		done = rank(s.id)
	}
	w.missing(done, 1<<30, code)
	return w.out, nil
}

// missing writes the sections that the module does not have but the injected things need, from rank after to before.
func (w *writer) missing(after, before int, code []byte) {
	for _, id := range []byte{secType, secFunction, secTable, secMemory, secGlobal, secExport, secCode} {
		if id == secTable && !w.o.RouteGrow {
			continue
		}
		if k := rank(id); k > after && k < before {
			w.section(section{id: id}, code)
		}
	}
}

// raw copies a section as it is.
func (w *writer) raw(s section) {
	w.out = append(w.out, s.id)
	w.out = putU32(w.out, uint32(s.end-s.start))
	w.out = append(w.out, w.m.b[s.start:s.end]...)
}

// section writes a section, rewritten where it must be. A section that the module lacks has start and end 0.
func (w *writer) section(s section, code []byte) {
	var head, tail []byte
	kept := span{}
	switch s.id {
	case secType:
		head = putU32(nil, uint32(len(w.m.types)+len(w.added)))
		kept = w.afterCount(s)
		tail = w.addedTypes()
	case secFunction:
		head = putU32(nil, uint32(len(w.m.funcs)-w.m.importedFuncs+w.injectedFuncs()))
		kept = w.afterCount(s)
		tail = w.addedFunctions()
	case secTable:
		head = w.tables()
	case secMemory:
		if len(w.m.memories) > 0 {
			if s.end > 0 {
				w.raw(s)
			}
			return
		}
		head = []byte{1, 1, 0, 0} // one memory of no pages at all, for memory.grow
	case secGlobal:
		head = putU32(nil, uint32(len(w.m.globals)-w.m.importedGlobals+5))
		kept = w.m.globalEntries
		tail = w.addedGlobals()
	case secExport:
		extra, n := w.addedExports()
		head = putU32(nil, uint32(len(w.m.exports)+n))
		kept, tail = w.m.exportEntries, extra
	case secStart:
		return
	case secCode:
		head = code
	default:
		w.raw(s)
		return
	}
	w.out = append(w.out, s.id)
	w.out = putU32(w.out, uint32(len(head)+int(kept.end-kept.start)+len(tail)))
	w.out = append(w.out, head...)
	w.out = append(w.out, w.m.b[kept.start:kept.end]...)
	w.out = append(w.out, tail...)
}

// afterCount is the contents of a vector section after its count.
func (w *writer) afterCount(s section) span {
	r := reader{b: w.m.b, pos: s.start, end: s.end}
	if s.end > s.start {
		r.u32()
	}
	return span{int32(r.pos), int32(r.end)}
}

// typeIndex returns the index of a function type, and appends it where the module does not have it.
func (w *writer) typeIndex(params, results []byte) uint32 {
	same := func(t funcType) bool {
		return slices.Equal(t.params, params) && slices.Equal(t.results, results)
	}
	if i := slices.IndexFunc(w.added, same); i >= 0 {
		return uint32(len(w.m.types) + i)
	}
	w.added = append(w.added, funcType{params, results})
	return uint32(len(w.m.types) + len(w.added) - 1)
}

func (w *writer) addedTypes() []byte {
	var b []byte
	for _, t := range w.added {
		b = append(b, 0x60)
		b = append(putU32(b, uint32(len(t.params))), t.params...)
		b = append(putU32(b, uint32(len(t.results))), t.results...)
	}
	return b
}

// injectedFuncs counts the injected functions.
func (w *writer) injectedFuncs() int {
	n := w.fixedFuncs() + len(w.helpers)
	if w.m.growable() {
		n++
	}
	return n
}

// fixedFuncs counts those that stand before the helpers.
func (w *writer) fixedFuncs() int {
	if w.o.RouteGrow {
		return 3
	}
	return 2
}

// funcGrow is the last of the injected functions.
func (w *writer) funcGrow() uint32 { return uint32(len(w.m.funcs) + w.fixedFuncs() + len(w.helpers)) }

// i32 is a list of one type.
var i32 = []byte{byte(I32)}

func (w *writer) addedFunctions() []byte {
	b := putU32(nil, w.typeIndex(nil, nil))
	b = putU32(b, w.typeIndex(i32, i32))
	if w.o.RouteGrow {
		b = putU32(b, w.typeIndex(i32, i32))
	}
	for _, h := range w.helpers {
		b = putU32(b, w.typeIndex(h.params(), nil))
	}
	if w.m.growable() {
		b = putU32(b, w.typeIndex(i32, i32))
	}
	return b
}

// tables writes the table section with its maxima clamped, and the host's table last.
func (w *writer) tables() []byte {
	own := w.m.tables[w.m.importedTables:]
	n := len(own)
	if w.o.RouteGrow {
		n++
	}
	b := putU32(nil, uint32(n))
	for _, t := range own {
		b = append(b, byte(t.elem), 1)
		b = putU32(putU32(b, t.lim.min), t.lim.max)
	}
	if w.o.RouteGrow {
		b = append(b, byte(FuncRef), 1, 1, 1)
	}
	return b
}

func (w *writer) addedGlobals() []byte {
	a := asm{}
	slice, fuel := w.o.Slice(0)
	for _, initial := range []int{0, ReasonNone, w.o.StackUnits, int(slice)} {
		a.op(byte(I32), 1).i32(int32(initial)).end()
	}
	a.op(byte(I64), 1).i64(fuel).end()
	return a.b
}

func (w *writer) addedExports() (b []byte, n int) {
	add := func(name string, kind ExternKind, index uint32) {
		b = putU32(append(putName(b, name), byte(kind)), index)
		n++
	}
	add(GlobalStop, ExternGlobal, w.globalStop)
	add(GlobalReason, ExternGlobal, w.globalReason)
	add(GlobalStack, ExternGlobal, w.globalStack)
	add(GlobalSlice, ExternGlobal, w.globalSlice)
	add(GlobalFuel, ExternGlobal, w.globalFuel)
	if w.o.RouteGrow {
		add(TableGrow, ExternTable, uint32(len(w.m.tables)))
	}
	if w.m.start >= 0 {
		add(StartExport, ExternFunc, uint32(w.m.start))
	}
	if w.m.growable() {
		add(GrowExport, ExternFunc, w.funcGrow())
	}
	if w.o.ExportGlobals {
		for _, g := range w.m.mutableGlobals() {
			add(g.Name, ExternGlobal, g.Index)
		}
	}
	return b, n
}

// mutableGlobals lists the module's own mutable globals and the names for exporting them.
func (m *module) mutableGlobals() []GlobalExport {
	var out []GlobalExport
	for i, g := range m.globals {
		if g.mutable && i >= m.importedGlobals {
			out = append(out, GlobalExport{Index: uint32(i), Name: Prefix + "global" + strconv.Itoa(i), Type: g.typ})
		}
	}
	return out
}

// codeSection rewrites every body and appends the injected functions.
func (w *writer) codeSection() ([]byte, error) {
	size := 0
	for _, b := range w.m.bodies {
		size += int(b.end - b.start)
	}
	out := make([]byte, 0, size+size/8+4096)
	// The number of helpers is known only at the end; the count is written in its widest form and filled in then.
	out = append(out, 0x80, 0x80, 0x80, 0x80, 0x00)
	if w.counted {
		g, err := w.plan()
		if err != nil {
			return nil, err
		}
		w.scr.plan = g
	}
	for i, b := range w.m.bodies {
		if err := w.scan(i, b); err != nil {
			return nil, err
		}
		w.function(b)
		out = putU32(out, uint32(len(w.body)))
		out = append(out, w.body...)
	}
	add := func(code []byte) {
		out = putU32(out, uint32(len(code)))
		out = append(out, code...)
	}
	add(w.yieldBody())
	add(w.chargeBody())
	if w.o.RouteGrow {
		add(w.routeBody())
	}
	for _, h := range w.helpers {
		add(w.helperBody(h))
	}
	if w.m.growable() {
		a := (&asm{[]byte{0}}).get(0)
		w.grow(a)
		add(a.end().b)
	}
	// Types must be complete before the type section is written.
	w.addedFunctions()
	n := uint32(len(w.m.bodies) + w.injectedFuncs())
	for i := range 4 {
		out[i] = byte(n>>(7*i)) | 0x80
	}
	out[4] = byte(n >> 28)
	return out, nil
}
