package main

import (
	"bytes"
	"path/filepath"
	"sync"
	"testing"

	"github.com/essa-project/essad/sdk/bincode"
)

// TestBareEngine: the floor answers as the function does, again and again and side by side.
func TestBareEngine(t *testing.T) {
	e, err := newBareEngine(filepath.Join("..", "..", "..", "examples", "splitter", "splitter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	args := bincode.AppendBytes(nil, []byte("sixty-four bytes or fewer"))
	want := e.call(wrapper+"echo", args)
	if !bytes.Contains(want, []byte("sixty-four")) {
		t.Fatalf("echo answered %q", want)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 200 {
				if got := e.call(wrapper+"echo", args); !bytes.Equal(got, want) {
					t.Errorf("then it answered %q", got)
					return
				}
			}
		})
	}
	wait.Wait()
	if len(e.parked) == 0 {
		t.Error("no instance was kept")
	}
	for _, i := range e.parked {
		if err := i.close(); err != nil {
			t.Error(err)
		}
	}
}
