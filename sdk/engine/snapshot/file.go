package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The form of a file: a header, padded to a page, and the pages of all runs.
//
//	magic[8] page:u32 headerBytes:u32 size:u64 contentsCRC:u32 metaBytes:u32 runs:u32 {at:u64 n:u64}... meta headerCRC:u32
//
// All little endian. The checksums are CRC-32C, which processors compute as fast as they read.
const (
	magic     = "essaimg1"
	fixedHead = len(magic) + 4 + 4 + 8 + 4 + 4 + 4
	maxHeader = 1 << 20
	maxSize   = 4 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged means that a file holds no image, or not all of one.
var ErrDamaged = errors.New("the file is not a whole snapshot")

// Create makes an image in a file that outlives the process, together with what else belongs to the snapshot. The file is
// renamed into place when it is complete. It is not synced: after a crash its checksum tells.
func Create(path string, s *Source, meta []byte) (*Image, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return nil, fmt.Errorf("keep snapshot: %w", err)
	}
	im := &Image{file: f, size: s.size}
	if err = im.write(s, meta); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		f.Close()
		return nil, fmt.Errorf("keep snapshot: %w", err)
	}
	return im.open()
}

// write writes the file.
func (im *Image) write(s *Source, meta []byte) error {
	if s.size > maxSize {
		return fmt.Errorf("the memory has %d bytes, and an image at most %d", s.size, maxSize)
	}
	im.runs = append([]run(nil), s.runs...)
	headerBytes := fixedHead + 16*len(im.runs) + len(meta) + 4
	if headerBytes > maxHeader {
		return fmt.Errorf("the snapshot's header has %d bytes, and at most %d are read", headerBytes, maxHeader)
	}
	size := im.place(headerBytes)
	crc, to := uint32(0), roundUp(int64(headerBytes), int64(pageSize))
	err := s.each(func(_ int, b []byte) error {
		crc = crc32.Update(crc, castagnoli, b)
		_, err := im.file.WriteAt(b, to)
		to += int64(len(b))
		return err
	})
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	head := append([]byte(nil), magic...)
	head = le.AppendUint32(le.AppendUint32(head, uint32(pageSize)), uint32(headerBytes))
	head = le.AppendUint32(le.AppendUint64(head, uint64(im.size)), crc)
	head = le.AppendUint32(le.AppendUint32(head, uint32(len(meta))), uint32(len(im.runs)))
	for _, r := range im.runs {
		head = le.AppendUint64(le.AppendUint64(head, uint64(r.at)), uint64(r.n))
	}
	head = append(head, meta...)
	head = le.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := im.file.WriteAt(head, 0); err != nil {
		return err
	}
	return im.file.Truncate(size) // where there is no run the header's page is not full
}

// place gives the runs their places in the file behind a header, and returns the file's size.
func (im *Image) place(header int) int64 {
	at := roundUp(int64(header), int64(pageSize))
	for i := range im.runs {
		im.runs[i].from = at
		at += int64(im.runs[i].n)
	}
	return at
}

// Witness remembers which files were found whole. What the kernel says of a file is enough to tell that it is the same, and
// unchanged.
type Witness interface {
	// Whole tells whether the file was found whole, and has not changed since.
	Whole(fs.FileInfo) bool
	// Found tells that the file was found whole, by reading it after this was asked for.
	Found(fs.FileInfo)
}

// Open opens an image that Create left, and returns what was kept with it. Its contents are read and checked unless by has seen
// to that; by nil has seen nothing. Errors wrap fs.ErrNotExist or ErrDamaged.
func Open(path string, by Witness) (*Image, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	im := &Image{file: f}
	meta, err := im.read(by)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	if im, err = im.open(); err != nil {
		return nil, nil, err
	}
	return im, meta, nil
}

// read reads the header and checks all that there is to check.
func (im *Image) read(by Witness) ([]byte, error) {
	info, err := im.file.Stat()
	if err != nil {
		return nil, err
	}
	meta, headerBytes, crc, err := im.header()
	if err != nil {
		return nil, err
	}
	if size := im.place(headerBytes); info.Size() != size {
		return nil, fmt.Errorf("%w: it should have %d bytes", ErrDamaged, size)
	}
	if by != nil && by.Whole(info) {
		return meta, nil
	}
	if err := im.check(crc); err != nil {
		return nil, err
	}
	if by != nil {
		by.Found(info)
	}
	return meta, nil
}

// check checks the contents. They are read, not mapped, so that they are not counted as ours until they are used.
func (im *Image) check(crc uint32) error {
	buf := make([]byte, chunk)
	got := uint32(0)
	for _, r := range im.runs {
		for done := 0; done < r.n; {
			part := buf[:min(len(buf), r.n-done)]
			if _, err := im.file.ReadAt(part, r.from+int64(done)); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			got = crc32.Update(got, castagnoli, part)
			done += len(part)
		}
	}
	if got != crc {
		return fmt.Errorf("%w: its contents have another checksum", ErrDamaged)
	}
	return nil
}

// header reads the header into im.
func (im *Image) header() (meta []byte, size int, crc uint32, err error) {
	damaged := func(text string) ([]byte, int, uint32, error) {
		return nil, 0, 0, fmt.Errorf("%w: %s", ErrDamaged, text)
	}
	le := binary.LittleEndian
	head := make([]byte, 4<<10)
	n, err := im.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return damaged(err.Error())
	}
	if head = head[:n]; n < fixedHead || !bytes.HasPrefix(head, []byte(magic)) {
		return damaged("it does not begin like one")
	}
	size = int(le.Uint32(head[12:]))
	if page := le.Uint32(head[8:]); page != uint32(pageSize) || size < fixedHead+4 || size > maxHeader {
		return damaged("it was made elsewhere")
	}
	if size > len(head) {
		head = make([]byte, size)
		if _, err := im.file.ReadAt(head, 0); err != nil {
			return damaged(err.Error())
		}
	}
	head = head[:size]
	if crc32.Checksum(head[:size-4], castagnoli) != le.Uint32(head[size-4:]) {
		return damaged("its header has another checksum")
	}
	memory := le.Uint64(head[16:])
	crc = le.Uint32(head[24:])
	metaBytes, runs := int(le.Uint32(head[28:])), int(le.Uint32(head[32:]))
	if memory > maxSize || !fitsPage(int(memory), pageSize) || runs > maxRuns || fixedHead+16*runs+metaBytes+4 != size {
		return damaged("its header contradicts itself")
	}
	im.size = int(memory)
	last := 0
	for i := range runs {
		at, n := le.Uint64(head[fixedHead+16*i:]), le.Uint64(head[fixedHead+16*i+8:])
		if at < uint64(last) || at > memory || n > memory-at || !fitsPage(int(n), pageSize) || at%uint64(pageSize) != 0 {
			return damaged("its header contradicts itself")
		}
		im.runs = append(im.runs, run{at: int(at), n: int(n)})
		last = int(at + n)
	}
	return head[fixedHead+16*runs : size-4], size, crc, nil
}
