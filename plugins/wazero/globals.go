package main

import (
	"encoding/binary"
	"reflect"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// global is an exported mutable global.
type global struct {
	name string
	api.MutableGlobal
	at *uint64 // where its bits are; nil where that is not known
}

func (g *global) get() uint64 {
	if g.at != nil {
		return atomic.LoadUint64(g.at)
	}
	return g.Get()
}

func (g *global) set(bits uint64) {
	if g.at != nil {
		atomic.StoreUint64(g.at, bits)
		return
	}
	g.Set(bits)
}

// put is set where no other goroutine reads or sets the global: an atomic store takes longer than all else there is to it.
func (g *global) put(bits uint64) {
	if g.at != nil {
		*g.at = bits
		return
	}
	g.Set(bits)
}

// places are the offsets of a module's globals in wazero's record of an instance, of which they are a part. All globals are
// set back after each call, and a guest in Go has a dozen: through wazero's interfaces that takes as long as a host call.
type places struct {
	names   []string
	offsets []int // -1 where it is not known
}

// locate finds the globals in an instance's record, where others of the same module have found them before. No code of the
// guest runs meanwhile.
func locate(known *atomic.Pointer[places], mod api.Module, globals []global) {
	record := recordOf(mod)
	if len(record) == 0 {
		return
	}
	p := known.Load()
	if p == nil || !slices.EqualFunc(p.names, globals, func(name string, g global) bool { return name == g.name }) {
		p = &places{}
		for _, g := range globals {
			p.names, p.offsets = append(p.names, g.name), append(p.offsets, placeOf(record, g))
		}
		known.Store(p)
	}
	for n, offset := range p.offsets {
		if offset >= 0 && offset+8 <= len(record) {
			globals[n].at = (*uint64)(unsafe.Pointer(&record[offset]))
		}
	}
}

// recordOf returns the memory that wazero's code keeps an instance's globals in, or nil where this version of it has none.
func recordOf(mod api.Module) []byte {
	field := func(v reflect.Value, name string) reflect.Value {
		if v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return reflect.Value{}
		}
		return v.Elem().FieldByName(name)
	}
	b := field(field(reflect.ValueOf(mod), "Engine"), "opaque")
	if b.Kind() != reflect.Slice || b.Type().Elem().Kind() != reflect.Uint8 || b.Len() == 0 {
		return nil
	}
	record := unsafe.Slice((*byte)(b.UnsafePointer()), b.Len())
	if uintptr(unsafe.Pointer(&record[0]))%8 != 0 {
		return nil
	}
	return record
}

// placeOf finds a global in a record: it is where two values turn up that are set through wazero, and nowhere else.
func placeOf(record []byte, g global) int {
	was := g.Get()
	defer g.Set(was)
	found := -1
	for _, value := range []uint64{0x5ca1ab1e, 0x0ddba11} {
		g.Set(value)
		at, count := -1, 0
		for offset := 0; offset+8 <= len(record); offset += 8 {
			if binary.NativeEndian.Uint64(record[offset:]) == value {
				at = offset
				count++
			}
		}
		if count != 1 || found >= 0 && at != found {
			return -1
		}
		found = at
	}
	return found
}
