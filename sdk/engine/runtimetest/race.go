//go:build race

package runtimetest

// Race tells that the race detector is on: code is some ten times slower and memory as much larger.
const Race = true
