package main

import (
	"errors"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watchFS is the file system that Pebble writes through. It keeps the marks, and meets the failures that Pebble itself
// would end its process over:
//
//   - On a full disk a write to the log or the manifest waits until there is room again, while new batches are refused;
//     nothing is lost and nothing needs to be restarted.
//   - Another failed write ends writing, a failed fsync ends the store.
type watchFS struct {
	vfs.FS
	store *Store
}

// Unwrap implements vfs.FS.
func (w *watchFS) Unwrap() vfs.FS { return w.FS }

func (w *watchFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.open(name, func(log bool) (vfs.File, error) {
		if log {
			return w.store.spares.create(name, category)
		}
		return w.FS.Create(name, category)
	})
}

func (w *watchFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.open(newname, func(log bool) (vfs.File, error) {
		if log {
			return w.store.spares.reuse(oldname, newname, category)
		}
		return w.FS.ReuseForWrite(oldname, newname, category)
	})
}

func (w *watchFS) Remove(name string) error {
	w.store.spares.forget(name)
	return w.FS.Remove(name)
}

func (w *watchFS) open(name string, create func(log bool) (vfs.File, error)) (vfs.File, error) {
	kind, number, ok := watched(w.PathBase(name))
	if !ok {
		f, err := create(false)
		if err != nil {
			w.store.space.pauseIfFull(err)
			return nil, err
		}
		return &tableFile{f, w.store}, nil
	}
	f, err := create(kind == markLog)
	for full(err) && w.store.waitForRoom(err) {
		f, err = create(kind == markLog)
	}
	if err != nil {
		w.store.fail("create "+kind.String(), err, false)
		if kind == markLog && w.store.opened.Load() {
			park()
		}
		return nil, err
	}
	return &watchedFile{File: f, store: w.store, kind: kind, number: number}, nil
}

func (w *watchFS) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &folder{f, w.store}, nil
}

// folder is a directory open for its fsync.
type folder struct {
	vfs.File
	store *Store
}

func (f *folder) Sync() error {
	err := f.File.Sync()
	if err != nil {
		f.store.fail("fsync the folder", err, true)
		park()
	}
	return err
}

// park holds a goroutine where Pebble would panic, which ends the process: it cannot end the last log or make the next
// one, or it cannot fsync its folder. The store has failed; the goroutine goes with the process.
func park() { select {} }

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// tableFile is any file but the log and the manifest. Pebble makes those again, at once and for ever, where their disk is
// full.
type tableFile struct {
	vfs.File
	store *Store
}

func (f *tableFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.store.space.pauseIfFull(err)
	return n, err
}

// watchedFile is a log or manifest open for writing. Pebble writes and syncs each from one goroutine at a time.
type watchedFile struct {
	vfs.File
	store   *Store
	kind    markKind
	number  uint64
	written int64
}

func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	for full(err) && f.store.waitForRoom(err) {
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	f.written += int64(n)
	if f.kind == markLog && f.written > spareAfter {
		f.store.spares.want()
	}
	if err != nil {
		f.store.fail("write "+f.kind.String(), err, false)
	}
	return n, err
}

func (f *watchedFile) Sync() error     { return f.synced(f.File.Sync()) }
func (f *watchedFile) SyncData() error { return f.synced(f.File.SyncData()) }

// Close does not return to the committer if the log it ends is not whole.
func (f *watchedFile) Close() error {
	err := f.File.Close()
	if err != nil {
		f.store.fail("close "+f.kind.String(), err, true)
	}
	if f.kind == markLog && f.store.failure.Load() != nil && f.store.opened.Load() && !f.store.abandoned.Load() {
		park()
	}
	return err
}

func (f *watchedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	if err != nil {
		f.store.fail("fsync "+f.kind.String(), err, true)
	}
	return full, err
}

func (f *watchedFile) synced(err error) error {
	if err != nil {
		f.store.fail("fsync "+f.kind.String(), err, true)
		return err
	}
	if err := f.store.marks.set(f.kind, mark{f.number, f.written}); err != nil {
		f.store.fail("write "+markFile, err, false)
		return err
	}
	return nil
}
