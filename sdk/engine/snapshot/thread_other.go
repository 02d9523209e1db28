//go:build !amd64

package snapshot

// Elsewhere Go's threads have no such register of their own unless C is linked.
const threadPointerBuilt = false

func threadPointer() uintptr { return 0 }

func setMark() {}

func marked() bool { return false }
