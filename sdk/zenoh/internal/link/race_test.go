//go:build race

package link

// raceEnabled says that stacks are larger than they are otherwise.
const raceEnabled = true
