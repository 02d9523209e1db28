package frame

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two from 1<<minClass to 1<<maxClass bytes; what is larger is not pooled, because it would stay
// around for long after the one frame that needed it.
const (
	minClass = 9
	maxClass = 20
)

// buffer is a pooled piece of memory.
type buffer struct {
	b     []byte
	class int8
}

var buffers [maxClass + 1]sync.Pool

// getBuffer returns a buffer of n bytes with any content, or nil where n is too large to be pooled.
func getBuffer(n int) *buffer {
	if n > 1<<maxClass {
		return nil
	}
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if b, ok := buffers[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<class), class: int8(class)}
}

func (b *buffer) put() { buffers[b.class].Put(b) }
