package admit

import (
	"slices"
	"strings"
)

// ValueType is the binary form of a value type.
type ValueType byte

// The value types of WebAssembly 2.0.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// String returns the name in WebAssembly text.
func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return "unknown"
}

// FuncType is a function's signature.
type FuncType struct{ Params, Results []ValueType }

// String writes the signature as "(i32, i64) -> (i32)".
func (t FuncType) String() string {
	list := func(ts []ValueType) string {
		names := make([]string, len(ts))
		for i, t := range ts {
			names[i] = t.String()
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(t.Params) + " -> " + list(t.Results)
}

// Equal reports whether two signatures are the same.
func (t FuncType) Equal(u FuncType) bool {
	return slices.Equal(t.Params, u.Params) && slices.Equal(t.Results, u.Results)
}

// callable is the signature of functions that can be invoked from outside.
var callable = FuncType{Params: []ValueType{I32}}

// ExternKind is what is imported or exported.
type ExternKind byte

// The kinds, in binary form.
const (
	ExternFunc ExternKind = iota
	ExternTable
	ExternMemory
	ExternGlobal
)

// String returns the name in WebAssembly text.
func (k ExternKind) String() string { return [...]string{"func", "table", "memory", "global"}[k&3] }

// Import is one import, as the module wrote it.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Func         FuncType  // of functions
	Type         ValueType // of globals and tables
	Mutable      bool      // of globals
}

// Memory is the module's memory, in pages of 64 KiB.
type Memory struct {
	Min, Max uint32
	HasMax   bool
	Imported bool
	Injected bool // the module has none; an empty one was added for safepoints
}

// Table is one table of the rewritten module.
type Table struct {
	Type     ValueType
	Min, Max uint32 // Max is set in every table but imported ones without it
	Imported bool
}

// Facts tell what was found in a module. Injected things are not part of them, except where said.
type Facts struct {
	Start          bool // the module has a start function: call StartExport once, before anything else
	HasStart       bool // exports _start: a command
	HasInitialize  bool // exports _initialize: a reactor
	Imports        []Import
	Functions      map[string]FuncType // exported functions by name
	Callable       []string            // exported functions of type (i32) -> (), sorted
	Memory         Memory
	MemoryExported bool // the memory is exported as "memory"
	Tables         []Table
	Types          int
	FunctionCount  int // imported ones included
	DataSegments   int
	DataBytes      int64
	// What keeps an instance from being set back to a snapshot of its memory and globals.
	WritesTables  bool // table.set, grow, fill, copy or init
	UsesSegments  bool // memory.init, table.init, data.drop or elem.drop
	DropsSegments bool // data.drop or elem.drop
	GrowsMemory   bool // contains memory.grow
	ImportsState  bool // imports a memory, a table or a mutable global
	PassiveData   bool // has passive data segments
	MutableGlobal []GlobalExport
}

// GlobalExport is a mutable global of the module and the name it was exported under (Options.ExportGlobals).
type GlobalExport struct {
	Index uint32
	Name  string
	Type  ValueType
}

// facts gathers what decoding found out.
func (m *module) facts(o *Options) Facts {
	f := Facts{
		Start: m.start >= 0, Functions: map[string]FuncType{}, Types: m.ownTypes, FunctionCount: len(m.funcs),
		DataSegments: m.dataSegments, DataBytes: m.dataBytes, PassiveData: m.passiveData,
		WritesTables: m.uses.tableWrites, UsesSegments: m.uses.segments, DropsSegments: m.uses.drops, GrowsMemory: m.uses.memoryGrow,
		Memory: m.memoryFacts(), Imports: m.importFacts(),
	}
	for _, i := range m.imports {
		f.ImportsState = f.ImportsState || i.kind == ExternTable || i.kind == ExternMemory ||
			i.kind == ExternGlobal && m.globals[i.index].mutable
	}
	for i, t := range m.tables {
		f.Tables = append(f.Tables, Table{Type: t.elem, Min: t.lim.min, Max: t.lim.max, Imported: i < m.importedTables})
	}
	for _, e := range m.exports {
		switch {
		case e.kind == ExternFunc:
			f.Functions[e.name] = m.funcTypeOf(e.index)
		case e.kind == ExternMemory && e.name == "memory":
			f.MemoryExported = true
		}
	}
	for name, t := range f.Functions {
		if t.Equal(callable) {
			f.Callable = append(f.Callable, name)
		}
	}
	slices.Sort(f.Callable)
	_, f.HasStart = f.Functions["_start"]
	_, f.HasInitialize = f.Functions["_initialize"]
	if o.ExportGlobals {
		f.MutableGlobal = m.mutableGlobals()
	}
	return f
}

func (m *module) memoryFacts() Memory {
	if len(m.memories) == 0 {
		return Memory{HasMax: true, Injected: true}
	}
	l := m.memories[0]
	return Memory{Min: l.min, Max: l.max, HasMax: l.hasMax, Imported: m.importedMemories > 0}
}

func (m *module) importFacts() []Import {
	out := make([]Import, 0, len(m.imports))
	for _, i := range m.imports {
		f := Import{Module: i.module, Name: i.name, Kind: i.kind}
		switch i.kind {
		case ExternFunc:
			f.Func = m.funcTypeOf(i.index)
		case ExternTable:
			f.Type = m.tables[i.index].elem
		case ExternGlobal:
			f.Type, f.Mutable = m.globals[i.index].typ, m.globals[i.index].mutable
		}
		out = append(out, f)
	}
	return out
}

// funcTypeOf returns the signature of a function as types of its own, which do not keep the module's bytes alive.
func (m *module) funcTypeOf(function uint32) FuncType {
	t := m.types[m.funcs[function]]
	conv := func(b []byte) []ValueType {
		if len(b) == 0 {
			return nil
		}
		out := make([]ValueType, len(b))
		for i, c := range b {
			out[i] = ValueType(c)
		}
		return out
	}
	return FuncType{Params: conv(t.params), Results: conv(t.results)}
}
