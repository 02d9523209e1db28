//go:build wasmedge

package main

// #include "shim.h"
// #include <stdlib.h>
// #cgo noescape essad_call
// #cgo noescape essad_global
// #cgo noescape essad_globals_get
// #cgo noescape essad_globals_set
// #cgo nocallback essad_global
// #cgo nocallback essad_global_get
// #cgo nocallback essad_global_set
// #cgo nocallback essad_globals_get
// #cgo nocallback essad_globals_set
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

// maxInstances bounds the instances of the process. Each one that waits in an import holds a thread, and Go ends a process
// with more than 10,000; each reserves 12 GiB of addresses, of which a process has 128 TiB.
const maxInstances = 4096

// live are the instances of the process by their id, which is what C code knows them by.
var live registry

type registry struct {
	slots [maxInstances]atomic.Pointer[instance]

	mu   sync.Mutex
	free []uint16 // ids that were used
	next uint16   // the lowest id that was not
}

// add gives an instance its id, unless there are too many.
func (r *registry) add(i *instance) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		i.id, r.free = r.free[n-1], r.free[:n-1]
	} else {
		if r.next == maxInstances {
			return false
		}
		i.id = r.next
		r.next++
	}
	r.slots[i.id].Store(i)
	return true
}

func (r *registry) remove(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[i.id].Store(nil)
	r.free = append(r.free, i.id)
}

// global is a global of an instance.
type global = *C.WasmEdge_GlobalInstanceContext

// injected names the globals that admission adds, which every call needs.
var injected = admit.InjectedGlobals()

var _ runtime.Keeper = (*instance)(nil)

// instance is an instance of a module. It is a runtime.Keeper: WasmEdge reserves all the addresses that a memory can ever
// have, in a mapping of its own.
type instance struct {
	c        *C.essad_instance
	id       uint16
	guest    *runtime.Guest
	injected []global // nil where there is none
	kept     []global // what Globals found
	refused  error    // by the import that ended the guest
}

// find looks for the injected globals. No call is under way.
func (i *instance) find() {
	i.injected = make([]global, len(injected))
	for n, name := range injected {
		i.injected[n] = i.lookup(name)
	}
}

func (i *instance) lookup(name string) global {
	return C.essad_global(i.c, (*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.uint32_t(len(name)))
}

// global returns an exported global, or nil.
func (i *instance) global(name string) global {
	if n := slices.Index(injected, name); n >= 0 {
		return i.injected[n]
	}
	return i.lookup(name)
}

// Call implements runtime.Instance.
func (i *instance) Call(export string, params []uint64) error {
	r := C.essad_call(i.c, (*C.char)(unsafe.Pointer(unsafe.StringData(export))), C.uint32_t(len(export)),
		(*C.uint64_t)(unsafe.SliceData(params)), C.uint32_t(len(params)))
	switch {
	case r == C.ESSAD_NO_EXPORT:
		return fmt.Errorf("there is no export %q", export)
	case r != 0:
		return i.trap(uint32(r))
	}
	return nil
}

// trap returns why the guest ended.
func (i *instance) trap(code uint32) error {
	if err := i.refused; err != nil {
		i.refused = nil
		return err
	}
	text := message(code)
	if common, ok := words[text]; ok {
		text = common
	}
	return errors.New(text)
}

// words are what other engines call some traps: guests see these texts, and must not see which engine they run on.
var words = map[string]string{
	"undefined element":          "invalid table access",
	"uninitialized element":      "invalid table access",
	"out of bounds table access": "invalid table access",
}

// Memory implements runtime.Instance.
func (i *instance) Memory() []byte {
	if i.c.base == nil {
		return nil
	}
	return unsafe.Slice((*byte)(i.c.base), int(i.c.size))
}

// Global implements runtime.Instance.
func (i *instance) Global(name string) int32 { return int32(i.bits(name)) }

// Global64 implements runtime.Instance.
func (i *instance) Global64(name string) int64 { return int64(i.bits(name)) }

// SetGlobal implements runtime.Instance. The interpreter reads a global from memory each time, so a guest that runs sees it.
func (i *instance) SetGlobal(name string, v int32) { i.setBits(name, uint64(uint32(v))) }

// SetGlobal64 implements runtime.Instance.
func (i *instance) SetGlobal64(name string, v int64) { i.setBits(name, uint64(v)) }

func (i *instance) bits(name string) uint64 {
	if g := i.global(name); g != nil {
		return uint64(C.essad_global_get(g))
	}
	return 0
}

func (i *instance) setBits(name string, v uint64) {
	if g := i.global(name); g != nil {
		C.essad_global_set(g, C.uint64_t(v))
	}
}

// Bind implements runtime.Keeper.
func (i *instance) Bind(g *runtime.Guest) { i.guest = g }

// Globals implements runtime.Keeper.
func (i *instance) Globals(names []string) error {
	for _, name := range names {
		g := i.global(name)
		if g == nil || C.essad_global_is_number(g) == 0 {
			return fmt.Errorf("global %q is not there, or not a mutable number", name)
		}
		i.kept = append(i.kept, g)
	}
	return nil
}

// ReadGlobals implements runtime.Keeper.
func (i *instance) ReadGlobals(bits []uint64) {
	C.essad_globals_get(unsafe.SliceData(i.kept), (*C.uint64_t)(unsafe.SliceData(bits)), C.uint32_t(len(i.kept)))
}

// WriteGlobals implements runtime.Keeper.
func (i *instance) WriteGlobals(bits []uint64) {
	C.essad_globals_set(unsafe.SliceData(i.kept), (*C.uint64_t)(unsafe.SliceData(bits)), C.uint32_t(len(i.kept)))
}

// Close implements runtime.Instance.
func (i *instance) Close() {
	C.essad_close(i.c)
	C.free(unsafe.Pointer(i.c))
	live.remove(i)
}

//export essadImport
func essadImport(id C.uint64_t, index C.uint32_t, stack *C.uint64_t) C.int {
	s := unsafe.Slice((*uint64)(stack), C.ESSAD_PARAMS)
	i := live.slots[id].Load()
	if i.refused = imports[index].Call(i.guest, s); i.refused != nil {
		return 1
	}
	return 0
}

//export essadGrow
func essadGrow(id, from, to C.uint64_t) C.int {
	if live.slots[id].Load().guest.GrowMemory(uint64(from), uint64(to)) {
		return 1
	}
	return 0
}
