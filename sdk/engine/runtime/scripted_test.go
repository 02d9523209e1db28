package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/admit"
)

// scripted is a backend whose guests are functions of a test.
type scripted struct {
	guests map[string]func(*player) error
	made   func(*Guest)  // an instance is about to be made for it
	ends   func(*player) // an instance is about to be closed

	alive atomic.Int64 // instances
	told  chan string  // what the engine logged
}

// player is an instance of it.
type player struct {
	*scripted
	guest *Guest

	mu      sync.Mutex
	globals map[string]int64
}

var errStopped = errors.New("stopped")

func (s *scripted) Info() engine.Info { return engine.Info{Name: "scripted", Version: "1"} }

func (s *scripted) Compile(context.Context, *admit.Admitted) (Code, bool, error) {
	return s, false, nil
}

func (s *scripted) Close() error { return nil }

func (s *scripted) Instantiate(g *Guest) (Instance, error) {
	if s.made != nil {
		s.made(g)
	}
	s.alive.Add(1)
	return &player{scripted: s, guest: g, globals: map[string]int64{}}, nil
}

// Call implements Instance.
func (p *player) Call(export string, _ []uint64) error { return p.guests[export](p) }

// Close implements Instance.
func (p *player) Close() {
	if p.ends != nil {
		p.ends(p)
	}
	p.alive.Add(-1)
}

func (p *player) Memory() []byte { return nil }

func (p *player) Global(name string) int32       { return int32(p.Global64(name)) }
func (p *player) SetGlobal(name string, v int32) { p.SetGlobal64(name, int64(v)) }
func (p *player) Global64(name string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.globals[name]
}

func (p *player) SetGlobal64(name string, v int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.globals[name] = v
}

// start makes a nested call.
func (p *player) start(name string) (abi.Future, error) {
	f, err := (*host)(p.guest).Start(name, nil)
	return f, p.guest.note(err)
}

// call makes one and waits for it.
func (p *player) call(name string) error {
	f, err := p.start(name)
	if err != nil {
		return err
	}
	_, _, err = f.Wait()
	if end := (*abi.End)(nil); errors.As(err, &end) {
		return p.guest.note(err)
	}
	return nil // as most guests take it
}

// spin computes until the guest is stopped.
func (p *player) spin() error {
	for p.Global(admit.GlobalStop) == 0 {
		time.Sleep(100 * time.Microsecond)
	}
	return errStopped
}

// open makes an engine of it, with a module that exports all functions. The engine is closed with the test, unless it was before.
func (s *scripted) open(t *testing.T, set Settings, names ...string) (*Runtime, string) {
	t.Helper()
	s.told = make(chan string, 100)
	set.Log = func(msg string, _ ...any) { s.told <- msg }
	rt, err := New(s, nil, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		if n := s.alive.Load(); n != 0 {
			t.Errorf("%d instances were not closed", n)
		}
		if n := rt.budget.used.Load(); n != 0 {
			t.Errorf("%d bytes are still reserved", n)
		}
	})
	wasm := exporting(names)
	sum := sha256.Sum256(wasm)
	m := engine.Module{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(wasm))}
	if _, err := rt.Prepare(t.Context(), m, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wasm)), nil }); err != nil {
		t.Fatal(err)
	}
	return rt, m.SHA256
}

// exporting is a module with one function, (i32) -> (), exported by all these names.
func exporting(names []string) []byte {
	exports := []byte{byte(len(names))}
	for _, n := range names {
		exports = append(append(exports, byte(len(n))), n...)
		exports = append(exports, 0, 0)
	}
	section := func(id byte, content ...byte) []byte { return append([]byte{id, byte(len(content))}, content...) }
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"), section(1, 1, 0x60, 1, 0x7f, 0), section(3, 1, 0), section(7, exports...),
		section(10, 1, 2, 0, 0x0b),
	}, nil)
}
