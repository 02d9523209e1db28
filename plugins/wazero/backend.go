package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// backend executes guests with wazero's compiler.
//
// WithCloseOnContextDone is off: it is slow, and it does not stop every guest. The safepoints that admission puts into
// the guest's code do. WithMemoryLimitPages is a limit per runtime, so an allocator bounds each instance.
type backend struct {
	rt    wazero.Runtime
	cache wazero.CompilationCache
	info  engine.Info

	workers int // goroutines that compile
}

// newBackend makes a backend. Native code is cached in cacheDir, where that is not empty.
func newBackend(cacheDir string) (*backend, error) {
	ctx := context.Background()
	cfg := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
	b := &backend{workers: 1, info: engine.Info{
		Name: "wazero", Version: version,
		Capabilities: []string{engine.CapWasm2, engine.CapWASI, engine.CapSnapshot, engine.CapFuel},
	}}
	if cacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open the cache of compiled modules in %q: %w", cacheDir, err)
		}
		b.cache = cache
		b.info.Capabilities = append(b.info.Capabilities, engine.CapCodeCache)
		cfg = cfg.WithCompilationCache(cache)
	}
	b.rt = wazero.NewRuntimeWithConfig(ctx, cfg)
	if err := b.bind(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// bind makes the host modules.
func (b *backend) bind(ctx context.Context) error {
	builders := map[string]wazero.HostModuleBuilder{}
	for _, i := range runtime.Imports() {
		m := builders[i.Module]
		if m == nil {
			m = b.rt.NewHostModuleBuilder(i.Module)
			builders[i.Module] = m
		}
		params := make([]api.ValueType, len(i.Params))
		for n, p := range i.Params {
			params[n] = api.ValueTypeI32
			if p == 'I' {
				params[n] = api.ValueTypeI64
			}
		}
		var results []api.ValueType
		if i.Result {
			results = []api.ValueType{api.ValueTypeI32}
		}
		m.NewFunctionBuilder().WithGoFunction(goFunc(i.Call), params, results).Export(i.Name)
	}
	for name, m := range builders {
		if _, err := m.Instantiate(ctx); err != nil {
			return fmt.Errorf("make host module %q: %w", name, err)
		}
	}
	return nil
}

// guestContext carries the invocation to its imports. wazero passes on the context of a call as it is, so a type assertion
// finds it; a look-up by key would cost several times as much.
type guestContext struct {
	context.Context
	guest *runtime.Guest
}

func goFunc(call func(*runtime.Guest, []uint64) error) api.GoFunc {
	return func(ctx context.Context, stack []uint64) {
		if err := call(ctx.(*guestContext).guest, stack); err != nil {
			panic(err) // how wazero's imports trap; it recovers
		}
	}
}

// Info implements runtime.Backend.
func (b *backend) Info() engine.Info { return b.info }

// Compile implements runtime.Backend.
func (b *backend) Compile(ctx context.Context, a *admit.Admitted) (runtime.Code, bool, error) {
	ctx = experimental.WithCompilationWorkers(ctx, b.workers)
	c, err := b.rt.CompileModule(ctx, a.Wasm)
	if err != nil {
		return nil, false, err
	}
	return &code{rt: b.rt, compiled: c, exportsMemory: a.MemoryExported, minimum: int(a.Memory.Min) * pageSize}, false, nil
}

// Close implements runtime.Backend.
func (b *backend) Close() error {
	ctx := context.Background()
	err := b.rt.Close(ctx)
	if b.cache != nil {
		err = errors.Join(err, b.cache.Close(ctx))
	}
	return err
}

// code is a compiled module.
type code struct {
	rt            wazero.Runtime
	compiled      wazero.CompiledModule
	exportsMemory bool
	minimum       int // bytes
	globals       atomic.Pointer[places]
}

// pageSize is a page of WebAssembly memory.
const pageSize = 64 << 10

// moduleConfig is every instance's. A source of randomness that nobody reads keeps wazero from seeding one of its own for
// each instance, which costs as much as the rest of its WASI together.
var moduleConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader)

// Instantiate implements runtime.Code.
func (c *code) Instantiate(g *runtime.Guest) (runtime.Instance, error) {
	i := &instance{code: c, memory: memory{guest: g, mapped: g.Keeps()}}
	i.ctx = guestContext{context.Background(), g}
	if !i.memory.provide(c.minimum) { // wazero does not expect it to fail
		return nil, status.Errorf(status.Overloaded, "there are no %d bytes of memory for an instance", c.minimum)
	}
	mod, err := c.rt.InstantiateModule(experimental.WithMemoryAllocator(i.ctx.Context, &i.memory), c.compiled, moduleConfig)
	if err != nil {
		i.memory.Free()
		return nil, err
	}
	i.mod = mod
	return i, nil
}

