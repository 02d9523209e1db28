//go:build race

package admit_test

// The race detector slows wazero's compiler down so much that the Go guest takes minutes: it is interpreted then.
const raceEnabled = true
