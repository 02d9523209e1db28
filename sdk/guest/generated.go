package guest

import (
	"strings"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/lattice"
)

// What follows is what code made by essagen is made of. It may be used by hand as well.

// Handler is a function as the host sees it: encoded arguments in, encoded result out. It panics where the arguments
// cannot be decoded, which ends the call and nothing else.
type Handler func(args []byte) []byte

// Serve is the body of an export: it runs h on the running call's arguments and sets the result. It panics where the
// host refuses, as the upstream library does.
func Serve(argsLen int32, h Handler) {
	args, err := Args(argsLen)
	if err != nil {
		panic(err)
	}
	if err := SetResult(h(args)); err != nil {
		panic(err)
	}
}

// CheckArgs panics where the arguments of a function could not be decoded.
func CheckArgs(function string, d *bincode.Decoder) {
	if err := d.Err(); err != nil {
		panic("the arguments of " + function + " cannot be decoded: " + err.Error())
	}
}

// AppendOK appends the tag of Result::Ok; the value follows.
func AppendOK(b []byte) []byte { return bincode.AppendUint32(b, 0) }

// AppendError appends Result::Err with the error's text.
func AppendError(b []byte, err error) []byte {
	return bincode.AppendString(bincode.AppendUint32(b, 1), strings.ToValidUTF8(err.Error(), "\uFFFD"))
}

// TakeError takes the tag of a Result and, where it is Err, the error. Otherwise the value follows.
func TakeError(d *bincode.Decoder) error {
	if d.Variant(2) == 0 {
		return nil
	}
	return CalleeError(d.String())
}

// ExitOn ends the process with status 1 and the error's text on standard error, if there is an error.
func ExitOn(err error) {
	if err != nil {
		exit("error: " + err.Error() + "\n")
	}
}

// AppendTimestamp appends a timestamp as chrono's serde form has it: text.
func AppendTimestamp(b []byte, t lattice.Timestamp) []byte {
	return bincode.AppendString(b, t.String())
}

// TakeTimestamp takes a timestamp.
func TakeTimestamp(d *bincode.Decoder) lattice.Timestamp {
	t, err := lattice.ParseTimestamp(d.StringView())
	if err != nil {
		d.Fail(err)
	}
	return t
}

// AppendSet appends a set: a sequence.
func AppendSet(b []byte, s lattice.Set) []byte { return appendElements(b, s.Elements()) }

// TakeSet takes a set.
func TakeSet(d *bincode.Decoder) lattice.Set { return lattice.NewSet(takeElements(d)...) }

// AppendOrderedSet appends an ordered set: a sequence.
func AppendOrderedSet(b []byte, s lattice.OrderedSet) []byte { return appendElements(b, s.Elements()) }

// TakeOrderedSet takes an ordered set.
func TakeOrderedSet(d *bincode.Decoder) lattice.OrderedSet {
	return lattice.NewOrderedSet(takeElements(d)...)
}

func appendElements(b []byte, elems [][]byte) []byte {
	b = bincode.AppendUint64(b, uint64(len(elems)))
	for _, e := range elems {
		b = bincode.AppendBytes(b, e)
	}
	return b
}

func takeElements(d *bincode.Decoder) [][]byte {
	n := d.Count(8)
	elems := make([][]byte, 0, n)
	for range n {
		elems = append(elems, d.Bytes())
	}
	return elems
}

// AppendVectorClock appends a vector clock: a map from writer to count.
func AppendVectorClock(b []byte, c lattice.VectorClock) []byte {
	b = bincode.AppendUint64(b, uint64(len(c.Entries())))
	for _, e := range c.Entries() {
		b = bincode.AppendUint64(bincode.AppendString(b, e.ID), e.N)
	}
	return b
}

// TakeVectorClock takes a vector clock.
func TakeVectorClock(d *bincode.Decoder) lattice.VectorClock {
	n := d.Count(16)
	entries := make([]lattice.ClockEntry, 0, n)
	for range n {
		entries = append(entries, lattice.ClockEntry{ID: d.String(), N: d.Uint64()})
	}
	return lattice.NewVectorClock(entries...)
}
