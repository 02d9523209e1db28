//go:build wasmedge

package main

import (
	"os"
	"syscall"
	"testing"
)

// redirect has what is written to std, by whomever, go to file, and returns what undoes it and fails if there was anything.
func redirect(t *testing.T, std, file *os.File) func() {
	t.Helper()
	fd := int(std.Fd())
	kept, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Dup3(int(file.Fd()), fd, 0); err != nil {
		t.Fatal(err)
	}
	return func() {
		defer file.Close()
		if err := syscall.Dup3(kept, fd, 0); err != nil {
			t.Fatal(err)
		}
		syscall.Close(kept)
		if text, err := os.ReadFile(file.Name()); err != nil || len(text) > 0 {
			t.Errorf("written to %s: %q %v", std.Name(), text, err)
		}
	}
}
