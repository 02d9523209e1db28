//go:build !wasip1

package guest

import (
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/essa-project/essad/sdk/lattice"
)

// host is what a function sees of the world when it is compiled for the host: calls run in goroutines of this process,
// and the store is a map. It answers with the codes that a real host would give.
type host struct {
	mu       sync.Mutex
	changed  *sync.Cond // a key has appeared, or the host was reset
	handlers map[string]Handler
	calls    map[uint32]*hosted
	last     uint32
	values   map[string][]byte
	era      uint64 // counts resets
}

// hosted is a call under way.
type hosted struct {
	done   chan struct{}
	result []byte
	detail string
	code   Code
}

// waitLimit bounds a Get in a test that nobody puts for; a real host has the call's deadline instead.
var waitLimit = 30 * time.Second

var theHost = newHost()

func newHost() *host {
	h := &host{handlers: map[string]Handler{}, calls: map[uint32]*hosted{}, values: map[string][]byte{}}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// ResetHost empties the store of the in-process host, forgets finished and running calls, and ends the waiting for keys.
// Tests begin with it. Compiled to wasm it does nothing.
func ResetHost() {
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values = map[string][]byte{}
	h.calls = map[uint32]*hosted{}
	h.last = 0
	h.era++
	h.changed.Broadcast()
}

// Register tells the in-process host of a function, under its export's name. Registering a name again replaces it.
func Register(export string, f Handler) {
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handlers[export] = f
}

func exit(text string) {
	_, _ = os.Stderr.WriteString(text) // there is nobody to tell
	os.Exit(1)
}

// hostArgs and hostSetResult belong to a running export. In one process there is none: functions get their arguments
// from the goroutine that runs them.
func hostArgs([]byte) Code      { return UnknownError }
func hostSetResult([]byte) Code { return UnknownError }

func hostCall(export string, args []byte) (uint32, Code) {
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.handlers[export]
	if !ok {
		return 0, NoSuchFunction
	}
	h.last++
	c := &hosted{done: make(chan struct{})}
	h.calls[h.last] = c
	go c.run(f, append([]byte(nil), args...))
	return h.last, OK
}

// run runs a function to its end. A panic ends the call and not the process, as a trap would.
func (c *hosted) run(f Handler, args []byte) {
	defer close(c.done)
	defer func() {
		if p := recover(); p != nil {
			c.code, c.detail = UnknownError, "panic: "+textOfPanic(p)
			_, _ = os.Stderr.WriteString(c.detail + "\n" + string(debug.Stack()))
		}
	}()
	c.result = append([]byte{}, f(args)...)
}

func textOfPanic(p any) string {
	switch p := p.(type) {
	case error:
		return p.Error()
	case string:
		return p
	}
	return "a value that is neither an error nor a string"
}

func hostResult(handle uint32) ([]byte, Code, string) {
	h := theHost
	h.mu.Lock()
	c, ok := h.calls[handle]
	delete(h.calls, handle)
	h.mu.Unlock()
	if !ok {
		return nil, NotFound, ""
	}
	<-c.done
	return c.result, c.code, c.detail
}

func hostPut(key string, value []byte) Code {
	canonical, _, _, err := lattice.Normalize(value)
	if err != nil {
		return UnknownError
	}
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	if have, ok := h.values[key]; ok {
		if canonical, err = lattice.MergeEncoded(have, canonical); err != nil {
			return UnknownError
		}
	}
	h.values[key] = append([]byte(nil), canonical...)
	h.changed.Broadcast()
	return OK
}

func hostGet(key string) ([]byte, Code) {
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.values[key]
	if !ok {
		return nil, NotFound
	}
	return v, OK
}

func hostWait(key string) ([]byte, Code) {
	h := theHost
	h.mu.Lock()
	defer h.mu.Unlock()
	late := false
	timer := time.AfterFunc(waitLimit, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		late = true
		h.changed.Broadcast()
	})
	defer timer.Stop()
	for era := h.era; ; h.changed.Wait() {
		if v, ok := h.values[key]; ok {
			return v, OK
		}
		if late || h.era != era {
			return nil, UnknownError
		}
	}
}
