package link

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// memory is what the process uses of its heap and for stacks.
func memory() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc + s.StackInuse)
}

// What an idle transport costs, as the package comment says. The other ends of the links, which have no goroutine, are in
// the figure, too.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs more")
	}
	const sessions, limit = 1000, 16 << 10
	var got atomic.Uint64
	b := newNode(t, func(o *Options) { o.Lease = 2 * time.Second }, func(tr *Transport, m *wire.Message) {
		got.Add(1)
		tr.Send(m, nil)
	})
	at := b.listen(t, "tcp/127.0.0.1:0").Locators()[0]
	before := memory()
	for range sessions {
		r := dialRaw(t, at, func(o *Options) { o.Lease = time.Hour })
		await(t, "transport", b.up)
		r.in = nil
		r.frame(named("k", 5000, wire.RequestQoS))
	}
	until(t, "a message of each", func() bool { return got.Load() == sessions })
	per := 0
	defer func() { t.Logf("%d bytes for each of %d idle transports", per, sessions) }()
	until(t, "less than the limit for each", func() bool {
		time.Sleep(100 * time.Millisecond)
		per = (memory() - before) / sessions
		return per < limit
	})
}
