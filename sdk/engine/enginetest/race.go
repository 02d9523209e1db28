//go:build race

package enginetest

// The race detector makes compilers some twenty times slower.
const widestSwitch = 1 << 14

// slow tells that nothing here can be held to milliseconds.
const slow = true
