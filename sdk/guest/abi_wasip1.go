package guest

import (
	"syscall"
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

func bytesOf(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

// maxRereads bounds how often a read starts again because the value grew between asking its length and reading it. Only
// hosts without snapshots, such as upstream's, ever make it start again.
const maxRereads = 8

// readValue asks for the length of something and then for its data, and again where it grew in between.
func readValue(length func(size *uint32) Code, data func(buf unsafe.Pointer, n uint32, size *uint32) Code) ([]byte, Code) {
	for range maxRereads {
		var size uint32
		if c := length(&size); c != OK {
			return nil, c
		}
		buf := make([]byte, size)
		p, n := bytesOf(buf)
		switch c := data(p, n, &size); c {
		case OK:
			return buf[:size], OK
		case BufferTooSmall:
		default:
			return nil, c
		}
	}
	return nil, BufferTooSmall
}

func textOf(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// Register tells the in-process host of a function. Here the exports tell the real one, and there is nothing to do.
func Register(string, Handler) {}

// ResetHost is for tests, which run on the in-process host. Here it does nothing.
func ResetHost() {}

// exit does without package os, which is a tenth of a small module.
func exit(text string) {
	_, _ = syscall.Write(2, []byte(text)) // there is nobody to tell
	syscall.Exit(1)
}

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
		return nil, c, whyFailed(handle)
	}
	buf := make([]byte, size)
	p, n := bytesOf(buf)
	if c := Code(essaGetResult(handle, p, n, &size)); c != OK {
		return nil, c, whyFailed(handle)
	}
	return buf[:size], OK, ""
}

func hostPut(key string, value []byte) Code {
	k, kn := textOf(key)
	p, n := bytesOf(value)
	return Code(essaPutLattice(k, kn, p, n))
}
