//go:build race

package kvs_test

const raceEnabled = true
