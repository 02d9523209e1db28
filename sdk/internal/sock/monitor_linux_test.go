package sock

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// The runtime's monitor sleeps while a process has nothing to do, and what comes by one of our reads wakes it all the same.
// Otherwise a goroutine that computes keeps its processor, and what comes next is not even seen. Under the race detector reads
// are ordinary ones, so this proves something without it only.
func TestReadWakesTheMonitor(t *testing.T) {
	a, b := pair(t)
	conn, err := New(a)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	// Another process writes: nobody here could, once the computing has begun. First it lets us come to rest, then it
	// writes twice in a row, so that one time or the other a read is not the first for long.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	writer := exec.CommandContext(ctx, "sh", "-c", "for n in 1 2 3; do sleep 0.15; printf x; printf x; sleep 0.05; printf x; done")
	fd, err := dup(uintptr(b.fd))
	if err != nil {
		t.Fatal(err)
	}
	out := os.NewFile(uintptr(fd), "peer")
	writer.Stdout = out
	err = writer.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	read := func() {
		if _, err := conn.Read(p); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		read()
		read()
		var told atomic.Bool
		const long = 5 * time.Second
		computed := make(chan time.Duration, 1)
		go func() {
			begun := time.Now()
			for !told.Load() && time.Since(begun) < long {
			}
			computed <- time.Since(begun)
		}()
		read()
		told.Store(true)
		if took := <-computed; took >= long {
			t.Errorf("a message waited %v for a goroutine that computes", took)
		}
	}
	if err := writer.Wait(); err != nil {
		t.Error(err)
	}
}
