package enginetest

import (
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// fuel is what calls of guest.wasm use on every engine. The figures change with admit.Version and with the guest, and with
// nothing else.
var fuel = []struct {
	function string
	args     []byte
	used     int64
	splits   bool // nested calls do the work
}{
	{"echo", []byte("hello"), 26, false},
	{"echo", make([]byte, 2000), 26, false},
	{"work", u32(100_000), 139_716, false},
	{"bare", u32(1000), 24_874, false},
	{"nested", u32(50), 4_800, true},
	{"tree", u32(6, 2), 295_502, true},
	{"deep", u32(20), 1_890, true},
}

func testFuel(t *testing.T, open Open) {
	x := start(t, open, Options{Workers: 4})
	for _, c := range fuel {
		call := x.function(c.function, c.args)
		for range 20 {
			if r := x.mustInvoke(t, call); r.Stats.Fuel != c.used {
				t.Fatalf("%s with %d bytes used %d units of fuel, not %d", c.function, len(c.args), r.Stats.Fuel, c.used)
			}
		}
		call.Limits.Fuel = c.used
		if r := x.mustInvoke(t, call); r.Stats.Fuel != c.used {
			t.Errorf("%s used %d units when it had no more, and %d otherwise", c.function, r.Stats.Fuel, c.used)
		}
		call.Limits.Fuel = c.used - 1
		_, err := x.invoke(call)
		if c.splits && status.Of(err) == status.GuestFault {
			continue // a nested call was the one that had too little, and its caller trapped
		}
		wantError(t, err, status.Limit, "fuel")
	}
	for _, function := range []string{"spin", "storm", "expo", "fill"} {
		call := x.function(function, nil)
		call.Limits = engine.Limits{Fuel: 20_000_000, HostCalls: -1, WallTime: time.Minute}
		_, err := x.invoke(call)
		wantError(t, err, status.Limit, "fuel")
	}
	x.working(t)
}