func (c *code) Close() error { return c.compiled.Close(context.Background()) }

var _ runtime.Shrinker = (*instance)(nil)

// instance is an instance of a module.
type instance struct {
	mod     api.Module
	code    *code
	ctx     guestContext
	memory  memory
	stack   [1]uint64
	called  []called // looking a function up takes longer than calling it
	globals []global // that are set back
}

// Call implements runtime.Instance.
func (i *instance) Call(export string, params []uint64) error {
	f := i.function(export)
	if f == nil {
		return fmt.Errorf("there is no export %q", export)
	}
	n := copy(i.stack[:], params)
	if err := f.CallWithStack(&i.ctx, i.stack[:n]); err != nil {
		return &trap{err}
	}
	return nil
}

// Memory implements runtime.Instance. wazero's own is what the allocator returned last; to ask it takes longer than the rest of
// an import that returns a number.
func (i *instance) Memory() []byte {
	if !i.code.exportsMemory {
		return nil
	}
	return i.memory.guests()
}

// global finds a global.
func (i *instance) global(name string) *global {
	for n := len(i.globals) - 1; n >= 0; n-- { // the ones that are asked for come last
		if i.globals[n].name == name {
			return &i.globals[n]
		}
	}
	if g, ok := i.mod.ExportedGlobal(name).(api.MutableGlobal); ok {
		return &global{name: name, MutableGlobal: g}
	}
	return nil
}

// Global implements runtime.Instance.
func (i *instance) Global(name string) int32 { return int32(i.Global64(name)) }

// SetGlobal implements runtime.Instance.
func (i *instance) SetGlobal(name string, v int32) { i.SetGlobal64(name, int64(uint32(v))) }

// Global64 implements runtime.Instance.
func (i *instance) Global64(name string) int64 {
	if g := i.global(name); g != nil {
		return int64(g.get())
	}
	return 0
}

// SetGlobal64 implements runtime.Instance.
func (i *instance) SetGlobal64(name string, v int64) {
	if g := i.global(name); g != nil {
		g.set(uint64(v))
	}
}

// Bind implements runtime.Keeper.
func (i *instance) Bind(g *runtime.Guest) {
	i.ctx.guest, i.memory.guest = g, g
	if g != nil {
		return
	}
	if slices.ContainsFunc(i.called, called.grown) { // hardly ever
		i.called = slices.DeleteFunc(i.called, called.grown)
	}
}

// Globals implements runtime.Keeper.
func (i *instance) Globals(names []string) error {
	globals := make([]global, 0, len(names))
	for _, name := range names {
		g, ok := i.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			return fmt.Errorf("there is no mutable global %q", name)
		}
		globals = append(globals, global{name: name, MutableGlobal: g})
	}
	locate(&i.code.globals, i.mod, globals)
	i.globals = globals
	return nil
}

// ReadGlobals implements runtime.Keeper.
func (i *instance) ReadGlobals(bits []uint64) {
	for n := range i.globals {
		bits[n] = i.globals[n].get()
	}
}

// WriteGlobals implements runtime.Keeper. No call is under way, so nobody stops one.
func (i *instance) WriteGlobals(bits []uint64) {
	for n := range i.globals {
		i.globals[n].put(bits[n])
	}
}

// Shrink implements runtime.Shrinker. wazero takes what the allocator returns for the memory, whatever it asked for; so it is
// asked for a page more, and is given less. It does not ask where the memory has its maximum.
func (i *instance) Shrink(size int) bool {
	if size <= 0 || size > i.memory.used {
		return false
	}
	i.memory.cut = size
	_, ok := i.mod.Memory().Grow(1)
	i.memory.cut = 0
	return ok && i.memory.used == size && int64(i.mod.Memory().Size()) == int64(size)
}

// Close implements runtime.Instance.
func (i *instance) Close() { _ = i.mod.Close(context.Background()) }

// trap is an error of wazero's whose text, which is made where somebody reads it, is one for people: without wazero's remarks
// about itself.
type trap struct{ cause error }

func (t *trap) Error() string {
	text := t.cause.Error()
	text = strings.Replace(text, " (recovered by wazero)", "", 1)
	text = strings.TrimPrefix(text, "wasm error: ")
	text = strings.Replace(text, "\nwasm stack trace:", "\nstack:", 1)
	return strings.ReplaceAll(text, "\n\t.", "\n\t") // the module's name, which is empty
}

func (t *trap) Unwrap() error { return t.cause }
