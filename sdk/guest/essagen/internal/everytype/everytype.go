// Package everytype holds one function for each kind of argument and result that essagen takes. Its generated files are
// the golden output of essagen's tests, and its own tests send values through them. Nothing else imports it.
package everytype

import (
	"errors"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/guest"
	"github.com/essa-project/essad/sdk/lattice"
)

//go:generate go run github.com/essa-project/essad/sdk/guest/essagen

// Kind is a defined integer.
type Kind uint16

// Numbers has a field of each basic type.
type Numbers struct {
	A bool
	B int8
	C int16
	D int32
	E int64
	F int
	G uint8
	H uint16
	I uint32
	J uint64
	K uint
	L float32
	M float64
	N string
	O rune
	P byte
	Q Kind
	R time.Duration
}

// Inner is embedded in Outer.
type Inner struct {
	Note   *string
	hidden int16 // fields that are not exported are encoded as well: the generated code is in the package
}

// Blob is a defined []byte.
type Blob []byte

// Pair is a type with type parameters.
type Pair[A, B any] struct {
	First  A
	Second B
}

// Celsius encodes itself, as tenths of a degree.
type Celsius struct{ degrees float64 }

// AppendBincode appends the tenths.
func (c Celsius) AppendBincode(b []byte) []byte { return bincode.AppendInt32(b, int32(c.degrees*10)) }

// DecodeBincode takes the tenths.
func (c *Celsius) DecodeBincode(d *bincode.Decoder) { c.degrees = float64(d.Int32()) / 10 }

// Outer has a field of each composite type.
type Outer struct {
	Inner
	Bytes   []byte
	Blob    Blob
	Words   []string
	Grid    [2][3]int16
	Ages    map[string]uint8
	ByKind  map[Kind][]string
	Seen    map[int64]struct{}
	Maybe   *Pair[string, uint16]
	Twice   **uint8
	List    []Pair[Kind, []byte]
	Skipped func() `essa:"-"`
	Temp    Celsius
	Temps   []Celsius
	Nothing struct{}
	None    [3]struct{}
}

// Lattices has a field of each lattice type that can be an argument.
type Lattices struct {
	At       lattice.Timestamp
	Set      lattice.Set
	Ordered  lattice.OrderedSet
	LWW      lattice.LWW
	Priority lattice.Priority
	Clock    lattice.VectorClock
	Key      guest.Key
}

// EchoNumbers returns its argument.
//
//essa:function
func EchoNumbers(n Numbers) Numbers { return n }

// EchoOuter returns its argument, without the field that is not sent.
//
//essa:function
func EchoOuter(o Outer) Outer { return o }

// EchoLattices returns its argument.
//
//essa:function export=lattices_there_and_back name=SendLattices
func EchoLattices(l Lattices) Lattices { return l }

// Nothing takes and returns nothing.
//
//essa:function
func Nothing() {}

// Check returns an error or not.
//
//essa:function
func Check(fail bool) error {
	if fail {
		return errors.New("it failed: \xff")
	}
	return nil
}

// Half returns a result or an error.
//
//essa:function
func Half(n uint32) (uint32, error) {
	if n%2 == 1 {
		return 0, errors.New("an odd number has no half")
	}
	return n / 2, nil
}

// Divide has named results.
//
//essa:function
func Divide(n, by int) (quotient, remainder int) { return n / by, n % by }

// Cut has results without names, and an error.
//
//essa:function
func Cut(s string, at uint) (string, string, error) {
	if at > uint(len(s)) {
		return "", "", errors.New("beyond the end")
	}
	return s[:at], s[at:], nil
}

// Shadows has parameters named like what the stub needs.
//
//essa:function
func Shadows(b string, d []byte, guest, string, Kind, _ uint8, err int8, a5 bool) int {
	return len(b) + len(d) + int(guest) + int(string) + int(Kind) + int(err)
}

// Fill returns nothing but the struct it is about.
//
//essa:function
func Fill(struct{}) struct{} { return struct{}{} }

// HTTPGet2 is named http_get2 outside.
//
//essa:function
func HTTPGet2(unnamed map[string]string) map[string]string { return unnamed }

// divide and Divide differ in one letter's case only.
//
//essa:function name=divideLower export=divide_lower
func divide(n uint8) uint8 { return n / 2 }
