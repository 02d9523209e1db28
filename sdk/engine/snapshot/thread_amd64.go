package snapshot

const threadPointerBuilt = true

// threadPointer returns the base of the segment FS: where a thread has what is its own, and so another number in each thread.
// The processor and the kernel must allow the instruction.
func threadPointer() uintptr
