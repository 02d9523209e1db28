//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"testing"
	"unsafe"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/engine/runtime"
)

// TestMemoryClean: addresses are used again, what was written there is not.
func TestMemoryClean(t *testing.T) {
	b, err := newBackend("")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := admit.Module(enginetest.Wasm("guest.wasm"), admit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := b.Compile(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var (
		first []byte
		last  unsafe.Pointer
		again bool
	)
	for range 5 {
		i, err := c.Instantiate(&runtime.Guest{})
		if err != nil {
			t.Fatal(err)
		}
		mem := i.Memory()
		if first == nil {
			first = bytes.Clone(mem)
		}
		again = again || unsafe.Pointer(&mem[0]) == last
		last = unsafe.Pointer(&mem[0])
		if !bytes.Equal(mem, first) {
			t.Error("a new instance's memory is not as the first one's")
		}
		for n := range mem {
			mem[n] = 0xff
		}
		i.Close()
	}
	if !again {
		t.Error("no addresses were used again")
	}
}
