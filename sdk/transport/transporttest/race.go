//go:build race

package transporttest

// raced tells that the race detector is there.
const raced = true
