package admit_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/status"
)

func sections(s ...[]byte) []byte { return cat(wasmHeader, cat(anys(s)...)) }

func anys(s [][]byte) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

// body is a module with one function () -> () that has the given code, end included.
func body(code ...any) []byte {
	b := cat(0, cat(code...))
	return sections(sec(1, cat(1, 0x60, 0, 0)), sec(3, cat(1, 0)), sec(10, cat(1, uleb(uint64(len(b))), b)))
}

// withMemory is body with a memory of one page.
func withMemory(code ...any) []byte {
	b := cat(0, cat(code...))
	return sections(sec(1, cat(1, 0x60, 0, 0)), sec(3, cat(1, 0)), sec(5, cat(1, 0, 1)), sec(10, cat(1, uleb(uint64(len(b))), b)))
}

func TestInvalid(t *testing.T) {
	types, funcs := sec(1, cat(1, 0x60, 0, 0)), sec(3, cat(1, 0))
	code := sec(10, cat(1, 2, 0, 0x0b))
	for _, c := range []struct {
		name string
		wasm []byte
		want string // part of the message
	}{
		{"nothing", nil, "empty"},
		{"text", []byte("  (module)"), "wat2wasm"},
		{"program", []byte("\x7fELF\x02\x01\x01\x00\x00"), "ELF"},
		{"other", []byte("#!/bin/sh\n"), "not WebAssembly"},
		{"short", []byte("\x00asm\x01"), "truncated"},
		{"short with another version", []byte("\x00asm0"), "truncated"},
		{"very short", []byte("\x00a"), "truncated"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "wasm-tools component unbundle"},
		{"version", []byte("\x00asm\x02\x00\x00\x00"), "version 2"},
		{"truncated section", cat(wasmHeader, 1, 200, 1, 1), "type section is longer than the file"},
		{"unknown section", sections(sec(14, nil)), "section id 14"},
		{"exceptions", sections(sec(13, cat(0))), "-fwasm-exceptions"},
		{"twice", sections(types, types), "out of order or there twice"},
		{"order", sections(funcs, types), "offset"},
		{"data count after code", sections(types, funcs, code, sec(12, cat(0))), "data count section is out of order"},
		{"no code", sections(types, funcs), "1 functions are declared, but the code section has 0"},
		{"code without functions", sections(code), "0 functions are declared, but 1 have a body"},
		{"data count", sections(sec(12, cat(3))), "3 data segments are announced"},
		{"long number", sections(sec(1, cat(0x81, 0x80, 0x80, 0x80, 0x80, 0))), "longer than 32 bits"},
		{"large number", sections(sec(1, cat(0xff, 0xff, 0xff, 0xff, 0x1f))), "longer than 32 bits"},
		{"huge count", sections(sec(1, cat(0xff, 0xff, 0xff, 0xff, 0x0f))), "4294967295 types announced"},
		{"bytes after types", sections(sec(1, cat(0, 0))), "1 bytes too many"},
		{"struct type", sections(sec(1, cat(1, 0x5f, 0, 0))), "garbage collection"},
		{"value type", sections(sec(1, cat(1, 0x60, 1, 0x55, 0))), "value type 0x55"},
		{"type index", sections(types, sec(3, cat(1, 1)), code), "type 1 does not exist"},
		{"name", sections(sec(7, cat(1, 2, 0xff, 0xfe, 0, 0))), "not UTF-8"},
		{"export index", sections(types, funcs, sec(7, cat(1, 1, 'f', 0, 1)), code), "function 1 does not exist"},
		{"export twice", sections(types, funcs, sec(7, cat(2, 1, 'f', 0, 0, 1, 'f', 0, 0)), code), `"f" is exported twice`},
		{"reserved export", sections(types, funcs, sec(7, cat(1, str("essa$x"), 0, 0)), code), "reserved"},
		{"export kind", sections(types, funcs, sec(7, cat(1, 1, 'f', 7, 0)), code), "export kind 7"},
		{"import kind", sections(sec(2, cat(1, 1, 'a', 1, 'b', 9, 0))), "import kind 9"},
		{"start index", sections(types, funcs, sec(8, cat(4)), code), "start section, offset"},
		{"shared memory", sections(sec(5, cat(1, 3, 1, 2))), "threads"},
		{"wide memory", sections(sec(5, cat(1, 4, 1))), "wasm32"},
		{"two memories", sections(sec(5, cat(2, 0, 1, 0, 1))), "multi-memory"},
		{"large memory", sections(sec(5, cat(1, 0, uleb(65537)))), "larger than 4 GiB"},
		{"limits", sections(sec(5, cat(1, 1, 3, 2))), "maximum 2 is below minimum 3"},
		{"extended constant", sections(sec(6, cat(1, i32t, 0, i32c(1), i32c(2), 0x6a, 0x0b))), "-mno-extended-const"},
		{"not a constant", sections(sec(6, cat(1, i32t, 0, 0x20, 0, 0x0b))), "not a constant"},
		{"own global in constant", sections(sec(6, cat(1, i32t, 0, 0x23, 0, 0x0b))), "imported global 0 does not exist"},
		{"mutability", sections(sec(6, cat(1, i32t, 2, i32c(1), 0x0b))), "mutability"},
		{"element form", sections(sec(9, cat(1, 8, 0))), "element segment form 8"},
		{"element without table", sections(sec(9, cat(1, 0, i32c(0), 0x0b, 0))), "without a table"},
		{"data without memory", sections(sec(11, cat(1, 0, i32c(0), 0x0b, 0))), "no memory"},
		{"data form", sections(sec(11, cat(1, 3, 0))), "data segment form 3"},
		{"body length", sections(types, funcs, sec(10, cat(1, 200, 0, 0x0b))), "code section"},
		{"unknown opcode", body(0x27, 0x0b), "function 0, offset 0x17: opcode 0x27"},
		{"tail call", body(0x12, 0, 0x0b), "-mno-tail-call"},
		{"try", body(0x06, 0x40, 0x0b, 0x0b), "-fwasm-exceptions"},
		{"atomics", body(0xfe, 3, 0, 0x0b), "threads"},
		{"garbage collection", body(0xfb, 0, 0, 0x0b), "garbage collection"},
		{"relaxed vectors", body(0xfd, 0x80, 2, 0x0b), "relaxed SIMD"},
		{"unknown vector", body(0xfd, 0x9a, 1, 0x0b), "vector instruction 0x9a"},
		{"unknown bulk", body(0xfc, 18, 0x0b), "0xfc 0x12"},
		{"no end", body(0x01), "unexpected end"},
		{"after the end", body(0x0b, 0x01), "after the end of the function"},
		{"else", body(0x05, 0x0b), "else without if"},
		{"label", body(0x0c, 1, 0x0b), "label 1 does not exist"},
		{"local", body(0x20, 0, 0x1a, 0x0b), "local 0 does not exist"},
		{"injected global", body(i32c(1), 0x24, 0, 0x0b), "global 0 does not exist"},
		{"injected function", body(0x10, 1, 0x0b), "function 1 does not exist"},
		{"injected type", body(0x02, 1, 0x0b, 0x0b), "type 1 does not exist"},
		{"injected reference", body(0xd2, 1, 0x1a, 0x0b), "function 1 does not exist"},
		{"table", body(i32c(0), 0x25, 0, 0x1a, 0x0b), "table 0 does not exist"},
		{"injected memory", body(i32c(0), 0x28, 2, 0, 0x1a, 0x0b), "no memory"},
		{"injected memory grows", body(i32c(0), 0x40, 0, 0x1a, 0x0b), "no memory"},
		{"empty stack", body(0x1a, 0x0b), "operand stack is empty"},
		{"empty stack in block", body(i32c(1), 0x02, 0x40, 0x1a, 0x0b, 0x0b), "operand stack is empty"},
		{"full stack", body(i32c(1), 0x0b), "operands too many"},
		{"lone if", body(i32c(1), 0x04, i32t, i32c(1), 0x0b, 0x1a, 0x0b), "if without else"},
		{"second memory", withMemory(0x3f, 1, 0x1a, 0x0b), "multi-memory"},
		{"alignment", withMemory(i32c(0), 0x28, 0x42, 0, 0x1a, 0x0b), "multi-memory"},
		{"data segment", withMemory(i32c(0), i32c(0), i32c(0), 0xfc, 8, 0, 0, 0x0b), "without a data count"},
		{"element segment", body(0xfc, 13, 0, 0x0b), "element segment 0 does not exist"},
		{"signed number", body(0x41, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a, 0x0b), "longer than 32 bits"},
		{"select", body(i32c(1), i32c(1), i32c(1), 0x1c, 0, 0x1a, 0x0b), "select with 0 types"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := admit.Module(c.wasm, admit.Options{})
			if err == nil {
				t.Fatal("let through")
			}
			if status.Of(err) != status.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want %q", status.Code(err), err, c.want)
			}
		})
	}
}

