package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Image is the memory that instances are made of. Its methods may be called concurrently, Close once nothing is mapped or
// restored any more; what was mapped stays.
type Image struct {
	file *os.File
	fd   uintptr // of the file
	size int
	runs []run
	view []byte // the runs behind each other, read only; nil where there are none
}

// run is a part of the memory that is not all zeros. The parts between are in no file.
type run struct {
	at, n int
	from  int64 // in the file, where runs lie behind each other
}

// Bounds of the number of mappings that an instance needs: gaps up to joinGap are written out, and more of them than
// maxRuns allows.
const (
	joinGap = 64 << 10
	maxRuns = 12
)

var pageSize = os.Getpagesize()

// ErrUnfit means that a memory cannot be mapped over.
var ErrUnfit = errors.New("the memory is not of whole pages, or not of the image's size")

// New makes an image in an anonymous file.
func New(s *Source) (*Image, error) {
	fd, err := unix.MemfdCreate("essa-snapshot", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make an anonymous file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "snapshot")
	im := &Image{file: f, size: s.size}
	if err := im.write(s, nil); err != nil {
		f.Close()
		return nil, err
	}
	// Nobody can write it by mistake, not even we.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the snapshot: %w", err)
	}
	return im.open()
}

// open maps the view.
func (im *Image) open() (*Image, error) {
	im.fd = im.file.Fd()
	if len(im.runs) == 0 {
		return im, nil
	}
	view, err := unix.Mmap(int(im.fd), im.runs[0].from, im.Stored(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		im.file.Close()
		return nil, fmt.Errorf("map the snapshot: %w", err)
	}
	im.view = view
	return im, nil
}

// contents returns a run's contents.
func (im *Image) contents(r run) []byte { return im.view[r.from-im.runs[0].from:][:r.n] }

// Size returns the bytes of the memory, Stored those that are not all zeros.
func (im *Image) Size() int { return im.size }

// Stored returns the bytes that the image takes.
func (im *Image) Stored() (n int) {
	for _, r := range im.runs {
		n += r.n
	}
	return n
}

// Equal tells whether a memory is as it is in the image.
func (im *Image) Equal(mem []byte) bool {
	if len(mem) != im.size {
		return false
	}
	same := true
	im.each(0, im.size, func(at, n int, contents []byte) {
		if contents != nil {
			same = same && bytes.Equal(mem[at:at+n], contents)
			return
		}
		for ; same && n > 0; at, n = at+pageSize, n-pageSize {
			same = allZero(mem[at : at+pageSize])
		}
	})
	return same
}

// CopyTo writes the image into a memory of zeros that has at least its size.
func (im *Image) CopyTo(mem []byte) {
	for _, r := range im.runs {
		copy(mem[r.at:end(r)], im.contents(r))
	}
}

// each calls f with the parts of a range of pages in order: where each is, and its contents, nil for zeros.
func (im *Image) each(from, to int, f func(at, n int, contents []byte)) {
	for _, r := range im.runs {
		if r.at > from {
			if n := min(r.at, to) - from; n > 0 {
				f(from, n, nil)
				from += n
			}
		}
		if n := min(end(r), to) - from; n > 0 && from >= r.at {
			f(from, n, im.contents(r)[from-r.at:][:n])
			from += n
		}
	}
	if from < to {
		f(from, to-from, nil)
	}
}

// Rest gives back what of the image's contents this process has mapped for itself. The file has them, and the kernel keeps that at
// hand while there is room.
func (im *Image) Rest() {
	if im.view != nil {
		_ = unix.Madvise(im.view, unix.MADV_DONTNEED) // they were only read
	}
}

// Close frees the image.
func (im *Image) Close() error {
	err := im.file.Close()
	if im.view != nil {
		err = errors.Join(err, unix.Munmap(im.view))
		im.view = nil
	}
	return err
}

func end(r run) int             { return r.at + r.n }
func base(mem []byte) uintptr   { return uintptr(unsafe.Pointer(unsafe.SliceData(mem))) }
func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
func fitsPage(n, page int) bool { return n > 0 && n%page == 0 }
func aligned(p uintptr) bool    { return p%uintptr(pageSize) == 0 }
func fits(mem []byte, n int) error {
	if len(mem) != n || !fitsPage(n, pageSize) || !aligned(base(mem)) {
		return ErrUnfit
	}
	return nil
}

// mapRuns lays the runs over mem. An anonymous mapping of zeros is what lies between.
func (im *Image) mapRuns(mem []byte, prot int) error {
	for _, r := range im.runs {
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, base(mem[r.at:]), uintptr(r.n), uintptr(prot),
			unix.MAP_PRIVATE|unix.MAP_FIXED, im.fd, uintptr(r.from))
		if errno != 0 {
			return fmt.Errorf("map %d bytes of the snapshot: %w", r.n, errno)
		}
	}
	return nil
}
