// Package fakehost runs guests under wazero with a host module of its own: calls, results and a store in memory, nothing
// that the example guests are not tested with. It promises the upstream semantics of the eight imports and nothing of
// essad's engines, so the guests are tested against the ABI and not against our own reading of it.
//
// Only tests of examples import it.
package fakehost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/essa-project/essad/sdk/lattice"
)

// The codes of the ABI that this host gives.
const (
	codeOK        = 0
	codeUnknown   = -1
	codeNoSuch    = -2
	codeTooSmall  = -3
	codeNotFound  = -4
	codeSignature = -5
	codeNoResult  = -6
)

// Host runs one module.
type Host struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	slots   chan struct{} // bounds the instances that are starting, not those that wait

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
	values map[string][]byte
	calls  int
}

// invocation is one running instance.
type invocation struct {
	args     []byte
	result   []byte
	returned bool
	handles  map[uint32]*pending
	last     uint32
	snapshot map[string][]byte
}

type pending struct {
	done   chan struct{}
	result []byte
	code   int32
}

type invocationKey struct{}

// BuildGo compiles the Go guest in dir and returns the module. This host has upstream's imports alone, so guests for it
// take the tag essa_upstream.
func BuildGo(ctx context.Context, dir, tmp, tags string) ([]byte, error) {
	out := filepath.Join(tmp, "guest.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-tags="+tags, "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest in %s: %w\n%s", dir, err, text)
	}
	return os.ReadFile(out)
}

// New compiles a module.
func New(ctx context.Context, wasm []byte) (*Host, error) {
	h := &Host{runtime: wazero.NewRuntime(ctx), slots: make(chan struct{}, 2), values: map[string][]byte{}}
	if err := h.prepare(ctx, wasm); err != nil {
		return nil, errors.Join(err, h.runtime.Close(ctx))
	}
	return h, nil
}

func (h *Host) prepare(ctx context.Context, wasm []byte) (err error) {
	wasi_snapshot_preview1.MustInstantiate(ctx, h.runtime)
	b := h.runtime.NewHostModuleBuilder("host")
	for name, f := range map[string]any{
		"essa_get_args":         h.getArgs,
		"essa_set_result":       h.setResult,
		"essa_call":             h.call,
		"essa_get_result_len":   h.getResultLen,
		"essa_get_result":       h.getResult,
		"essa_put_lattice":      h.putLattice,
		"essa_get_lattice_len":  h.getLatticeLen,
		"essa_get_lattice_data": h.getLatticeData,
	} {
		b.NewFunctionBuilder().WithFunc(f).Export(name)
	}
	if _, err = b.Instantiate(ctx); err != nil {
		return err
	}
	h.module, err = h.runtime.CompileModule(ctx, wasm)
	return err
}

// Close ends everything.
func (h *Host) Close(ctx context.Context) error { return h.runtime.Close(ctx) }

// Stdout is what the guests have written so far.
func (h *Host) Stdout() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stdout.String()
}

// Stderr is what the guests have written so far.
func (h *Host) Stderr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stderr.String()
}

// Calls counts the invocations.
func (h *Host) Calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// Put merges a value into the store.
func (h *Host) Put(key string, v lattice.Value) error { return h.merge(key, lattice.Encode(v)) }

// Get returns the value under key, nil if there is none.
func (h *Host) Get(key string) (lattice.Value, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b, ok := h.values[key]; ok {
		return lattice.Decode(b)
	}
	return nil, nil
}

func (h *Host) merge(key string, value []byte) error {
	value, _, _, err := lattice.Normalize(value)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if have, ok := h.values[key]; ok {
		if value, err = lattice.MergeEncoded(have, value); err != nil {
			return err
		}
	}
	h.values[key] = bytes.Clone(value)
	return nil
}

// ErrNoResult says that a call ended without one.
var ErrNoResult = errors.New("the call set no result")

// Call runs the export in an instance of its own.
func (h *Host) Call(ctx context.Context, export string, args []byte) ([]byte, error) {
	inv := &invocation{args: args, handles: map[uint32]*pending{}, snapshot: map[string][]byte{}}
	if err := h.run(ctx, inv, export, uint64(len(args))); err != nil {
		return nil, err
	}
	if !inv.returned {
		return nil, ErrNoResult
	}
	return inv.result, nil
}

// Main runs what essad run would.
func (h *Host) Main(ctx context.Context) error {
	return h.run(ctx, &invocation{handles: map[uint32]*pending{}, snapshot: map[string][]byte{}}, "essa_main")
}

func (h *Host) run(ctx context.Context, inv *invocation, export string, params ...uint64) error {
	ctx = context.WithValue(ctx, invocationKey{}, inv)
	m, err := h.instantiate(ctx)
	if err != nil {
		return fmt.Errorf("instantiate for %s: %w", export, err)
	}
	defer func() { _ = m.Close(ctx) }() // the instance is gone either way
	f := m.ExportedFunction(export)
	if f == nil {
		return fmt.Errorf("there is no export %s", export)
	}
	_, err = f.Call(ctx, params...)
	return err
}

