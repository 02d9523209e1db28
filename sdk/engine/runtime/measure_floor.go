package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
)

// What the same work costs with less of this package around it, or nothing.

// bareCold measures the engine's own cold start: it loads the module as it was written from what it has cached, makes an
// instance, has it lay out its own data and initialise itself, and calls the function.
func (m *measuring) bareCold(rt *Runtime) error {
	if _, err := m.prepare(rt); err != nil { // for what the imports need
		return err
	}
	a, err := admit.Uncounted(m.wasm, rt.set.Admit)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(m.dir, "bare-")
	if err != nil {
		return err
	}
	var took []time.Duration
	for n := range 1 + coldStarts { // the first one compiles
		d, err := m.bareStart(rt, dir, a)
		if err != nil {
			return fmt.Errorf("the engine alone: %w", err)
		}
		if n > 0 {
			took = append(took, d)
		}
	}
	m.out.BareCold = median(took)
	return nil
}

func (m *measuring) bareStart(rt *Runtime, dir string, a *admit.Admitted) (took time.Duration, err error) {
	b, err := m.newCompiler(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	mod, err := rt.modules.take(m.call.Module)
	if err != nil {
		return 0, err
	}
	defer rt.modules.give(mod)
	c := m.call
	c.Isolation = engine.Fresh
	g := rt.newGuest()
	if err := g.set(context.Background(), &c, mod); err != nil {
		return 0, err
	}
	defer g.release()
	begun := time.Now()
	code, err := loadOrCompile(b, dir, a)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, code.Close()) }()
	inst, err := code.Instantiate(g)
	if err != nil {
		return 0, err
	}
	defer inst.Close()
	g.inst = inst
	defer func() { g.inst = nil }()
	for _, s := range append(slices.Clone(mod.initial), mod.last(&c)) {
		if err := inst.Call(s.export, s.params(c.Args)); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// loadOrCompile returns a module's code, from the files that were left in dir where the engine has such.
func loadOrCompile(b Backend, dir string, a *admit.Admitted) (Code, error) {
	if l, ok := b.(Loader); ok {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			return l.Load(files, &a.Facts) // in the order of their names
		}
	}
	code, _, err := b.Compile(context.Background(), a)
	return code, err
}

// counted measures what counting costs: calls of the function in a live instance of the module as admission rewrites it, and
// of one whose code is as it was written, in turns.
func (m *measuring) counted(rt *Runtime) error {
	return m.withEngine(Settings{uncounted: true}, func(plain *Runtime) error {
		metered, written := &kind{to: &m.out.Metered, per: batch}, &kind{to: &m.out.Written, per: batch}
		for _, side := range []struct {
			rt *Runtime
			k  *kind
		}{{rt, metered}, {plain, written}} {
			if _, err := m.prepare(side.rt); err != nil {
				return err
			}
			g, err := m.guest(side.rt)
			if err != nil {
				return err
			}
			defer g.leave()
			side.k.once = g.enterBatch
		}
		if err := inTurns(m.long, []*kind{metered, written}); err != nil {
			return err
		}
		m.out.VersusWritten = metered.by(written)
		return nil
	})
}
