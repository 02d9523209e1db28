package snapshot

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Method is how written pages are found.
type Method uint8

// The methods, best first.
const (
	Scan    Method = iota // the kernel lists them
	Pagemap               // the kernel tells of every page
	All                   // it does not tell: all private pages are given back
)

// String says what the method is.
func (m Method) String() string {
	switch m {
	case Scan:
		return "PAGEMAP_SCAN"
	case Pagemap:
		return "/proc/self/pagemap"
	}
	return "MADV_DONTNEED"
}

// Best returns the best method that this machine has.
var Best = sync.OnceValue(func() Method {
	probe, err := unix.Mmap(-1, 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return All
	}
	defer func() { _ = unix.Munmap(probe) }()
	probe[pageSize] = 1
	for _, m := range []Method{Scan, Pagemap} {
		s := &scanner{method: m}
		var found []region
		err := s.each(probe, func(r region) { found = append(found, r) })
		if err == nil && len(found) == 1 && found[0] == (region{pageSize, 2 * pageSize}) {
			return m
		}
	}
	return All
})

// pagemap is open for the life of the process.
var pagemap = sync.OnceValues(func() (*openFile, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, err
	}
	return &openFile{f, f.Fd()}, nil
})

type openFile struct {
	*os.File
	fd uintptr
}

// region is a range of bytes of a memory.
type region struct{ from, to int }

// part is what a range of bytes of a memory is set back to.
type part struct {
	mem      []byte
	contents []byte // nil for zeros
}

// Mapping is an instance's memory that an image lies over. It belongs to whoever has the instance.
type Mapping struct {
	image *Image
	mem   []byte
	scan  *scanner
	own   []part // the private pages at the last Restore
	bytes int    // of those
	high  int    // where the last of them ends

	since int // Restores since the private pages were given back
	every int // after how many they are, where they are more than few
	given int // bytes that were given back last
}

// Private pages are copied after each call, touched or not, and an unusual call may have left many: so now and then all are
// given back. To take one anew costs as much as copying it about eight times, so after that they are, unless they are few. Where
// the next call takes most of them again they are in use, and are kept twice as long; otherwise it is eight times again.
const (
	giveBackMost  = 1 << 14
	giveBackFirst = 8
	fewBytes      = 96 << 10
)

// Map lays the image over mem, which has its size, is a private anonymous mapping and holds anything. After an error its
// contents are lost.
func (im *Image) Map(mem []byte, m Method) (*Mapping, error) {
	p, err := im.MapZeros(mem, m)
	if err != nil {
		return nil, err
	}
	return p, p.drop()
}

// MapZeros is Map for a memory that holds zeros, or nothing yet.
func (im *Image) MapZeros(mem []byte, m Method) (*Mapping, error) {
	if err := fits(mem, im.size); err != nil {
		return nil, err
	}
	if err := im.mapRuns(mem, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, err
	}
	// One written byte must not make a private copy of 2 MiB. Kernels without large pages refuse; they need not be told.
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	return &Mapping{image: im, mem: mem, scan: &scanner{method: m}, every: giveBackFirst}, nil
}

// drop gives every private page back.
func (p *Mapping) drop() error {
	p.since, p.given = 0, p.bytes
	p.forget()
	if err := unix.Madvise(p.mem, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("give pages back: %w", err)
	}
	return nil
}

func (p *Mapping) forget() { p.own, p.bytes, p.high = p.own[:0], 0, 0 }

// Extend has Restore see to more than the image's size: to mem, which begins where the mapping does and of which what is behind
// it is an anonymous mapping that held zeros. Set back, it holds them again. What was seen to once stays so.
func (p *Mapping) Extend(mem []byte) error {
	have := len(p.mem)
	switch {
	case len(mem)%pageSize != 0 || len(mem) > 0 && base(mem) != base(p.mem):
		return ErrUnfit
	case len(mem) <= have:
		return nil
	}
	// As in MapZeros. Large pages may have come by now, so all are given back, once.
	_ = unix.Madvise(mem[have:], unix.MADV_NOHUGEPAGE)
	if err := unix.Madvise(mem[have:], unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("give pages back: %w", err)
	}
	p.mem = mem
	return nil
}

// High returns up to where, from the beginning, there are private pages since the last Restore.
func (p *Mapping) High() int { return p.high }

// Clean tells whether all that Restore sees to is as Restore leaves it.
func (p *Mapping) Clean() bool {
	size := p.image.size
	return p.image.Equal(p.mem[:size]) && (len(p.mem) == size || allZero(p.mem[size:]))
}

