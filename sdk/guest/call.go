package guest

import (
	"sync"

	"github.com/essa-project/essad/sdk/bincode"
)

// WrapperPrefix begins the export names of functions. The rest is the name by which a function is called from outside.
const WrapperPrefix = "__essa_wrapper__"

// Args returns the arguments of the running call, as the host encoded them. argsLen is what the export was given.
func Args(argsLen int32) ([]byte, error) {
	buf := make([]byte, uint32(argsLen))
	if c := hostArgs(buf); c != OK {
		return nil, failed("read the arguments", "", c)
	}
	return buf, nil
}

// SetResult sets the result of the running call. The last one counts; an empty one is a result.
func SetResult(result []byte) error {
	return failed("set the result", "", hostSetResult(result))
}

// Handle stands for a call that was started. It ends with Wait.
type Handle struct {
	id   uint32
	name string
}

// Call starts an export of this module in an instance of its own and returns at once. Functions made by essagen are
// called through their stubs; this is for exports made by hand, and for names that are not known before.
func Call(export string, args []byte) (Handle, error) {
	id, c := hostCall(export, args)
	if c != OK {
		return Handle{}, failed("call", display(export), c)
	}
	return Handle{id, export}, nil
}

// Wait waits for the call and returns its result. A second Wait on the same handle is NotFound.
func (h Handle) Wait() ([]byte, error) {
	result, c, detail := hostResult(h.id)
	if c != OK {
		return nil, &Error{Op: "call", Name: display(h.name), Code: c, Detail: detail}
	}
	return result, nil
}

// display is the name under which people know an export.
func display(export string) string {
	if len(export) > len(WrapperPrefix) && export[:len(WrapperPrefix)] == WrapperPrefix {
		return export[len(WrapperPrefix):]
	}
	return export
}

// Unit is the result of a function without one.
type Unit = struct{}

// Future is a result that may not be there yet. A future nobody waits for does no harm: its call still runs.
type Future[T any] struct {
	mu     sync.Mutex
	done   bool
	handle Handle
	decode func(*bincode.Decoder) (T, error)
	value  T
	err    error
}

// Start starts an export whose result decode reads. Stubs are made of it. That the call could not be started is told by
// the future, like everything else that goes wrong.
func Start[T any](export string, args []byte, decode func(*bincode.Decoder) (T, error)) *Future[T] {
	f := &Future[T]{decode: decode}
	f.handle, f.err = Call(export, args)
	f.done = f.err != nil
	return f
}

// Get waits for the result. The error is a CalleeError where the function returned one, and wraps a Code where there is
// no result for another reason. Get may be called again and returns the same.
func (f *Future[T]) Get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.done = true
		f.value, f.err = f.finish()
		f.decode = nil
	}
	return f.value, f.err
}

func (f *Future[T]) finish() (v T, err error) {
	result, err := f.handle.Wait()
	if err != nil {
		return v, err
	}
	d := bincode.NewDecoder(result)
	v, err = f.decode(d)
	if bad := d.Err(); bad != nil {
		var none T
		return none, &Error{Op: "call", Name: display(f.handle.name), Code: InvalidResult, Detail: bad.Error()}
	}
	return v, err
}

// Wait waits for the call and forgets its value.
func (f *Future[T]) Wait() error {
	_, err := f.Get()
	return err
}

// WaitAll waits for all of several futures and returns the first error among them.
func WaitAll(futures ...interface{ Wait() error }) error {
	var first error
	for _, f := range futures {
		if err := f.Wait(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
