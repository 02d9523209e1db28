package admit_test

import (
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/essa-project/essad/sdk/engine/admit"
)

// job is an export of a guest and a size that makes it take about a millisecond.
type job struct {
	name string
	n    uint64
}

var cJobs = []job{
	{"spin", 500_000},
	{"bytesum", 500_000},
	{"search", 500_000},
	{"fib", 20},
	{"collatz", 4_000},
	{"quicksort", 8_000},
	{"matmul", 64},
	{"crc", 30_000},
	{"copies", 50_000},
	{"interp", 20_000},
	{"indirect", 200_000},
}

var goJobs = []job{
	{"jsonwork", 20},
	{"mapwork", 5_000},
	{"sortwork", 3_000},
	{"hashwork", 50_000},
	{"byteloop", 200_000},
	{"gofib", 18},
	{"textwork", 20},
	{"deep", 1_000},
}

// BenchmarkOverhead reports what the injected code costs as a ratio, x-original: the shortest of many alternating runs.
func BenchmarkOverhead(b *testing.B) {
	for _, g := range []struct {
		name string
		wasm []byte
		jobs []job
	}{{"c", readGuest(b, "bench.wasm"), cJobs}, {"go", goGuest(b), goJobs}} {
		rt := newRuntime(b)
		plain, admitted := instantiate(b, rt, g.wasm), instantiate(b, rt, mustAdmit(b, g.wasm, admit.Options{}).Wasm)
		for _, j := range g.jobs {
			b.Run(g.name+"/"+j.name, func(b *testing.B) {
				before, after := time.Hour, time.Hour
				for b.Loop() {
					p, a := fastest(b, plain, admitted, j.name, j.n)
					before, after = min(before, p), min(after, a)
				}
				b.ReportMetric(float64(after)/float64(before), "x-original")
			})
		}
	}
}

// BenchmarkSafepoint is the cost of leaving compiled code once.
func BenchmarkSafepoint(b *testing.B) {
	rt := newRuntime(b)
	wasm := readGuest(b, "bench.wasm")
	often := instantiate(b, rt, mustAdmit(b, wasm, admit.Options{SliceUnits: 1}).Wasm)
	f := often.ExportedFunction("fib")
	const calls = 21891 // of fib(20), each of which has one safepoint
	for b.Loop() {
		if _, err := f.Call(ctx, 20); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/calls, "ns/safepoint")
}

func BenchmarkModule(b *testing.B) {
	wasm := goGuest(b)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		a := mustAdmit(b, wasm, admit.Options{})
		b.ReportMetric(float64(len(a.Wasm))/float64(len(wasm)), "size-ratio")
	}
}

// BenchmarkCompile shows what the rewriting costs when the engine compiles a Go guest.
func BenchmarkCompile(b *testing.B) {
	wasm := goGuest(b)
	for name, wasm := range map[string][]byte{"original": wasm, "admitted": mustAdmit(b, wasm, admit.Options{}).Wasm} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rt := newRuntime(b)
				if _, err := rt.CompileModule(ctx, wasm); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fastest calls the same export of two modules in turn, and returns the shortest time of each.
func fastest(t testing.TB, a, b api.Module, name string, n uint64) (ta, tb time.Duration) {
	once := func(m api.Module, best time.Duration) time.Duration {
		start := time.Now()
		if _, err := m.ExportedFunction(name).Call(ctx, n); err != nil {
			t.Fatal(err)
		}
		return min(best, time.Since(start))
	}
	ta, tb = time.Hour, time.Hour
	for range 100 {
		ta, tb = once(a, ta), once(b, tb)
	}
	return ta, tb
}
