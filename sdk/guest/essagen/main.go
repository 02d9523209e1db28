// Command essagen makes functions for essad out of ordinary Go functions.
//
// It reads one package, finds the functions marked //essa:function, and writes two files beside them: essa_gen.go, with a
// remote stub for each function and the code that encodes arguments and results, and essa_gen_wasip1.go, with the
// exports that the host calls. What it writes speaks the upstream essa-rs ABI: the same export names and the same
// bincode as its Rust macro, so modules in Go and in Rust can stand in for each other. Mistakes are reported all at
// once, each with file, line and column; nothing is written then.
//
// It may import the standard library only. The code it writes imports sdk/guest and sdk/bincode.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

const usage = `essagen makes functions for essad out of ordinary Go functions.

usage: essagen [flags] [folder]        (folder: the package, by default the current one)

Put a directive above a function and run essagen, best by go generate:

    //go:generate go run github.com/essa-project/essad/sdk/guest/essagen

    // Total adds up an order.
    //
    //essa:function
    func Total(order Order) (uint64, error) { ... }

You get a stub that starts the function in an instance of its own, on whatever node has room:

    sum, err := TotalRemote(order).Get()

and the export __essa_wrapper__total that the host calls. The directive takes

    name=STUB       the stub's name; by default the function's name + "Remote"
    export=NAME     the name others call it by; by default the function's name in snake_case
                    (Total -> total, HTTPGet -> http_get), as the Rust macro would have named it

In package main, a function Main() or Main() error becomes the export essa_main, which is what essad run runs. essagen
writes func main too, unless you have one; it calls Main, so that "go run ." runs everything in one process. Build with

    GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o NAME.wasm .

The functions of any other package are part of every module that imports it.

Arguments and results, and what they are in Rust:

    bool, int8..int64, uint8..uint64, float32, float64    the same
    int, uint               isize, usize (8 bytes)         string           String (must be valid UTF-8)
    []byte                  Vec<u8>                        []T, [N]T        Vec<T>, [T; N]
    map[K]V                 HashMap or BTreeMap            map[K]struct{}   HashSet or BTreeSet
    *T                      Option<T>                      struct           its fields in order; not those tagged essa:"-"
    defined types           what they are made of (time.Duration is an i64)
    lattice types           the same types of anna-api
    no result               ()                             error            Result<(), String>
    T                       T                              (T, error)       Result<T, String>
    (A, B)                  (A, B)                         (A, B, error)    Result<(A, B), String>

Map keys are strings or integers. A type with the methods AppendBincode([]byte) []byte and, on its pointer,
DecodeBincode(*bincode.Decoder) encodes itself, into at least one byte. Methods, type parameters, variadic functions,
recursive types, interfaces, functions and channels are refused.

flags:
`

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("essagen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	out := flags.String("o", "essa_gen.go", "`file` for stubs and encoding; exports go into the file of the same name + _wasip1")
	check := flags.Bool("check", false, "write nothing; fail if the files are not up to date")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 1 {
		fmt.Fprintf(stderr, "essagen: one folder at a time, not %q (see essagen -h)\n", flags.Args())
		return 2
	}
	dir := "."
	if flags.NArg() == 1 {
		dir = flags.Arg(0)
	}
	if err := generate(dir, *out, *check); err != nil {
		fmt.Fprintf(stderr, "essagen: %v\n", err)
		return 1
	}
	return 0
}

// generate reads the package in dir and writes its two files, or compares them.
func generate(dir, out string, check bool) error {
	if filepath.Base(out) != out || !strings.HasSuffix(out, ".go") || strings.HasSuffix(out, "_test.go") {
		return fmt.Errorf("-o %q: want the name of a Go file, without a folder", out)
	}
	exports := strings.TrimSuffix(out, ".go") + "_wasip1.go"
	pkg, err := load(dir, out, exports)
	if err != nil {
		return err
	}
	m, err := inspect(pkg)
	if err != nil {
		return err
	}
	stubs, wrappers, err := emit(m)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{out: stubs, exports: wrappers} {
		if err := put(filepath.Join(pkg.dir, name), text, check); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file that is not what it should be; files that are stay untouched, so that builds stay cached.
func put(path string, text []byte, check bool) error {
	have, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(have, text):
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case check:
		return fmt.Errorf("%s is not up to date: run essagen", path)
	}
	return os.WriteFile(path, text, 0o644)
}
