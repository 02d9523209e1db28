package main

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/engine/runtime"
)

// memory is the linear memory of one instance.
//
// Small memories of instances that are not kept come from a pool of cleared buffers: a mapping of their own would cost a page
// fault per page touched. The others are a mapping that reserves addresses up to the limit, so that growing copies nothing
// and the runtime can lay a snapshot over it.
type memory struct {
	guest  *runtime.Guest
	buf    []byte
	mapped bool // buf's array is a mapping, or is to be one
	begun  bool
	used   int // bytes the guest has
	cut    int // what Reallocate is to cut the memory down to; 0: nothing
}

// Pooled buffers have sizes of 2^minClass to 2^maxClass bytes.
const (
	minClass = 16
	maxClass = 18
)

var pools [maxClass - minClass + 1]sync.Pool

// Allocate implements experimental.MemoryAllocator. There is one memory per instance.
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if m.cut > 0 {
		m.used, m.cut = m.cut, 0
		return m.buf[:m.used]
	}
	if uint64(m.used) >= size {
		return m.buf[:size]
	}
	// The first size is the module's minimum, which the runtime has accounted for.
	if m.begun && !m.guest.GrowMemory(uint64(m.used), size) {
		return nil
	}
	m.begun = true
	if size > uint64(cap(m.buf)) && !m.provide(int(size)) {
		return nil
	}
	m.used = int(size)
	m.buf = m.buf[:size]
	return m.buf
}

// guests returns what the guest has of it.
func (m *memory) guests() []byte { return m.buf[:m.used:m.used] }

// provide makes room for at least size bytes, and moves what there is.
func (m *memory) provide(size int) bool {
	if size == 0 {
		return true
	}
	var next []byte
	mapped := m.mapped || size > 1<<maxClass
	if mapped {
		most := max(int(m.guest.MemoryLimit()), size)
		b, err := unix.Mmap(-1, 0, most, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			return false
		}
		next = b
	} else {
		next = pooled(size)
	}
	copy(next, m.buf[:m.used])
	used := m.used
	m.free()
	m.buf, m.mapped, m.used = next, mapped, used
	return true
}

// pooled returns a cleared buffer of at least size bytes.
func pooled(size int) []byte {
	class := max(bits.Len(uint(max(size, 1)-1)), minClass)
	if p, ok := pools[class-minClass].Get().(*byte); ok {
		return unsafe.Slice(p, 1<<class)
	}
	return make([]byte, 1<<class)
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.free() }

func (m *memory) free() {
	b := m.buf[:cap(m.buf)]
	switch {
	case len(b) == 0:
	case m.mapped:
		_ = unix.Munmap(b)
	default:
		clear(b[:m.used])
		pools[bits.Len(uint(len(b)-1))-minClass].Put(unsafe.SliceData(b))
	}
	m.buf, m.used = nil, 0
}
