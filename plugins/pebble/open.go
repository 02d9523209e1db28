package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"github.com/essa-project/essad/sdk/status"
)

const (
	stampFile   = "essad-store-format"
	stampText   = "essad store pebble, format %d, check %08x\n"
	stampFormat = 1

	// formatVersion is Pebble's newest stable one: it knows a damaged log from an unfinished one (FormatWALSyncChunks on)
	// and checks a table's footer (FormatTableFormatV6 on).
	formatVersion = pebble.FormatValueSeparation

	bloomBitsPerKey = 10
	memtablesMax    = 4 // memtables that may wait for their flush before writes wait
)

// Open opens the store in opts.Path and makes it if there is none.
func Open(opts Options, log hclog.Logger) (*Store, error) { return openOn(vfs.Default, opts, log) }

func openOn(base vfs.FS, opts Options, log hclog.Logger) (_ *Store, err error) {
	s := &Store{opts: opts, log: log, room: semaphore.NewWeighted(opts.WriteQueue)}
	s.queue.ready.L = &s.queue.mu
	s.snapshots.open = map[uint64]*pebble.Snapshot{}
	s.committed = make(chan struct{})
	s.leaving, s.compactor = make(chan struct{}), newScheduler()
	s.dead, s.die = context.WithCancel(context.Background())
	s.space.min = uint64(opts.MinFree)
	s.space.avail = func() (uint64, error) {
		u, err := base.GetDiskUsage(opts.Path)
		return u.AvailBytes, err
	}
	s.spares = newSpares(base, opts, s.space.roomFor, log.Debug)
	if err := s.openFolder(base); err != nil {
		return nil, s.classify("open", err)
	}
	if err := s.openDB(); err != nil {
		s.compactor.Unregister()
		_, _ = s.marks.close(), s.lock.Close()
		return nil, err
	}
	s.opened.Store(true)
	s.compactor.start()
	go s.spares.run()
	go s.commit()
	return s, nil
}

// openFolder makes and locks the folder, checks that it is ours and that its files are whole.
func (s *Store) openFolder(base vfs.FS) (err error) {
	dir := s.opts.Path
	if err := base.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = pebble.LockDirectory(dir, base); err != nil {
		return lockError(err)
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()
	if err := checkStamp(base, dir); err != nil {
		return err
	}
	var read [2]mark
	if s.marks, read, err = openMarks(base, dir); err != nil {
		return err
	}
	if err = checkMarks(base, dir, read); err == nil {
		err = s.marks.reset()
	}
	if err == nil {
		err = s.spares.adopt()
	}
	if err != nil {
		return errors.Join(err, s.marks.close())
	}
	s.fs = &watchFS{FS: base, store: s}
	return nil
}

func lockError(err error) error {
	// Pebble has no error value for a lock that this process holds itself.
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held") {
		return status.Errorf(status.Conflict, "the folder is in use by another process or store (%w): stop that one, or name another path", err)
	}
	return err
}

// checkStamp makes sure that the folder is a store of a format we know, and stamps a new one.
func checkStamp(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, stampFile)
	text, err := readFile(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return makeStamp(fs, dir, path)
	}
	if err != nil {
		return err
	}
	var format int
	var sum uint32
	_, err = fmt.Sscanf(string(text), stampText, &format, &sum)
	switch {
	case err != nil || string(text) != stamp(format):
		return status.Errorf(status.Corrupt, "the format stamp %s is damaged: it says %q", stampFile, text)
	case format > stampFormat:
		return status.Errorf(status.Conflict, "the store has format %d, this version of the plugin knows formats up to %d: use a newer version", format, stampFormat)
	}
	return nil
}

// stamp is what the stamp file of a format says; the sum tells a newer format from a damaged stamp.
func stamp(format int) string {
	return fmt.Sprintf(stampText, format, crc32.ChecksumIEEE(strconv.AppendInt(nil, int64(format), 10)))
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	return text, errors.Join(err, f.Close())
}

// makeStamp stamps a folder without a stamp, if it is empty: it is written before anything else, and whole or not at all.
func makeStamp(fs vfs.FS, dir, path string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	for _, name := range names {
		if name != "LOCK" && name != "lost+found" && name != fs.PathBase(tmp) {
			return status.Errorf(status.Conflict, "the folder is not empty and not a store of essad's (it holds %q): name an empty one", name)
		}
	}
	f, err := fs.Create(tmp, "essad-stamp")
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(stamp(stampFormat)))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(tmp, path); err != nil {
		return err
	}
	folder, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// openDB opens Pebble in a goroutine of its own: it may end that goroutine instead of returning, and it tries for ever
