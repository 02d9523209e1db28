package runtime

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
	"github.com/essa-project/essad/sdk/status"
)

// module is a compiled module.
type module struct {
	id     string
	facts  admit.Facts
	info   engine.ModuleInfo
	code   Code
	codes  map[string]abi.Code // exported functions, and whether they can be called
	tables int64               // bytes
	weight int64               // bytes of an instance beside its memory and tables
	rests  Rester              // code, where it is one
	stacks Stacked             // likewise

	base    *base            // what its memory begins with
	globals []string         // that make up an instance's state with its memory
	initial []step           // initialisation
	badInit error            // why it cannot be run
	renews  bool             // it exports RestoredExport
	cold    string           // why instances cannot be set back
	unkept  bool             // and cannot be kept either
	pools   map[string]*pool // guarded by Runtime.pools
	recent  *pool            // the one used last; likewise

	refs    int // calls that use it; guarded by modules.mu
	dropped bool
	place   *list.Element

	stirred atomic.Int64 // when an instance was made or closed last, in Unix nanoseconds, where it rests; 0: it does
}

// pageSize is a page of WebAssembly memory; tableEntry is what an entry of a table costs an engine.
const (
	pageSize   = 64 << 10
	tableEntry = 8
)

func (rt *Runtime) newModule(id string, a *artefact, b *base, code Code, cached bool) *module {
	m := &module{id: id, facts: a.Facts, code: code, base: b, codes: make(map[string]abi.Code, len(a.Facts.Functions))}
	for name := range a.Facts.Functions {
		m.codes[name] = abi.InvalidFunctionSignature
	}
	for _, name := range a.Facts.Callable {
		m.codes[name] = abi.OK
	}
	for _, t := range a.Facts.Tables {
		n := t.Min
		if a.Facts.WritesTables {
			n = t.Max
		}
		m.tables += int64(n) * tableEntry
	}
	m.weight = instanceBytes
	if w, ok := code.(Weigher); ok {
		m.weight += w.InstanceBytes()
	}
	m.rests, _ = code.(Rester)
	m.stacks, _ = code.(Stacked)
	m.pools, m.unkept = map[string]*pool{}, !slices.Contains(rt.info.Capabilities, engine.CapSnapshot)
	m.cold = coldReason(&a.Facts, a.Inside)
	if m.unkept {
		m.cold = "the engine's instances cannot be kept"
	}
	for _, g := range a.Facts.MutableGlobal {
		m.globals = append(m.globals, g.Name)
	}
	m.globals = append(m.globals, admit.InjectedGlobals()...)
	if a.Facts.Start {
		m.initial = append(m.initial, step{export: admit.StartExport})
	}
	if a.Facts.HasInitialize {
		m.badInit = m.plain("_initialize")
		m.initial = append(m.initial, step{export: "_initialize"})
	}
	if t, ok := a.Facts.Functions[RestoredExport]; ok {
		m.renews = len(t.Params)+len(t.Results) == 0
	}
	m.info = engine.ModuleInfo{
		Kind: kindOf(&a.Facts), Functions: a.Facts.Callable, Memory: uint64(m.minimum()), CacheHit: cached,
		Fresh: m.cold,
	}
	return m
}

// coldReason tells why an instance of a module cannot be set back to a snapshot of its memory and globals.
func coldReason(f *admit.Facts, inside string) string {
	switch {
	case inside != "":
		return inside
	case f.WritesTables:
		return "its code writes tables"
	case f.DropsSegments:
		return "its code drops segments"
	case f.ImportsState:
		return "it imports a memory, a table or a global"
	case !f.MemoryExported && !f.Memory.Injected:
		return "its memory is not exported"
	}
	for _, g := range f.MutableGlobal {
		if g.Type == admit.V128 || g.Type == admit.FuncRef || g.Type == admit.ExternRef {
			return "it has a mutable global of type " + g.Type.String()
		}
	}
	return ""
}

func kindOf(f *admit.Facts) engine.Kind {
	switch {
	case f.HasStart:
		return engine.Command
	case f.HasInitialize:
		return engine.Reactor
	}
	return engine.Library
}

// minimum returns the bytes of memory and tables that an instance begins with.
func (m *module) minimum() int64 { return int64(m.facts.Memory.Min)*pageSize + m.tables }

// step is a call into the guest.
type step struct {
	export   string
	withArgs bool
	warmUp   bool
}

// params returns the parameters of the call.
func (s step) params(args []byte) []uint64 {
	if s.withArgs {
		return []uint64{uint64(len(args))}
	}
	return nil
}

func (s step) name() string {
	switch s.export {
	case admit.StartExport:
		return "the start function"
	case "":
		return `export ""`
	}
	return s.export
}

