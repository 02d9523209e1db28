package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/essa-project/essad/sdk/status"
)

// Pebble takes damage near the end of its log, and anywhere in its manifest, for the place where writing stopped: what
// comes after it is silently forgotten. (The log's chunks carry offsets that were synced before them, but these lag far
// behind under load.) So the store keeps its own marks: after each fsync of the log or the manifest it notes, in a small
// file beside them, up to where that file is durable. At the next start a file that cannot be read up to its mark is
// corrupt, not merely unfinished.
//
// A mark is written without an fsync of its own. It survives the death of the process; after a power cut it may be
// older than the truth, which makes the check weaker but never wrong.

const (
	markFile = "essad-durable-marks"
	markSize = 4096 // one page: a mark is on disk whole or not at all
	slotSize = 32
)

type markKind int

const (
	markLog markKind = iota
	markManifest
)

// slack is how many bytes before its end a file may stop being readable although nothing is lost: block padding and, in
// the log, the trailer of a closed one. No record of a file is that short.
func (k markKind) slack() int64 {
	if k == markLog {
		return 18 + 11
	}
	return 6
}

func (k markKind) String() string { return [...]string{"write-ahead log", "manifest"}[k] }

type mark struct {
	file   uint64 // the number in the file's name
	offset int64  // bytes of it that are durable
}

// marks is the open mark file.
type marks struct {
	mu sync.Mutex
	f  vfs.File
}

// openMarks opens the mark file in dir and reads its marks.
func openMarks(fs vfs.FS, dir string) (*marks, [2]mark, error) {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, markFile), "essad-marks")
	if err != nil {
		return nil, [2]mark{}, err
	}
	var read [2]mark
	page := make([]byte, markSize)
	if n, err := f.ReadAt(page, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, read, errors.Join(err, f.Close())
	} else if n < markSize {
		clear(page[n:])
	}
	for kind := range read {
		slot := page[kind*slotSize:][:slotSize]
		if binary.LittleEndian.Uint32(slot[16:]) == slotSum(slot) {
			read[kind] = mark{binary.LittleEndian.Uint64(slot), int64(binary.LittleEndian.Uint64(slot[8:]))}
		}
	}
	return &marks{f: f}, read, nil
}

func slotSum(slot []byte) uint32 { return crc32.ChecksumIEEE(slot[:16]) ^ 0xe55ad }

// reset forgets all marks, durably: file numbers may be given again if a power cut takes a file away.
func (m *marks) reset() error {
	if _, err := m.f.WriteAt(make([]byte, markSize), 0); err != nil {
		return err
	}
	return m.f.Sync()
}

func (m *marks) set(kind markKind, to mark) error {
	var slot [slotSize]byte
	binary.LittleEndian.PutUint64(slot[:], to.file)
	binary.LittleEndian.PutUint64(slot[8:], uint64(to.offset))
	binary.LittleEndian.PutUint32(slot[16:], slotSum(slot[:]))
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.f.WriteAt(slot[:], int64(kind)*slotSize)
	return err
}

// close makes the marks durable: after an orderly end they are exact, whatever happens to the machine next.
func (m *marks) close() error { return errors.Join(m.f.Sync(), m.f.Close()) }

// checkMarks compares the marks with the files in dir.
func checkMarks(fs vfs.FS, dir string, read [2]mark) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	// Only the newest log can end anywhere; older ones were closed, and Pebble insists on their end.
	newest := uint64(0)
	for _, name := range names {
		if kind, n, ok := watched(name); ok && kind == markLog {
			newest = max(newest, n)
		}
	}
	if m := read[markLog]; m.file > newest {
		return status.Errorf(status.Corrupt, "write-ahead log %06d.log is missing", m.file)
	} else if m.file == newest && m.offset > 0 {
		if err := checkPrefix(fs, fs.PathJoin(dir, fmt.Sprintf("%06d.log", m.file)), markLog, m); err != nil {
			return err
		}
	}
	current, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil {
		return err
	}
	if _, n, ok := watched(current); ok && n == read[markManifest].file {
		return checkPrefix(fs, fs.PathJoin(dir, current), markManifest, read[markManifest])
	}
	return nil
}

// checkPrefix reads the records of a file up to its mark.
func checkPrefix(fs vfs.FS, path string, kind markKind, m mark) error {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	number := m.file
	if kind == markManifest {
		number = 0 // a manifest's records do not carry its number
	}
	r := newReader(record.NewReader, f, number)
	good := int64(0)
	for good < m.offset {
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if err != nil {
			break
		}
		good = r.Offset()
	}
	if m.offset-good > kind.slack() {
		return status.Errorf(status.Corrupt, "%v %s is damaged at byte %d: it was written up to byte %d", kind, fs.PathBase(path), good, m.offset)
	}
	return nil
}

// newReader calls f, whose parameter has a type that only Pebble can name.
func newReader[N ~uint64](f func(io.Reader, N) *record.Reader, from io.Reader, number uint64) *record.Reader {
	return f(from, N(number))
}

// watched tells whether a file is a log or a manifest, and its number.
func watched(name string) (kind markKind, number uint64, ok bool) {
	digits, isLog := strings.CutSuffix(name, ".log")
	if !isLog {
		if digits, ok = strings.CutPrefix(name, "MANIFEST-"); !ok {
			return 0, 0, false
		}
		kind = markManifest
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return kind, number, err == nil
}
