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
	"maps"
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
	native  string // folder that Compile leaves native code in; empty: none
	info    engine.Info
}

// newBackend makes a backend.
func newBackend(native string) (*backend, error) {
	b := &backend{imports: runtime.Imports(), native: native, info: engine.Info{
		Name: "wasmtime", Version: version,
		Capabilities: []string{engine.CapWasm2, engine.CapWASI, engine.CapSnapshot, engine.CapFuel, engine.CapCodeCache},
	}}
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

var _ runtime.Loader = (*backend)(nil)

// Files of native code, by the hash of the module that was compiled: the code as wasmtime writes it, and the types.
const (
	codeSuffix  = ".1.cwasm"
	typesSuffix = ".2.types"
)

// Compile implements runtime.Backend.
func (b *backend) Compile(_ context.Context, a *admit.Admitted) (runtime.Code, bool, error) {
	c := b.newCode(&a.Facts)
	c.types = readTypes(a.Wasm)
	err := failed(C.essad_compile(b.engine, (*C.uint8_t)(unsafe.SliceData(a.Wasm)), C.size_t(len(a.Wasm)), &c.module))
	if err != nil {
		return nil, false, err
	}
	if b.native != "" {
		if err := c.store(a.Wasm); err != nil {
			C.wasmtime_module_delete(c.module)
			return nil, false, fmt.Errorf("keep native code in %s: %w", b.native, err)
		}
	}
	return c, false, c.link()
}

// store leaves native code for Load.
func (c *code) store(wasm []byte) error {
	sum := sha256.Sum256(wasm)
	stem := filepath.Join(c.b.native, hex.EncodeToString(sum[:]))
	name := C.CString(stem + codeSuffix)
	defer C.free(unsafe.Pointer(name))
	if err := failed(C.essad_store(c.module, name)); err != nil {
		return err
	}
	return os.WriteFile(stem+typesSuffix, c.types.encode(), 0o600)
}

// Load implements runtime.Loader. wasmtime maps the file, and refuses one of another version or for another processor.
func (b *backend) Load(files []string, f *admit.Facts) (runtime.Code, error) {
	if len(files) != 2 {
		return nil, fmt.Errorf("there are %d files of native code", len(files))
	}
	c := b.newCode(f)
	c.typesFile = files[1]
	name := C.CString(files[0])
	defer C.free(unsafe.Pointer(name))
	if err := failed(C.essad_load(b.engine, name, &c.module)); err != nil {
		return nil, fmt.Errorf("load native code: %w", err)
	}
	return c, c.link()
}

func (b *backend) newCode(f *admit.Facts) *code {
	return &code{b: b, exportsMemory: f.MemoryExported, functions: slices.Sorted(maps.Keys(f.Functions))}
}

// link resolves the imports. Where it fails the module is freed.
func (c *code) link() error {
	err := failed(C.essad_link(c.b.linker, c.module, &c.pre))
	if err != nil {
		C.wasmtime_module_delete(c.module)
		return fmt.Errorf("link module: %w", err)
	}
	return nil
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
	typesFile     string   // or else types
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