// main returns the export that a run runs.
func (m *module) main() (string, error) {
	_, unnamed := m.facts.Functions[""]
	_, essaMain := m.facts.Functions["essa_main"]
	switch {
	case unnamed && m.facts.HasStart:
		return "", status.Errorf(status.Invalid, `the module exports both "_start" and "", and it is not clear which to run`)
	case unnamed:
		return "", nil
	case m.facts.HasStart:
		return "_start", nil
	case essaMain:
		return "essa_main", nil
	}
	return "", status.Errorf(status.Invalid, `the module has nothing to run: it exports neither "_start" nor "essa_main"`)
}

// check tells whether the module can serve a call.
func (m *module) check(c *engine.Call) error {
	if m.badInit != nil {
		return m.badInit
	}
	if c.WarmUp != "" {
		if err := m.canWarmUp(c.WarmUp); err != nil {
			return err
		}
	}
	if c.Run {
		name, err := m.main()
		if err != nil {
			return err
		}
		return m.plain(name)
	}
	switch code, ok := m.codes[c.Function]; {
	case !ok:
		e := status.Errorf(status.NotFound, "the module exports no function %q", c.Function)
		e.Detail = "function"
		return e
	case code != abi.OK:
		return status.Errorf(status.Invalid, "export %q has type %v, and functions have (i32) -> ()", c.Function,
			m.facts.Functions[c.Function])
	}
	return nil
}

// plain tells whether an export has type () -> ().
func (m *module) plain(export string) error {
	if t := m.facts.Functions[export]; len(t.Params)+len(t.Results) > 0 {
		return status.Errorf(status.Invalid, "export %q has type %v instead of () -> ()", export, t)
	}
	return nil
}

// canWarmUp tells whether an export can be called before the snapshot is taken.
func (m *module) canWarmUp(export string) error {
	switch t, ok := m.facts.Functions[export]; {
	case !ok:
		return status.Errorf(status.Invalid, "the module exports no function %q to warm it up with", export)
	case m.codes[export] != abi.OK && len(t.Params)+len(t.Results) > 0:
		return status.Errorf(status.Invalid, "export %q has type %v, and functions that warm up have () -> () or (i32) -> ()", export, t)
	}
	return nil
}

// last returns the call that follows initialisation, of c, which was checked. The functions of a command are called without
// running it first.
func (m *module) last(c *engine.Call) step {
	if !c.Run {
		return step{export: c.Function, withArgs: true}
	}
	name, _ := m.main()
	return step{export: name}
}

// modules holds the compiled modules, the ones used least recently in the end of the order.
type modules struct {
	rt    *Runtime
	disk  *disk         // nil where nothing is kept on disk
	slots chan struct{} // compilations
	ctx   context.Context
	stop  context.CancelFunc

	mu      sync.Mutex
	byID    map[string]*module
	order   *list.List // of *module, newest first
	flights map[string]*compilation
	closed  bool
	wait    sync.WaitGroup // compilations
}

// compilation is a module being prepared.
type compilation struct {
	done chan struct{}
	info engine.ModuleInfo
	err  error
}

func newModules(rt *Runtime) (*modules, error) {
	ms := &modules{
		rt: rt, slots: make(chan struct{}, rt.set.Compiling), byID: map[string]*module{}, order: list.New(),
		flights: map[string]*compilation{},
	}
	if rt.set.CacheDir != "" && len(rt.set.Compiler) > 0 && !rt.set.uncounted {
		var err error
		if ms.disk, err = openDisk(rt.set.CacheDir, rt.set.DiskBytes, rt.info, rt.set.Admit, rt.log); err != nil {
			return nil, err
		}
	}
	ms.ctx, ms.stop = context.WithCancel(context.Background())
	return ms, nil
}

// signature writes an import's type as admit.FuncType does.
func (i Import) signature() string {
	t := admit.FuncType{}
	for _, p := range i.Params {
		if p == 'I' {
			t.Params = append(t.Params, admit.I64)
		} else {
			t.Params = append(t.Params, admit.I32)
		}
	}
	if i.Result {
		t.Results = []admit.ValueType{admit.I32}
	}
	return t.String()
}

// take returns a module for a call; give gives it back.
func (ms *modules) take(id string) (*module, error) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.find(id)
}

// find is take while the lock is held.
func (ms *modules) find(id string) (*module, error) {
	if ms.closed {
		return nil, errClosed()
	}
	if newest := ms.order.Front(); newest != nil { // often it is that again
		if m := newest.Value.(*module); m.id == id {
			m.refs++
			return m, nil
		}
	}
	m := ms.byID[id]
	if m == nil {
		e := status.Errorf(status.NotFound, "module %s is not prepared on this engine", id)
		e.Detail = "module"
		return nil, e
	}
	m.refs++
	ms.order.MoveToFront(m.place)
	return m, nil
}

