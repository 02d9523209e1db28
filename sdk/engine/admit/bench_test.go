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
	{"spin", 500_000}, {"bytesum", 500_000}, {"search", 500_000}, {"fib", 20}, {"collatz", 4_000}, {"quicksort", 8_000},
	{"matmul", 64}, {"crc", 30_000}, {"copies", 50_000}, {"interp", 20_000}, {"indirect", 200_000},
}

var goJobs = []job{
	{"jsonwork", 20}, {"mapwork", 5_000}, {"sortwork", 3_000}, {"hashwork", 50_000}, {"byteloop", 200_000},
	{"gofib", 18}, {"textwork", 20}, {"deep", 1_000},
}

// TestOverhead reports what the injected code costs: the fastest of many alternating runs, original against rewritten.
func TestOverhead(t *testing.T) {
	if testing.Short() {
		t.Skip("measures only")
	}
	compare := func(wasm []byte, jobs []job) {
		rt := newRuntime(t)
		plain, admitted := instantiate(t, rt, wasm), instantiate(t, rt, mustAdmit(t, wasm, admit.Options{}).Wasm)
		for _, j := range jobs {
			p, a := fastest(t, plain, admitted, j.name, j.n)
			t.Logf("%-10s %v -> %v x%.2f", j.name, p, a, float64(a)/float64(p))
		}
	}
	compare(readGuest(t, "bench.wasm"), cJobs)
	compare(goGuest(t), goJobs)
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
	for range 200 {
		ta, tb = once(a, ta), once(b, tb)
	}
	return ta, tb
}
