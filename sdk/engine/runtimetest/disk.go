package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// files lists the files of modules, without their seals.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Base(filepath.Dir(path)) != "seals" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// testDiskCache: what was compiled once is neither opened nor compiled again, by this process or the next.
func (x *Engine) testDiskCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	e := x.Cached(t, dir, nil)
	wasm := enginetest.Wasm("guest.wasm")
	id, info := enginetest.Prepare(t, e, wasm)
	if info.CacheHit {
		t.Error("found in an empty cache")
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", st, err)
	}
	if made := files(t, dir); len(made) != 2+len(x.Native) {
		t.Errorf("files %v, want an admitted module, its data and %d files of native code", made, len(x.Native))
	}
	Echo(t, e, wasm, engine.Initialised)
	made := files(t, dir)
	if len(made) != 3+len(x.Native) {
		t.Errorf("files %v, want a snapshot as well", made)
	}
	e.Close()

	time.Sleep(100 * time.Millisecond) // what was changed a moment ago is not sealed
	e = x.Cached(t, dir, nil)
	unopened := func() (io.ReadCloser, error) { return nil, errors.New("opened although it is on disk") }
	if info, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), unopened); err != nil || !info.CacheHit {
		t.Errorf("%+v %v", info, err)
	}
	if now := files(t, dir); len(now) != len(made) {
		t.Errorf("files %v after %v", now, made)
	}
	Echo(t, e, wasm, engine.Mapped)
	e.Close()

	// Damage: any file missing or changed, though it was found whole before, and though its times say that it is as it was.
	for _, path := range made {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, damaged := range map[string][]byte{"changed": flip(whole), "one bit changed": flipBit(whole), "missing": nil} {
			if os.WriteFile(path, damaged, 0o600) != nil || os.Chtimes(path, before.ModTime(), before.ModTime()) != nil ||
				damaged == nil && os.Remove(path) != nil {
				t.Fatal("cannot damage the file")
			}
			want := engine.Mapped // not even the data matter to the snapshot; damaged code takes all with it
			if strings.HasSuffix(path, ".snapshot") || x.native(path) && damaged != nil {
				want = engine.Initialised
			}
			t.Log(filepath.Base(path), name)
			e = x.Cached(t, dir, nil)
			enginetest.Prepare(t, e, wasm)
			Echo(t, e, wasm, want)
			e.Close()
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Data are read only where there is no snapshot: then the module is made again, which the caller is told to do.
	for _, path := range made {
		switch whole, err := os.ReadFile(path); {
		case err != nil:
			t.Fatal(err)
		case strings.HasSuffix(path, ".data"):
			if err := os.WriteFile(path, flip(whole), 0o600); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(path, ".snapshot"):
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	e = x.Cached(t, dir, nil)
	enginetest.Prepare(t, e, wasm)
	_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo", Args: []byte("x")})
	if status.Of(err) != status.NotFound || status.DetailOf(err) != "module" {
		t.Errorf("damaged data: %v", err)
	}
	enginetest.Prepare(t, e, wasm)
	Echo(t, e, wasm, engine.Initialised)
}

// native tells a file of native code from others.
func (x *Engine) native(path string) bool {
	return strings.Contains(path, "/native/") && slices.ContainsFunc(x.Native, func(end string) bool { return strings.HasSuffix(path, end) })
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) / 3; i < len(b); i += 97 {
		b[i] ^= 0x55
	}
	return b
}

func flipBit(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 4
	return b
}

// testDiskBound: the cache keeps its bound.
func (x *Engine) testDiskBound(t *testing.T) {
	dir := t.TempDir()
	e := x.Cached(t, dir, func(s *runtime.Settings) { s.DiskBytes = 20_000 })
	for _, name := range []string{"library.wasm", "unnamed.wasm", "guest.wasm", "command.wasm"} {
		enginetest.Prepare(t, e, enginetest.Wasm(name))
	}
	var total int64
	for _, f := range files(t, dir) {
		if st, err := os.Stat(f); err == nil {
			total += st.Size()
		}
	}
	if total > 20_000 {
		t.Errorf("%d bytes in a cache of 20000", total)
	}
}

// testCompilerRefuses: what the compiler's process finds wrong keeps its class on the way.
func (x *Engine) testCompilerRefuses(t *testing.T) {
	dir := t.TempDir()
	e := x.Cached(t, dir, func(s *runtime.Settings) { s.Admit.MaxFunctions = 20 })
	if err := prepare(e, enginetest.Wasm("imports.wasm")); status.Of(err) != status.Invalid {
		t.Errorf("imports: %v", err)
	}
	if err := prepare(e, enginetest.Wasm("guest.wasm")); status.Of(err) != status.Limit {
		t.Errorf("too many functions: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// bomb is one function with very many bulk operations, which compilers take long for.
func bomb(n int) []byte {
	op := []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 0x0b, 0} // three constants, memory.fill
	return Module(Cat([]byte{0}, bytes.Repeat(op, n), []byte{0x0b}))
}

// testCompileBomb: a module that is too much for the compiler fails with a limit's name, in time.
func (x *Engine) testCompileBomb(t *testing.T) {
	if Race {
		t.Skip("the race detector's shadow memory counts toward the bound")
	}
	e := x.Cached(t, t.TempDir(), func(s *runtime.Settings) { s.CompileTime, s.CompileMemory = 2*time.Second, 256<<20 })
	wasm := bomb(80_000)
	began := time.Now()
	err := prepare(e, wasm)
	t.Logf("after %v: %v", time.Since(began), err)
	if err != nil && status.Of(err) != status.Limit {
		t.Errorf("%v", err)
	}
	if time.Since(began) > 8*time.Second {
		t.Errorf("it took %v", time.Since(began))
	}
}
