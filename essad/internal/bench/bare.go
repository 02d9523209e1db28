package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	wasi "github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// bareEngine is wazero with a clean instance for each call and nothing else: no limits, no admission, no state. Its instances
// are set back like those of the real engine, but for their globals, which a guest that returned has left as they were.
type bareEngine struct {
	rt   wazero.Runtime
	mod  wazero.CompiledModule
	conf wazero.ModuleConfig
	init bool

	mu     sync.Mutex
	parked []*bareInstance
}

type bareCall struct{ args, result []byte }

type bareKey struct{}

// bareInstance is an instance that waits for a call or serves one.
type bareInstance struct {
	ctx    context.Context // carries call to the imports
	call   bareCall
	mod    api.Module
	memory bareMemory
	image  *snapshot.Image
	back   *snapshot.Mapping
	size   uint32
}

// bareMemory is a memory that the image can be mapped over.
type bareMemory struct{ buf []byte }

// bareReserved is how far a memory can grow.
const bareReserved = 256 << 20

// Allocate implements experimental.MemoryAllocator.
func (m *bareMemory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements experimental.LinearMemory.
func (m *bareMemory) Reallocate(size uint64) []byte {
	if m.buf == nil {
		b, err := unix.Mmap(-1, 0, bareReserved, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			return nil
		}
		m.buf = b
	}
	if size > bareReserved {
		return nil
	}
	return m.buf[:size]
}

// Free implements experimental.LinearMemory.
func (m *bareMemory) Free() { _ = unix.Munmap(m.buf) }

func newBareEngine(path string) (*bareEngine, error) {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	e := &bareEngine{rt: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())}
	if e.mod, err = e.rt.CompileModule(ctx, wasm); err != nil {
		return nil, err
	}
	if err := e.imports(ctx); err != nil {
		return nil, err
	}
	_, e.init = e.mod.ExportedFunctions()["_initialize"]
	e.conf = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithSysWalltime().WithSysNanotime()
	return e, nil
}

// imports gives the module what it imports: WASI, the arguments and the result for real, of the rest functions that answer 0.
func (e *bareEngine) imports(ctx context.Context) error {
	builders := map[string]wazero.HostModuleBuilder{}
	for _, f := range e.mod.ImportedFunctions() {
		mod, name, _ := f.Import()
		if mod == wasi.ModuleName {
			continue
		}
		b := builders[mod]
		if b == nil {
			b = e.rt.NewHostModuleBuilder(mod)
			builders[mod] = b
		}
		var fn api.GoModuleFunc = func(_ context.Context, _ api.Module, stack []uint64) {
			if len(stack) > 0 {
				stack[0] = 0
			}
		}
		switch name {
		case "essa_get_args":
			fn = func(ctx context.Context, m api.Module, stack []uint64) {
				m.Memory().Write(uint32(stack[0]), ctx.Value(bareKey{}).(*bareCall).args)
				stack[0] = 0
			}
		case "essa_set_result":
			fn = func(ctx context.Context, m api.Module, stack []uint64) {
				p, _ := m.Memory().Read(uint32(stack[0]), uint32(stack[1]))
				ctx.Value(bareKey{}).(*bareCall).result = append([]byte(nil), p...)
				stack[0] = 0
			}
		}
		if out := len(f.ParamTypes()) - 1; strings.HasSuffix(name, "_len") && strings.HasPrefix(name, "essa_get_") || strings.HasSuffix(name, "_data") {
			fn = func(_ context.Context, m api.Module, stack []uint64) {
				m.Memory().WriteUint32Le(uint32(stack[out]), 64)
				stack[0] = 0
			}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(fn, f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	_, err := wasi.Instantiate(ctx, e.rt)
	return err
}

// instance makes an initialised instance, and an image of it.
func (e *bareEngine) instance() (*bareInstance, error) {
	i := &bareInstance{}
	i.ctx = context.WithValue(context.Background(), bareKey{}, &i.call)
	var err error
	if i.mod, err = e.rt.InstantiateModule(experimental.WithMemoryAllocator(i.ctx, &i.memory), e.mod, e.conf); err != nil {
		return nil, err
	}
	if e.init {
		if _, err := i.mod.ExportedFunction("_initialize").Call(i.ctx); err != nil {
			return nil, errors.Join(err, i.mod.Close(i.ctx))
		}
	}
	i.size = i.mod.Memory().Size()
	mem := i.memory.buf[:i.size]
	source, err := snapshot.Memory(mem)
	if err == nil {
		i.image, err = snapshot.New(source)
	}
	if err == nil {
		i.back, err = i.image.Map(mem, snapshot.Best())
	}
	if err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *bareInstance) close() error {
	err := i.mod.Close(i.ctx)
	if i.image != nil {
		err = errors.Join(err, i.image.Close())
	}
	return err
}

func (e *bareEngine) take() (*bareInstance, error) {
	e.mu.Lock()
	if n := len(e.parked); n > 0 {
		i := e.parked[n-1]
		e.parked = e.parked[:n-1]
		e.mu.Unlock()
		return i, nil
	}
	e.mu.Unlock()
	return e.instance()
}

// give sets an instance back and keeps it, unless it has grown.
func (e *bareEngine) give(i *bareInstance) {
	if i.mod.Memory().Size() != i.size {
		_ = i.close()
		return
	}
	if _, err := i.back.Restore(int(i.size), false); err != nil {
		_ = i.close()
		return
	}
	e.mu.Lock()
	e.parked = append(e.parked, i)
	e.mu.Unlock()
}

// bareFailed begins the answer to a call that failed.
const bareFailed = "floor: "

func (e *bareEngine) call(export string, args []byte) []byte {
	i, err := e.take()
	if err != nil {
		return []byte(bareFailed + err.Error())
	}
	i.call = bareCall{args: args}
	f := i.mod.ExportedFunction(export)
	if f == nil {
		return []byte(bareFailed + "there is no export " + export)
	}
	if _, err := f.Call(i.ctx, uint64(len(args))); err != nil {
		_ = i.close()
		return []byte(bareFailed + err.Error())
	}
	result := i.call.result
	e.give(i)
	return result
}
