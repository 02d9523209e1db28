//go:build cgo && linux && (amd64 || arm64)

package main

/*
#cgo CFLAGS: -O2 -Wall -Wextra -Werror
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	// The binding brings the library, and says how to link it.
	_ "github.com/bytecodealliance/wasmtime-go/v44"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// Stacks. Each guest has one of its own, of addresses that take no memory before they are touched. A guest's frames take
// less of it than the units that admission counts (TestStack), so that its own check always comes first.
const (
	wasmStack = admit.MaxStackUnits
	hostStack = 1 << 20 // for wasmtime's own functions under the guest's
)

// backend executes guests with wasmtime's compiler, Cranelift.
type backend struct {
	engine  *C.wasm_engine_t
	linker  *C.wasmtime_linker_t
	imports []runtime.Import
	native  string // folder of native code; empty: none is kept
	info    engine.Info

	compiler bool // makes native code for others to load
}

// newBackend makes a backend. Native code is found in the folder native, where that is not empty.
func newBackend(native string) (*backend, error) {
	b := &backend{imports: runtime.Imports(), native: native, info: engine.Info{
		Name: "wasmtime", Version: wasmtimeVersion(),
		Capabilities: []string{engine.CapWasm2, engine.CapWASI, engine.CapSnapshot, engine.CapFuel},
	}}
	if native != "" {
		b.info.Capabilities = append(b.info.Capabilities, engine.CapCodeCache)
	}
	if err := failed(C.essad_engine_new(wasmStack, hostStack, &b.engine)); err != nil {
		return nil, fmt.Errorf("make a wasmtime engine: %w", err)
	}
	b.linker = C.wasmtime_linker_new(b.engine)
	for n, i := range b.imports {
		if err := b.define(n, i); err != nil {
			return nil, errors.Join(fmt.Errorf("bind import %q %q: %w", i.Module, i.Name, err), b.Close())
		}
	}
	return b, nil
}

func (b *backend) define(n int, i runtime.Import) error {
	module, name, params := C.CString(i.Module), C.CString(i.Name), C.CString(i.Params)
	defer C.free(unsafe.Pointer(module))
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(params))
	return failed(C.essad_define(b.linker, module, name, params, C.bool(i.Result), C.uint32_t(n)))
}

// failed makes an error of a text of C's.
func failed(text *C.char) error {
	if text == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(text))
	return errors.New(C.GoString(text))
}

// Info implements runtime.Backend.
func (b *backend) Info() engine.Info { return b.info }

// Compile implements runtime.Backend.
func (b *backend) Compile(_ context.Context, a *admit.Admitted) (runtime.Code, bool, error) {
	c := &code{b: b, exportsMemory: a.MemoryExported, types: readTypes(a.Wasm)}
	for name := range a.Functions {
		c.functions = append(c.functions, name)
	}
	slices.Sort(c.functions)
	cached, err := b.module(a.Wasm, c)
	if err != nil {
		return nil, cached, err
	}
	if err := failed(C.essad_link(b.linker, c.module, &c.pre)); err != nil {
		C.wasmtime_module_delete(c.module)
		return nil, cached, fmt.Errorf("link module: %w", err)
	}
	return c, cached, nil
}

// module finds or makes a module's native code.
func (b *backend) module(wasm []byte, c *code) (cached bool, err error) {
	path := ""
	if b.native != "" {
		sum := sha256.Sum256(wasm)
		path = filepath.Join(b.native, hex.EncodeToString(sum[:])+".cwasm")
	}
	if path != "" && !b.compiler {
		switch cached, err := b.load(path, c); {
		case err == nil:
			return cached, nil
		case !errors.Is(err, fs.ErrNotExist):
			return cached, fmt.Errorf("load native code: %w", err)
		}
	}
	if err := failed(C.essad_compile(b.engine, (*C.uint8_t)(unsafe.SliceData(wasm)), C.size_t(len(wasm)), &c.module)); err != nil {
		return false, err
	}
	if path != "" && b.compiler {
		name := C.CString(path)
		defer C.free(unsafe.Pointer(name))
		if err := failed(C.essad_store(c.module, name)); err != nil {
			C.wasmtime_module_delete(c.module)
			return false, fmt.Errorf("keep native code in %s: %w", path, err)
		}
	}
	return false, nil
}

func (b *backend) load(path string, c *code) (bool, error) {
	if _, err := os.Stat(path); err != nil {
		return false, err
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return true, failed(C.essad_load(b.engine, name, &c.module))
}

// Close implements runtime.Backend.
func (b *backend) Close() error {
	C.wasmtime_linker_delete(b.linker)
	C.wasm_engine_delete(b.engine)
	return nil
}

// code is a compiled module.
type code struct {
	b             *backend
	module        *C.wasmtime_module_t
	pre           *C.wasmtime_instance_pre_t
	exportsMemory bool
	functions     []string // exported
	types         *types

	globals globals
}

// Instantiate implements runtime.Code.
func (c *code) Instantiate(g *runtime.Guest) (runtime.Instance, error) {
	i := &instance{code: c, guest: g}
	if err := i.open(); err != nil {
		return nil, status.Errorf(status.Overloaded, "make an instance: %w", err)
	}
	return i, nil
}

// Close implements runtime.Code.
func (c *code) Close() error {
	C.wasmtime_instance_pre_delete(c.pre)
	C.wasmtime_module_delete(c.module)
	return nil
}