// TestLimits exceeds every limit by one, and checks that the limit itself is let through.
func TestLimits(t *testing.T) {
	nested := func(n int) []byte {
		var open, end []byte
		for range n {
			open, end = cat(open, 0x02, 0x40), cat(end, 0x0b)
		}
		return body(open, end, 0x0b)
	}
	many := func(id byte, n int, item ...any) []byte {
		b := uleb(uint64(n))
		for range n {
			b = cat(b, cat(item...))
		}
		return sec(id, b)
	}
	locals := func(n int) []byte {
		b := cat(1, uleb(uint64(n)), i32t, 0x0b)
		return sections(sec(1, cat(1, 0x60, 0, 0)), sec(3, cat(1, 0)), sec(10, cat(1, uleb(uint64(len(b))), b)))
	}
	exports := func(n int) []byte {
		b := uleb(uint64(n))
		for i := range n {
			b = cat(b, str(fmt.Sprint(i)), 2, 0)
		}
		return sections(sec(5, cat(1, 0, 1)), sec(7, b))
	}
	const n = 9
	memory := sec(5, cat(1, 0, 1))
	for name, c := range map[string]struct {
		opts admit.Options
		at   func(n int) []byte
	}{
		"types":            {admit.Options{MaxTypes: n}, func(n int) []byte { return sections(many(1, n, 0x60, 0, 0)) }},
		"params":           {admit.Options{MaxParams: n}, func(n int) []byte { return sections(sec(1, cat(1, 0x60, n, strings.Repeat(i32t, n), 0))) }},
		"imports":          {admit.Options{MaxImports: n}, func(n int) []byte { return sections(many(2, n, str("m"), str("g"), 3, i32t, 0)) }},
		"exports":          {admit.Options{MaxExports: n}, exports},
		"globals":          {admit.Options{MaxGlobals: n}, func(n int) []byte { return sections(many(6, n, i32t, 0, i32c(0), 0x0b)) }},
		"tables":           {admit.Options{MaxTables: n}, func(n int) []byte { return sections(many(4, n, 0x70, 0, 0)) }},
		"table_elems":      {admit.Options{MaxTableElems: n}, func(n int) []byte { return sections(sec(4, cat(1, 0x70, 0, n))) }},
		"element_segments": {admit.Options{MaxElemSegments: n}, func(n int) []byte { return sections(many(9, n, 1, 0, 0)) }},
		"elements": {admit.Options{MaxElems: n}, func(n int) []byte {
			return sections(sec(9, cat(1, 5, 0x70, n, strings.Repeat("\xd0\x70\x0b", n))))
		}},
		"data_segments": {admit.Options{MaxDataSegments: n}, func(n int) []byte { return sections(memory, many(11, n, 1, 0)) }},
		"memory_pages":  {admit.Options{MaxMemoryPages: n}, func(n int) []byte { return sections(sec(5, cat(1, 0, n))) }},
		"locals":        {admit.Options{MaxLocals: n}, locals},
		"nesting":       {admit.Options{MaxNesting: n}, nested},
		"body_bytes":    {admit.Options{MaxBodyBytes: n}, func(n int) []byte { return body(strings.Repeat("\x01", n-2), 0x0b) }},
		"functions": {admit.Options{MaxFunctions: n}, func(n int) []byte {
			return sections(sec(1, cat(1, 0x60, 0, 0)), many(3, n, 0), many(10, n, 2, 0, 0x0b))
		}},
		"branch_targets": {admit.Options{MaxBranchTargets: n}, func(n int) []byte {
			return body(i32c(0), 0x0e, n, strings.Repeat("\x00", n), 0, 0x0b)
		}},
		"module_bytes": {admit.Options{MaxModuleBytes: 8 + n}, func(n int) []byte { return sections(sec(0, cat(str("x"), strings.Repeat("\x00", n-4)))) }},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := admit.Module(c.at(n), c.opts); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := admit.Module(c.at(n+1), c.opts)
			if status.Code(err) != "limit/"+name {
				t.Fatalf("one more: %s, %v", status.Code(err), err)
			}
			if name != "elements" && name != "nesting" && name != "module_bytes" && !strings.Contains(err.Error(), fmt.Sprint(n)) {
				t.Errorf("%v does not give the limit", err)
			}
		})
	}
}

