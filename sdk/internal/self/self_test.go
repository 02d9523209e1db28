package self

import (
	"runtime"
	"sync"
	"testing"
)

func TestGoroutine(t *testing.T) {
	const n = 100
	mine := Goroutine()
	if mine == 0 {
		t.Fatal("this goroutine has no identity")
	}
	ids := make([]uintptr, n)
	var started, finish sync.WaitGroup
	release := make(chan struct{})
	for i := range n {
		started.Add(1)
		finish.Add(1)
		go func() {
			defer finish.Done()
			ids[i] = Goroutine()
			started.Done()
			<-release
			runtime.GC()
			if Goroutine() != ids[i] {
				t.Error("a goroutine's identity changed")
			}
		}()
	}
	started.Wait()
	seen := map[uintptr]bool{mine: true}
	for _, id := range ids {
		if seen[id] {
			t.Error("two goroutines that live have one identity")
		}
		seen[id] = true
	}
	close(release)
	finish.Wait()
	if Goroutine() != mine {
		t.Error("this goroutine's identity changed")
	}
}
