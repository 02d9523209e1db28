//go:build wasip1

// Command goguest is a guest of the tests and benchmarks: a Go reactor with a function that does nothing, one that does what
// functions do, and one that tells what of it is the same in every call.
package main

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math/rand"
	randv2 "math/rand/v2"
	"regexp"
	"time"
	"unsafe"
)

func main() {}

//go:wasmimport host essa_set_result
func setResult(at, n uint32) uint32

//go:wasmimport host essa_get_args
func getArgs(p unsafe.Pointer, n uint32) uint32

type order struct {
	Name  string            `json:"name"`
	Tags  []string          `json:"tags"`
	Attrs map[string]string `json:"attrs"`
	Price float64           `json:"price"`
}

var (
	address = regexp.MustCompile(`(\w+)@(\w+)\.example`)
	chosen  = randv2.NewChaCha8([32]byte{1, 2, 3}) // a seed of the program's: it must draw the same in every call
	secret  = func() *randv2.ChaCha8 {             // and one of the host's
		var seed [32]byte
		_, _ = crand.Read(seed[:])
		return randv2.NewChaCha8(seed)
	}()
	counter uint64
	started = time.Now()
)

//go:wasmexport nop
func nop(uint32) {}

func realWork() int {
	in := order{Name: "joe", Tags: []string{"a", "b", "c"}, Attrs: map[string]string{"k": "v"}, Price: 1.5}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	var out order
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	found := address.FindAllStringSubmatch("joe@shop.example and jane@home.example", -1)
	return len(fmt.Sprintf("%v %s %d", out, found, len(b)))
}

//go:wasmexport work
func work(uint32) { realWork() }

//go:wasmexport warm
func warm() { realWork() }

// draws answers with numbers that differ from call to call, and then with some that do not.
//
//go:wasmexport draws
func draws(uint32) {
	counter++
	le := binary.LittleEndian
	b := make([]byte, 0, 96)
	b = le.AppendUint64(b, rand.Uint64())
	b = le.AppendUint64(b, randv2.Uint64())
	b = le.AppendUint64(b, secret.Uint64())
	b = le.AppendUint64(b, maphash.String(maphash.MakeSeed(), "x"))
	var c [8]byte
	_, _ = crand.Read(c[:])
	b = append(b, c[:]...)
	b = le.AppendUint64(b, uint64(time.Now().UnixNano()))
	b = le.AppendUint64(b, uint64(time.Since(started)))

	b = le.AppendUint64(b, counter)
	b = le.AppendUint64(b, chosen.Uint64())
	setResult(uint32(uintptr(unsafe.Pointer(&b[0]))), uint32(len(b)))
}

// many uses up so many random numbers while it is initialised, where that is called to warm up.
//
//go:wasmexport many
func many() {
	for range 1000 {
		rand.Uint64()
	}
}

var kept [][]byte

// dirty leaves its arguments all over the heap.
//
//go:wasmexport dirty
func dirty(n uint32) {
	p := make([]byte, n)
	if n > 0 {
		getArgs(unsafe.Pointer(&p[0]), n)
	}
	counter += uint64(n)
	for range 50 {
		kept = append(kept, append(p, p...))
	}
}

// dump answers with its memory, up to a size.
//
//go:wasmexport dump
func dump(n uint32) {
	var size uint32
	getArgs(unsafe.Pointer(&size), n)
	setResult(0, size)
}

//go:wasmimport host essa_call
func call(name unsafe.Pointer, nameLen uint32, args unsafe.Pointer, argsLen uint32, handle unsafe.Pointer) int32

//go:wasmimport host essa_get_result_len
func resultLen(handle uint32, n unsafe.Pointer) int32

var treeName = []byte("tree")

// tree calls itself twice until its depth is used up.
//
//go:wasmexport tree
func tree(n uint32) {
	var depth uint32
	getArgs(unsafe.Pointer(&depth), n)
	if depth == 0 {
		return
	}
	depth--
	var handles [2]uint32
	for i := range handles {
		if call(unsafe.Pointer(&treeName[0]), 4, unsafe.Pointer(&depth), 4, unsafe.Pointer(&handles[i])) != 0 {
			panic("the call was refused")
		}
	}
	for _, h := range handles {
		var size uint32
		if c := resultLen(h, unsafe.Pointer(&size)); c != 0 && c != -6 {
			panic("the call failed")
		}
	}
}

// sleep waits for as long as it takes for many to do so.
//
//go:wasmexport sleep
func sleep(uint32) { time.Sleep(200 * time.Millisecond) }
