package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

func wantError(t *testing.T, what string, err error, c status.Class, parts ...string) {
	t.Helper()
	if err == nil || status.Of(err) != c {
		t.Errorf("%s: class %v: %v; want class %v", what, status.Of(err), err, c)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %q does not say %q", what, err, p)
		}
	}
}

func applyOne(s storage.Store, key string, n int, sync bool) error {
	return s.Apply(context.Background(), storage.Batch{Ops: []storage.Op{{Key: []byte(key), Value: make([]byte, n)}}, Sync: sync})
}

func TestLockedFolder(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o)
	_, err := Open(o, hclog.NewNullLogger())
	wantError(t, "second opener", err, status.Conflict, o.Path, "in use", "stop")
	put(t, s, "key", []byte("value"), true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, o).Close(); err != nil { // the refused opener has taken nothing with it
		t.Fatal(err)
	}
}

func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letters.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(testOptions(dir), hclog.NewNullLogger())
	wantError(t, "foreign folder", err, status.Conflict, "letters.txt", "not empty")

	file := filepath.Join(dir, "letters.txt")
	if _, err = Open(testOptions(file), hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file instead of a folder: %v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	o := testOptions(t.TempDir())
	if err := mustOpen(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	stampPath := filepath.Join(o.Path, stampFile)
	for text, class := range map[string]status.Class{stamp(2): status.Conflict, "hello": status.Corrupt, "": status.Corrupt, stamp(stampFormat): status.OK} {
		if err := os.WriteFile(stampPath, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(o, hclog.NewNullLogger())
		if class == status.OK {
			if err != nil || s.Close() != nil {
				t.Errorf("our own stamp: %v", err)
			}
			continue
		}
		wantError(t, fmt.Sprintf("stamp %q", text), err, class, "format")
	}
}

func TestUnwritableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may write everywhere but to a read-only mount.
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "size=1m"); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
		_, err := Open(testOptions(filepath.Join(dir, "store")), hclog.NewNullLogger())
		wantError(t, "read-only mount", err, status.Denied, dir)
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Open(testOptions(dir), hclog.NewNullLogger())
	wantError(t, "unwritable folder", err, status.Denied, dir)
}

