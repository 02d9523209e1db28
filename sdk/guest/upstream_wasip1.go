//go:build essa_upstream

package guest

import (
	"time"
	"unsafe"
)

// With the build tag essa_upstream a module imports module "host" alone, and so runs on upstream's executors as well. It
// waits by polling there, as upstream's library does, sees upstream's kinds of values only, and learns of failed calls
// that they failed.

//go:wasmimport host essa_get_lattice_len
//go:noescape
func essaGetLatticeLen(key unsafe.Pointer, keyLen uint32, size *uint32) int32

//go:wasmimport host essa_get_lattice_data
//go:noescape
func essaGetLatticeData(key unsafe.Pointer, keyLen uint32, buf unsafe.Pointer, capacity uint32, size *uint32) int32

// pollEvery is how long Get rests between two looks.
const pollEvery = 100 * time.Millisecond

func hostGet(key string) ([]byte, Code) {
	k, kn := textOf(key)
	return readValue(
		func(size *uint32) Code { return Code(essaGetLatticeLen(k, kn, size)) },
		func(buf unsafe.Pointer, n uint32, size *uint32) Code {
			return Code(essaGetLatticeData(k, kn, buf, n, size))
		})
}

func hostWait(key string) ([]byte, Code) {
	for {
		v, c := hostGet(key)
		if c != NotFound {
			return v, c
		}
		time.Sleep(pollEvery)
	}
}

func whyFailed(uint32) string { return "" }
