package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spares are log files that were made in advance: as large as a memtable, every block of them written. The fsync of a
// write to such a file moves data and nothing else, while in a file that grows, or has blocks that were only reserved, the
// file system must note for every fsync what is in use now, in a journal that it syncs as well: half of the time of a
// durable put.
//
// Pebble uses a log that is no longer needed for the next one, for the same reason. A log that began as a spare keeps its
// blocks through that; another is exchanged for a spare when it would be used again. What a log holds beyond its end, zeros
// or what was there before, is no end of its own: Pebble's chunks carry the number of their log and a sum, and what was
// synced is known from later chunks and from the marks.
//
// A store that nobody writes to makes none.
type spares struct {
	fs    vfs.FS
	dir   string
	size  int64
	max   int // kept ready; 0: none are made
	room  func(bytes int64) bool
	debug func(string, ...any)

	poke  chan struct{}
	leave chan struct{} // closed when the store closes
	ended chan struct{}

	mu    sync.Mutex
	ready []string            // paths
	full  map[string]struct{} // the names of logs all of whose blocks are written
	next  uint64
}

const (
	sparePrefix = "essad-spare-log-"
	spareUnmade = sparePrefix + "unmade"
	// spareAfter is how much a log must have been written before a spare is made: who writes little waits for fsyncs a
	// little longer and has no file of a memtable's size lying about.
	spareAfter = 64 << 10
	// spareStep is written at once, and sparePause passes before the next step, so that the fsyncs of writers get between.
	spareStep  = 256 << 10
	sparePause = time.Millisecond
	// spareRetry is how long after a failure the next spare is tried.
	spareRetry = time.Minute
)

func newSpares(fs vfs.FS, o Options, room func(int64) bool, debug func(string, ...any)) *spares {
	return &spares{
		fs: fs, dir: o.Path, size: o.Memtable, max: o.SpareLogs, room: room, debug: debug,
		poke: make(chan struct{}, 1), leave: make(chan struct{}), ended: make(chan struct{}),
		full: map[string]struct{}{},
	}
}

// adopt takes the spares that an earlier run has left, and removes what is of no use.
func (p *spares) adopt() error {
	names, err := p.fs.List(p.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		number, ok := strings.CutPrefix(name, sparePrefix)
		if !ok {
			continue
		}
		path := p.fs.PathJoin(p.dir, name)
		n, err := strconv.ParseUint(number, 10, 64)
		info, statErr := p.fs.Stat(path)
		if err != nil || statErr != nil || info.Size() != p.size || len(p.ready) >= p.max {
			if err := p.fs.Remove(path); err != nil {
				return fmt.Errorf("remove a spare log: %w", err)
			}
			continue
		}
		p.ready = append(p.ready, path)
		p.next = max(p.next, n)
	}
	return nil
}

// take hands out a spare as the log path, or nil where none is ready.
func (p *spares) take(path string, category vfs.DiskWriteCategory) vfs.File {
	p.mu.Lock()
	n := len(p.ready)
	if n == 0 {
		p.mu.Unlock()
		return nil
	}
	spare := p.ready[n-1]
	p.ready = p.ready[:n-1]
	p.full[p.fs.PathBase(path)] = struct{}{}
	p.mu.Unlock()
	f, err := p.fs.ReuseForWrite(spare, path, category)
	if err != nil {
		p.debug("a spare log could not be used", "error", err)
		p.forget(path)
		return nil
	}
	return f
}

// create makes a new log.
func (p *spares) create(path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f := p.take(path, category); f != nil {
		return f, nil
	}
	return p.fs.Create(path, category)
}

// reuse makes the log path of the log old, which is no longer needed.
func (p *spares) reuse(old, path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !p.forget(old) {
		if f := p.take(path, category); f != nil {
			if err := p.fs.Remove(old); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return f, nil
		}
		return p.fs.ReuseForWrite(old, path, category)
	}
	f, err := p.fs.ReuseForWrite(old, path, category)
	if err == nil {
		p.mu.Lock()
		p.full[p.fs.PathBase(path)] = struct{}{}
		p.mu.Unlock()
	}
	return f, err
}

// forget tells that the log path is gone, and whether all its blocks were written.
func (p *spares) forget(path string) (full bool) {
	name := p.fs.PathBase(path)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, full = p.full[name]
	delete(p.full, name)
	return full
}

// bytes is how much of the disk the spares take.
func (p *spares) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.ready)) * p.size
}

// want tells that logs are written to, so that spares are of use.
func (p *spares) want() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// run makes spares until the store closes.
func (p *spares) run() {
	defer close(p.ended)
	for {
		select {
		case <-p.poke:
		case <-p.leave:
			return
		}
		for p.missing() {
			err := p.make()
			if err == nil {
				continue
			}
			if errors.Is(err, errLeaving) {
				return
			}
			p.debug("no spare log was made", "error", err)
			select {
			case <-time.After(spareRetry):
			case <-p.leave:
				return
			}
		}
	}
}

// end waits until nothing is made any more, and keeps what is ready for the next start.
func (p *spares) end() {
	close(p.leave)
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = nil
}

func (p *spares) missing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready) < p.max
}

var (
	errLeaving = errors.New("the store is being closed")
	errNoRoom  = errors.New("there is little room on the disk")
)

// make makes one spare. It gets its name when all of it is on the disk.
func (p *spares) make() error {
	if !p.room(p.size) {
		return errNoRoom
	}
	unmade := p.fs.PathJoin(p.dir, spareUnmade)
	err := p.fill(unmade)
	p.mu.Lock()
	p.next++
	path := p.fs.PathJoin(p.dir, sparePrefix+strconv.FormatUint(p.next, 10))
	p.mu.Unlock()
	if err == nil {
		err = p.fs.Rename(unmade, path)
	}
	if err != nil {
		return errors.Join(err, p.fs.Remove(unmade))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, path)
	return nil
}

// fill writes zeros. Its blocks are reserved first, so that writing them needs no look at the file system's tables.
func (p *spares) fill(path string) error {
	f, err := p.fs.Create(path, "essad-spare-log")
	if err != nil {
		return err
	}
	_ = f.Preallocate(0, p.size) // where a file system cannot do that, it goes without
	zeros := make([]byte, spareStep)
	for at := int64(0); at < p.size && err == nil; at += spareStep {
		step := zeros[:min(spareStep, p.size-at)]
		clear(step) // a vfs.File may change what it is given to write
		if _, err = f.Write(step); err == nil {
			_, err = f.SyncTo(at + int64(len(step)))
		}
		select {
		case <-p.leave:
			return errors.Join(errLeaving, f.Close())
		case <-time.After(sparePause):
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
