package guest

import (
	"unsafe"
)

// The imports of module "host", as the upstream library declares them. Pointers are offsets into this module's memory.

//go:wasmimport host essa_get_args
//go:noescape
func essaGetArgs(buf unsafe.Pointer, size uint32) int32

//go:wasmimport host essa_set_result
//go:noescape
func essaSetResult(data unsafe.Pointer, size uint32) int32

//go:wasmimport host essa_call
//go:noescape
func essaCall(name unsafe.Pointer, nameLen uint32, args unsafe.Pointer, argsLen uint32, handle *uint32) int32

//go:wasmimport host essa_get_result_len
//go:noescape
func essaGetResultLen(handle uint32, size *uint32) int32

//go:wasmimport host essa_get_result
//go:noescape
func essaGetResult(handle uint32, buf unsafe.Pointer, capacity uint32, size *uint32) int32

//go:wasmimport host essa_put_lattice
//go:noescape
func essaPutLattice(key unsafe.Pointer, keyLen uint32, value unsafe.Pointer, valueLen uint32) int32

//go:wasmimport host essa_get_lattice_len
//go:noescape
func essaGetLatticeLen(key unsafe.Pointer, keyLen uint32, size *uint32) int32

//go:wasmimport host essa_get_lattice_data
//go:noescape
func essaGetLatticeData(key unsafe.Pointer, keyLen uint32, buf unsafe.Pointer, capacity uint32, size *uint32) int32

func bytesOf(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func textOf(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// Register tells the in-process host of a function. Here the exports tell the real one, and there is nothing to do.
func Register(string, Handler) {}

func hostArgs(buf []byte) Code {
	p, n := bytesOf(buf)
	return Code(essaGetArgs(p, n))
}

func hostSetResult(result []byte) Code {
	p, n := bytesOf(result)
	return Code(essaSetResult(p, n))
}

func hostCall(export string, args []byte) (uint32, Code) {
	var handle uint32
	name, nameLen := textOf(export)
	p, n := bytesOf(args)
	c := Code(essaCall(name, nameLen, p, n, &handle))
	return handle, c
}

func hostResult(handle uint32) ([]byte, Code, string) {
	var size uint32
	if c := Code(essaGetResultLen(handle, &size)); c != OK {
		return nil, c, ""
	}
	buf := make([]byte, size)
	p, n := bytesOf(buf)
	if c := Code(essaGetResult(handle, p, n, &size)); c != OK {
		return nil, c, ""
	}
	return buf[:size], OK, ""
}

func hostPut(key string, value []byte) Code {
	k, kn := textOf(key)
	p, n := bytesOf(value)
	return Code(essaPutLattice(k, kn, p, n))
}

func hostGet(key string) ([]byte, Code) {
	k, kn := textOf(key)
	for range maxRereads {
		var size uint32
		if c := Code(essaGetLatticeLen(k, kn, &size)); c != OK {
			return nil, c
		}
		buf := make([]byte, size)
		p, n := bytesOf(buf)
		switch c := Code(essaGetLatticeData(k, kn, p, n, &size)); c {
		case OK:
			return buf[:size], OK
		case BufferTooSmall:
		default:
			return nil, c
		}
	}
	return nil, BufferTooSmall
}
