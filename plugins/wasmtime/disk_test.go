//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
)

// TestMain lets this program be the plugin, and the compiler.
func TestMain(m *testing.M) {
	if os.Getenv(plugin.Handshake.MagicCookieKey) != "" {
		main()
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == compileCommand {
		os.Exit(runtime.CompileModule(newCompiler))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func cachedEngine(t *testing.T, dir string, change func(*runtime.Settings)) engine.Engine {
	t.Helper()
	s := runtime.Settings{CacheDir: dir, Compiler: []string{"/proc/self/exe", compileCommand}}
	if change != nil {
		change(&s)
	}
	e, err := newEngine(s, &enginetest.Border{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDiskCache: what was compiled once is neither opened nor compiled again, by this process or the next.
func TestDiskCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	e := cachedEngine(t, dir, nil)
	wasm := enginetest.Wasm("guest.wasm")
	id, info := enginetest.Prepare(t, e, wasm)
	if info.CacheHit {
		t.Error("found in an empty cache")
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", st, err)
	}
	if made := files(t, dir); len(made) != 4 {
		t.Errorf("files %v, want an admitted module, its data, its native code and its types", made)
	}
	echo(t, e, wasm, engine.Initialised)
	made := files(t, dir)
	if len(made) != 5 {
		t.Errorf("files %v, want a snapshot as well", made)
	}
	e.Close()

	e = cachedEngine(t, dir, nil)
	unopened := func() (io.ReadCloser, error) { return nil, errors.New("opened although it is on disk") }
	if info, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), unopened); err != nil || !info.CacheHit {
		t.Errorf("%+v %v", info, err)
	}
	if now := files(t, dir); len(now) != len(made) {
		t.Errorf("files %v after %v", now, made)
	}
	echo(t, e, wasm, engine.Mapped)
	e.Close()

	// Damage: any file missing or changed.
	for _, path := range made {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, damaged := range map[string][]byte{"changed": flip(whole), "missing": nil} {
			if os.WriteFile(path, damaged, 0o600) != nil || damaged == nil && os.Remove(path) != nil {
				t.Fatal("cannot damage the file")
			}
			want := engine.Mapped // not even the data matter to the snapshot; damaged code takes all with it
			if strings.HasSuffix(path, ".snapshot") || strings.HasSuffix(path, codeSuffix) && damaged != nil {
				want = engine.Initialised
			}
			t.Log(filepath.Base(path), name)
			e = cachedEngine(t, dir, nil)
			enginetest.Prepare(t, e, wasm)
			echo(t, e, wasm, want)
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
	e = cachedEngine(t, dir, nil)
	enginetest.Prepare(t, e, wasm)
	_, err := e.Invoke(context.Background(), &engine.Call{Module: id, Function: "echo", Args: []byte("x")})
	if status.Of(err) != status.NotFound || status.DetailOf(err) != "module" {
		t.Errorf("damaged data: %v", err)
	}
	enginetest.Prepare(t, e, wasm)
	echo(t, e, wasm, engine.Initialised)
}

// echo has a module answer, and checks where its instance came from.
func echo(t *testing.T, e engine.Engine, wasm []byte, want engine.Start) {
	t.Helper()
	r, err := e.Invoke(context.Background(), &engine.Call{
		Module: enginetest.ModuleOf(wasm).SHA256, Function: "echo",
		Args: []byte("x"),
	})
	if err != nil || string(r.Value) != "x" {
		t.Fatalf("%v %v", r, err)
	}
	if r.Stats.Instance != want {
		t.Errorf("its instance came about in way %d, and not %d", r.Stats.Instance, want)
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) / 3; i < len(b); i += 97 {
		b[i] ^= 0x55
	}
	return b
}

// TestDiskBound: the cache keeps its bound.
func TestDiskBound(t *testing.T) {
	dir := t.TempDir()
	e := cachedEngine(t, dir, func(s *runtime.Settings) { s.DiskBytes = 20_000 })
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

// TestCompilerRefuses: what the compiler's process finds wrong keeps its class on the way.
func TestCompilerRefuses(t *testing.T) {
	dir := t.TempDir()
	e := cachedEngine(t, dir, func(s *runtime.Settings) { s.Admit.MaxFunctions = 20 })
	prepare := func(e engine.Engine, wasm []byte) error {
		_, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(wasm)), nil
		})
		return err
	}
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

// bombModule is one function with very many bulk operations, which compilers take long for.
func bombModule(n int) []byte {
	op := []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 0x0b, 0} // three constants, memory.fill
	body := append([]byte{0}, bytes.Repeat(op, n)...)
	body = append(body, 0x0b)
	section := func(id byte, content []byte) []byte {
		return append(append([]byte{id}, leb(len(content))...), content...)
	}
	m := []byte("\x00asm\x01\x00\x00\x00")
	m = append(m, section(1, []byte{1, 0x60, 1, 0x7f, 0})...)
	m = append(m, section(3, []byte{1, 0})...)
	m = append(m, section(5, []byte{1, 0, 1})...)
	m = append(m, section(7, []byte{1, 1, 'f', 0, 0})...)
	return append(m, section(10, append(append([]byte{1}, leb(len(body))...), body...))...)
}

func leb(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// TestCompileBomb: a module that is too much for the compiler fails with a limit's name, in time.
func TestCompileBomb(t *testing.T) {
	if race {
		t.Skip("the race detector's shadow memory counts toward the bound")
	}
	e := cachedEngine(t, t.TempDir(), func(s *runtime.Settings) { s.CompileTime, s.CompileMemory = 2*time.Second, 256<<20 })
	wasm := bombModule(80_000)
	began := time.Now()
	_, err := e.Prepare(context.Background(), enginetest.ModuleOf(wasm), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(wasm)), nil
	})
	t.Logf("after %v: %v", time.Since(began), err)
	if err != nil && status.Of(err) != status.Limit {
		t.Errorf("%v", err)
	}
	if time.Since(began) > 8*time.Second {
		t.Errorf("it took %v", time.Since(began))
	}
}
