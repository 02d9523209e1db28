package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// meteredTurns is how many times the two modules take turns: a machine's speed changes within seconds.
const meteredTurns = 20

// meteredCalls returns what a function takes in a live instance of a module as it was written, and of the same as admission
// has rewritten it, with its fuel and its stops: the medians, in microseconds.
func meteredCalls(file, function string, long time.Duration) (original, metered float64, err error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	admitted, err := admit.Module(wasm, admit.Options{})
	if err != nil {
		return 0, 0, err
	}
	var sides [2]meteredSide
	for n, wasm := range [][]byte{wasm, admitted.Wasm} {
		s := &sides[n]
		if err := s.open(wasm, function); err != nil {
			return 0, 0, errors.Join(err, sides[0].close(), sides[1].close())
		}
	}
	for range meteredTurns {
		for n := range sides {
			if err == nil {
				err = sides[n].measure(long / meteredTurns)
			}
		}
	}
	if err = errors.Join(err, sides[0].close(), sides[1].close()); err != nil {
		return 0, 0, err
	}
	return sides[0].median(), sides[1].median(), nil
}

// meteredSide is one of the two modules.
type meteredSide struct {
	engine   *bareEngine
	instance *bareInstance
	function api.Function
	took     []time.Duration
}

func (s *meteredSide) open(wasm []byte, function string) (err error) {
	if s.engine, err = newBareEngineOf(wasm); err != nil {
		return err
	}
	s.engine.ready = enterMetered
	if s.instance, err = s.engine.instance(); err != nil {
		return err
	}
	if s.function = s.instance.mod.ExportedFunction(function); s.function == nil {
		return fmt.Errorf("there is no function %q", function)
	}
	return nil
}

// enterMetered sets what the engine's runtime sets before it enters a guest, where admission has added it.
func enterMetered(mod api.Module) {
	slice, fuel := admit.Slice(0, 0)
	for name, bits := range map[string]uint64{
		admit.GlobalStack: admit.StackUnits, admit.GlobalSlice: uint64(uint32(slice)), admit.GlobalFuel: uint64(fuel),
	} {
		if g, ok := mod.ExportedGlobal(name).(api.MutableGlobal); ok {
			g.Set(bits)
		}
	}
}

func (s *meteredSide) measure(long time.Duration) error {
	enterMetered(s.instance.mod)
	for end, n := time.Now().Add(long), 0; n == 0 || time.Now().Before(end); n++ {
		begun := time.Now()
		if _, err := s.function.Call(s.instance.ctx, 0); err != nil {
			return err
		}
		s.took = append(s.took, time.Since(begun))
	}
	return nil
}

func (s *meteredSide) median() float64 {
	slices.Sort(s.took)
	return s.took[len(s.took)/2].Seconds() * 1e6
}

func (s *meteredSide) close() (err error) {
	if s.instance != nil {
		err = s.instance.close()
	}
	if s.engine != nil {
		err = errors.Join(err, s.engine.rt.Close(context.Background()))
	}
	return err
}