// to flush what it recovered to a full disk.
func (s *Store) openDB() error {
	type result struct {
		db  *pebble.DB
		err error
	}
	s.cache = pebble.NewCache(s.opts.Cache)
	done := make(chan result, 1)
	var abandoned sync.Once // either the result or the failure wins; a database opened too late is closed again
	go func() {
		r := result{err: errors.New("pebble gave up, see the log")}
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("%v", p)
			}
			late := true
			abandoned.Do(func() { late = false })
			if late && r.db != nil {
				_ = r.db.Close()
			}
			done <- r
		}()
		r.db, r.err = pebble.Open(s.opts.Path, s.pebbleOptions())
	}()
	var err error
	select {
	case r := <-done:
		s.db, err = r.db, r.err
	case <-s.dead.Done():
		won := false
		abandoned.Do(func() { won = true })
		if !won {
			s.db = (<-done).db
		}
	}
	if f := s.failure.Load(); f != nil {
		err = f.err
	}
	if err != nil {
		if s.db != nil {
			_ = s.db.Close()
		}
		s.cache.Unref()
		return s.openError(err)
	}
	return nil
}

// openError classifies what keeps Pebble from opening. What is neither the file system's refusal nor ours lies in the
// files.
func (s *Store) openError(err error) error {
	if status.Of(err) == status.Internal && !isErrno(err) && !errors.Is(err, os.ErrPermission) {
		return status.Errorf(status.Corrupt, "store %q: open: %w", s.opts.Path, err)
	}
	return s.classify("open", err)
}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                          s.fs,
		Lock:                        s.lock,
		Cache:                       s.cache,
		FormatMajorVersion:          formatVersion,
		MemTableSize:                uint64(s.opts.Memtable),
		MemTableStopWritesThreshold: memtablesMax,
		MaxOpenFiles:                s.opts.MaxOpenFiles,
		Logger:                      logger{s},
		EventListener:               s.listener(),
	}
	o.CompactionConcurrencyRange = func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) }
	o.Experimental.CompactionScheduler = s.compactor
	o.ApplyCompressionSettings(map[string]func() pebble.DBCompressionSettings{
		"none": func() pebble.DBCompressionSettings { return pebble.DBCompressionNone },
		"fast": func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest },
		"good": func() pebble.DBCompressionSettings { return pebble.DBCompressionGood },
	}[s.opts.Compression])
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	return o
}

// listener takes what Pebble tells of its work: failures always, the rest where somebody reads it.
func (s *Store) listener() *pebble.EventListener {
	own := pebble.EventListener{
		BackgroundError: s.backgroundError,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.log.Error("table is damaged", "path", i.Path, "error", i.Details)
		},
		FlushBegin: func(pebble.FlushInfo) { s.changes.flushBegins() },
		FlushEnd: func(i pebble.FlushInfo) {
			if i.Err == nil {
				s.changes.flushEnds()
			}
		},
	}
	if s.log.IsDebug() {
		own = pebble.TeeEventListener(own, pebble.MakeLoggingEventListener(logger{s}))
	}
	return &own
}

// backgroundError is a failed flush or compaction. Pebble tries again; while it opens, nobody would see that it does.
func (s *Store) backgroundError(err error) {
	s.log.Error("background work failed", "path", s.opts.Path, "error", err)
	if !s.opened.Load() && full(err) {
		s.fail("recover", fmt.Errorf("%w: make room on the disk", err), false)
	}
}

// logger passes Pebble's log on.
type logger struct{ s *Store }

func (l logger) Infof(format string, args ...any) {
	if l.s.log.IsDebug() {
		l.s.log.Debug("pebble", "text", fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.s.log.Error("pebble", "text", fmt.Sprintf(format, args...))
}

// Fatalf must not return. It ends the store and the goroutine instead of the process, so that reads can go on.
func (l logger) Fatalf(format string, args ...any) {
	l.s.fail("pebble", fmt.Errorf(format, args...), false)
	runtime.Goexit()
}
