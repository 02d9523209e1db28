package frame

import (
	"math/bits"
	"sync"
)

// Buffers come in four sizes for each power of two, from 64 bytes to 1 MiB: a buffer is at most a quarter larger than what
// is in it, also for those that their users keep. What is larger is not pooled, because it would stay around for long
// after the one frame that needed it.
const (
	minBits = 6
	maxBits = 20
)

// buffer is a pooled piece of memory.
type buffer struct {
	b     []byte
	class int16
}

var buffers [(maxBits-minBits)*4 + 1]sync.Pool

// bufferClass returns the number and the size of the smallest class that holds n bytes.
func bufferClass(n int) (class, size int) {
	if n <= 1<<minBits {
		return 0, 1 << minBits
	}
	shift := bits.Len(uint(n-1)) - 3 // the size is a number from 5 to 8, shifted
	quarters := (n-1)>>shift + 1
	return (shift-minBits+2)*4 + quarters - 4, quarters << shift
}

// getBuffer returns a buffer of n bytes with any content, or nil where n is too large to be pooled.
func getBuffer(n int) *buffer {
	if n > 1<<maxBits {
		return nil
	}
	class, size := bufferClass(n)
	if b, ok := buffers[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, size), class: int16(class)}
}

func (b *buffer) put() { buffers[b.class].Put(b) }
