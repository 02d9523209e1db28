package main

import (
	"context"
	"testing"
)

// TestStackIsKnown: wazero keeps the stack of a function where stackOf looks for it, and it is the one that grows.
func TestStackIsKnown(t *testing.T) {
	b, err := newBackend("")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	// f(n) calls itself n times.
	wasm := []byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x01\x7f\x00\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00" +
		"\x0a\x10\x01\x0e\x00\x20\x00\x04\x40\x20\x00\x41\x01\x6b\x10\x00\x0b\x0b")
	m, err := b.rt.InstantiateWithConfig(ctx, wasm, moduleConfig)
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{mod: m}
	f := i.function("f")
	stack := i.called[0].stack
	if stack == nil || *stack < 1<<10 || *stack > maxStack {
		t.Fatalf("a new function's stack: %v", stack)
	}
	if _, err := f.Call(ctx, 100_000); err != nil {
		t.Fatal(err)
	}
	if *stack < 1<<20 {
		t.Errorf("after 100,000 calls in each other the stack has %d bytes", *stack)
	}
	i.Bind(nil)
	if len(i.called) != 0 {
		t.Error("a waiting instance keeps a large stack")
	}
	i.function("f")
	if i.Bind(nil); len(i.called) != 1 {
		t.Error("a waiting instance forgets a function with a small stack")
	}
}
