package main

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// rawLog is the floor of durable writes: one file, appended and synced, where whoever finds nobody syncing syncs for all
// that wait. It has no keys, no index and no way back.
type rawLog struct {
	f *os.File

	mu       sync.Mutex
	woken    sync.Cond
	buf      []byte
	off, cap int64
	writing  bool
	next     uint64 // puts taken
	durable  uint64 // puts synced
	failed   error
}

// preallocate is how far ahead the file is made, so that a sync need not write its length.
const preallocate = 64 << 20

func newRawLog(dir string) (*rawLog, error) {
	f, err := os.Create(filepath.Join(dir, "raw.log"))
	if err != nil {
		return nil, err
	}
	l := &rawLog{f: f}
	l.woken.L = &l.mu
	return l, nil
}

func (l *rawLog) put(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	l.next++
	mine := l.next
	for l.durable < mine && l.failed == nil {
		if l.writing {
			l.woken.Wait()
			continue
		}
		l.commit()
	}
	return l.failed
}

// commit writes and syncs what has gathered. The lock is held on entry and on return, and let go in between.
func (l *rawLog) commit() {
	l.writing = true
	out, upTo, off := l.buf, l.next, l.off
	l.buf = nil
	l.off += int64(len(out))
	grow := l.off > l.cap
	if grow {
		l.cap = l.off + preallocate
	}
	l.mu.Unlock()
	var err error
	if grow {
		err = unix.Fallocate(int(l.f.Fd()), 0, off, preallocate+int64(len(out)))
	}
	if err == nil {
		_, err = l.f.WriteAt(out, off)
	}
	if err == nil {
		err = unix.Fdatasync(int(l.f.Fd()))
	}
	l.mu.Lock()
	l.writing, l.durable, l.failed = false, upTo, err
	l.woken.Broadcast()
}

func (l *rawLog) close() { _ = l.f.Close() }