// TestTablesAreClamped: table.grow stops at the limit, whatever the module's own maximum is.
func TestTablesAreClamped(t *testing.T) {
	m := &builder{
		tables: [][]byte{cat(0x70, 0, 1), cat(0x6f, 1, 1, uleb(1<<30)), cat(0x70, 1, 1, 5)},
		funcs: []fn{
			{name: "0", params: i32t, results: i32t, code: cat(0xd0, 0x70, 0x20, 0, 0xfc, 15, 0)},
			{name: "1", params: i32t, results: i32t, code: cat(0xd0, 0x6f, 0x20, 0, 0xfc, 15, 1)},
			{name: "2", params: i32t, results: i32t, code: cat(0xd0, 0x70, 0x20, 0, 0xfc, 15, 2)},
		},
	}
	a := mustAdmit(t, m.bytes(), admit.Options{MaxTableElems: 100})
	if got := fmt.Sprint(a.Tables); got != "[{funcref 1 100 false} {externref 1 100 false} {funcref 1 5 false}]" {
		t.Error(got)
	}
	g := instantiate(t, newRuntime(t), a.Wasm)
	for name, most := range map[string]uint64{"0": 99, "1": 99, "2": 4} {
		if got := outcome(g, name, most+1); got != "[4294967295]" {
			t.Errorf("table %s grew by %d: %s", name, most+1, got)
		}
		if got := outcome(g, name, most); got != "[1]" {
			t.Errorf("table %s did not grow by %d: %s", name, most, got)
		}
	}
}

