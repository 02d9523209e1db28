//go:build cgo && linux && (amd64 || arm64)

package main

/*
#cgo noescape essad_find
#cgo noescape essad_locate
#cgo noescape essad_trim
#cgo nocallback essad_trim
#cgo nocallback essad_find
#cgo nocallback essad_locate
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

var (
	_ runtime.Keeper  = (*instance)(nil)
	_ runtime.Trimmer = (*instance)(nil)
)

// instance is an instance of a module.
type instance struct {
	c      *C.essad_instance
	code   *code
	guest  *runtime.Guest
	handle cgo.Handle

	exports [C.ESSAD_FUNCS]string // whose functions are in c.funcs
	found   int                   // of those; the last ones are replaced first
	kept    []place               // the globals of Globals
}

// open makes the instance on the C side.
func (i *instance) open() error {
	i.handle = cgo.NewHandle(i)
	if err := failed(C.essad_instantiate(i.code.b.engine, i.code.pre, C.uintptr_t(i.handle), &i.c)); err != nil {
		i.handle.Delete()
		return err
	}
	for _, name := range i.code.functions {
		if n, ok := i.function(name); ok && bool(C.essad_record(i.c, C.int(n))) {
			break
		}
	}
	if err := i.code.globals.learn(i); err != nil {
		i.Close()
		return err
	}
	return nil
}

// function returns the slot of an exported function.
func (i *instance) function(name string) (int, bool) {
	for n := range i.found {
		if i.exports[n] == name {
			return n, true
		}
	}
	n := min(i.found, len(i.exports)-1)
	if !C.essad_find(i.c, (*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.size_t(len(name)), C.int(n)) {
		return 0, false
	}
	i.exports[n], i.found = name, n+1
	return n, true
}

// Call implements runtime.Instance. The guest runs until it returns, or until it calls an import: then C returns, as the
// guest has a stack of its own, and the import is called from here, like any function of Go's. So a guest that waits in an
// import holds no thread, and the guests that an import runs meanwhile find their goroutine's stack as it is.
func (i *instance) Call(export string, params []uint64) error {
	slot, ok := i.function(export)
	if !ok {
		return fmt.Errorf("there is no export %q", export)
	}
	param := C.uint32_t(0)
	if len(params) > 0 {
		param = C.uint32_t(params[0])
	}
	results := C.size_t(0)
	if export == admit.GrowExport { // of what is called from outside, the only one with a result
		results = 1
	}
	var refused error
	stack := (*[C.ESSAD_PARAMS]uint64)(unsafe.Pointer(&i.c.stack))
	self := C.uintptr_t(uintptr(unsafe.Pointer(i.c)))
	state := C.essad_call(self, C.int(slot), len(params) > 0, param, results)
	for state == C.ESSAD_IMPORT {
		if err := i.code.b.imports[i.c._import].Call(i.guest, stack[:]); err != nil {
			if end := (*abi.End)(nil); errors.As(err, &end) {
				return err // nobody wants to know where the guest was; Close takes it off its stack
			}
			refused = err
			i.c.refused = 1
		}
		i.c.answered = 1
		state = C.essad_resume(self)
	}
	if state == C.ESSAD_FAILED {
		return i.failure(refused)
	}
	return nil
}

//export essadGrow
func essadGrow(handle C.uintptr_t, from, to C.size_t) C.int {
	i, ok := cgo.Handle(handle).Value().(*instance)
	if ok && i.guest.GrowMemory(uint64(from), uint64(to)) {
		return 1
	}
	return 0
}

// Memory implements runtime.Instance.
func (i *instance) Memory() []byte {
	if !i.code.exportsMemory {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(i.c.memory.base)), int(i.c.memory.size))
}

// Close implements runtime.Instance.
func (i *instance) Close() {
	C.essad_delete(i.c)
	i.handle.Delete()
}

// Globals.

// place is where a global is in wasmtime's record of an instance.
type place struct {
	offset uintptr
	wide   bool // it has 64 bits
}

// globals are the places of a module's globals, which its first instances find.
type globals struct {
	mu    sync.Mutex                       // adding to
	known atomic.Pointer[map[string]place] // which is never changed
}

var errLayout = errors.New("the module's globals are not where this version of wasmtime keeps them")

// learn finds admission's globals, so that nothing is asked of wasmtime for them while a guest runs.
func (g *globals) learn(i *instance) error {
	if i.c.vmctx == nil {
		return errLayout
	}
	for _, name := range admit.InjectedGlobals() {
		if _, err := g.find(i, name); err != nil {
			return err
		}
	}
	return nil
}

// find returns the place of an exported mutable global. Where it is not known yet the guest must not be running.
func (g *globals) find(i *instance, name string) (place, error) {
	if known := g.known.Load(); known != nil {
		if p, ok := (*known)[name]; ok {
			return p, nil
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var wide C.bool
	offset := C.essad_locate(i.c, (*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.size_t(len(name)), &wide)
	if offset == 0 {
		return place{}, fmt.Errorf("global %q: %w", name, errLayout)
	}
	p := place{offset: uintptr(offset), wide: bool(wide)}
	next := map[string]place{}
	if known := g.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	next[name] = p
	g.known.Store(&next)
	return p, nil
}

// at returns where a global is in this instance.
func (i *instance) at(p place) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(i.c.vmctx), p.offset) }

func (i *instance) word(p place) *uint32 { return (*uint32)(i.at(p)) }
func (i *instance) long(p place) *uint64 { return (*uint64)(i.at(p)) }

// Global implements runtime.Instance.
func (i *instance) Global(name string) int32 {
	p, err := i.code.globals.find(i, name)
	if err != nil {
		return 0
	}
	return int32(atomic.LoadUint32(i.word(p)))
}

// SetGlobal implements runtime.Instance.
func (i *instance) SetGlobal(name string, v int32) {
	if p, err := i.code.globals.find(i, name); err == nil {
		atomic.StoreUint32(i.word(p), uint32(v))
	}
}

// Global64 implements runtime.Instance.
func (i *instance) Global64(name string) int64 {
	if p, err := i.code.globals.find(i, name); err == nil && p.wide {
		return int64(*i.long(p))
	}
	return 0
}

// SetGlobal64 implements runtime.Instance.
func (i *instance) SetGlobal64(name string, v int64) {
	if p, err := i.code.globals.find(i, name); err == nil && p.wide {
		*i.long(p) = uint64(v)
	}
}

// Bind implements runtime.Keeper.
func (i *instance) Bind(g *runtime.Guest) { i.guest = g }

// Trim implements runtime.Trimmer.
func (i *instance) Trim() { C.essad_trim(i.c) }

// Globals implements runtime.Keeper.
func (i *instance) Globals(names []string) error {
	i.kept = make([]place, len(names))
	for n, name := range names {
		p, err := i.code.globals.find(i, name)
		if err != nil {
			return err
		}
		i.kept[n] = p
	}
	return nil
}

// ReadGlobals implements runtime.Keeper.
func (i *instance) ReadGlobals(bits []uint64) {
	for n, p := range i.kept {
		if bits[n] = uint64(*i.word(p)); p.wide {
			bits[n] = *i.long(p)
		}
	}
}

// WriteGlobals implements runtime.Keeper.
func (i *instance) WriteGlobals(bits []uint64) {
	for n, p := range i.kept {
		if p.wide {
			*i.long(p) = bits[n]
		} else {
			*i.word(p) = uint32(bits[n])
		}
	}
}
