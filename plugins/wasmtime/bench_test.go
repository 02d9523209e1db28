//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/status"
)

// bencher is an engine with the suite's guest.
type bencher struct {
	engine engine.Engine
	module string
	border *enginetest.Border
}

func newBencher(b *testing.B) *bencher {
	x := &bencher{border: &enginetest.Border{Lease: time.Hour}}
	var err error
	if x.engine, err = newEngine(runtime.Settings{}, x.border); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.engine.Close() })
	x.module, _ = enginetest.Prepare(b, x.engine, enginetest.Wasm("guest.wasm"))
	return x
}

func (x *bencher) call(b *testing.B, function string, args []byte) *engine.Result {
	r, err := x.engine.Invoke(context.Background(), &engine.Call{
		Module: x.module, Scope: "s", Function: function, Args: args,
		Deadline: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// cpu reports the processor time of the whole process per operation, garbage collection included: on a shared machine it
// says more than the time that passed. The function it returns ends the measurement.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func number(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

// BenchmarkCall is an isolated call of a C guest of 192 KiB; BenchmarkBare is wasmtime
// alone with an instance of its own.
func BenchmarkCall(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		x.call(b, "echo", []byte("hello"))
	}
}

func BenchmarkCallParallel(b *testing.B) {
	x := newBencher(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			x.call(b, "echo", []byte("hello"))
		}
	})
}

func BenchmarkBare(b *testing.B) {
	c := bareCode(b)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		i, err := c.Instantiate(&runtime.Guest{})
		if err != nil {
			b.Fatal(err)
		}
		if err := i.Call("none", []uint64{0}); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}

// BenchmarkBareCall is a call on an instance that is there already.
func BenchmarkBareCall(b *testing.B) {
	c := bareCode(b)
	i, err := c.Instantiate(&runtime.Guest{})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if err := i.Call("none", []uint64{0}); err != nil {
			b.Fatal(err)
		}
	}
}

func bareCode(b *testing.B) runtime.Code {
	be, err := newBackend("")
	if err != nil {
		b.Fatal(err)
	}
	a, err := admit.Module(enginetest.Wasm("guest.wasm"), admit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	c, _, err := be.Compile(context.Background(), a)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(c.Close(), be.Close()); err != nil {
			b.Error(err)
		}
	})
	return c
}

// goGuest builds one of the examples.
func goGuest(b *testing.B, example string) []byte {
	file := filepath.Join(b.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "../../examples/"+example)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	return wasm
}

// BenchmarkCallGo is an isolated call of a Go function that does nothing.
func BenchmarkCallGo(b *testing.B) {
	x := newBencher(b)
	var info engine.ModuleInfo
	x.module, info = enginetest.Prepare(b, x.engine, goGuest(b, "bench-go"))
	function := ""
	for _, name := range info.Functions {
		if strings.HasSuffix(name, "_noop") {
			function = name
		}
	}
	for range 100 {
		x.call(b, function, nil)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if r := x.call(b, function, nil); r.Stats.Instance != engine.Kept {
			b.Fatalf("an instance of kind %d", r.Stats.Instance)
		}
	}
}

// BenchmarkColdStart is the first call of a Go function that another process has compiled: all that there is of it is on
// disk.
func BenchmarkColdStart(b *testing.B) {
	wasm, dir := goGuest(b, "test-function"), b.TempDir()
	module := enginetest.ModuleOf(wasm)
	once := func() time.Duration {
		e, err := newEngine(runtime.Settings{CacheDir: dir, Compiler: []string{"/proc/self/exe", compileCommand}}, &enginetest.Border{})
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		began := time.Now()
		info, err := e.Prepare(context.Background(), module, func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(wasm)), nil
		})
		if err != nil {
			b.Fatal(err)
		}
		_, err = e.Invoke(context.Background(), &engine.Call{
			Module: module.SHA256, Scope: "s", Function: info.Functions[0], Deadline: began.Add(time.Minute),
		})
		took := time.Since(began)
		if status.Of(err) == status.Internal || status.Of(err) == status.Unavailable {
			b.Fatal(err)
		}
		return took
	}
	once() // compiles, and takes the snapshot
	var all time.Duration
	for b.Loop() {
		all += once()
	}
	b.ReportMetric(float64(all.Nanoseconds())/float64(b.N), "start-ns/op")
}

// BenchmarkNested is one nested call and the wait for it, of many in one invocation.
func BenchmarkNested(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for left := b.N; left > 0; left -= 10_000 {
		x.call(b, "nested", number(min(left, 10_000)))
	}
}

// BenchmarkTree is a call within a tree of 4,096 leaves.
func BenchmarkTree(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	for n := 0; n < b.N; n += 8191 {
		x.call(b, "tree", append(number(12), number(2)...))
	}
}

// BenchmarkRead is a cached read, length and data; BenchmarkHostCall is the cheapest host call.
func BenchmarkRead(b *testing.B) {
	x := newBencher(b)
	value := []byte("\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00hello")
	if _, err := x.border.Put("s", "k", value); err != nil {
		b.Fatal(err)
	}
	x.call(b, "reads", number(1))
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "reads", number(b.N))
}

func BenchmarkHostCall(b *testing.B) {
	x := newBencher(b)
	b.ReportAllocs()
	defer cpu(b)()
	b.ResetTimer()
	x.call(b, "bare", number(b.N))
}
