package abi

import (
	"encoding/binary"

	"github.com/essa-project/essad/sdk/status"
)

// upstreamTags is the number of kinds of lattice values that upstream guests know. Others do not exist for them: the
// guest library panics on what it cannot decode.
const upstreamTags = 5

// essa_put_lattice(key_ptr, key_len, val_ptr, val_len): returns when the store has acknowledged.
func putLattice(s *State, mem []byte, stack []uint64) error {
	key, err := text(mem, uint32(stack[0]), uint32(stack[1]), "key")
	if err != nil {
		return err
	}
	value, err := view(mem, uint32(stack[2]), uint32(stack[3]))
	if err != nil {
		return err
	}
	if err := s.Host.Merge(key, value); err != nil {
		if end := endOf(err); end != nil {
			return end
		}
		return ret(stack, UnknownError)
	}
	return ret(stack, OK)
}

// load reads key. Any value of a kind the caller does not know is as good as none.
func (s *State) load(key []byte, wait, anyKind bool) (Value, Code, error) {
	v, err := s.Host.Load(key, wait)
	switch {
	case err == nil:
	case endOf(err) != nil:
		return Value{}, UnknownError, endOf(err)
	case status.Of(err) == status.NotFound:
		return Value{}, NotFound, nil
	default:
		// Upstream says NotFound here as well, and its library then polls for ever. An error is one it can return.
		return Value{}, UnknownError, nil
	}
	if !known(v.Data, anyKind) {
		return Value{}, NotFound, nil
	}
	return v, OK, nil
}

func known(value []byte, anyKind bool) bool {
	return anyKind || len(value) >= 4 && binary.LittleEndian.Uint32(value) < upstreamTags
}

// length is what the functions that tell a value's length have in common. The value is kept, so that the data which is
// asked for next has the length that was told.
func length(s *State, mem []byte, stack []uint64, wait, anyKind bool) error {
	key, err := text(mem, uint32(stack[0]), uint32(stack[1]), "key")
	if err != nil {
		return err
	}
	out, err := view(mem, uint32(stack[2]), 4)
	if err != nil {
		return err
	}
	v, c, err := s.load(key, wait, anyKind)
	if err != nil || c != OK {
		stack[0] = uint64(uint32(c))
		return err
	}
	s.keep(v)
	put32(out, len(v.Data))
	return ret(stack, OK)
}

// data is what the functions that fetch a value have in common: it is the one whose length was told last, once, or the
// one that is stored now.
func data(s *State, mem []byte, stack []uint64, anyKind bool) error {
	key, err := text(mem, uint32(stack[0]), uint32(stack[1]), "key")
	if err != nil {
		return err
	}
	out, err := view(mem, uint32(stack[4]), 4)
	if err != nil {
		return err
	}
	kept := s.kept(key)
	var v Value
	if kept != nil && known(kept.Data, anyKind) {
		v = *kept
	} else {
		var c Code
		if v, c, err = s.load(key, false, anyKind); err != nil || c != OK {
			stack[0] = uint64(uint32(c))
			return err
		}
	}
	c, err := give(mem, uint32(stack[2]), uint32(stack[3]), out, v.Data)
	if err != nil {
		return err
	}
	if c == OK && kept != nil {
		*kept = Value{}
	}
	return ret(stack, c)
}

// essa_get_lattice_len(key_ptr, key_len, len_out)
func getLatticeLen(s *State, mem []byte, stack []uint64) error {
	return length(s, mem, stack, false, false)
}

// essa_get_lattice_data(key_ptr, key_len, buf, cap, len_out)
func getLatticeData(s *State, mem []byte, stack []uint64) error { return data(s, mem, stack, false) }

// essa_wait_lattice_len(key_ptr, key_len, len_out): as essa_get_lattice_len, but waits until there is a value.
func waitLatticeLen(s *State, mem []byte, stack []uint64) error {
	return length(s, mem, stack, true, false)
}

// essa_get_value_len and essa_get_value_data: as their lattice namesakes, for values of every kind.
func getValueLen(s *State, mem []byte, stack []uint64) error {
	return length(s, mem, stack, false, true)
}
func getValueData(s *State, mem []byte, stack []uint64) error { return data(s, mem, stack, true) }
