package main

import (
	"path/filepath"
	"testing"
	"time"
)

// TestMetered: both modules run, and the figures are of calls.
func TestMetered(t *testing.T) {
	original, metered, err := meteredCalls(filepath.Join("..", "..", "..", "examples", "splitter", "splitter.wasm"), wrapper+"noop", 10*time.Millisecond)
	if err != nil || original <= 0 || metered <= 0 || original > 1e5 || metered > 1e5 {
		t.Errorf("%v us as it was written, %v us metered: %v", original, metered, err)
	}
	if _, _, err := meteredCalls(filepath.Join("..", "..", "..", "examples", "splitter", "splitter.wasm"), "nosuch", time.Millisecond); err == nil {
		t.Error("a function that there is not")
	}
}
