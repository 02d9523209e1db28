package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
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

// Pieces arrive in order and whole, also where the socket has room for a part of one.
func TestWriteBuffers(t *testing.T) {
	a, b := pair(t)
	var want []byte
	var bufs net.Buffers
	for i := range 3000 {
		piece := bytes.Repeat([]byte{byte(i)}, i%7*(i%1000))
		bufs = append(bufs, piece)
		want = append(want, piece...)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if n, err := a.WriteBuffers(bufs); err != nil || n != int64(len(want)) {
			t.Errorf("%d of %d bytes, %v", n, len(want), err)
		}
	})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !bytes.Equal(got, want) {
		t.Error("other bytes arrived")
	}
	_ = b.Close()
	if _, err := a.WriteBuffers(net.Buffers{[]byte("x"), []byte("y")}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("to a peer that is gone: %v", err)
	}
}