func (ms *modules) give(m *module) {
	ms.mu.Lock()
	m.refs--
	free := m.dropped && m.refs == 0
	ms.mu.Unlock()
	if free {
		ms.free(m)
	}
}

func (ms *modules) free(m *module) {
	ms.rt.pools.forget(m)
	m.base.close()
	if err := m.code.Close(); err != nil {
		ms.rt.log("freeing a module failed", "module", m.id, "error", err)
	}
}

// add puts a module in, and takes out the ones used least recently.
func (ms *modules) add(m *module) {
	var free []*module
	ms.mu.Lock()
	ms.byID[m.id] = m
	m.place = ms.order.PushFront(m)
	for ms.order.Len() > ms.rt.set.Modules {
		if old := ms.drop(ms.order.Back()); old.refs == 0 {
			free = append(free, old)
		}
	}
	ms.mu.Unlock()
	for _, old := range free {
		ms.free(old)
	}
}

// drop takes a module out. The lock is held; who drops the last reference frees it.
func (ms *modules) drop(place *list.Element) *module {
	m := ms.order.Remove(place).(*module)
	delete(ms.byID, m.id)
	m.dropped = true
	return m
}

// close frees every module. No call uses one any more.
func (ms *modules) close() {
	ms.stop()
	ms.mu.Lock()
	ms.closed = true
	ms.mu.Unlock()
	ms.wait.Wait()
	for ms.order.Len() > 0 {
		ms.free(ms.drop(ms.order.Back()))
	}
}

// prepare returns what is known of a module, and makes it known first where it is not. Whoever asks for the same module
// meanwhile waits for the one preparation; it goes on when those who wait give up.
func (ms *modules) prepare(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	ms.mu.Lock()
	if have := ms.byID[m.SHA256]; have != nil {
		ms.order.MoveToFront(have.place)
		info := have.info
		ms.mu.Unlock()
		info.CacheHit = true
		return info, nil
	}
	c := ms.flights[m.SHA256]
	if c == nil && ms.closed {
		ms.mu.Unlock()
		return engine.ModuleInfo{}, errClosed()
	}
	if c == nil {
		c = &compilation{done: make(chan struct{})}
		ms.flights[m.SHA256] = c
		ms.wait.Add(1)
		go ms.fly(c, m, open)
	}
	ms.mu.Unlock()
	select {
	case <-c.done:
		return c.info, c.err
	case <-ctx.Done():
		return engine.ModuleInfo{}, ctxError(ctx)
	}
}

func (ms *modules) fly(c *compilation, m engine.Module, open func() (io.ReadCloser, error)) {
	defer ms.wait.Done()
	made, err := ms.make(m, open)
	if err == nil {
		c.info = made.info
		ms.add(made)
	}
	c.err = err
	ms.mu.Lock()
	delete(ms.flights, m.SHA256)
	ms.mu.Unlock()
	close(c.done)
}

// make admits and compiles a module.
func (ms *modules) make(m engine.Module, open func() (io.ReadCloser, error)) (made *module, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ms.rt.bug("preparing module "+m.SHA256, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ms.ctx, ms.rt.set.CompileTime)
	defer cancel()
	select {
	case ms.slots <- struct{}{}:
		defer func() { <-ms.slots }()
	case <-ctx.Done():
		return nil, status.Safe(status.Errorf(status.Overloaded, "too many modules are being compiled"))
	}
	a, cached, err := ms.admitted(ctx, m, open)
	if err != nil {
		return nil, err
	}
	code, err := ms.executable(ctx, a)
	if err != nil && cached {
		// The native code is damaged: the engine checks it.
		ms.rt.log("cached native code is damaged and is made again", "module", m.SHA256, "error", err)
		ms.disk.remove(m.SHA256)
		if a, cached, err = ms.admitted(ctx, m, open); err != nil {
			return nil, err
		}
		code, err = ms.executable(ctx, a)
	}
	if err != nil {
		return nil, fmt.Errorf("compile module: %w", status.Wrap(status.Invalid, err))
	}
	if ms.disk != nil && !cached { // after Compile, which would otherwise make again what was swept away
		if err := ms.disk.sweep(); err != nil {
			ms.rt.log("the cache of modules could not be swept", "error", err)
		}
	}
	b := &base{seals: a.seals}
	switch {
	case a.layout != nil:
		if b.image, err = snapshot.New(a.layout); err != nil {
			return nil, errors.Join(fmt.Errorf("lay out the module's data: %w", err), code.Close())
		}
	case a.Base:
		b.path = ms.disk.imagePath(m.SHA256, baseImage)
	}
	return ms.rt.newModule(m.SHA256, a, b, code, cached), nil
}

// loads tells whether modules are loaded from files of native code, which the engine does not check.
func (ms *modules) loads() bool {
	_, ok := ms.rt.backend.(Loader)
	return ok && ms.disk != nil
}