// Restore sets the memory back to the image. At most keep bytes of pages stay private; it returns how many do. quiet tells
// that since the last Restore the memory was written by one thread alone, which took no page fault meanwhile: then no page
// can have become private, and the kernel is not asked. After an error the memory holds anything.
func (p *Mapping) Restore(keep int, quiet bool) (private int, err error) {
	if p.scan.method == All {
		return 0, p.drop()
	}
	if !quiet {
		p.forget()
		err := p.scan.each(p.mem, func(r region) {
			p.bytes += r.to - r.from
			p.high = r.to
			p.image.each(r.from, r.to, func(at, n int, contents []byte) {
				p.own = append(p.own, part{p.mem[at : at+n], contents})
			})
		})
		if err != nil {
			return 0, err
		}
	}
	if p.bytes > keep || p.ages() {
		return 0, p.drop()
	}
	for _, r := range p.own {
		if r.contents == nil {
			clear(r.mem)
			continue
		}
		copy(r.mem, r.contents)
	}
	return p.bytes, nil
}

// ages counts a Restore, and tells whether the private pages are to be given back by now.
func (p *Mapping) ages() bool {
	if p.since++; p.since == 1 && p.given > 0 {
		if p.bytes >= p.given/2 {
			p.every = min(2*p.every, giveBackMost)
		} else {
			p.every = giveBackFirst
		}
	}
	if p.bytes <= fewBytes {
		return p.since >= giveBackMost
	}
	return p.since >= p.every
}

// scanner finds private pages. Its fields are what the kernel writes into, and must not be on a stack.
type scanner struct {
	method  Method
	arg     scanArg
	regions [64]scanRegion
	entries []uint64
}

// scanArg is the kernel's struct pm_scan_arg, scanRegion its struct page_region.
type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyOf, returned                         uint64
}

type scanRegion struct{ start, end, categories uint64 }

// Numbers of the kernel's interface.
const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsPFNZero = 1 << 5

	entryPresent = 1 << 63
	entrySwapped = 1 << 62
	entryFile    = 1 << 61 // or shared
)

var errNoMethod = errors.New("this kernel does not tell which pages were written")

// each calls found with every range of pages of mem that are private copies, or writes into zeros, in order.
func (s *scanner) each(mem []byte, found func(region)) error {
	f, err := pagemap()
	if err != nil {
		return fmt.Errorf("find written pages: %w", err)
	}
	switch s.method {
	case Scan:
		return s.list(f, mem, found)
	case Pagemap:
		return s.look(f, mem, found)
	}
	return errNoMethod
}

func (s *scanner) list(f *openFile, mem []byte, found func(region)) error {
	start := uint64(base(mem))
	a := &s.arg
	*a = scanArg{
		size: uint64(unsafe.Sizeof(*a)), start: start, end: start + uint64(len(mem)),
		vec: uint64(uintptr(unsafe.Pointer(&s.regions[0]))), vecLen: uint64(len(s.regions)),
		inverted: pageIsFile | pageIsPFNZero, mask: pageIsFile | pageIsPFNZero, anyOf: pageIsPresent | pageIsSwapped,
		returned: pageIsPresent,
	}
	for a.start < a.end {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, f.fd, pagemapScan, uintptr(unsafe.Pointer(a)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("find written pages: %w", errno)
		}
		for _, r := range s.regions[:n] {
			found(region{int(r.start - start), int(r.end - start)})
		}
		if a.walkEnd <= a.start {
			return fmt.Errorf("find written pages: the kernel stopped at %#x", a.walkEnd)
		}
		a.start = a.walkEnd
	}
	runtime.KeepAlive(s)
	return nil
}

// look reads one entry for each page.
func (s *scanner) look(f *openFile, mem []byte, found func(region)) error {
	pages := len(mem) / pageSize
	if cap(s.entries) < pages {
		s.entries = make([]uint64, pages)
	}
	entries := s.entries[:pages]
	if pages == 0 {
		return nil
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&entries[0])), 8*pages)
	if n, err := f.ReadAt(raw, int64(base(mem)/uintptr(pageSize))*8); n != len(raw) {
		return fmt.Errorf("find written pages: %w", err)
	}
	for i := 0; i < pages; i++ {
		from := i
		for i < pages && entries[i]&(entryPresent|entrySwapped) != 0 && entries[i]&entryFile == 0 {
			i++
		}
		if i > from {
			found(region{from * pageSize, i * pageSize})
		}
	}
	return nil
}
