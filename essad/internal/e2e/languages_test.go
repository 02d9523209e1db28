package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// The tests of this file run the demo module in every language and on every engine that is at hand. What is not ours to
// commit is told where it is: ESSAD_GUESTS_TS and ESSAD_GUESTS_RUST name folders with modules that were built before (make
// guests-ts, sdk/rust/guests.sh), and further engines join by being in bin/lib/essad/plugins, or in
// the folder that ESSAD_PLUGINS names.

// module is the demo in one language.
type module struct{ language, file string }

// demoModules lists the demo in the languages that are at hand, and says which are not.
func demoModules(t *testing.T) []module {
	t.Helper()
	examples := filepath.Join("..", "..", "..", "examples")
	out := []module{
		{"go", guest("test-function")},
		{"c", filepath.Join(examples, "test-function-c", "test-function-c.wasm")},
	}
	if file, ok := compileC(t, filepath.Join(examples, "test-function-c", "src", "test_function.c")); ok {
		out = append(out, module{"c, compiled now", file})
	}
	for _, m := range []module{{"ts", "test-function-ts.wasm"}, {"rust", "test-function-rust.wasm"}} {
		if file, ok := fromOutside(t, m.language, m.file); ok {
			out = append(out, module{m.language, file})
		}
	}
	return out
}

// fromOutside finds a module that was built before the tests.
func fromOutside(t *testing.T, language, name string) (file string, ok bool) {
	t.Helper()
	variable := "ESSAD_GUESTS_" + strings.ToUpper(language)
	dir := os.Getenv(variable)
	if dir == "" {
		t.Logf("left out: %s, for %s does not name the folder with the modules in that language", name, variable)
		return "", false
	}
	file = filepath.Join(dir, name)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%s is %s: %v", variable, dir, err)
	}
	return file, true
}

// compileC compiles a module of the C SDK where there is a compiler for it.
func compileC(t *testing.T, source string) (file string, ok bool) {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("left out: %s compiled now: %v", source, err)
			return "", false
		}
	}
	file = filepath.Join(t.TempDir(), "c.wasm")
	out, err := exec.CommandContext(t.Context(), "clang", "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-mbulk-memory",
		"-ffreestanding", "-nostdlib", "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry,--strip-all,-z,stack-size=16384",
		"-I", filepath.Join("..", "..", "..", "sdk", "c"), "-o", file, source).CombinedOutput()
	if err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	return file, true
}

// engines lists the engine plugins that are at hand: the one that TestMain has built, and those of `make build` besides.
func engines(t *testing.T) map[string]string {
	t.Helper()
	const prefix = "essad-plugin-"
	out := map[string]string{"wazero": filepath.Join(bin, prefix+"wazero")}
	root := os.Getenv("ESSAD_PLUGINS")
	if root == "" {
		root = filepath.Join("..", "..", "..", "bin", "lib", "essad", "plugins")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(root, prefix+"*"))
	for _, f := range files {
		name := strings.TrimPrefix(filepath.Base(f), prefix)
		if _, known := out[name]; !known && name != "pebble" && name != "redis" {
			out[name] = f
		}
	}
	return out
}

// startEngine starts a daemon with one engine.
func startEngine(t *testing.T, name, program string) *daemon {
	t.Helper()
	d, _ := startConfig(t, fmt.Sprintf(`
routing {}
kvs {
  store = "pebble"
}
scheduler {}
executor {
  engines = [%q]
}
store "pebble" {}
engine %q {
  path = %q
  settings = {
    cache_dir = %q
  }
}
`, name, name, program, filepath.Join(bin, "compiled-"+name)))
	return d
}