func (h *Host) instantiate(ctx context.Context) (api.Module, error) {
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	h.mu.Lock()
	h.calls++
	h.mu.Unlock()
	return h.runtime.InstantiateModule(ctx, h.module, wazero.NewModuleConfig().WithName("").
		WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime().WithSysNanosleep().
		WithStdout(&locked{h, &h.stdout}).WithStderr(&locked{h, &h.stderr}))
}

type locked struct {
	h *Host
	b *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.b.Write(p)
}

func current(ctx context.Context) *invocation { return ctx.Value(invocationKey{}).(*invocation) }

// view returns a part of the guest's memory; what is out of range traps.
func view(m api.Module, at, n uint32) []byte {
	b, ok := m.Memory().Read(at, n)
	if !ok {
		panic(fmt.Sprintf("%d bytes at %d are not in the guest's memory", n, at))
	}
	return b
}

func setU32(m api.Module, at, v uint32) {
	if !m.Memory().WriteUint32Le(at, v) {
		panic(fmt.Sprintf("%d is not in the guest's memory", at))
	}
}

func (h *Host) getArgs(ctx context.Context, m api.Module, at, n uint32) int32 {
	inv := current(ctx)
	if n < uint32(len(inv.args)) {
		return codeTooSmall
	}
	copy(view(m, at, n), inv.args)
	return codeOK
}

func (h *Host) setResult(ctx context.Context, m api.Module, at, n uint32) int32 {
	inv := current(ctx)
	inv.result, inv.returned = bytes.Clone(view(m, at, n)), true
	return codeOK
}

func (h *Host) call(ctx context.Context, m api.Module, name, nameLen, args, argsLen, handle uint32) int32 {
	export := string(view(m, name, nameLen))
	f, ok := h.module.ExportedFunctions()[export]
	switch {
	case !ok:
		return codeNoSuch
	case len(f.ParamTypes()) != 1 || f.ParamTypes()[0] != api.ValueTypeI32 || len(f.ResultTypes()) != 0:
		return codeSignature
	}
	inv, p := current(ctx), &pending{done: make(chan struct{})}
	in := bytes.Clone(view(m, args, argsLen))
	inv.last++
	inv.handles[inv.last] = p
	setU32(m, handle, inv.last)
	go func() {
		defer close(p.done)
		var err error
		if p.result, err = h.Call(ctx, export, in); errors.Is(err, ErrNoResult) {
			p.code = codeNoResult
		} else if err != nil {
			p.code = codeUnknown
		}
	}()
	return codeOK
}

func (h *Host) getResultLen(ctx context.Context, m api.Module, handle, size uint32) int32 {
	p, ok := current(ctx).handles[handle]
	if !ok {
		return codeNotFound
	}
	if <-p.done; p.code != codeOK {
		return p.code
	}
	setU32(m, size, uint32(len(p.result)))
	return codeOK
}

func (h *Host) getResult(ctx context.Context, m api.Module, handle, at, n, size uint32) int32 {
	inv := current(ctx)
	p, ok := inv.handles[handle]
	if !ok {
		return codeNotFound
	}
	<-p.done
	switch {
	case p.code != codeOK:
		return p.code
	case n < uint32(len(p.result)):
		return codeTooSmall
	}
	copy(view(m, at, uint32(len(p.result))), p.result)
	setU32(m, size, uint32(len(p.result)))
	delete(inv.handles, handle)
	return codeOK
}

func (h *Host) putLattice(_ context.Context, m api.Module, key, keyLen, at, n uint32) int32 {
	if err := h.merge(string(view(m, key, keyLen)), bytes.Clone(view(m, at, n))); err != nil {
		return codeUnknown
	}
	return codeOK
}

func (h *Host) getLatticeLen(ctx context.Context, m api.Module, key, keyLen, size uint32) int32 {
	name := string(view(m, key, keyLen))
	h.mu.Lock()
	v, ok := h.values[name]
	h.mu.Unlock()
	if !ok {
		return codeNotFound
	}
	current(ctx).snapshot[name] = v
	setU32(m, size, uint32(len(v)))
	return codeOK
}

func (h *Host) getLatticeData(ctx context.Context, m api.Module, key, keyLen, at, n, size uint32) int32 {
	v, ok := current(ctx).snapshot[string(view(m, key, keyLen))]
	switch {
	case !ok:
		return codeNotFound
	case n < uint32(len(v)):
		return codeTooSmall
	}
	copy(view(m, at, uint32(len(v))), v)
	setU32(m, size, uint32(len(v)))
	return codeOK
}
