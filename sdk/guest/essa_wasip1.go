//go:build !essa_upstream

package guest

import (
	"time"
	"unsafe"
)

// The imports of module "essa", which upstream's executors do not have: see the build tag essa_upstream.

//go:wasmimport essa essa_wait_lattice_len
//go:noescape
func essaWaitLatticeLen(key unsafe.Pointer, keyLen uint32, size *uint32) int32

//go:wasmimport essa essa_get_value_len
//go:noescape
func essaGetValueLen(key unsafe.Pointer, keyLen uint32, size *uint32) int32

//go:wasmimport essa essa_get_value_data
//go:noescape
func essaGetValueData(key unsafe.Pointer, keyLen uint32, buf unsafe.Pointer, capacity uint32, size *uint32) int32

//go:wasmimport essa essa_get_error
//go:noescape
func essaGetError(handle uint32, buf unsafe.Pointer, capacity uint32, size *uint32) int32

func hostGet(key string) ([]byte, Code) {
	k, kn := textOf(key)
	return readValue(
		func(size *uint32) Code { return Code(essaGetValueLen(k, kn, size)) },
		func(buf unsafe.Pointer, n uint32, size *uint32) Code {
			return Code(essaGetValueData(k, kn, buf, n, size))
		})
}

// rest is for a key that was deleted as soon as it appeared.
const rest = time.Millisecond

// hostWait waits in the host. The wait is over, with NotFound, when there is a value of a kind that upstream does not know.
func hostWait(key string) ([]byte, Code) {
	k, kn := textOf(key)
	for {
		var size uint32
		if c := Code(essaWaitLatticeLen(k, kn, &size)); c != OK && c != NotFound {
			return nil, c
		}
		v, c := hostGet(key)
		if c != NotFound {
			return v, c
		}
		time.Sleep(rest)
	}
}

// maxReason bounds the text of a failure. The host cuts nothing, so a longer text is left out.
const maxReason = 1 << 16

func whyFailed(handle uint32) string {
	var size uint32
	buf := make([]byte, 256)
	for range 2 {
		p, n := bytesOf(buf)
		switch c := Code(essaGetError(handle, p, n, &size)); {
		case c == OK:
			return string(buf[:size])
		case c != BufferTooSmall || size > maxReason:
			return ""
		}
		buf = make([]byte, size)
	}
	return ""
}