// TestLanguages: the same steps print the same lines, whatever the language and the engine.
func TestLanguages(t *testing.T) {
	t.Parallel()
	modules := demoModules(t)
	for name, program := range engines(t) {
		t.Run(name, func(t *testing.T) {
			d := startEngine(t, name, program)
			want := ""
			for _, m := range modules {
				begin := time.Now()
				out := d.must("run", m.file)
				t.Logf("%s on %s: %v", m.language, name, time.Since(begin).Round(time.Millisecond))
				checkDemo(t, out)
				if want == "" {
					want = out
				}
				if out != want {
					t.Errorf("in %s it prints\n%s\nand in %s\n%s", m.language, out, modules[0].language, want)
				}
			}
			interchangeable(t, d, modules)
		})
	}
}

// interchangeable holds the functions of all modules to the same bytes for the same bytes, and lets each follow another as
// a version of one deployment, whose state they share.
func interchangeable(t *testing.T, d *daemon, modules []module) {
	c, _ := d.client()
	const name, key = "one-for-all", "shared-by-languages"
	for i, m := range modules {
		d.must("deploy", name, m.file)
		split := bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, key), uint64(5*i)), uint64(5*i+5))
		empty := bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, key), 5), 5)
		for _, call := range []struct {
			function   string
			args, want []byte
		}{
			{"to_uppercase", bincode.AppendString(nil, "größe 🙂 x"), bincode.AppendString(nil, "GRößE 🙂 X")},
			{"foo", append(bincode.AppendString(nil, ""), "trailing"...), bincode.AppendString(nil, " fooo")},
			{"repeat_string", bincode.AppendUint64(bincode.AppendString(nil, "äb"), 3), bincode.AppendString(nil, "äbäbäb")},
			{"repeat_string", bincode.AppendUint64(bincode.AppendString(nil, "x"), 0), bincode.AppendString(nil, "")},
			{"concurrent_kvs_test", split, bincode.AppendUint32(nil, 0)},
			{"concurrent_kvs_test", empty, bincode.AppendString(bincode.AppendUint32(nil, 1), "the range is empty")},
		} {
			res, err := c.Call(t.Context(), name, call.function, call.args, client.CallOptions{})
			if err != nil || !bytes.Equal(res.Value, call.want) {
				t.Errorf("%s in %s: %+v, %v; want %q", call.function, m.language, res, err, call.want)
			}
		}
		badArguments(t, c, name, m.language)
	}
	d.must("deploy", name, rude)
	d.prints(fmt.Sprintln(5*len(modules)), "call", name, "count", "--arg", key, "--as", "u64")
}

// badArguments: what cannot be decoded ends a call, and the caller is told that it is the function's fault.
func badArguments(t *testing.T, c *client.Client, name, language string) {
	t.Helper()
	for _, args := range [][]byte{
		nil,
		[]byte("\x05\x00\x00\x00\x00\x00\x00\x00ab"),
		[]byte("\x01\x00\x00\x00\x00\x00\x00\x00\xff"),
		[]byte("\x03\x00\x00\x00\x00\x00\x00\x00\xed\xa0\x80"),
		bytes.Repeat([]byte{0xff}, 8),
	} {
		res, err := c.Call(t.Context(), name, "foo", args, client.CallOptions{})
		if status.Of(err) != status.GuestFault {
			t.Errorf("foo in %s of %x: %+v, %v", language, args, res, err)
		}
	}
}

// TestGuideC compiles the program of the guide as it stands there. Those of the other guides have twins with tests: hello is
// the one in Go, and the TypeScript SDK's own tests read its guide.
func TestGuideC(t *testing.T) {
	t.Parallel()
	_, rest, ok := strings.Cut(string(readFile(t, filepath.Join("..", "..", "..", "sdk", "c", "README.md"))), "```c\n")
	program, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the guide shows no program")
	}
	file, ok := compileC(t, write(t, "guestbook.c", []byte(program)))
	if !ok {
		t.Skip("no compiler")
	}
	d := shared(t)
	d.prints("hello, Ada and Grace\n", "run", file)
	name := d.deploy("", file)
	d.prints("[\"Linus\"]\n", "call", name, "sign", "--arg", "Linus", "--as", "result<vec<str>>")
	d.fails(1, []string{"say who you are"}, "call", name, "sign", "--arg", "", "--as", "result<vec<str>>")
	d.prints("[\"Linus\"]\n", "call", name, "guests", "--as", "vec<str>")
}

