// Command rogue is an engine that the tests start as essad-plugin-rogue. It runs no WebAssembly: whatever is deployed to it
// has the functions below, which do to their process what a bug in a real engine, or the system, would do.
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
)

// functions, with their arguments as text:
//
//	pid             the number of the process
//	nap MS          waits, as a guest does that can be ended
//	hang            goes on whatever anybody says, while the process answers
//	freeze          stops the whole process
//	HOW FILE        ends the process by HOW, but where FILE exists returns how often it ran; it counts in FILE
//	effect HOW FILE the same after a put
var functions = []string{"effect", "exit", "freeze", "hang", "nap", "oom", "panic", "pid", "segv"}

func main() {
	plugin.ServeEngine(func(c plugin.EngineConfig) (engine.Engine, error) { return &rogue{c.Border}, nil },
		plugin.About{Name: "rogue", Version: "0.1"})
}

type rogue struct{ border engine.Border }

func (*rogue) Info(context.Context) (engine.Info, error) {
	return engine.Info{Name: "rogue", Version: "0.1", Capabilities: []string{"mischief"}}, nil
}

func (*rogue) Prepare(context.Context, engine.Module, func() (io.ReadCloser, error)) (engine.ModuleInfo, error) {
	return engine.ModuleInfo{Functions: functions}, nil
}

func (r *rogue) Invoke(ctx context.Context, c *engine.Call) (*engine.Result, error) {
	words := strings.Fields(string(c.Args))
	switch c.Function {
	case "pid":
		return text(strconv.Itoa(os.Getpid())), nil
	case "nap":
		ms, err := strconv.Atoi(words[0])
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return text("rested"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "hang":
		select {}
	case "freeze":
		return nil, syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "effect":
		o := &engine.Origin{Call: c.ID, Root: c.Root, Module: c.Module, Scope: c.Scope, Deadline: c.Deadline}
		if _, err := r.border.Merge(ctx, o, []byte("k"), lattice.Encode(lattice.LWW{Data: []byte("v")})); err != nil {
			return nil, err
		}
		return once(words[0], words[1])
	}
	return once(c.Function, words[0])
}

func text(s string) *engine.Result { return &engine.Result{Value: []byte(s), HasValue: true} }

// once ends the process, and the next time returns.
func once(how, file string) (*engine.Result, error) {
	ran, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(file, append(ran, '.'), 0o600); err != nil {
		return nil, err
	}
	if len(ran) > 0 {
		return text(strconv.Itoa(len(ran) + 1)), nil
	}
	switch how {
	case "exit":
		os.Exit(7)
	case "panic": // where nobody recovers
		go func() { panic("as a bug would") }()
		select {}
	case "segv": // as native code does it: Go's own handler would make an exit of the signal
		return nil, syscall.Exec("/bin/sh", []string{"sh", "-c", "ulimit -c 0; kill -SEGV $$"}, nil)
	case "oom": // as the kernel does it
		return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return nil, status.Errorf(status.Invalid, "no way to end is called %q", how)
}

func (*rogue) Update(context.Context, []engine.CacheUpdate) error { return nil }

func (*rogue) Close() error { return nil }
