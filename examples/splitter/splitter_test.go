package splitter

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/lattice"
)

func TestCommitted(t *testing.T) {
	if len(Wasm) > 16<<10 {
		t.Errorf("the committed module has %d bytes; it is meant to be tiny", len(Wasm))
	}
	behaves(t, Wasm)
}

func TestRebuilt(t *testing.T) {
	clang := os.Getenv("CLANG")
	if clang == "" {
		clang = "clang"
	}
	if _, err := exec.LookPath(clang); err != nil {
		t.Skipf("no C compiler for wasm: %v", err)
	}
	out := filepath.Join(t.TempDir(), "splitter.wasm")
	build(t, clang, "-ffreestanding", "-nostdlib", "-mbulk-memory", "-Wl,--no-entry,--strip-all,-z,stack-size=16384",
		"-o", out, "src/splitter.c")
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	behaves(t, wasm)
}

// TestHeaderWithLibc compiles the header as those use it who have wasi-libc.
func TestHeaderWithLibc(t *testing.T) {
	if _, err := os.Stat("/usr/include/wasm32-wasi/stdlib.h"); err != nil {
		t.Skip("no wasi-libc")
	}
	if _, err := exec.LookPath("clang"); err != nil {
		t.Skipf("no C compiler for wasm: %v", err)
	}
	src := filepath.Join(t.TempDir(), "a.c")
	code := "#include \"essa.h\"\nESSA_FUNCTION(echo) { essa_reader in = essa_args(args_len); essa_bytes b = essa_read_bytes(&in);\n" +
		"essa_writer w = essa_writer_new(8 + b.len); essa_write_bytes(&w, b); essa_return(&w); }\n"
	if err := os.WriteFile(src, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	build(t, "clang", "-DESSA_LIBC", "-c", "-o", src+".o", src)
}

func build(t *testing.T, clang string, args ...string) {
	t.Helper()
	args = append([]string{
		"--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Wextra", "-Werror",
		"-Wno-unused-function", "-Wno-unused-command-line-argument", "-I", "../../sdk/c",
	}, args...)
	if text, err := exec.Command(clang, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", clang, strings.Join(args, " "), err, text)
	}
}

func behaves(t *testing.T, wasm []byte) {
	ctx := context.Background()
	h := fakehost.Start(t, wasm)
	call := func(function string, args []byte) []byte {
		t.Helper()
		out, err := h.Call(ctx, "__essa_wrapper__"+function, args)
		if err != nil {
			t.Fatalf("%s: %v", function, err)
		}
		return out
	}
	t.Run("calls", func(t *testing.T) { calls(t, h, call) })
	t.Run("split", func(t *testing.T) { split(t, h, call) })
	t.Run("state", func(t *testing.T) { state(t, h, call) })
	t.Run("run", func(t *testing.T) {
		if err := h.Main(ctx); err != nil {
			t.Fatal(err)
		}
		if want := "splitting 0..256\n256 leaves\n"; h.Stdout() != want {
			t.Errorf("printed %q, want %q", h.Stdout(), want)
		}
	})
	t.Run("bad arguments trap", func(t *testing.T) {
		for function, args := range map[string][]byte{
			"split": {1}, "echo": bincode.AppendUint64(nil, 1), "read_cached": bincode.AppendUint64(nil, 1<<63),
			"tally":     bincode.AppendUint64(nil, 1025),
			"write_lww": bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, "k"), 1<<40), 1),
		} {
			if out, err := h.Call(ctx, "__essa_wrapper__"+function, args); err == nil {
				t.Errorf("%s took %x and returned %x", function, args, out)
			}
		}
	})
}

type caller func(function string, args []byte) []byte

func calls(t *testing.T, h *fakehost.Host, call caller) {
	if out := call("noop", nil); len(out) != 0 {
		t.Errorf("noop returned %x", out)
	}
	for _, data := range []string{"", "x", strings.Repeat("abc", 100_000)} {
		args := bincode.AppendString(nil, data)
		if out := call("echo", append(args, 7)); !bytes.Equal(out, args) { // what follows the argument is ignored
			t.Errorf("echo of %d bytes returned %d", len(args), len(out))
		}
	}
	before := h.Calls()
	if out := call("nested", nil); len(out) != 0 || h.Calls()-before != 2 {
		t.Errorf("nested returned %x after %d invocations", out, h.Calls()-before)
	}
	if out := call("nested_many", bincode.AppendUint64(nil, 20)); binary.LittleEndian.Uint64(out) != 20 || h.Calls()-before != 23 {
		t.Errorf("nested_many returned %x after %d invocations", out, h.Calls()-before)
	}
	for n, want := range map[uint64]uint64{0: 2166136261, 3: 7384958528, 300: 128696744052627} {
		if out := call("tally", bincode.AppendUint64(nil, n)); binary.LittleEndian.Uint64(out) != want {
			t.Errorf("tally of %d returned %x, want %x", n, out, want)
		}
	}
}

func split(t *testing.T, h *fakehost.Host, call caller) {
	pair := func(a, b uint64) []byte { return bincode.AppendUint64(bincode.AppendUint64(nil, a), b) }
	before := h.Calls()
	d := bincode.NewDecoder(call("split", pair(100, 165)))
	if tag, n := d.Uint32(), d.Uint64(); tag != 0 || n != 65 || h.Calls()-before != 129 {
		t.Errorf("65 leaves: tag %d, %d leaves, %d invocations", tag, n, h.Calls()-before)
	}
	d.Reset(call("split", pair(5, 5)))
	if tag, text := d.Uint32(), d.String(); tag != 1 || text != "the range is empty" {
		t.Errorf("empty range: %d %q", tag, text)
	}
	out := call("concurrent_kvs_test", append(bincode.AppendString(nil, "range"), pair(48, 113)...))
	if !bytes.Equal(out, []byte{0, 0, 0, 0}) {
		t.Errorf("concurrent_kvs_test returned %x", out)
	}
	v, err := h.Get("range")
	if err != nil {
		t.Fatal(err)
	}
	set := v.(lattice.Set)
	if len(set.Elements()) != 65 || !set.Contains([]byte("48")) || !set.Contains([]byte("112")) {
		t.Errorf("the set is %q", set.Elements())
	}
}

func state(t *testing.T, h *fakehost.Host, call caller) {
	args := bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, "k"), 1000), 3)
	start := time.Now()
	if out := call("write_lww", args); binary.LittleEndian.Uint64(out) != 3 {
		t.Errorf("write_lww returned %x", out)
	}
	v, err := h.Get("k")
	if err != nil {
		t.Fatal(err)
	}
	lww := v.(lattice.LWW)
	if len(lww.Data) != 1000 || string(lww.Data[:3]) != "abc" {
		t.Errorf("stored %d bytes", len(lww.Data))
	}
	if at := lww.Time.Time(); at.Before(start.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("the value is dated %v", at)
	}
	out := call("read_cached", bincode.AppendUint64(bincode.AppendString(nil, "k"), 5))
	if n, want := binary.LittleEndian.Uint64(out), uint64(5*len(lattice.Encode(v))); n != want {
		t.Errorf("read %d bytes, want %d", n, want)
	}
}
