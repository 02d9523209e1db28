//go:build !amd64 && !arm64

package self

import (
	"bytes"
	"runtime"
	"strconv"
)

// Goroutine returns this goroutine's number, read from the head of its stack trace.
func Goroutine() uintptr {
	var buf [64]byte
	f := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.ParseUint(string(f[1]), 10, 64)
	if err != nil {
		return 0
	}
	return uintptr(n)
}