func TestFacts(t *testing.T) {
	a := mustAdmit(t, controlModule().bytes(), admit.Options{})
	if !a.WritesTables || !a.UsesSegments || !a.DropsSegments || a.GrowsMemory || !a.PassiveData || !a.MemoryExported || a.HasStart || a.HasInitialize || a.ImportsState {
		t.Errorf("%+v", a.Facts)
	}
	if got := a.Functions["two"].String(); got != "(i32) -> (i32, i32)" {
		t.Error(got)
	}
	if got := fmt.Sprint(a.Callable); got != "[init]" {
		t.Error(got)
	}
	if _, ok := a.Functions[admit.StartExport]; ok || a.Start {
		t.Error("injected exports are among the facts")
	}
	g := mustAdmit(t, goGuest(t), admit.Options{})
	if !g.HasInitialize || g.HasStart || !g.GrowsMemory || g.DataSegments == 0 || g.Memory.Min == 0 || g.Functions["jsonwork"].String() != "(i32) -> (i64)" {
		t.Errorf("Go guest: %+v, %+v", g.Memory, g.Functions)
	}
}

// TestCustomSections: names stay, what would lie about the new code goes.
func TestCustomSections(t *testing.T) {
	custom := func(name string) []byte { return sec(0, cat(str(name), "contents")) }
	wasm := sections(custom("first"), sec(1, cat(1, 0x60, 0, 0)), custom(".debug_info"), sec(3, cat(1, 0)), custom("middle"),
		sec(10, cat(1, 2, 0, 0x0b)), sec(0, cat(str("name"), 0, 9, str("contents"))), custom("producers"), custom(".debug_line"))
	out := string(mustAdmit(t, wasm, admit.Options{}).Wasm)
	for _, kept := range []string{"first", "middle", "name\x00\x09\x08", "producers"} {
		if !strings.Contains(out, kept+"contents") {
			t.Errorf("%s is gone", kept)
		}
	}
	if strings.Contains(out, ".debug_") {
		t.Error("debug sections are still there")
	}
	for _, names := range []string{"contents", "\x01\x05\xff\xff\xff\xff\x0f", "\x02\x03\x01\x00\x7f", "\x00\x03\x01a", "\x00\x03\x01ab"} {
		wasm := sections(sec(1, cat(1, 0x60, 0, 0)), sec(0, cat(str("name"), names)))
		if out := mustAdmit(t, wasm, admit.Options{}).Wasm; bytes.Contains(out, []byte("name")) {
			t.Errorf("a name section of %q is still there", names)
		}
	}
}

