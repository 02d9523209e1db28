//go:build !race

package enginetest

// widestSwitch is how many targets the widest switch of an attack has: as many as admission lets through.
const widestSwitch = 1 << 16

// slow tells that nothing here can be held to milliseconds.
const slow = false
