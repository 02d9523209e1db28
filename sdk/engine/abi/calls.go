package abi

import (
	"strings"

	"github.com/essa-project/essad/sdk/status"
)

// essa_get_args(args_ptr, args_len): BufferTooSmall comes before the memory is looked at.
func getArgs(s *State, mem []byte, stack []uint64) error {
	ptr, size := uint32(stack[0]), uint32(stack[1])
	if uint64(size) < uint64(len(s.Args)) {
		return ret(stack, BufferTooSmall)
	}
	b, err := view(mem, ptr, uint32(len(s.Args)))
	if err != nil {
		return err
	}
	copy(b, s.Args)
	return ret(stack, OK)
}

// essa_set_result(ptr, len): the last call counts; an empty result is a result.
func setResult(s *State, mem []byte, stack []uint64) error {
	b, err := view(mem, uint32(stack[0]), uint32(stack[1]))
	if err != nil {
		return err
	}
	if err := s.Host.CheckResult(len(b)); err != nil {
		return err
	}
	s.result, s.hasResult = append(make([]byte, 0, len(b)), b...), true
	return ret(stack, OK)
}

// essa_call(name_ptr, name_len, args_ptr, args_len, handle_out): returns when the call is queued.
func call(s *State, mem []byte, stack []uint64) error {
	name, err := text(mem, uint32(stack[0]), uint32(stack[1]), "function name")
	if err != nil {
		return err
	}
	args, err := view(mem, uint32(stack[2]), uint32(stack[3]))
	if err != nil {
		return err
	}
	out, err := view(mem, uint32(stack[4]), 4)
	if err != nil {
		return err
	}
	if c := s.Host.Callee(name); c != OK {
		return ret(stack, c)
	}
	f, err := s.Host.Start(string(name), append(make([]byte, 0, len(args)), args...))
	if err != nil {
		if end := endOf(err); end != nil {
			return end
		}
		return ret(stack, UnknownError)
	}
	if s.handles == nil {
		s.handles = make(map[uint32]Future)
	}
	s.last++
	s.handles[s.last] = f
	put32(out, int(s.last))
	return ret(stack, OK)
}

// await waits for the call behind a handle. A call that failed, or had no result, is settled: its handle is not open any
// more, and every later wait is answered the same.
func (s *State) await(handle uint32) ([]byte, Code, error) {
	f, ok := s.handles[handle]
	if !ok {
		if c, ok := s.settled[handle]; ok {
			return nil, c.code, nil
		}
		return nil, NotFound, nil
	}
	value, ok, err := f.Wait()
	if end := endOf(err); end != nil {
		return nil, UnknownError, end
	}
	var c Code
	switch {
	case err != nil:
		c = UnknownError
	case !ok:
		c = NoResult
	default:
		return value, OK, nil
	}
	if s.settled == nil {
		s.settled = make(map[uint32]settled)
	}
	f.Forget()
	delete(s.handles, handle)
	s.settled[handle] = settled{c, err}
	return nil, c, nil
}

// essa_get_result_len(handle, len_out): the result is kept.
func getResultLen(s *State, mem []byte, stack []uint64) error {
	out, err := view(mem, uint32(stack[1]), 4)
	if err != nil {
		return err
	}
	value, c, err := s.await(uint32(stack[0]))
	if err != nil {
		return err
	}
	if c == OK {
		put32(out, len(value))
	}
	return ret(stack, c)
}

// essa_get_result(handle, buf, cap, len_out): the handle is forgotten when the bytes are written.
func getResult(s *State, mem []byte, stack []uint64) error {
	handle, buf, size := uint32(stack[0]), uint32(stack[1]), uint32(stack[2])
	out, err := view(mem, uint32(stack[3]), 4)
	if err != nil {
		return err
	}
	value, c, err := s.await(handle)
	if err != nil {
		return err
	}
	if c != OK {
		return ret(stack, c)
	}
	if c, err := give(mem, buf, size, out, value); c != OK || err != nil {
		stack[0] = uint64(uint32(c))
		return err
	}
	s.handles[handle].Forget()
	delete(s.handles, handle)
	return ret(stack, OK)
}

// give writes value and its length where there is room; else nothing is written.
func give(mem []byte, buf, size uint32, out, value []byte) (Code, error) {
	if uint64(len(value)) > uint64(size) {
		return BufferTooSmall, nil
	}
	b, err := view(mem, buf, uint32(len(value)))
	if err != nil {
		return UnknownError, err
	}
	copy(b, value)
	put32(out, len(value))
	return OK, nil
}

// essa_get_error(handle, buf, cap, len_out): why a call failed, as "class[/detail]: text", for the handle of a call whose
// failure a wait has told. NotFound where there is no such failure; BufferTooSmall writes the length alone. The stack that
// some engines tell is for people: what a guest sees must not depend on its engine.
func getError(s *State, mem []byte, stack []uint64) error {
	out, err := view(mem, uint32(stack[3]), 4)
	if err != nil {
		return err
	}
	failed := s.settled[uint32(stack[0])].err
	if failed == nil {
		return ret(stack, NotFound)
	}
	why, _, _ := strings.Cut(failed.Error(), "\nstack:")
	text := []byte(status.Code(failed) + ": " + why)
	c, err := give(mem, uint32(stack[1]), uint32(stack[2]), out, text)
	if err != nil {
		return err
	}
	if c == BufferTooSmall {
		put32(out, len(text))
	}
	return ret(stack, c)
}