// executable compiles a module, or loads it where its bytes are not needed for that.
func (ms *modules) executable(ctx context.Context, a *artefact) (Code, error) {
	if l, ok := ms.rt.backend.(Loader); ok && ms.loads() {
		files := make([]string, len(a.Native))
		for i, name := range a.Native {
			files[i] = filepath.Join(ms.disk.dir, nativeDir, name.Name)
		}
		return l.Load(files, &a.Facts)
	}
	code, _, err := ms.rt.backend.Compile(ctx, a.admitted())
	return code, err
}

// admitted returns an admitted module whose native code is at hand where there is a cache on disk: from it, or after a
// compiler's process has put it there. cached tells that it was there already.
func (ms *modules) admitted(ctx context.Context, m engine.Module, open func() (io.ReadCloser, error)) (a *artefact, cached bool, err error) {
	if ms.disk != nil {
		if a := ms.disk.load(m.SHA256, ms.loads()); a != nil {
			return a, true, nil
		}
	}
	wasm, err := ms.read(m, open)
	if err != nil {
		return nil, false, err
	}
	if ms.disk == nil {
		a, err = admitModule(wasm, ms.rt.set.Admit, ms.rt.set.uncounted)
		return a, false, err
	}
	if err := ms.compileOutside(ctx, m.SHA256, wasm); err != nil {
		return nil, false, err
	}
	if a = ms.disk.load(m.SHA256, false); a == nil { // it has just been written
		return nil, false, status.Errorf(status.Internal, "the compiler left nothing in %s for module %s", ms.rt.set.CacheDir, m.SHA256)
	}
	return a, false, nil
}

// admitModule admits a module, checks its imports and takes its data out.
func admitModule(wasm []byte, o admit.Options, uncounted bool) (*artefact, error) {
	pass := admit.Module
	if uncounted {
		pass = admit.Uncounted
	}
	m, err := pass(wasm, o)
	if err != nil {
		return nil, fmt.Errorf("admit module: %w", err)
	}
	if err := checkImports(&m.Facts); err != nil {
		return nil, err
	}
	a := &artefact{Facts: m.Facts}
	a.Wasm, a.layout, a.Inside = takeData(m.Wasm, &m.Facts)
	return a, nil
}

// read reads a module's bytes and checks that they are what was named.
func (ms *modules) read(m engine.Module, open func() (io.ReadCloser, error)) ([]byte, error) {
	most := int64(ms.rt.set.Admit.MaxModuleBytes)
	if most == 0 {
		most = admit.MaxModuleBytes
	}
	if m.Size > most {
		return nil, status.LimitError("module_bytes", "the module has %d bytes, and the limit is %d", m.Size, most)
	}
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("open module %s: %w", m.SHA256, status.Wrap(status.Unavailable, err))
	}
	defer r.Close()
	wasm, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.SHA256, status.Wrap(status.Unavailable, err))
	}
	if int64(len(wasm)) > most {
		return nil, status.LimitError("module_bytes", "the module has more than the limit of %d bytes", most)
	}
	if sum := sha256.Sum256(wasm); hex.EncodeToString(sum[:]) != m.SHA256 {
		return nil, status.Errorf(status.Corrupt, "module %s arrived with other contents: their hash is %x", m.SHA256, sum)
	}
	return wasm, nil
}

// checkImports tells of every import that there is not.
func checkImports(f *admit.Facts) error {
	known := map[[2]string]string{} // signatures
	for _, i := range Imports() {
		known[[2]string{i.Module, i.Name}] = i.signature()
	}
	var wrong []string
	for _, i := range f.Imports {
		name := fmt.Sprintf("%q %q", i.Module, i.Name)
		switch have, ok := known[[2]string{i.Module, i.Name}]; {
		case i.Kind != admit.ExternFunc:
			wrong = append(wrong, fmt.Sprintf("%s (a %v: only functions can be imported)", name, i.Kind))
		case !ok:
			wrong = append(wrong, name)
		case have != i.Func.String():
			wrong = append(wrong, fmt.Sprintf("%s (as %v; it is %s)", name, i.Func, have))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	const most = 20
	if n := len(wrong); n > most {
		wrong = append(wrong[:most], fmt.Sprintf("and %d more", n-most))
	}
	return status.Errorf(status.Invalid, `the module imports what essad does not have: %s; functions can import "host", "essa" `+
		"and WASI preview 1 (%s)", strings.Join(wrong, ", "), "wasi_snapshot_preview1 or wasi_unstable")
}

// stackUnits returns the stack limit that instances begin with.
func (rt *Runtime) stackUnits() int64 {
	if n := rt.set.Admit.StackUnits; n > 0 {
		return int64(n)
	}
	return admit.StackUnits
}