// TestMemoryUse: neither announced counts nor real modules make the pass allocate more than a few times their size.
func TestMemoryUse(t *testing.T) {
	allocated := func(wasm []byte) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = admit.Module(wasm, admit.Options{})
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for id := byte(1); id <= 12; id++ {
		if got := allocated(sections(sec(id, huge))); got > 1<<16 {
			t.Errorf("section %d with a huge count: %d bytes allocated", id, got)
		}
	}
	if got := allocated(body(huge, 0x0b)); got > 1<<16 {
		t.Errorf("huge count of locals: %d bytes allocated", got)
	}
	if got := allocated(body(i32c(0), 0x0e, huge, 0x0b)); got > 1<<16 {
		t.Errorf("huge br_table: %d bytes allocated", got)
	}
	guest := goGuest(t)
	if got := allocated(guest); got > 5*uint64(len(guest)) {
		t.Errorf("a Go guest of %d bytes: %d bytes allocated", len(guest), got)
	}
}

// TestHostGrowsMemory: the host can grow a memory that the guest can, as far as the guest can; others get no such export.
func TestHostGrowsMemory(t *testing.T) {
	grows := fn{name: "grow", params: i32t, results: i32t, code: cat(0x20, 0, 0x40, 0)}
	size := fn{name: "size", results: i32t, code: cat(0x3f, 0)}
	g := instantiate(t, newRuntime(t), mustAdmit(t, (&builder{memory: cat(1, 1, 4), funcs: []fn{grows, size}}).bytes(), admit.Options{}).Wasm)
	for _, x := range []struct {
		by   uint64
		want string
	}{{2, "[1]"}, {2, "[4294967295]"}, {1, "[3]"}} {
		if got := outcome(g, admit.GrowExport, x.by); got != x.want {
			t.Errorf("growing by %d: %s, not %s", x.by, got, x.want)
		}
	}
	if got := outcome(g, "size"); got != "[4]" {
		t.Errorf("the guest sees %s pages", got)
	}
	fixed := instantiate(t, newRuntime(t), mustAdmit(t, (&builder{memory: cat(1, 1, 4), funcs: []fn{size}}).bytes(), admit.Options{}).Wasm)
	if got := outcome(fixed, admit.GrowExport, 1); got != missing {
		t.Errorf("a memory that never grows: %s", got)
	}
	for _, name := range admit.InjectedGlobals() {
		if fixed.ExportedGlobal(name) == nil {
			t.Errorf("there is no global %s", name)
		}
	}
}
