package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

func testModules(t *testing.T, open Open) {
	b := &Border{}
	e := open(t, b, Options{})
	t.Cleanup(func() { e.Close() })

	t.Run("info", func(t *testing.T) {
		info, err := e.Info(context.Background())
		if err != nil || info.Name == "" || info.Version == "" {
			t.Errorf("%+v %v", info, err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		_, err := e.Invoke(context.Background(), &engine.Call{Module: strings.Repeat("0", 64), Function: "f"})
		wantError(t, err, status.NotFound, "module")
	})
	t.Run("prepare", func(t *testing.T) { testPrepare(t, e) })
	t.Run("refused", func(t *testing.T) { testRefusedModules(t, e) })
	t.Run("functions", func(t *testing.T) {
		x := &fixture{engine: e, border: b}
		x.module, _ = Prepare(t, e, Wasm("guest.wasm"))
		_, err := x.invoke(x.function("nobody", nil))
		wantError(t, err, status.NotFound, "function")
		_, err = x.invoke(x.function("essa$start", nil))
		wantError(t, err, status.NotFound, "function")
		_, err = x.invoke(x.function("notfunction", nil))
		wantError(t, err, status.Invalid, "")
	})
	t.Run("nomemory", func(t *testing.T) {
		x := &fixture{engine: e, border: b}
		x.module, _ = Prepare(t, e, Wasm("nomemory.wasm"))
		x.mustInvoke(t, x.function("yields", nil))
		_, err := x.invoke(x.function("sets", nil))
		wantError(t, err, status.GuestFault, "")
	})
}

func testPrepare(t *testing.T, e engine.Engine) {
	wasm := Wasm("guest.wasm")
	var opened atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			info, err := e.Prepare(context.Background(), ModuleOf(wasm), func() (io.ReadCloser, error) {
				opened.Add(1)
				return io.NopCloser(bytes.NewReader(wasm)), nil
			})
			if err != nil || info.Kind != engine.Reactor || !slices.Contains(info.Functions, "echo") ||
				slices.Contains(info.Functions, "notfunction") || !slices.IsSorted(info.Functions) || info.Memory < 64<<10 {
				t.Errorf("%+v %v", info, err)
			}
		})
	}
	wg.Wait()
	if n := opened.Load(); n > 1 {
		t.Errorf("the module was opened %d times", n)
	}
	info, err := e.Prepare(context.Background(), ModuleOf(wasm), func() (io.ReadCloser, error) {
		return nil, errors.New("opened although the engine has it")
	})
	if err != nil || !info.CacheHit {
		t.Errorf("%+v %v", info, err)
	}
	_, info = Prepare(t, e, Wasm("command.wasm"))
	if info.Kind != engine.Command || len(info.Functions) != 1 {
		t.Errorf("the command: %+v", info)
	}
	_, info = Prepare(t, e, Wasm("library.wasm"))
	if info.Kind != engine.Library {
		t.Errorf("the library: %+v", info)
	}
}

func testRefusedModules(t *testing.T, e engine.Engine) {
	for _, c := range []struct {
		name  string
		wasm  []byte
		class status.Class
		text  []string
	}{
		{"imports", Wasm("imports.wasm"), status.Invalid, []string{"env", "missing", "essa_get_args", "i64", "table"}},
		{"text", []byte("(module)"), status.Invalid, []string{"text"}},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), status.Invalid, []string{"component"}},
		{"truncated", Wasm("guest.wasm")[:500], status.Invalid, nil},
		{"empty", nil, status.Invalid, nil},
	} {
		_, err := prepare(e, c.wasm)
		wantError(t, err, c.class, "")
		if err != nil {
			wantText(t, err.Error(), c.text...)
		}
	}
	// Other bytes than named, and none.
	_, err := e.Prepare(context.Background(), ModuleOf([]byte("something else")), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(Wasm("library.wasm"))), nil
	})
	wantError(t, err, status.Corrupt, "")
	_, err = e.Prepare(context.Background(), ModuleOf([]byte("absent")), func() (io.ReadCloser, error) {
		return nil, status.Errorf(status.Unavailable, "the registry is away")
	})
	wantError(t, err, status.Unavailable, "")
	// A failure is not remembered.
	other := append(Wasm("library.wasm"), 0, 3, 1, 'x', 'y') // a custom section
	if _, err := e.Prepare(context.Background(), ModuleOf(other), func() (io.ReadCloser, error) {
		return nil, status.Errorf(status.Unavailable, "the registry is away")
	}); err == nil {
		t.Error("prepared without its bytes")
	}
	if _, err := prepare(e, other); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func testRuns(t *testing.T, open Open) {
	t.Run("command", func(t *testing.T) {
		b := &Border{Stdin: strings.NewReader("one\ntwo\n")}
		x := startWith(t, open, Options{}, b, "command.wasm")
		c := x.main()
		c.Argv, c.Env, c.Stdin = []string{"prog", "an argument"}, []string{"GREETING=hello"}, true
		r := x.mustInvoke(t, c)
		if r.ExitCode != 7 {
			t.Errorf("exit code %d", r.ExitCode)
		}
		if got, want := b.Written(engine.Stdout), "arg prog\narg an argument\nenv hello\nin one\nin two\nunfinished"; got != want {
			t.Errorf("standard output %q, want %q", got, want)
		}
		if got := b.Written(engine.Stderr); got != "to stderr" {
			t.Errorf("standard error %q", got)
		}
		// A function of a command does not run main first.
		if r := x.mustInvoke(t, x.function("ran", nil)); string(r.Value) != "n" {
			t.Errorf("ran: %q", r.Value)
		}
		// Without standard input it is empty.
		x.mustInvoke(t, x.main())
	})
	t.Run("reactor", func(t *testing.T) {
		x := start(t, open, Options{})
		x.mustInvoke(t, x.main())
		if got := x.border.Written(engine.Stdout); got != "main of a reactor\n" {
			t.Errorf("standard output %q", got)
		}
	})
	t.Run("unnamed", func(t *testing.T) {
		x := startWith(t, open, Options{}, &Border{}, "unnamed.wasm")
		if r := x.mustInvoke(t, x.main()); r.ExitCode != 3 {
			t.Errorf("exit code %d", r.ExitCode)
		}
		_, err := x.invoke(x.function("exits", nil))
		wantError(t, err, status.GuestFault, "")
	})
	for _, name := range []string{"both.wasm", "library.wasm"} {
		t.Run(strings.TrimSuffix(name, ".wasm"), func(t *testing.T) {
			x := startWith(t, open, Options{}, &Border{}, name)
			_, err := x.invoke(x.main())
			wantError(t, err, status.Invalid, "")
		})
	}
	t.Run("input ends with the run", func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		b := &Border{Before: func(ctx context.Context, op string, _ *engine.Origin, _ []byte) error {
			if op == "input" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}, Stdin: r}
		x := startWith(t, open, Options{}, b, "command.wasm")
		c := x.main()
		c.Stdin = true
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := x.engine.Invoke(ctx, c)
		wantError(t, err, status.Deadline, "")
		wantText(t, b.Written(engine.Stdout), "env none\n")
	})
}