// TestFullDisk fills a small real file system below the store.
func TestFullDisk(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for _, minFree := range []int64{0, 8 << 20} {
		t.Run(fmt.Sprint("min_free=", minFree), func(t *testing.T) {
			o := testOptions(filepath.Join(dir, fmt.Sprint("store", minFree)))
			o.Memtable, o.MinFree, o.Compression = 2<<20, minFree, "none"
			testFullDisk(t, o, filepath.Join(dir, "ballast"))
			if err := os.RemoveAll(o.Path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func testFullDisk(t *testing.T, o Options, ballast string) {
	s := mustOpen(t, o)
	acked := 0
	var full error
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for n := 0; full == nil && n < 2000; n++ {
		full = s.Apply(ctx, storage.Batch{Ops: []storage.Op{{Key: fmt.Appendf(nil, "key%05d", n), Value: damagedValue(n)}}, Sync: true})
		if full == nil {
			acked = n + 1
		} else {
			break
		}
		if n == 1000 { // then fill the rest of the disk at once
			fill(t, ballast)
		}
	}
	if full == nil {
		t.Fatal("a full disk is not noticed")
	}
	t.Logf("%d puts, then: %v", acked, full)
	wantError(t, "put on a full disk", full, status.Overloaded, o.Path, "make room")
	wantError(t, "next put", applyOne(s, "next", 10, false), status.Overloaded, o.Path, "make room")
	checkKeys(t, s, acked) // still readable
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	time.Sleep(fullDiskPause + 2*askSpaceEvery)
	put(t, s, "later", []byte("works again"), true)
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	s = mustOpen(t, o)
	checkKeys(t, s, acked)
	put(t, s, "after reopening", nil, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for chunk := make([]byte, 64<<10); ; {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

func checkKeys(t *testing.T, s storage.Store, n int) {
	t.Helper()
	for i := range n {
		items, err := s.Get(context.Background(), [][]byte{fmt.Appendf(nil, "key%05d", i)})
		if err != nil || !items[0].Found || !bytes.Equal(items[0].Value, damagedValue(i)) {
			t.Fatalf("acknowledged key %d of %d: found %v, %v", i, n, err == nil && items[0].Found, err)
		}
	}
}

// faults makes operations on a file system fail from a moment on.
type faults struct {
	on    atomic.Bool
	match func(op errorfs.Op) error
}

func (f *faults) String() string { return "faults" }
func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.on.Load() {
		return nil
	}
	return f.match(op)
}

func openWithFaults(t *testing.T, match func(errorfs.Op) error) (*Store, *faults, *memOpener) {
	t.Helper()
	o := newMemOpener(t).(*memOpener)
	f := &faults{match: match}
	s, err := openOn(errorfs.Wrap(o.fs, f), o.opts, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s, f, o
}

func TestFailedFsyncIsFinal(t *testing.T) {
	s, f, o := openWithFaults(t, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})
	put(t, s, "before", []byte("there"), true)
	f.on.Store(true)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := applyOne(s, fmt.Sprint("during", i), 10, true)
			wantError(t, "put", err, status.Unavailable, "fsync", "input/output error")
			if status.DetailOf(err) != storage.DetailFinal {
				t.Errorf("the error's detail is %q", status.DetailOf(err))
			}
		}()
	}
	wg.Wait()
	f.on.Store(false) // a disk that answers again is not to be trusted
	wantError(t, "put", applyOne(s, "after", 10, false), status.Unavailable, "fsync")
	_, err := s.Get(context.Background(), [][]byte{[]byte("before")})
	wantError(t, "get", err, status.Unavailable, "fsync")
	_, err = s.Scan(context.Background(), storage.Range{})
	wantError(t, "scan", err, status.Unavailable, "fsync")
	_, err = s.Stats(context.Background())
	wantError(t, "stats", err, status.Unavailable)
	wantError(t, "close", s.Close(), status.Unavailable, "fsync")

	o.CutPower(t)
	again, err := o.Open(t)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if items, err := again.Get(context.Background(), [][]byte{[]byte("before")}); err != nil || string(items[0].Value) != "there" {
		t.Errorf("after reopening: %v, %v", items, err)
	}
}

func TestFailedWriteLeavesReads(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) error{
		"write to the log": func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		},
		"make the next log": func(op errorfs.Op) error {
			if (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		},
		"write the manifest": func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST") {
				return syscall.EIO
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, o := openWithFaults(t, match)
			put(t, s, "before", []byte("there"), true)
			f.on.Store(true)
			var err error
			for n := 0; err == nil && n < 3000; n++ { // until a new log or manifest record is due
				err = applyOne(s, fmt.Sprint("key", n), 10_000, true)
			}
			wantError(t, "put", err, status.Unavailable, "input/output error", "read-only")
			wantError(t, "next put", applyOne(s, "next", 10, true), status.Unavailable, "input/output error")
			items, err := s.Get(context.Background(), [][]byte{[]byte("before")})
			if err != nil || string(items[0].Value) != "there" {
				t.Errorf("get: %v, %v", items, err)
			}
			if page, err := s.Scan(context.Background(), storage.Range{Limit: 1}); err != nil || len(page.Items) != 1 {
				t.Errorf("scan: %v, %v", page, err)
			}
			wantError(t, "close", s.Close(), status.Unavailable, "input/output error")
			o.CutPower(t)
			again, err := o.Open(t)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = again.Close() }()
			if items, err := again.Get(context.Background(), [][]byte{[]byte("before")}); err != nil || string(items[0].Value) != "there" {
				t.Errorf("after reopening: %v, %v", items, err)
			}
		})
	}
}

// TestReadErrorIsNotCorruption: a disk that does not answer is something else than wrong bytes.
func TestReadErrorIsNotCorruption(t *testing.T) {
	o := &memOpener{fs: closed(t), opts: testOptions("/store")}
	f := &faults{match: func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return syscall.EIO
		}
		return nil
	}}
	s, err := openOn(errorfs.Wrap(o.fs, f), o.opts, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	f.on.Store(true)
	_, err = s.Get(context.Background(), [][]byte{[]byte("key0001")})
	wantError(t, "get", err, status.Unavailable, "input/output error")
	f.on.Store(false)
	// Pebble keeps the failed opening of a table while somebody else (its statistics) waits for the same.
	for n := 0; ; n++ {
		items, err := s.Get(context.Background(), [][]byte{[]byte("key0001")})
		if err == nil && items[0].Found {
			return
		}
		if n == 100 {
			t.Fatalf("get afterwards: %v, %v", items, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestOpenFailsCleanly lets each write operation of an opening fail in turn; afterwards the store opens with all its keys.
func TestOpenFailsCleanly(t *testing.T) {
	fs := killed(t)
	for n := int64(1); ; n += 1 + n/16 {
		hurt := fs.CrashClone(vfs.CrashCloneCfg{})
		left := n
		var failed atomic.Bool
		f := &faults{match: func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && atomic.AddInt64(&left, -1) == 0 {
				failed.Store(true)
				return syscall.EIO
			}
			return nil
		}}
		f.on.Store(true)
		s, err := openOn(errorfs.Wrap(hurt, f), testOptions("/store"), hclog.NewNullLogger())
		f.on.Store(false)
		if err == nil {
			_ = s.Close()
		} else if c := status.Of(err); c != status.Unavailable {
			t.Errorf("write operation %d fails: class %v: %v", n, c, err)
		}
		checkAllThere(t, hurt.CrashClone(vfs.CrashCloneCfg{}), fmt.Sprintf("after write operation %d of opening failed", n))
		if !failed.Load() {
			if n < 10 {
				t.Errorf("only %d write operations in opening", n)
			}
			return
		}
	}
}

func checkAllThere(t *testing.T, fs *vfs.MemFS, what string) {
	t.Helper()
	s, err := openOn(fs, testOptions("/store"), hclog.NewNullLogger())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer func() { _ = s.Close() }()
	if page, err := s.Scan(context.Background(), storage.Range{KeysOnly: true}); err != nil || len(page.Items) != damagedKeys {
		t.Errorf("%s: %d keys, %v", what, len(page.Items), err)
	}
}

func TestWriteQueueIsBounded(t *testing.T) {
	noLeaks(t)
	block := make(chan struct{})
	s, f, _ := openWithFaults(t, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
			<-block
		}
		return nil
	})
	defer func() { _ = s.Close() }()
	f.on.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var late atomic.Int64
	for i := range 20 { // together much more than the queue holds
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := s.Apply(ctx, storage.Batch{Ops: []storage.Op{{Key: fmt.Appendf(nil, "key%d", i), Value: make([]byte, 1<<20)}}, Sync: true})
			if status.Of(err) == status.Deadline {
				late.Add(1)
			} else {
				t.Errorf("put with a stuck disk: %v", err)
			}
		}()
	}
	wg.Wait()
	f.on.Store(false)
	close(block)
	if late.Load() != 20 {
		t.Errorf("%d of 20 puts met their deadline", late.Load())
	}
	put(t, s, "afterwards", nil, true)
	present := 0
	for i := range 20 {
		items, err := s.Get(context.Background(), [][]byte{fmt.Appendf(nil, "key%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		if items[0].Found {
			present++
		}
	}
	if present > 8 {
		t.Errorf("%d puts of 1 MiB passed a queue of 8 MiB", present)
	}
}

func TestFailuresAreUnavailableToWaiters(t *testing.T) {
	s, f, _ := openWithFaults(t, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
			time.Sleep(50 * time.Millisecond)
			return errors.New("cable pulled")
		}
		return nil
	})
	f.on.Store(true)
	var wg sync.WaitGroup
	for i := range 30 { // more than the queue holds, so that some wait for room
		wg.Add(1)
		go func() {
			defer wg.Done()
			wantError(t, "put", applyOne(s, fmt.Sprint(i), 1<<20, true), status.Unavailable, "cable pulled")
		}()
	}
	wg.Wait()
	wantError(t, "close", s.Close(), status.Unavailable, "cable pulled")
}
