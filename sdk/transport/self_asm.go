//go:build amd64 || arm64

package transport

// goroutine returns a value that no other goroutine returns while this one lives: the address of the runtime's record of
// it. Close uses it to tell whether it was called from within the handler it would wait for. The runtime has no call for
// that, and parsing a stack trace costs more than a whole query.
func goroutine() uintptr
