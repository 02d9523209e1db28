//go:build amd64 || arm64

package self

// Goroutine returns a value that no other goroutine returns while this one lives. Here it is the address of the runtime's
// record of the goroutine.
func Goroutine() uintptr
