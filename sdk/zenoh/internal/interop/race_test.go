//go:build race

package interop

// raced tells that the race detector, which costs memory, is there.
const raced = true
