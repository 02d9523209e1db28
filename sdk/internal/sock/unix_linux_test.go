package sock

import (
	"io"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Who once had to wait for room is not told of room for ever after: each message that the peer reads would wake a thread.
func TestRoomWakesOnlyWhoWaits(t *testing.T) {
	a, b := pair(t)
	const size = 4 << 20
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = a.Write(make([]byte, size)) })
	waits := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.out != nil
	}
	for end := time.Now().Add(5 * time.Second); !waits(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("all of it fits the socket")
		}
	}
	if _, err := io.CopyN(io.Discard, b, size); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := a.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ready := -1
	var err error
	if ctl := a.out.raw.Control(func(ep uintptr) {
		ready, err = syscall.EpollWait(int(ep), make([]syscall.EpollEvent, 1), 0)
	}); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	if ready != 0 {
		t.Error("room in the socket is still waited for")
	}
}