// TestGuideRust holds the program of the guide to the example, and runs that where it is at hand.
func TestGuideRust(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	program := readFile(t, filepath.Join(root, "examples", "hello-rust", "src", "lib.rs"))
	guide := readFile(t, filepath.Join(root, "sdk", "rust", "README.md"))
	if !bytes.Contains(guide, []byte("```rust\n"+string(program)+"```\n")) {
		t.Error("the guide shows another program than examples/hello-rust")
	}
	file, ok := fromOutside(t, "rust", "hello-rust.wasm")
	if !ok {
		t.Skip("it was not built")
	}
	d := shared(t)
	d.prints("hello, Ada and Grace\n", "run", file)
	name := d.deploy("", file)
	d.prints("[\"Linus\"]\n", "call", name, "sign", "--arg", "Linus", "--as", "result<vec<str>>")
	d.fails(1, []string{"say who you are"}, "call", name, "sign", "--arg", "", "--as", "result<vec<str>>")
	d.prints("[\"Linus\"]\n", "call", name, "guests", "--as", "result<vec<str>>")
}

// TestEveryType sends the same bytes to functions in each language whose arguments and results have every type that there is,
// and wants the same bytes back; bytes that are no arguments all have to refuse.
func TestEveryType(t *testing.T) {
	t.Parallel()
	var others []module
	for _, m := range []module{{"ts", "everytype-ts.wasm"}, {"rust", "probe-rust.wasm"}} {
		if file, ok := fromOutside(t, m.language, m.file); ok {
			others = append(others, module{m.language, file})
		}
	}
	if len(others) == 0 {
		t.Skip("there is no second language")
	}
	gofile := filepath.Join(t.TempDir(), "everytype.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", gofile,
		"../../../sdk/guest/essagen/internal/everytype/module")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d := shared(t)
	c, _ := d.client()
	call := func(deployment, function string, args []byte) ([]byte, error) {
		res, err := c.Call(t.Context(), deployment, function, args, client.CallOptions{})
		if err != nil {
			if status.Of(err) != status.GuestFault {
				t.Fatalf("%s: %v", function, err)
			}
			return nil, err
		}
		return res.Value, nil
	}
	inGo := d.deploy("-go", gofile)
	for i := range others {
		others[i].file = d.deploy("-"+others[i].language, others[i].file)
	}
	r := random{rand.New(rand.NewPCG(1, 2))}
	for round := range 60 {
		for function, args := range r.everything() {
			if round%2 == 1 && len(args) > 0 {
				r.damage(&args)
			}
			want, wantErr := call(inGo, function, args)
			for _, m := range others {
				got, err := call(m.file, function, args)
				if wantErr == nil && err != nil && wide[function] {
					continue // a usize or isize that a 32-bit guest cannot hold, which Go's int can
				}
				if (wantErr == nil) != (err == nil) || !bytes.Equal(want, got) {
					t.Errorf("%s(%x):\nin go %x, %v\nin %s %x, %v", function, args, want, wantErr, m.language, got, err)
				}
			}
		}
	}
}

// wide are the functions with a usize or isize among what they take.
var wide = map[string]bool{"echo_numbers": true, "divide": true, "cut": true}

// random makes arguments.
type random struct{ *rand.Rand }

func (r random) u(n uint64) uint64 { return r.Uint64N(n) }
func (r random) bytes() []byte     { return []byte(r.text()) }
func (r random) bool() bool        { return r.IntN(2) == 1 }
func (r random) i32() uint64       { return uint64(int64(int32(r.Uint32()))) } // an isize that 32 bits hold
func (r random) num(b []byte, n int) []byte {
	for range n {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// text is a short text with characters of every length in UTF-8.
func (r random) text() string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteRune([]rune("ab\x00é\u07ff\u0800\uffff\U00010000🙂\U0010ffff")[r.IntN(10)])
	}
	return b.String()
}

