package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// Measurement is what an engine takes for a function, as MeasureModule finds it out in a process of its own: no border, no
// daemon, nobody else. Times are medians, of the whole way of an invocation through the engine.
type Measurement struct {
	Engine   string `json:"engine"`
	Version  string `json:"version"`
	Function string `json:"function"`

	Compile    float64 `json:"compile_ms"`       // of a module that is not in the cache on disk
	Checked    float64 `json:"checked_us"`       // loading one that is, and the first call, where its files are still to be checked
	Cold       float64 `json:"cold_us"`          // the same where they were since the machine was started
	Load       float64 `json:"load_ms"`          // of that, loading
	First      float64 `json:"first_us"`         // and the call
	Isolated   float64 `json:"isolated_us"`      // a call whose instance is set back after it
	Reused     float64 `json:"reused_us"`        // a call in an instance that is not
	Fresh      float64 `json:"fresh_us"`         // a call in an instance made for it
	Bare       float64 `json:"bare_us"`          // the engine's own call of the export in a live instance
	VersusBare float64 `json:"isolated_by_bare"` // Isolated by Bare: the median of many rounds, each of which measures both

	BareCold float64 `json:"bare_cold_us"` // the engine alone: load the module as it was written, make an instance, call

	// What counting costs, with -counting: the engine's own call in a live instance of the module as admission has rewritten it,
	// and as it was written.
	Metered       float64 `json:"metered_us,omitempty"`
	Written       float64 `json:"written_us,omitempty"`
	VersusWritten float64 `json:"metered_by_written,omitempty"` // as above

	// Memory of the process, with -memory: for one more module like this one, loaded, called once and idle.
	Deployment int64  `json:"deployment_bytes"`
	Running    int64  `json:"running_bytes"` // for one more instance in the middle of a call
	Waiting    int64  `json:"waiting_bytes"` // for one more instance that waits for a call
	Parked     int64  `json:"parked_bytes"`  // and once it has waited for Settings.ParkedTime: then heavy ones are gone
	WhyFresh   string `json:"why_fresh,omitempty"`
}

// MeasureCommand is the argument with which an engine plugin measures a module instead of serving.
const MeasureCommand = "measure-module"

// MeasureModule is the main function of an engine plugin that was started with MeasureCommand and the arguments that follow
// it. It writes a Measurement as JSON, and returns the process's exit code.
func MeasureModule(args []string, to io.Writer, newEngine func(Settings, engine.Border) (engine.Engine, error),
	newCompiler func(dir string) (Backend, error), compiler []string,
) int {
	f := flag.NewFlagSet(MeasureCommand, flag.ContinueOnError)
	long := f.Duration("for", 200*time.Millisecond, "how long each kind of call is measured")
	warmUp := f.String("warm-up", "", "export to call before the snapshot is taken")
	counting := f.Bool("counting", false, "measure what counting costs as well")
	memory := f.Bool("memory", false, "measure what deployments and instances take as well")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: %s %s [flags] FILE.wasm FUNCTION [ARGUMENTS-IN-HEX]\n", os.Args[0], MeasureCommand)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return 2
	}
	if f.NArg() < 2 || f.NArg() > 3 {
		f.Usage()
		return 2
	}
	m := &measuring{newEngine: newEngine, newCompiler: newCompiler, compiler: compiler, long: *long, counting: *counting, memory: *memory}
	m.call = engine.Call{Function: f.Arg(1), WarmUp: *warmUp}
	out, err := m.run(f.Arg(0), f.Arg(2))
	if err == nil {
		err = json.NewEncoder(to).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, MeasureCommand+":", err)
		return 1
	}
	return 0
}

type measuring struct {
	newEngine   func(Settings, engine.Border) (engine.Engine, error)
	newCompiler func(dir string) (Backend, error)
	compiler    []string
	long        time.Duration
	counting    bool
	memory      bool

	dir    string
	wasm   []byte
	module engine.Module
	call   engine.Call
	out    Measurement

	others []*measuring // with -memory: what differs is the module

	loads, firsts, colds []time.Duration
}

func (m *measuring) run(file, args string) (_ *Measurement, err error) {
	if m.wasm, err = os.ReadFile(file); err != nil {
		return nil, err
	}
	if m.call.Args, err = hex.DecodeString(args); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	m.name()
	if m.dir, err = os.MkdirTemp("", "essad-measure-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(m.dir)
	parts := []func(*Runtime) error{m.compiled, m.cold}
	for range coldStarts {
		parts = append(parts, m.cold)
	}
	parts = append(parts, m.bareCold)
	if m.memory {
		parts = append(parts, m.compileOthers, m.resident)
	}
	parts = append(parts, m.calls)
	if m.counting {
		parts = append(parts, m.counted)
	}
	for _, part := range parts {
		if err := m.with(part); err != nil {
			return nil, err
		}
	}
	return &m.out, nil
}

// coldStarts is how many cold starts are measured.
const coldStarts = 9

// with runs a part in an engine that begins with what the one before left on disk.
func (m *measuring) with(part func(*Runtime) error) error {
	return m.withEngine(Settings{CacheDir: m.dir, Compiler: m.compiler}, part)
}

func (m *measuring) withEngine(s Settings, part func(*Runtime) error) (err error) {
	e, err := m.newEngine(s, nowhere{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	rt, ok := e.(*Runtime)
	if !ok {
		return errors.New("the engine is not made by this package")
	}
	return part(rt)
}

// name names the module whose bytes are there.
func (m *measuring) name() {
	sum := sha256.Sum256(m.wasm)
	m.module = engine.Module{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(m.wasm))}
	m.call.Module = m.module.SHA256
}

func (m *measuring) prepare(rt *Runtime) (time.Duration, error) {
	begun := time.Now()
	info, err := rt.Prepare(context.Background(), m.module, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(m.wasm)), nil
	})
	m.out.WhyFresh = info.Fresh
	return time.Since(begun), err
}

