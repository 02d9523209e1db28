package snapshot

const threadPointerBuilt = true

// threadPointer returns the base of the segment FS: where a thread has what is its own, and so another number in each thread.
// The processor and the kernel must allow the instruction.
func threadPointer() uintptr

// setMark marks the calling thread: by a null selector in ES that is not the usual one. It takes as long as a system call, nearly.
func setMark()

// marked tells whether the mark is there. It takes no time.
func marked() bool
