//go:build wasmedge

package main

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/second-state/WasmEdge-go/wasmedge"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// backend executes guests with WasmEdge's interpreter.
type backend struct {
	configure *wasmedge.Configure
	host      *C.essad_host
	native    string // folder that Compile leaves the module in; empty: none
	decoded   decoded
	info      engine.Info
}

// imports is what guests can import. C code names a function by its index here.
var imports = runtime.Imports()

// proposals are those of WebAssembly 2.0 and no others; admission lets through nothing else.
var proposals = []wasmedge.Proposal{
	wasmedge.IMPORT_EXPORT_MUT_GLOBALS, wasmedge.NON_TRAP_FLOAT_TO_INT_CONVERSIONS, wasmedge.SIGN_EXTENSION_OPERATORS,
	wasmedge.MULTI_VALUE, wasmedge.BULK_MEMORY_OPERATIONS, wasmedge.REFERENCE_TYPES, wasmedge.SIMD,
}

// newBackend makes a backend.
func newBackend(native string) (*backend, error) {
	wasmedge.SetLogOff() // it goes to standard output, which is the plugin's link to its host
	b := &backend{native: native, info: engine.Info{
		Name: "wasmedge", Version: wasmedge.GetVersion(),
		Capabilities: []string{engine.CapWasm2, engine.CapWASI, engine.CapSnapshot, engine.CapFuel},
	}}
	b.configure = wasmedge.NewConfigure()
	for _, p := range proposals {
		b.configure.AddConfig(p)
	}
	b.configure.SetForceInterpreter(true)
	b.host = (*C.essad_host)(C.calloc(1, C.sizeof_essad_host))
	if C.essad_host_open(b.host, (*C.WasmEdge_ConfigureContext)(inner(b.configure))) == 0 {
		return nil, errors.Join(errors.New("WasmEdge: no function could be made"), b.Close())
	}
	for n, i := range imports {
		if err := b.bind(n, i); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// bind makes an import.
func (b *backend) bind(index int, i runtime.Import) error {
	module, name := C.CString(i.Module), C.CString(i.Name)
	defer C.free(unsafe.Pointer(module))
	defer C.free(unsafe.Pointer(name))
	wide, result := 0, 0
	for n, p := range i.Params {
		if p == 'I' {
			wide |= 1 << n
		}
	}
	if i.Result {
		result = 1
	}
	if C.essad_host_add(b.host, module, name, C.uint32_t(index), C.uint32_t(len(i.Params)), C.uint32_t(wide), C.int(result)) == 0 {
		return fmt.Errorf("WasmEdge: import %q %q could not be made", i.Module, i.Name)
	}
	return nil
}

// inner returns the C object of one of the binding's: the first field of all of them. go.mod pins the binding, and
// TestBinding looks.
func inner[T any](object *T) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(object)) }

// Info implements runtime.Backend.
func (b *backend) Info() engine.Info { return b.info }

// Close implements runtime.Backend.
func (b *backend) Close() error {
	C.essad_host_close(b.host)
	C.free(unsafe.Pointer(b.host))
	b.configure.Release()
	trim()
	return nil
}

// newInstance makes an instance of a module.
func newInstance(host *C.essad_host, ast *wasmedge.AST, g *runtime.Guest) (runtime.Instance, error) {
	i := &instance{guest: g}
	if !live.add(i) {
		return nil, status.Errorf(status.Overloaded, "the engine has %d instances, and each may hold a thread: that is its limit",
			maxInstances)
	}
	i.c = (*C.essad_instance)(C.calloc(1, C.sizeof_essad_instance))
	i.c.id = C.uint64_t(i.id)
	if r := C.essad_instantiate(i.c, host, (*C.WasmEdge_ASTModuleContext)(inner(ast))); r != 0 {
		i.Close()
		return nil, errors.New(message(uint32(r)))
	}
	i.find()
	return i, nil
}

// message is what WasmEdge says of a result.
func message(code uint32) string { return C.GoString(C.essad_message(C.uint32_t(code))) }