func (m *measuring) invoke(rt *Runtime, how engine.Isolation) (time.Duration, error) {
	c := m.call
	c.Isolation = how
	begun := time.Now()
	_, err := rt.Invoke(context.Background(), &c)
	return time.Since(begun), err
}

// callOnce loads the module and calls the function.
func (m *measuring) callOnce(rt *Runtime) error {
	if _, err := m.prepare(rt); err != nil {
		return err
	}
	_, err := m.invoke(rt, engine.Restored)
	return err
}

func (m *measuring) compiled(rt *Runtime) error {
	took, err := m.prepare(rt)
	if err != nil {
		return err
	}
	_, err = m.invoke(rt, engine.Restored) // leaves the snapshot on disk
	m.out.Engine, m.out.Version, m.out.Function = rt.info.Name, rt.info.Version, m.call.Function
	m.out.Compile = took.Seconds() * 1e3
	return err
}

// cold is a start from what is on disk.
func (m *measuring) cold(rt *Runtime) error {
	if m.out.Checked == 0 {
		time.Sleep(sealAfter + 10*time.Millisecond) // so that they are sealed
	}
	load, err := m.prepare(rt)
	if err != nil {
		return err
	}
	first, err := m.invoke(rt, engine.Restored)
	if err != nil {
		return err
	}
	if m.out.Checked == 0 {
		m.out.Checked = micros(load + first)
		return nil
	}
	m.loads, m.firsts, m.colds = append(m.loads, load), append(m.firsts, first), append(m.colds, load+first)
	m.out.Load, m.out.First, m.out.Cold = median(m.loads)/1e3, median(m.firsts), median(m.colds)
	return nil
}

// calls measures calls of every kind.
func (m *measuring) calls(rt *Runtime) error {
	if err := m.callOnce(rt); err != nil {
		return err
	}
	live, err := m.guest(rt)
	if err != nil {
		return err
	}
	defer live.leave()
	var reused engine.Call
	isolated := &kind{to: &m.out.Isolated, once: m.invoker(rt, engine.Restored, &engine.Call{}), per: 1}
	bare := &kind{to: &m.out.Bare, once: live.enterBatch, per: batch}
	kinds := []*kind{isolated, bare, {to: &m.out.Reused, once: m.invoker(rt, engine.Reused, &reused), per: 1}}
	if err := inTurns(m.long, kinds); err != nil {
		return err
	}
	m.out.VersusBare = isolated.by(bare)
	// Alone, for the garbage of a fresh instance would be collected in the next one's turn.
	return inTurns(m.long, []*kind{{to: &m.out.Fresh, once: m.invoker(rt, engine.Fresh, &engine.Call{}), per: 1}})
}

// invoker returns what makes a call of a kind, which is c: making one anew would cost as much as some of them take.
func (m *measuring) invoker(rt *Runtime, how engine.Isolation, c *engine.Call) func() (time.Duration, error) {
	*c = m.call
	c.Isolation = how
	return func() (time.Duration, error) {
		begun := time.Now()
		_, err := rt.Invoke(context.Background(), c)
		return time.Since(begun), err
	}
}

// guest makes an invocation that has an instance and has not been entered.
func (m *measuring) guest(rt *Runtime) (*Guest, error) {
	mod, err := rt.modules.take(m.call.Module)
	if err != nil {
		return nil, err
	}
	defer rt.modules.give(mod) // nobody else is there to evict it
	c := m.call
	g := rt.newGuest()
	if err := g.set(context.Background(), &c, mod); err != nil {
		return nil, err
	}
	g.w = &worker{has: true}
	if !g.reserve(rt.budget.reserve) {
		return nil, status.Errorf(status.Overloaded, "the engine has no memory for so many instances")
	}
	if err := g.obtain(); err != nil {
		g.release()
		return nil, err
	}
	if g.stats.Instance == engine.Initialised {
		_, err = g.initialise()
	}
	return g, err
}

// leave ends an invocation of guest's.
func (g *Guest) leave() {
	g.leaveInstance(true)
	g.release()
}

func (g *Guest) enterLast() error { return g.enter(g.mod.last(g.call)) }

// batch is how many calls are measured together: a clock costs as much as some of them.
const batch = 16

// enterBatch is the engine alone: the export of a live instance, with nothing before or after it.
func (g *Guest) enterBatch() (time.Duration, error) {
	begun := time.Now()
	for range batch {
		if err := g.enterLast(); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// nowhere is a border with nothing behind it.
type nowhere struct{}

func (nowhere) Load(context.Context, *engine.Origin, []byte, bool) (engine.Value, error) {
	return engine.Value{}, status.Errorf(status.NotFound, "there is no state here")
}

func (nowhere) Merge(context.Context, *engine.Origin, []byte, []byte) (uint64, error) { return 1, nil }

func (nowhere) Call(context.Context, *engine.Origin, *engine.Call) (*engine.Result, error) {
	return nil, status.Errorf(status.Overloaded, "there is no other engine here")
}

func (nowhere) Output(context.Context, *engine.Origin, engine.Stream, []byte) error { return nil }

func (nowhere) Input(context.Context, *engine.Origin, int) ([]byte, error) { return nil, io.EOF }
