package runtime

import (
	"context"
	"errors"
	"io"
	goruntime "runtime"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/abi"
	"github.com/essa-project/essad/sdk/engine/snapshot"
	"github.com/essa-project/essad/sdk/status"
)

// host is what the imports of modules "host" and "essa" see of an invocation.
type host Guest

func (h *host) Callee(name []byte) abi.Code {
	if c, ok := h.mod.codes[string(name)]; ok {
		return c
	}
	return abi.NoSuchFunction
}

func (h *host) CheckResult(n int) error {
	if h.lim.Result > 0 && int64(n) > h.lim.Result {
		return &abi.End{Err: status.LimitError("result", "the result has %d bytes, and the limit is %d", n, h.lim.Result)}
	}
	return nil
}

func (h *host) Start(name string, args []byte) (abi.Future, error) {
	g := (*Guest)(h)
	if err := g.settle(); err != nil {
		return nil, err
	}
	c := g.call
	switch {
	case g.lim.Args > 0 && int64(len(args)) > g.lim.Args:
		return nil, &abi.End{Err: status.LimitError("args", "a call of %q has %d bytes of arguments, and the limit is %d", name,
			len(args), g.lim.Args)}
	case c.Depth+1 > g.lim.CallDepth:
		return nil, &abi.End{Err: status.LimitError("call_depth", "calls are nested deeper than %d", g.lim.CallDepth)}
	case g.lim.Handles > 0 && g.abi.Open() >= g.lim.Handles:
		return nil, &abi.End{Err: status.LimitError("handles", "the invocation has %d calls open", g.lim.Handles)}
	case !g.hold(len(args) + futureBytes):
		return nil, &abi.End{Err: status.LimitError("memory",
			"arguments and results of nested calls need more than the limit of %d bytes", g.lim.Memory)}
	}
	f := &future{parent: g, name: name, args: args, allowed: g.nestedFuel()}
	if err := g.adopt(f); err != nil {
		return nil, err
	}
	g.rt.slots.push(f)
	return f, nil
}

func (h *host) Load(key []byte, wait bool) (abi.Value, error) {
	g := (*Guest)(h)
	scope := g.near()
	if e := scope.get(key); e != nil {
		g.newest = max(g.newest, e.newest)
		return e.value, nil
	}
	k := string(key)
	var (
		v    engine.Value
		err  error
		seq  = scope.begin(k)
		done bool
	)
	defer func() {
		if !done { // the border panicked
			scope.end(k, seq, nil)
		}
	}()
	if end := g.pause(func(ctx context.Context) { v, err = g.rt.border.Load(ctx, g.origin(), []byte(k), wait) }); end != nil {
		return abi.Value{}, end
	}
	done = true
	if err != nil {
		scope.end(k, seq, nil)
		return abi.Value{}, err
	}
	if v.Data == nil {
		v.Data = []byte{}
	}
	e := scope.end(k, seq, &v)
	g.newest = max(g.newest, e.newest)
	return e.value, nil
}

func (h *host) Merge(key, value []byte) error {
	g := (*Guest)(h)
	k, v := string(key), append(make([]byte, 0, len(value)), value...)
	var (
		version uint64
		err     error
	)
	end := g.pause(func(ctx context.Context) { version, err = g.rt.border.Merge(ctx, g.origin(), []byte(k), v) })
	if err == nil && version > 0 {
		g.near().wrote(k, version)
		g.mu.Lock()
		g.wrote.add(k, version)
		g.mu.Unlock()
	}
	if end != nil {
		return end
	}
	return err
}

// env is what WASI sees of an invocation.
type env Guest

func (e *env) Output(stream int, p []byte) error {
	g := (*Guest)(e)
	if room := g.lim.Log - g.logged; g.lim.Log > 0 && int64(len(p)) > room {
		limit := &abi.End{Err: status.LimitError("log", "the invocation wrote more than %d bytes of output", g.lim.Log)}
		if room > 0 {
			g.logged += room
			_ = g.write(stream, p[:room])
		}
		return limit
	}
	g.logged += int64(len(p))
	return g.write(stream, p)
}

func (e *env) Input(most int) ([]byte, error) {
	g := (*Guest)(e)
	if !g.call.Run || !g.call.Stdin {
		return nil, io.EOF
	}
	var (
		p   []byte
		err error
	)
	if end := g.pause(func(ctx context.Context) { p, err = g.rt.border.Input(ctx, g.origin(), min(most, 64<<10)) }); end != nil {
		return nil, end
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &abi.End{Err: status.Wrap(status.Unavailable, err)}
	}
	return p[:min(len(p), most)], err
}

// Realtime never reads earlier than the newest timestamp that the invocation has read.
func (e *env) Realtime() int64 {
	return max(e.rt.set.Clock().UnixNano(), int64(min(e.newest, 1<<63-1)))
}

var processStart = time.Now()

// Monotonic goes on from what an instance's snapshot had seen.
func (e *env) Monotonic() int64 { return e.rt.monotonic() + e.shift }

func (rt *Runtime) monotonic() int64 { return int64(rt.set.Clock().Sub(processStart)) }

func (e *env) Random(p []byte) error {
	snapshot.Touch(p) // for the kernel may write into it
	e.rt.set.Random(p)
	(*Guest)(e).remember(p)
	return (*Guest)(e).alive()
}

func (g *Guest) alive() error {
	if g.ended.Load() {
		return &abi.End{Err: g.why()}
	}
	return nil
}

// shortSleep is what is slept without giving the slot away.
const shortSleep = 20 * time.Microsecond

func (e *env) Sleep(d time.Duration) error {
	g := (*Guest)(e)
	if d < shortSleep {
		return e.Yield()
	}
	return g.pause(func(ctx context.Context) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	})
}

func (e *env) Yield() error {
	(*Guest)(e).unpin()
	goruntime.Gosched()
	return (*Guest)(e).alive()
}