// many is a sequence of up to four.
func (r random) many(b []byte, one func([]byte) []byte) []byte {
	n := r.IntN(5)
	b = bincode.AppendUint64(b, uint64(n))
	for range n {
		b = one(b)
	}
	return b
}

func (r random) str(b []byte) []byte { return bincode.AppendString(b, r.text()) }

func (r random) option(b []byte, some func([]byte) []byte) []byte {
	yes := r.bool()
	b = bincode.AppendOption(b, yes)
	if yes {
		b = some(b)
	}
	return b
}

// everything is one call of each function.
func (r random) everything() map[string][]byte {
	return map[string][]byte{
		"echo_numbers":            r.numbers(),
		"echo_outer":              r.outer(),
		"lattices_there_and_back": r.lattices(),
		"nothing":                 nil,
		"check":                   bincode.AppendBool(nil, r.bool()),
		"half":                    r.num(nil, 4),
		"divide":                  bincode.AppendUint64(bincode.AppendUint64(nil, r.i32()), 1+r.u(9)),
		"cut":                     bincode.AppendUint64(bincode.AppendString(nil, "hello"), r.u(8)),
		"shadows":                 append(r.num(bincode.AppendBytes(bincode.AppendString(nil, "abc"), r.bytes()), 5), byte(r.IntN(2))),
		"fill":                    nil,
		"http_get2":               r.many(nil, func(b []byte) []byte { return r.str(r.str(b)) }),
		"divide_lower":            r.num(nil, 1),
	}
}

func (r random) numbers() []byte {
	b := bincode.AppendBool(nil, r.bool())
	b = r.num(b, 1+2+4+8)
	b = bincode.AppendUint64(b, r.i32())
	b = r.num(b, 1+2+4+8)
	b = bincode.AppendUint64(b, uint64(r.Uint32()))
	b = bincode.AppendFloat64(bincode.AppendFloat32(b, r.Float32()), r.NormFloat64())
	return r.num(r.str(b), 4+1+2+8)
}

func (r random) outer() []byte {
	b := r.num(r.option(nil, r.str), 2)
	b = bincode.AppendBytes(bincode.AppendBytes(b, r.bytes()), r.bytes())
	b = r.num(r.many(b, r.str), 2*3*2)
	b = r.many(b, func(b []byte) []byte { return r.num(r.str(b), 1) })
	b = r.many(b, func(b []byte) []byte { return r.many(append(b, byte(r.IntN(3)), 0), r.str) })
	b = r.many(b, func(b []byte) []byte { return bincode.AppendInt64(b, int64(r.IntN(5))-2) })
	b = r.option(b, func(b []byte) []byte { return r.num(r.str(b), 2) })
	b = r.option(b, func(b []byte) []byte { return r.option(b, func(b []byte) []byte { return r.num(b, 1) }) })
	b = r.many(b, func(b []byte) []byte { return bincode.AppendBytes(r.num(b, 2), r.bytes()) })
	return r.many(r.num(b, 4), func(b []byte) []byte { return r.num(b, 4) })
}

func (r random) lattices() []byte {
	at := func(b []byte) []byte {
		return bincode.AppendString(b, lattice.TimeUnixNano(int64(r.Uint64())).String())
	}
	b := r.many(r.many(at(nil), r.str), r.str)
	b = bincode.AppendBytes(at(b), r.bytes())
	b = bincode.AppendBytes(bincode.AppendFloat64(b, r.NormFloat64()), r.bytes())
	return r.str(r.many(b, func(b []byte) []byte { return bincode.AppendUint64(r.str(b), r.u(1<<32)) }))
}

// damage changes a byte or cuts the end off.
func (r random) damage(b *[]byte) {
	if r.bool() {
		*b = (*b)[:r.IntN(len(*b))]
		return
	}
	(*b)[r.IntN(len(*b))] = byte(r.IntN(256))
}
