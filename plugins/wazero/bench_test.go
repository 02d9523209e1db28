package main

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
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

// BenchmarkCall is an isolated call of a C guest of 192 KiB; BenchmarkBare is wazero alone doing the least for it.
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
	be, err := newBackend("")
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	ctx := context.Background()
	c, err := be.rt.CompileModule(ctx, enginetest.Wasm("guest.wasm"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		m, err := be.rt.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.ExportedFunction("notfunction").Call(ctx, 1); err != nil {
			b.Fatal(err)
		}
		m.Close(ctx)
	}
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
