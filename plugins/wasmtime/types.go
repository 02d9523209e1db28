//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"os"
	"strings"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// types are the signatures of a module's functions, for the stacks of traps: wasmtime tells names only.
type types struct {
	texts []string // of types
	funcs []uint32 // the type of each function, imported ones first
}

// encode writes the types for a file, and decodeTypes reads them.
func (t *types) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(t.texts)))
	for _, text := range t.texts {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	for _, f := range t.funcs {
		b = binary.AppendUvarint(b, uint64(f))
	}
	return b
}

func decodeTypes(b []byte) *types {
	t, r := &types{}, &cursor{b: b}
	for range r.u32() {
		if r.bad {
			break
		}
		t.texts = append(t.texts, string(r.take(int(r.u32()))))
	}
	for len(r.b) > 0 {
		t.funcs = append(t.funcs, r.u32())
	}
	return t
}

// signatures returns the module's types, out of the file where it was loaded from one: few guests ever trap.
func (c *code) signatures() *types {
	if c.typesFile == "" {
		return c.types
	}
	b, err := os.ReadFile(c.typesFile)
	if err != nil {
		return nil // the stack has names without signatures then
	}
	return decodeTypes(b)
}

// of returns the signature of a function, as "(i32,i64) i32".
func (t *types) of(function uint32) string {
	if t == nil || int(function) >= len(t.funcs) || int(t.funcs[function]) >= len(t.texts) {
		return ""
	}
	return t.texts[t.funcs[function]]
}

// Sections, and the kinds of imports.
const (
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3

	importFunction, importTable, importMemory, importGlobal = 0, 1, 2, 3
)

// readTypes reads the signatures out of a module that admission has checked. What it does not understand it leaves out.
func readTypes(wasm []byte) *types {
	t := &types{}
	r := &cursor{b: wasm[min(8, len(wasm)):]}
	for len(r.b) > 0 && !r.bad {
		id := r.byte()
		s := &cursor{b: r.take(int(r.u32()))}
		if id > sectionFunction {
			break
		}
		switch id {
		case sectionType:
			t.texts = s.types()
		case sectionImport:
			t.funcs = s.imports()
		case sectionFunction:
			for range s.u32() {
				if s.bad {
					break
				}
				t.funcs = append(t.funcs, s.u32())
			}
		}
	}
	return t
}

// cursor reads a module's bytes; past the end it reads zeros, and says so.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) u32() uint32 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return uint32(v)
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, n = true, len(c.b)
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) types() (texts []string) {
	for range c.u32() {
		c.byte() // 0x60, a function
		params, results := c.valueTypes(), c.valueTypes()
		text := "(" + strings.Join(params, ",") + ")"
		switch len(results) {
		case 0:
		case 1:
			text += " " + results[0]
		default:
			text += " (" + strings.Join(results, ",") + ")"
		}
		texts = append(texts, text)
		if c.bad {
			return nil
		}
	}
	return texts
}

func (c *cursor) valueTypes() (names []string) {
	for _, b := range c.take(int(c.u32())) {
		names = append(names, admit.ValueType(b).String())
	}
	return names
}

func (c *cursor) imports() (funcs []uint32) {
	for range c.u32() {
		c.take(int(c.u32()))
		c.take(int(c.u32()))
		switch c.byte() {
		case importFunction:
			funcs = append(funcs, c.u32())
		case importTable:
			c.byte()
			c.limits()
		case importMemory:
			c.limits()
		case importGlobal:
			c.take(2)
		}
		if c.bad {
			return nil
		}
	}
	return funcs
}

func (c *cursor) limits() {
	flags := c.byte()
	c.u32()
	if flags&1 != 0 {
		c.u32()
	}
}
