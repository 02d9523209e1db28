//go:build wasmedge

package main

// #include <malloc.h>
import "C"

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/second-state/WasmEdge-go/wasmedge"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// A module's decoded form is only needed to make instances, each of which has a copy of all that matters in it, and takes more
// memory than one: 59 MB for a small Go guest. So it is made when an instance is wanted, from the file that the compiler's process
// has left, and given back when none was made for a while, or when others are wanted and all would take more than decodedBytes.
const decodedBytes = 256 << 20

// decoded are the decoded modules, newest first.
type decoded struct {
	mu    sync.Mutex
	order list.List // of *code
	taken int64     // bytes, more or less
}

// take returns a module's decoded form, which give gives back; nil where it is not decoded.
func (d *decoded) take(c *code) *wasmedge.AST {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.ast != nil {
		c.users++
		d.order.MoveToFront(c.place)
	}
	return c.ast
}

func (d *decoded) give(c *code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.users--
}

// add puts in a module that was decoded, for somebody who has taken it. Others that nobody uses give way.
func (d *decoded) add(c *code, ast *wasmedge.AST) {
	var free []*wasmedge.AST
	d.mu.Lock()
	c.ast, c.users, c.place = ast, c.users+1, d.order.PushFront(c)
	d.taken += c.tree()
	for e := d.order.Back(); e != nil && d.taken > decodedBytes; {
		old := e.Value.(*code)
		e = e.Prev()
		free = d.drop(old, free)
	}
	d.mu.Unlock()
	for _, ast := range free {
		ast.Release()
	}
}

// forget frees a module's decoded form, where nobody uses it.
func (d *decoded) forget(c *code) {
	d.mu.Lock()
	free := d.drop(c, nil)
	d.mu.Unlock()
	for _, ast := range free {
		ast.Release()
	}
}

// drop takes a module out, and appends what is to be freed. The lock is held.
func (d *decoded) drop(c *code, free []*wasmedge.AST) []*wasmedge.AST {
	if c.ast == nil || c.users > 0 {
		return free
	}
	d.order.Remove(c.place)
	d.taken -= c.tree()
	free = append(free, c.ast)
	c.ast, c.place = nil, nil
	return free
}

// code is a module.
type code struct {
	b      *backend
	weight int64    // bytes of an instance
	file   *os.File // of the module, which may have been removed from its folder
	wasm   []byte   // or else its bytes

	decoding sync.Mutex // held by who decodes it

	// Guarded by b.decoded.mu.
	ast   *wasmedge.AST
	users int
	place *list.Element
}

var (
	_ runtime.Loader  = (*backend)(nil)
	_ runtime.Weigher = (*code)(nil)
	_ runtime.Rester  = (*code)(nil)
	_ runtime.Stacked = (*code)(nil)
)

// wasmSuffix ends the name of the file that Compile leaves for Load. Before it stand the module's hash and its weight.
const wasmSuffix = ".wasm"

// Compile implements runtime.Backend. It decodes and validates; there is no native code.
func (b *backend) Compile(_ context.Context, a *admit.Admitted) (runtime.Code, bool, error) {
	c := &code{b: b, wasm: a.Wasm, weight: weigh(a.Wasm)}
	if _, err := c.use(); err != nil {
		return nil, false, err
	}
	c.done()
	if b.native == "" {
		return c, false, nil
	}
	sum := sha256.Sum256(a.Wasm)
	name := fmt.Sprintf("%s.%d%s", hex.EncodeToString(sum[:]), c.weight, wasmSuffix)
	if err := os.WriteFile(filepath.Join(b.native, name), a.Wasm, 0o600); err != nil {
		return nil, false, errors.Join(fmt.Errorf("keep the module: %w", err), c.Close())
	}
	return c, false, nil
}

// Load implements runtime.Loader.
func (b *backend) Load(files []string, _ *admit.Facts) (runtime.Code, error) {
	if len(files) != 1 {
		return nil, fmt.Errorf("there are %d files of the module", len(files))
	}
	name := strings.Split(filepath.Base(files[0]), ".")
	if len(name) != 3 {
		return nil, fmt.Errorf("the module's file is named %q", files[0])
	}
	weight, err := strconv.ParseInt(name[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the weight in the name of the module's file: %w", err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		return nil, err
	}
	return &code{b: b, file: f, weight: weight}, nil
}

// use returns the module decoded and validated; done follows.
func (c *code) use() (*wasmedge.AST, error) {
	c.decoding.Lock()
	defer c.decoding.Unlock()
	if ast := c.b.decoded.take(c); ast != nil {
		return ast, nil
	}
	ast, err := c.decode()
	if err != nil {
		return nil, err
	}
	c.b.decoded.add(c, ast)
	return ast, nil
}

func (c *code) done() { c.b.decoded.give(c) }

// tree is what the decoded form takes, more or less.
func (c *code) tree() int64 { return c.weight * 3 / 2 }

func (c *code) decode() (ast *wasmedge.AST, err error) {
	loader := wasmedge.NewLoaderWithConfig(c.b.configure)
	defer loader.Release()
	if c.file != nil {
		ast, err = loader.LoadFile(fmt.Sprintf("/proc/self/fd/%d", c.file.Fd()))
	} else {
		ast, err = loader.LoadBuffer(c.wasm)
	}
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	validator := wasmedge.NewValidatorWithConfig(c.b.configure)
	defer validator.Release()
	if err := validator.Validate(ast); err != nil {
		ast.Release()
		return nil, fmt.Errorf("validate: %w", err)
	}
	return ast, nil
}

// InstanceBytes implements runtime.Weigher.
func (c *code) InstanceBytes() int64 { return c.weight }

// Instantiate implements runtime.Code.
func (c *code) Instantiate(g *runtime.Guest) (runtime.Instance, error) {
	ast, err := c.use()
	if err != nil { // it was decoded before
		return nil, status.Errorf(status.Unavailable, "the engine could not read the module again: %w", err)
	}
	defer c.done()
	return newInstance(c.b.host, ast, g)
}

// StackBytes implements runtime.Stacked. TestDeepRecursion has the shape that takes most.
func (c *code) StackBytes(units int64) int64 { return units * 27 / 10 }

// Rest implements runtime.Rester.
func (c *code) Rest() {
	c.b.decoded.forget(c)
	trim()
}

// Close implements runtime.Code.
func (c *code) Close() error {
	c.b.decoded.forget(c)
	if c.file != nil {
		return c.file.Close()
	}
	return nil
}

// trim gives freed memory back to the operating system. C's allocator keeps it for later: instances and decoded modules are
// many small pieces.
func trim() { C.malloc_trim(0) }
